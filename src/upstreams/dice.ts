/**
 * Chance for the picks of a balancer, in whole numbers.
 *
 * Every call of `Math.random` leaves an object of sixteen bytes, the number itself: three a pick, at thousands of picks a
 * second. A step of a shift register stays in a register. It is seeded by the chance that the balancer was given, so tests
 * and simulations still repeat. Limits: not for secrets; nobody gains by foreseeing which of two instances is looked at.
 * Source: Marsaglia, *Xorshift RNGs* (32 bits: 13, 17, 5; the period is 2³² − 1).
 */

import type { Random } from '../kernel/random.ts';

const RANGE = 2 ** 32;

export class Dice {
  readonly #state = new Int32Array(1);

  constructor(random: Random) {
    // Of 0 there is no way out.
    this.#state[0] = Math.floor(random() * RANGE) | 1;
  }

  /** A whole number, 0 ≤ n < count. */
  below(count: number): number {
    return Math.floor(((this.#next() >>> 0) / RANGE) * count);
  }

  happens(chance: number): boolean {
    return (this.#next() >>> 0) / RANGE < chance;
  }

  #next(): number {
    let value = this.#state[0] ?? 1;
    value ^= value << 13;
    value ^= value >>> 17;
    value ^= value << 5;
    this.#state[0] = value;
    return value;
  }
}
