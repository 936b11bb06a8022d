import { between, type Random } from '../kernel/random.ts';
import { SliceWindow } from '../kernel/window.ts';
import type { Passive } from './instance-state.ts';
import type { PassiveReport } from './passive-slice.ts';
import { failedRatio, failedRatioBound, type Outcomes } from './recent-outcomes.ts';

/**
 * Ejection of one instance whose traffic fails while that of the others does not.
 *
 * Signal: the workers' reports of hard and soft failures. Decision: `consecutiveFailures` hard ones in a row, or at least
 * `errorRatio` of at least `minRequests` in the window, eject it for base · 2^k, ± 25 %; then `trial`, one request a worker:
 * three successes end it, one hard failure ejects again. Why against the others: when all fail alike, the fault is behind
 * them (a dependency, a bad client), and ejecting takes capacity and mends nothing. A row is compared with what the others
 * did while it lasted and just after, so a verdict waits for that; meanwhile the workers' own blame keeps requests away.
 * One-caller guard: where at least three clients were seen and one alone fails, its failures trip nothing, so one crashing
 * URL cannot close a service; connection failures are nobody's URL and always count.
 * Cold start: no failures, `ok`. Idle gap: the window ages on use. Recovery: k falls by one a quiet minute.
 * Limits: below `consecutiveFailures` requests a window nothing is seen here; the prober is. Source: Envoy, outlier detection.
 */

export interface OutlierPolicy {
  readonly consecutiveFailures: number;
  /** 0..1 */
  readonly errorRatio: number;
  readonly minRequests: number;
  readonly windowMs: number;
  readonly baseEjectionMs: number;
  /** 0..1; at least one instance may always be ejected, never the last open one */
  readonly maxEjectedRatio: number;
}

/** What the detector must ask about the rest of the service. */
export interface Company {
  /** What the other open instances did in the window. */
  inWindow(now: number): Outcomes;
  /** The same between two moments. */
  between(from: number, to: number, now: number): Outcomes;
  /** Enough of them had traffic since then. */
  heardSince(from: number): boolean;
  /** False while this ejection would exceed the share that may be out, or take the last open one. */
  mayEject(): boolean;
}

/** Half: coarse ageing lets a burst count for nearly nothing or twice. Double: more sums, no better decision. */
const SLICES = 10;
const OK = 0;
const FAILED = 1;
/** Longest ejection. Half: a lame instance is tried by users twice as often; double: ten minutes lost after a repair. */
const MAX_EJECTION_MS = 300_000;
/** Spread, so that instances ejected together do not return together. */
const JITTER = 0.25;
/** Half: a crash loop of one minute never grows its pause; double: an old fault is held against it for an hour. */
const QUIET_MS = 60_000;
/** One success may be a cached answer; ten would keep a good instance at one request a worker for long at a small service. */
const TRIAL_SUCCESSES = 3;
/** Others may fail half as much as the suspect: more, and the fault is not the suspect's own. */
const OTHERS_SHARE = 0.5;
/**
 * What the others did is looked at from one report after the first failure of a row (before, their good answers are of the
 * time before) until so long after the last. Half: at the onset of a shared fault stale good answers are most of what is
 * known, and a third goes; double: a bad instance is asked for most of a second longer by callers without an alternative.
 */
const REPORT_MS = 100;
const WAIT_MS = 400;
/**
 * From then on the others may have no traffic at all, and the window must do; but not for a row that nobody prolongs, since a
 * breaker that opens right after a shared fault silences all alike. Half: a slow beat of requests is cut in two.
 */
const UNHEARD_MS = 1000;
/** How long a row that ended may be judged late: what is compared is kept for three seconds. */
const JUDGED_MS = 2500;
/** Fewer requests of the others than these say nothing of the moment. */
const FEW = 3;
/** The others just now, for the verdicts that are not about a row. */
const JUST_NOW_MS = 1000;
/** With two clients, one failing is half of the evidence, not an exception. */
const MIN_CALLERS = 3;

export class OutlierDetector {
  state: Passive = 'ok';
  reason = '';
  #policy: OutlierPolicy;
  #window: SliceWindow;
  #streak = 0;
  #streakSince = 0;
  /** Failures of the row that came after `UNHEARD_MS`. */
  #late = 0;
  #lastHardAt = -Infinity;
  #lastFailedAt = -Infinity;
  #streakCallers = 0;
  #trialSuccesses = 0;
  #ejections = 0;
  #until = 0;
  #endedAt = 0;
  // Clients of this half window and of the one before, so that old ones are forgotten without a ring.
  #seen = 0;
  #seenBefore = 0;
  #failed = 0;
  #failedBefore = 0;
  #halfSince = 0;

  constructor(policy: OutlierPolicy) {
    this.#policy = policy;
    this.#window = new SliceWindow(policy.windowMs / SLICES, SLICES, 2);
  }

  configure(policy: OutlierPolicy): void {
    if (policy.windowMs !== this.#policy.windowMs) {
      this.#window = new SliceWindow(policy.windowMs / SLICES, SLICES, 2);
    }
    this.#policy = policy;
  }

