/**
 * Whether a canary is worse than what it runs beside, and for how long.
 *
 * Signal: what the instances of both answered, in windows of 10 s; one with fewer than 100 answers of either lasts until
 * there are as many. Decision: a window is *worse* when the canary's success is lower by more than one point in a hundred
 * than that of the others, or its p95 more than 1.5 times theirs, each with 97.5 % certainty (the end of Wilson's interval;
 * of times, for the share that came later than 1.5 times their p95). Without it the p95 of a hundred answers of one service
 * is 1.5 times that of a hundred others in every twentieth window, and a good canary lasts a day. Three such windows in a
 * row abort it. No answers at all, while it had some before and its weight gives it callers, count as worse: a canary that
 * nobody can reach must not look calm. Compared with the others in the same seconds, so a fault behind all aborts nothing.
 *
 * Cold start: one that has never answered is not there yet, and not judged. Idle gap: without traffic nothing is decided.
 * Recovery: none by itself; whoever changes its weight begins anew. Limits: what answers well and wrongly, or 404, is not
 * seen; a canary at 1 % of 100 requests a second needs 100 s for a window. Source: Wilson, 1927; Kayenta and Flagger
 * compare in the same way, with a threshold of the operator's.
 */
import { emptyTally, laterThan, quantileMs, sumOf, type VersionTally } from './version-tally.ts';

/** Half: 100 answers are seldom in; double: a bad release meets its callers for a minute. */
const WINDOW_MS = 10_000;
/** Half: p95 is the fifth-worst of fifty; double: small services never judge. */
const LEAST_ANSWERS = 100;
/** Half aborts good canaries by chance, double leaves a bad one in use for a minute. */
const WORSE_WINDOWS = 3;
/** One point: half is within what two equal versions show; double is 2 % of the callers. */
const MARGIN = 0.01;
/** Half (1.25): a cold cache is a reason; double (3): only collapse is. */
const SLOWER = 1.5;
/** The quantile that is compared: p99 of a hundred is the worst one, the median hides what a tenth of the callers has. */
const SLOWEST = 0.95;
/** Of the normal distribution, for 97.5 % on one side. */
const Z = 1.96;

export type WindowVerdict =
  | { readonly is: 'worse' | 'fine'; readonly reason: string }
  /** Too little to say: the window goes on. */
  | { readonly is: 'open' };

/** Judges one window by its answers. */
export function judgeWindow(canary: VersionTally, others: VersionTally): WindowVerdict {
  if (others.answered < LEAST_ANSWERS || canary.answered < LEAST_ANSWERS) return OPEN;
  const best = wilsonUpper(canary.answered - canary.failed, canary.answered);
  const theirs = 1 - others.failed / others.answered;
  if (best < theirs - MARGIN) {
    const [own, other] = [canary, others].map(({ failed, answered }) => percent(failed / answered));
    return { is: 'worse', reason: `fails ${own}, the others ${other}` };
  }
  const [ownMs, otherMs] = [quantileMs(canary, SLOWEST), quantileMs(others, SLOWEST)];
  const later = laterThan(canary, SLOWER * otherMs);
  const least = 1 - wilsonUpper(canary.answered - later, canary.answered);
  if (least > 1 - SLOWEST)
    return { is: 'worse', reason: `p95 ${Math.round(ownMs)} ms, the others ${Math.round(otherMs)} ms` };
  return { is: 'fine', reason: '' };
}

const OPEN: WindowVerdict = Object.freeze({ is: 'open' });

/** One canary beside the common versions. */
export class CanaryTrial {
  #canary: VersionTally;
  #others = emptyTally('');
  #since: number;
  #wasSeen = false;
  /** Since its last answer: the moment, what its weight gave it, and what the others answered. */
  #silentSince: number;
  #missed = 0;
  #othersAnswered = 0;
  /** Windows in a row that were worse. */
  worse = 0;
  /** Why the last one was. */
  reason = '';

  constructor(version: string, now: number) {
    this.#canary = emptyTally(version);
    this.#since = now;
    this.#silentSince = now;
  }

  /** Takes what came since the last call. */
  add(canary: VersionTally, others: VersionTally, now: number): void {
    this.#canary = sumOf(this.#canary, canary);
    this.#others = sumOf(this.#others, others);
    this.#missed += canary.missed;
    this.#othersAnswered += others.answered;
    if (canary.answered === 0) return;
    this.#wasSeen = true;
    this.#beginSilence(now);
  }

  /** Judges the window if it is over. @returns whether the canary has to be aborted now */
  settle(now: number): boolean {
    const verdict = this.#verdict(now);
    if (verdict.is === 'open') return false;
    this.#beginSilence(now);
    this.#canary = emptyTally(this.#canary.version);
    this.#others = emptyTally('');
    this.#since = now;
    this.worse = verdict.is === 'worse' ? this.worse + 1 : 0;
    this.reason = verdict.reason;
    return this.worse >= WORSE_WINDOWS;
  }

  #verdict(now: number): WindowVerdict {
    const isSilent = this.#wasSeen && now - this.#silentSince >= WINDOW_MS;
    if (isSilent && this.#missed > 0 && this.#othersAnswered >= LEAST_ANSWERS)
      return { is: 'worse', reason: `no answer, while the others gave ${this.#othersAnswered}` };
    return now - this.#since < WINDOW_MS ? OPEN : judgeWindow(this.#canary, this.#others);
  }

  #beginSilence(now: number): void {
    this.#silentSince = now;
    this.#missed = 0;
    this.#othersAnswered = 0;
  }
}

/** The upper end of Wilson's interval for a share. */
export function wilsonUpper(good: number, of: number): number {
  const share = good / of;
  const z2 = Z * Z;
  const middle = share + z2 / (2 * of);
  const spread = Z * Math.sqrt((share * (1 - share) + z2 / (4 * of)) / of);
  return (middle + spread) / (1 + z2 / of);
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}
