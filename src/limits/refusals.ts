/**
 * What a refused request is told: by which level, and when to come back.
 *
 * Several levels may refuse: the first in the order of precedence is named, the longest wait counts. Chance is added to
 * it, so that those who come back do not come back together: a quarter of the wait at one's own limit; at a shared one as
 * long as it takes to serve those whom it refused in the last second. For these there are two half-second slices a
 * bucket, of shared buckets only: there are as many as the configuration names.
 */
import {
  CODES,
  isOwn,
  LEVELS,
  type Charge,
  type Level,
  type LevelState,
  type LimitDecision,
} from './decision.ts';

const SLICE_MS = 500;
/** A quarter of an hour's wait for a shared limit would be no answer any more. */
const MOST_SHARED_SECONDS = 30;
/** `deny`: a second more than the pause, so that the store has been tried when the caller is back. */
const DENY_EXTRA_MS = 1000;
const DENY_JITTER_SECONDS = 2;
/** No charge has this rank, so the first refusing level is always before it. */
const NO_RANK: number = LEVELS.length;
const NOTHING: readonly never[] = Object.freeze([]);

interface Count {
  slice: number;
  current: number;
  previous: number;
}

export class Refusals {
  readonly #counts = new Map<string, Count>();

  /** The refusal of a request with these charges; undefined when no enforced level has a wait. */
  refusal(
    charges: readonly Charge[],
    levels: readonly LevelState[],
    observed: readonly Level[],
    path: LimitDecision['path'],
    now: number,
  ): LimitDecision | undefined {
    let first: Charge | undefined;
    let firstRank = NO_RANK;
    let longestMs = 0;
    for (let i = 0; i < charges.length; i++) {
      const charge = charges[i] as Charge;
      const { waitMs } = levels[i] as LevelState;
      if (!charge.enforced || waitMs <= 0) continue;
      if (waitMs > longestMs) longestMs = waitMs;
      const rank = LEVELS.indexOf(charge.level);
      if (rank < firstRank) {
        firstRank = rank;
        first = charge;
      }
    }
    if (first === undefined) return undefined;
    return {
      ok: false,
      refusedBy: first.level,
      code: CODES[first.level],
      retryAfterMs: longestMs,
      jitterSeconds: this.#jitterSeconds(first, longestMs, now),
      path,
      levels,
      observed,
    };
  }

  clear(): void {
    this.#counts.clear();
  }

  #jitterSeconds(charge: Charge, waitMs: number, now: number): number {
    if (isOwn(charge)) return Math.max(1, Math.ceil(Math.ceil(waitMs / 1000) / 4));
    const seconds = Math.ceil(this.#count(charge.key, now) / charge.rate.ratePerSecond);
    return Math.min(MOST_SHARED_SECONDS, Math.max(1, seconds));
  }

  /** Counts one refusal and returns those of the last second, this one included. */
  #count(key: string, now: number): number {
    const slice = Math.floor(now / SLICE_MS);
    let count = this.#counts.get(key);
    if (count === undefined) {
      count = { slice, current: 0, previous: 0 };
      this.#counts.set(key, count);
    }
    if (slice !== count.slice) {
      count.previous = slice === count.slice + 1 ? count.current : 0;
      count.current = 0;
      count.slice = slice;
    }
    count.current++;
    return count.current + count.previous;
  }
}

/** The store is lost and nothing may pass without it. */
export function denial(pauseMs: number): LimitDecision {
  return {
    ok: false,
    refusedBy: '',
    code: 'SPW_RATE_STORE_DOWN',
    retryAfterMs: pauseMs + DENY_EXTRA_MS,
    jitterSeconds: DENY_JITTER_SECONDS,
    path: 'fallback',
    levels: NOTHING,
    observed: NOTHING,
  };
}
