/**
 * Timeouts and an upstream's own "too much" (429, 503).
 *
 * Signal: the share of a window's outcomes that were drops. Decision: above 5 % the limit falls by a tenth a window.
 * Should half the load (or the floor) leave three quarters of the drops, they are not our load's doing: the limit goes
 * back to where it was and drops are ignored for 30 s; that is the breaker's business. So stable timeouts never pass
 * for calm, and constant 503s never hold the limit at the floor.
 */
import type { Reading } from './window.ts';

/** 2 % reacts to strays, 10 % waits for the storm. */
export const MANY_DROPS = 0.05;
/** Netflix's 0.9; 0.8 undershoots on one bad window, 0.95 takes twice as long to find out. */
const CUT = 0.9;
const HALF_LOAD = 0.5;
const STILL_THERE = 0.75;
const IGNORE_MS = 30_000;

export class Drops {
  #reference: { readonly inFlight: number; readonly ratio: number; readonly limit: number } | undefined;
  #ignoredUntilMs = Number.NEGATIVE_INFINITY;

  /** The new limit, or undefined when drops have no say in this window. */
  judge(reading: Reading, limit: number, floor: number, now: number): number | undefined {
    if (reading.dropRatio <= MANY_DROPS) {
      this.#reference = undefined;
      return undefined;
    }
    if (now < this.#ignoredUntilMs) return undefined;
    this.#reference ??= { inFlight: reading.inFlight, ratio: reading.dropRatio, limit };
    const reference = this.#reference;
    const lessLoad = reading.inFlight <= HALF_LOAD * reference.inFlight || limit <= floor;
    if (lessLoad && reading.dropRatio > STILL_THERE * reference.ratio) {
      this.#reference = undefined;
      this.#ignoredUntilMs = now + IGNORE_MS;
      return Math.max(limit, reference.limit);
    }
    return Math.max(floor, limit * CUT);
  }
}
