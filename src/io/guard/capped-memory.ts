import { RateLimiterMemory, type RateLimiterRes } from 'rate-limiter-flexible';
import type { GuardRule } from '../../limits/guard.ts';
import { refigure, strike } from './guard-store.ts';

/**
 * `RateLimiterMemory` with an end: what counts strikes where there is no Redis, and stands in for one that is lost.
 *
 * The library's memory has no cap and makes a timer for each key, so a spray of addresses would grow it for as long as a
 * window lasts. Here a ring of names bounds it: a new key takes the place of the oldest. A spray so evicts itself; what it
 * costs is the count of whoever struck last before 20,000 others did. One memory serves all guards of a process, since a
 * key says whose it is and figures come with each strike: they are used before the call returns.
 */

/** Some 700 B each, 14 MB in all, of which a worker sees something only while Redis is lost. Half: a spray forgets the honest sooner; double: memory and timers for strangers. */
export const MOST_KEYS = 20_000;

export class CappedMemory extends RateLimiterMemory {
  readonly #most: number;
  /** Keys in the order in which they came, each where the oldest was. */
  readonly #ring: string[] = [];
  readonly #seated = new Set<string>();
  #next = 0;

  constructor(most = MOST_KEYS) {
    // The library asks for some; each strike brings its own.
    super({ points: 1, duration: 1 });
    this.#most = most;
  }

  async strike(key: string, rule: GuardRule): Promise<RateLimiterRes> {
    this.#seat(key);
    refigure(this, rule);
    return await strike(this, key);
  }

  #seat(key: string): void {
    if (this.#seated.has(key)) return;
    const gone = this.#ring[this.#next];
    if (gone !== undefined) {
      this.#seated.delete(gone);
      void this.delete(gone);
    }
    this.#ring[this.#next] = key;
    this.#seated.add(key);
    this.#next = (this.#next + 1) % this.#most;
  }
}
