/**
 * What instances say of their own load, as a gate: who says that he is nearly full is dear, who is full is passed over.
 *
 * Signal: the utilisation that came with an answer of this worker's or with a probe of the supervisor's (`ProbeLoads`), 1 for
 * all that the instance wants; the younger of the two reports counts, whoever heard it. Decision: from `BUSY` on its cost is
 * multiplied by four, from 1 on the other one of two is taken, unless that is full too. Why a gate and not a rank: utilisation
 * is measured over seconds, so whoever follows it sends all to the one that was idle a second ago, in every worker. What it
 * knows that times do not: work that comes past this gateway, memory, a quota. Cold start: nobody has said anything. Idle
 * gap: after ten seconds a report says nothing any more, and the instance is asked again. Recovery: the next report says.
 * Limits: one whose probes do not tell says nothing while nobody asks it, so it is tried once in ten seconds. Source: design §3; gRPC A51, Envoy's weights.
 */

import { grown } from './grown.ts';

/** Half of what is left to full. Half: an instance at work is dear; double: it is full before it is spared. */
const BUSY = 0.9;
const FULL = 1;
/** What a busy one costs more. Half: two in flight at the others bring it back; double: it idles while they queue eight deep. */
const BUSY_FACTOR = 4;
/** Half: one that was passed over is tried twice as often; double: it idles for twenty seconds after one bad moment. */
export const FRESH_MS = 10_000;

/** What an instance says of its load, and how long ago it said so. */
export interface LoadTold {
  /** Finite, at least 0; 1 is all it wants. */
  readonly utilization: number;
  readonly ageMs: number;
}

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

  /**
   * Takes a report, unless a younger one is known.
   * @param utilization finite, at least 0 @param at when it was heard
   */
  note(slot: number, utilization: number, at: number): void {
    if (at + FRESH_MS < (this.#until[slot] ?? 0)) return;
    this.#utilization[slot] = utilization;
    this.#until[slot] = at + FRESH_MS;
  }

  /** The last report; undefined when it says nothing any more. */
  told(slot: number, now: number): LoadTold | undefined {
    const leftMs = (this.#until[slot] ?? 0) - now;
    return leftMs > 0 ? { utilization: this.#utilization[slot] ?? 0, ageMs: FRESH_MS - leftMs } : undefined;
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
