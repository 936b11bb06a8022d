/**
 * How long an instance has answered nothing although it was asked.
 *
 * Signal: attempts of this worker without a head or a failure, and the moment of the last one that had either. Decision:
 * with two or more outstanding, the time since then is what a request there is expected to take at least. Answers alone
 * cannot tell: one that hangs gives none, its estimate fades, and it draws the traffic until every permit of the service
 * is stuck at it (of 300/s on three instances up to 73 % were shed before this).
 * Why two: a single one may be a slow request, which is no reason to avoid its instance; the next is answered beside it, or
 * not. Cold start and idle gap: nothing outstanding, no silence. Recovery: any answer. Limits: time to headers; an answer
 * that then trickles is not silent. Source: ours; Finagle's peak EWMA knows outstanding requests without an estimate only.
 */

import { grown } from './grown.ts';

/** Half: one slow request moves its instance's traffic; double: twice as many are lost at a hung one. */
const LEAST_OUTSTANDING = 2;

export class Silence {
  #outstanding = new Float64Array(0);
  #heardAt = new Float64Array(0);

  /** Makes room for slots below `size`; what is known stays. */
  grow(size: number): void {
    this.#outstanding = grown(this.#outstanding, size);
    this.#heardAt = grown(this.#heardAt, size);
  }

  /** A new instance. */
  begin(slot: number): void {
    this.#outstanding[slot] = 0;
  }

  /** An attempt begins. */
  asked(slot: number, now: number): void {
    const before = this.#outstanding[slot] ?? 0;
    this.#outstanding[slot] = before + 1;
    if (before === 0) this.#heardAt[slot] = now;
  }

  /** It answered or failed: either is a sign. */
  heard(slot: number, now: number): void {
    this.forget(slot);
    this.#heardAt[slot] = now;
  }

  /** An attempt ended without a sign: its caller left. */
  forget(slot: number): void {
    const before = this.#outstanding[slot] ?? 0;
    if (before > 0) this.#outstanding[slot] = before - 1;
  }

  /** Raises what is expected of a slot, ms at a place of `expected`, to how long it has been silent. */
  atLeast(expected: Float64Array, place: number, slot: number, now: number): void {
    if ((this.#outstanding[slot] ?? 0) < LEAST_OUTSTANDING) return;
    expected[place] = Math.max(expected[place] ?? 0, now - (this.#heardAt[slot] ?? 0));
  }
}