  /** Takes one worker's report; true when it ejected the instance. */
  take(report: PassiveReport, now: number, random: Random, company: Company): boolean {
    if (this.state === 'ejected') return false; // stragglers of the time before
    this.#window.add(OK, report.ok, now);
    this.#window.add(FAILED, report.hard + report.soft, now);
    if (report.hard + report.soft > 0) this.#lastFailedAt = now;
    this.#rememberCallers(report, now);
    if (this.state === 'trial') return this.#onTrial(report, now, random, company);
    if (report.ok > 0 || this.#streak === 0) {
      this.#streakSince = now;
      this.#late = 0;
    } else if (now - this.#streakSince >= UNHEARD_MS) this.#late += report.hard;
    if (report.ok > 0) {
      this.#streak = report.trailingHard;
      this.#streakCallers = report.trailingHard > 0 ? report.failedCallers : 0;
    } else {
      this.#streak += report.hard;
      this.#streakCallers |= report.failedCallers;
    }
    if (report.trailingHard > 0) this.#lastHardAt = now;
    return this.settle(now, random, company);
  }

  /** A row of failures waits for a verdict, and none of them came too long ago. */
  suspected(now: number): boolean {
    return this.#streak >= this.#policy.consecutiveFailures && now - this.#lastHardAt <= JUDGED_MS;
  }

  /** Judges what was reported so far, once enough is known of the others; true when it ejected the instance. */
  settle(now: number, random: Random, company: Company): boolean {
    if (this.state !== 'ok') return false;
    const reason = this.#verdict(now, company);
    if (reason === '' || !company.mayEject()) return false;
    this.#eject(reason, now, random);
    return true;
  }

  /** What time alone changes: the end of an ejection. */
  tick(now: number): void {
    if (this.state === 'ejected' && now >= this.#until) this.release();
  }

  /** Ends an ejection early, with a trial: its port answers again, or nobody else is left to serve. */
  release(): void {
    if (this.state !== 'ejected') return;
    this.state = 'trial';
    this.reason = 'on trial after an ejection';
    this.#trialSuccesses = 0;
  }

  /** Good answers and failures in the window. */
  okCount(now: number): number {
    return this.#window.sum(OK, now);
  }

  failedCount(now: number): number {
    return this.#window.sum(FAILED, now);
  }

  #onTrial(report: PassiveReport, now: number, random: Random, company: Company): boolean {
    if (report.hard > 0) {
      this.#trialSuccesses = 0;
      if (this.#othersFail(OTHERS_SHARE, now, company) || !company.mayEject()) return false;
      this.#eject('failed on trial', now, random);
      return true;
    }
    this.#trialSuccesses += report.ok;
    if (this.#trialSuccesses < TRIAL_SUCCESSES) return false;
    this.state = 'ok';
    this.reason = '';
    this.#endedAt = now;
    return false;
  }

  #verdict(now: number, company: Company): string {
    const crowd = bits(this.#seen | this.#seenBefore) >= MIN_CALLERS;
    if (this.suspected(now) && !(crowd && bits(this.#streakCallers) === 1) && this.#isAlone(now, company)) {
      return `${this.#streak} failures in a row`;
    }
    const failed = this.failedCount(now);
    const total = failed + this.okCount(now);
    if (total < this.#policy.minRequests || failed < this.#policy.errorRatio * total) return '';
    if (crowd && bits(this.#failed | this.#failedBefore) === 1) return '';
    const share = (OTHERS_SHARE * failed) / total;
    if (this.#lastFailedAt !== now) return ''; // what goes well now is not taken out for what was
    if (failedRatioBound(company.inWindow(now)) > share || this.#othersFail(share, now, company)) return '';
    return `${failed} of ${total} requests failed`;
  }

  /** The others did not fail while this one's row lasted; false also while that is not known yet. */
  #isAlone(now: number, company: Company): boolean {
    const rowMs = now - this.#streakSince;
    if (rowMs < WAIT_MS) return false;
    const from = this.#streakSince + REPORT_MS;
    const others = company.between(from, Math.min(now, this.#lastHardAt + WAIT_MS), now);
    const isKnown = others.ok + others.failed >= FEW;
    if (!isKnown && this.#late < this.#policy.consecutiveFailures) return false;
    if (failedRatioBound(isKnown ? others : company.inWindow(now)) > OTHERS_SHARE) return false;
    return rowMs >= UNHEARD_MS || company.heardSince(from);
  }

  /** More than this share of the others' requests fails just now. */
  #othersFail(share: number, now: number, company: Company): boolean {
    const from = now - JUST_NOW_MS;
    return failedRatio(company.between(from, now, now)) > share && company.heardSince(from);
  }

  #eject(reason: string, now: number, random: Random): void {
    const forgiven = this.state === 'trial' ? 0 : Math.floor((now - this.#endedAt) / QUIET_MS);
    const k = Math.max(0, this.#ejections - forgiven);
    const spanMs = Math.min(MAX_EJECTION_MS, this.#policy.baseEjectionMs * 2 ** k);
    this.state = 'ejected';
    this.reason = reason;
    this.#ejections = k + 1;
    this.#until = now + spanMs * between(random, 1 - JITTER, 1 + JITTER);
    this.#streak = 0;
    this.#streakCallers = 0;
    this.#window.clear();
  }

  #rememberCallers(report: PassiveReport, now: number): void {
    const halfMs = this.#policy.windowMs / 2;
    if (now - this.#halfSince >= halfMs) {
      const recent = now - this.#halfSince < 2 * halfMs;
      this.#seenBefore = recent ? this.#seen : 0;
      this.#failedBefore = recent ? this.#failed : 0;
      this.#seen = 0;
      this.#failed = 0;
      this.#halfSince = now;
    }
    this.#seen |= report.callers;
    this.#failed |= report.failedCallers;
  }
}

/** How many bits of a 32-bit set are on. */
function bits(set: number): number {
  let count = 0;
  for (let rest = set; rest !== 0; rest &= rest - 1) count++;
  return count;
}
