/**
 * Netflix's Vegas limit, default parameters: with each sample, queue = ⌈L · (1 − least latency ÷ latency)⌉.
 *
 * With l = the whole part of log₁₀ L, at least 1: queue ≤ l: L + 6 l; under 3 l: L + l; over 6 l: L − l; a drop: L − l;
 * between, or with under L/2 in flight: as it is. A latency below the least becomes the least, and so does any after 30 · L
 * samples (a random half of them to all).
 *
 * As its library comes, each answer is a sample. Against a spread distribution that is no limit at all: nearly every answer is far
 * above the least, and L falls under ten. Its row in the tables is the kinder reading, with windows (windowed.ts). Known fault
 * in both: what is queue and what is slowness of the service itself it cannot tell.
 *
 * Source: github.com/Netflix/concurrency-limits, README and the documentation comments of `VegasLimit`, whose defaults
 * these are; L. Brakmo and L. Peterson, "TCP Vegas: End to End Congestion Avoidance on a Global Internet".
 */
import type { Random } from '../../../src/kernel/random.ts';
import type { LimitAlgorithm, PeerSample } from './limited-gate.ts';

const INITIAL_LIMIT = 20;
const MAX_LIMIT = 1000;
const ALPHA = 3;
const BETA = 6;
const PROBE_MULTIPLIER = 30;

export class Vegas implements LimitAlgorithm {
  readonly #random: Random;
  #limit = INITIAL_LIMIT;
  #leastMs = 0;
  #answers = 0;
  #probeJitter: number;

  constructor(random: Random) {
    this.#random = random;
    this.#probeJitter = 0.5 + 0.5 * random();
  }

  get limit(): number {
    return this.#limit;
  }

  get baselineMs(): number {
    return this.#leastMs;
  }

  sample({ rttMs, inFlight, dropped }: PeerSample): void {
    this.#answers += 1;
    if (this.#answers >= this.#probeJitter * PROBE_MULTIPLIER * this.#limit) {
      this.#probeJitter = 0.5 + 0.5 * this.#random();
      this.#answers = 0;
      this.#leastMs = rttMs;
    } else if (this.#leastMs === 0 || rttMs < this.#leastMs) this.#leastMs = rttMs;
    else this.#limit = Math.max(1, Math.min(MAX_LIMIT, this.#limit + this.#step(rttMs, inFlight, dropped)));
  }

  tick(): void {
    return;
  }

  #step(rttMs: number, inFlight: number, dropped: boolean): number {
    const unit = Math.max(1, Math.floor(Math.log10(this.#limit)));
    if (dropped) return -unit;
    if (2 * inFlight < this.#limit) return 0;
    const queue = Math.ceil(this.#limit * (1 - this.#leastMs / rttMs));
    if (queue <= unit) return BETA * unit;
    if (queue < ALPHA * unit) return unit;
    return queue > BETA * unit ? -unit : 0;
  }
}
