import { between, type Random } from '../kernel/random.ts';
import { SliceWindow } from '../kernel/window.ts';
import type { Passive } from './instance-state.ts';
import type { PassiveReport } from './passive-slice.ts';

/**
 * Ejection of one instance whose traffic fails while that of the others does not.
 *
 * Signal: the workers' reports of hard and soft failures. Decision: `consecutiveFailures` hard ones in a row, or at least
 * `errorRatio` of at least `minRequests` in the window, eject it for base · 2^k, ± 25 %; then `trial`, one request a worker:
 * three successes end it, one hard failure ejects again. Why against the others: when all fail alike, the fault is behind
 * them (a dependency, a bad client), and ejecting takes capacity and mends nothing.
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
  /** Failure ratio of the other open instances in the window, 0 without traffic. */
  othersRatio(now: number): number;
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
/** With two clients, one failing is half of the evidence, not an exception. */
const MIN_CALLERS = 3;

export class OutlierDetector {
  state: Passive = 'ok';
  reason = '';
  #policy: OutlierPolicy;
  #window: SliceWindow;
  #streak = 0;
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
    this.#rememberCallers(report, now);
    if (this.state === 'trial') return this.#onTrial(report, now, random, company);
    if (report.ok > 0) {
      this.#streak = report.trailingHard;
      this.#streakCallers = report.trailingHard > 0 ? report.failedCallers : 0;
    } else {
      this.#streak += report.hard;
      this.#streakCallers |= report.failedCallers;
    }
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
      if (!company.mayEject()) return false;
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
    if (
      this.#streak >= this.#policy.consecutiveFailures &&
      !(crowd && bits(this.#streakCallers) === 1) &&
      company.othersRatio(now) <= OTHERS_SHARE
    ) {
      return `${this.#streak} failures in a row`;
    }
    const failed = this.failedCount(now);
    const total = failed + this.okCount(now);
    if (total < this.#policy.minRequests || failed < this.#policy.errorRatio * total) return '';
    if (crowd && bits(this.#failed | this.#failedBefore) === 1) return '';
    if (company.othersRatio(now) > (OTHERS_SHARE * failed) / total) return '';
    return `${failed} of ${total} requests failed`;
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
