/**
 * What instances say of their own load, as a gate: who says that he is nearly full is dear, who is full is passed over.
 *
 * Signal: the utilisation that came with an answer, 1 for all that the instance wants. Decision: from `BUSY` on its cost is
 * multiplied by four, from 1 on the other one of two is taken, unless that is full too. Why a gate and not a rank: utilisation
 * is measured over seconds, so whoever follows it sends all to the one that was idle a second ago, in every worker. What it
 * knows that times do not: work that comes past this gateway, memory, a quota. Cold start: nobody has said anything. Idle
 * gap: after ten seconds a report says nothing any more, and the instance is asked again. Recovery: the next answer says.
 * Limits: one that nobody asks says nothing, so it is tried once in ten seconds. Source: design §3; gRPC A51, Envoy's weights.
 */

import { grown } from './grown.ts';

/** Half of what is left to full. Half: an instance at work is dear; double: it is full before it is spared. */
const BUSY = 0.9;
const FULL = 1;
/** What a busy one costs more. Half: two in flight at the others bring it back; double: it idles while they queue eight deep. */
const BUSY_FACTOR = 4;
/** Half: one that was passed over is tried twice as often; double: it idles for twenty seconds after one bad moment. */
const FRESH_MS = 10_000;

export class LoadGate {
  #utilization = new Float64Array(0);
  #until = new Float64Array(0);

  /** Makes room for slots below `size`; what is known stays. */
  grow(size: number): void {
    this.#utilization = grown(this.#utilization, size);
    this.#until = grown(this.#until, size);
  }

  /** Nothing was said (any more). */
  forget(slot: number): void {
    this.#until[slot] = 0;
  }

  /** @param utilization finite, at least 0 */
  note(slot: number, utilization: number, now: number): void {
    this.#utilization[slot] = utilization;
    this.#until[slot] = now + FRESH_MS;
  }

  isFull(slot: number, now: number): boolean {
    return this.#exceeds(slot, FULL, now);
  }

  /** Raises the cost of a slot, at a place of `costs`, if it is busy. */
  raise(costs: Float64Array, place: number, slot: number, now: number): void {
    if (this.#exceeds(slot, BUSY, now)) costs[place] = (costs[place] ?? 0) * BUSY_FACTOR;
  }

  #exceeds(slot: number, least: number, now: number): boolean {
    return (this.#until[slot] ?? 0) > now && (this.#utilization[slot] ?? 0) >= least;
  }
}
