/**
 * Has the service changed, or only its load?
 *
 * Signal: the windows in which nobody waited, lately, against a congested one: how much slower it has become, and what has
 * become of its pace. A surge onto a service as it was makes latency rise no more than the load, so the pace rises or
 * stays; a service that has changed answers less a second than before. Decision: a jump, where the pace fell by more than
 * chance explains; the larger the latency's rise, the less of a fall is asked for. A full service beside greedy
 * neighbours may look like this at any time: hence "nobody waited, lately".
 *
 * Limits of the method: from the first windows alone a service that lost slots cannot be told from one that turned slow
 * (elasticity.ts asks it). In simulation the plain comparison "latency rose more than load" took one surge in five for a
 * jump where two workers shared the windows; with the pace none of twenty.
 */
import type { Reading } from './window.ts';

/** Logarithm of the least rise in latency that is looked at: × 1.8. */
const LEAST_RISE = 0.6;
/** What a rise beyond that is worth as a fall of the pace. */
const RISE_WORTH = 0.5;
/** The fall asked for (as a logarithm), and in standard errors of two counts. At 1 noise jumps, at 3 a slow service waits for it. */
const LEAST_FALL = 0.1;
const SIGNIFICANT = 2;
/** Slow answers come late, so the windows of the jump itself may still look fine: 500 misses them, 5000 sees surges. */
const WITHIN_MS = 1500;
/** Answers that the pace before is averaged over. */
const REMEMBERED = 200;

export class Jump {
  #ratePerMs = 0;
  #count = 0;
  #p50Ms = 0;
  /** Since the last window in which nobody waited. */
  #forMs = 0;

  /** Takes a window in. */
  note(reading: Reading): void {
    this.#forMs += reading.elapsedMs;
    if (reading.bound) return;
    const count = reading.ratePerMs * reading.elapsedMs;
    const kept = this.#forMs > WITHIN_MS ? 0 : Math.min(this.#count, REMEMBERED);
    const keptMs = kept === 0 ? 0 : kept / this.#ratePerMs;
    this.#ratePerMs = (kept + count) / (keptMs + reading.elapsedMs);
    this.#count = kept + count;
    this.#p50Ms = reading.p50Ms;
    this.#forMs = 0;
  }

  /** Is this congested window, not noted yet, one of a service that has changed? */
  seen(reading: Reading): boolean {
    if (this.#forMs > WITHIN_MS || this.#count === 0 || this.#ratePerMs === 0) return false;
    const rise = Math.log(reading.p50Ms / this.#p50Ms) - LEAST_RISE;
    if (!(rise >= 0)) return false;
    const count = Math.max(1, reading.ratePerMs * reading.elapsedMs);
    const fall = Math.log(this.#ratePerMs / Math.max(reading.ratePerMs, 1e-6));
    return fall + RISE_WORTH * rise > LEAST_FALL + SIGNIFICANT * Math.sqrt(1 / count + 1 / this.#count);
  }
}
