/**
 * The first answer to a surge: how long one turn of the event loop may go on taking in ordinary requests.
 *
 * Signal: how late the current turn is already, at request time, against the turn before. A loop that is offered r times
 * what it can do takes r times as long for each turn, so at three times the capacity a request is late after four turns,
 * long before any average has moved. Decision: while turns stand above the threshold and the present one has grown past
 * the last one that was not cut, whoever is not critical is refused for the rest of it. The share so refused is an
 * immediate measure of the excess; the pressure (pressure.ts) takes it over within a few turns, by client.
 *
 * A lone pause (a collector's, a synchronous plugin's) is followed by turns that shrink: it refuses nobody. Limits: it
 * knows no cohorts, so it must not be what rules for long. A closed crowd whose turns are past the threshold is taken for a
 * surge when one of them grows: in simulation 200 connections lose a third of their goodput where a request costs the loop
 * 0.8 ms, and nothing at 0.5 ms. Where a refusal costs as much as a request no budget helps.
 * In simulation, a fifth of the loop's capacity critical, three seconds from the onset of a surge: with 1.25, 2, 3 and 5 times
 * the capacity 1.00, 1.00, 0.99 and 0.86 of the critical requests were in time; without the budget 1.00, 0.70, 0.42, 0.02.
 */

/** The turn before must have been late by this share of the threshold. None: a first long turn is taken for a trend. */
const STANDING_SHARE = 0.6;
/** A share of 0.9 cut off tells no more than "very much". */
const MOST_CUT = 0.9;

export class TurnBudget {
  #allowedMs = Number.POSITIVE_INFINITY;
  #asked = 0;
  #cut = 0;

  /**
   * A turn is over, late by `lagMs`.
   * @returns by how much less must be taken in, as a natural logarithm; 0: nothing was cut off
   */
  turned(lagMs: number, thresholdMs: number): number {
    const cut = this.#cut === 0 ? 0 : Math.min(MOST_CUT, this.#cut / this.#asked);
    // The next turn has what the last whole one took; a cut one tells nothing new.
    if (lagMs <= STANDING_SHARE * thresholdMs) this.#allowedMs = Number.POSITIVE_INFINITY;
    else if (cut === 0) this.#allowedMs = Math.max(thresholdMs, lagMs);
    this.#asked = 0;
    this.#cut = 0;
    return cut === 0 ? 0 : -Math.log(1 - cut);
  }

  /** For each arrival, once. `lateMs`: how late the turn is so far. */
  isSpent(lateMs: number, isCritical: boolean): boolean {
    this.#asked += 1;
    if (isCritical || lateMs <= this.#allowedMs) return false;
    this.#cut += 1;
    return true;
  }
}
