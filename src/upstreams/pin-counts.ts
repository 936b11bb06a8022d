/**
 * How many sessions are pinned to each slot, as far as this worker can know: those that it pinned there itself, and those
 * that it met, pinned by another (a worker that is new knows of no others). They fade, since a session lives in its client's
 * cookie and ends unseen.
 */

import { grown } from './grown.ts';

/** The usual idle time of a session. Half: an old instance looks emptier than it is; double: fuller, and gets too few. */
const FADE_MS = 1_800_000;

export class PinCounts {
  #counts = new Float64Array(0);
  #at = new Float64Array(0);

  grow(size: number): void {
    this.#counts = grown(this.#counts, size);
    this.#at = grown(this.#at, size);
  }

  reset(slot: number): void {
    this.#counts[slot] = 0;
  }

  add(slot: number, now: number): void {
    this.#counts[slot] = this.count(slot, now) + 1;
    this.#at[slot] = now;
  }

  count(slot: number, now: number): number {
    const age = now - (this.#at[slot] ?? 0);
    return (this.#counts[slot] ?? 0) * (age > 0 ? Math.exp(-age / FADE_MS) : 1);
  }
}
