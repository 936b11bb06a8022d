/**
 * Do not wait for late answers to say that they are late.
 *
 * Signal: the ages of what is in flight now. Decision: while more than half of it is older than 0.7 of the SLA,
 * although in calm times 95 % are answered sooner, the limit falls by a quarter at most each 50 ms, down to 0.3 of
 * where it began. A window that waits for completions sees the same a second later.
 *
 * At half of the SLA it fires on services that have only turned slow; at 0.9 it comes no sooner than the windows do.
 * Whoever is in flight when it fires is one of the long ones: their answers are kept out of the new window, and their
 * median is only what the old level looked like, to be judged with care.
 */
import type { Flight } from './flight.ts';

/** Share of the SLA past which an age says "late". */
const OLD_SHARE = 0.7;
const CUT = 0.75;
const PAUSE_MS = 50;
const LEAST_SHARE = 0.3;
/** Quiet for so long, the next firing is a new event. */
const OVER_MS = 1000;
/** More in flight than so many limits: an earlier cut is still draining, and its old ones accuse nobody. */
const DRAINING = 1.5;
/** Fewer in flight are no crowd: one slow request is half of two. */
const FEWEST = 4;

export class Brake {
  #firedAtMs = Number.NEGATIVE_INFINITY;
  #from = 0;
  /** Moment at which the present event began; −∞ before any. Attempts begun earlier belong to the old level. */
  beganAtMs = Number.NEGATIVE_INFINITY;
  /** In flight and limit then. */
  inFlightBefore = 0;
  limitBefore = 0;

  /**
   * The limit after braking, or the same limit. `calmP95Ms` 0: nothing known, no brake.
   * A new event is seen by `beganAtMs === now`.
   */
  apply(limit: number, floor: number, calmP95Ms: number, slaMs: number, flight: Flight, now: number): number {
    const oldMs = OLD_SHARE * slaMs;
    if (calmP95Ms <= 0 || calmP95Ms > oldMs || flight.present < FEWEST) return limit;
    if (flight.present > DRAINING * limit) return limit;
    if (now - this.#firedAtMs < PAUSE_MS || !flight.mostlyOlderThan(oldMs, now)) return limit;
    if (now - this.#firedAtMs > OVER_MS) {
      this.#from = limit;
      this.beganAtMs = now;
      this.inFlightBefore = flight.present;
      this.limitBefore = limit;
    }
    this.#firedAtMs = now;
    return Math.min(limit, Math.max(floor, LEAST_SHARE * this.#from, CUT * limit));
  }
}
