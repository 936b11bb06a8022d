/**
 * Netflix's Gradient2 limit, default parameters, to be used with windows (windowed.ts).
 *
 * With each window: short = its mean latency, long = the exponential mean over 600 windows (the plain mean of the first
 * ten). A long mean over twice the short one is taken down by 5 %. With under half the limit in flight nothing
 * changes. Else gradient = 1.5 · long ÷ short, within 0.5 and 1, and the limit goes a fifth of the way to
 * gradient · limit + 4, within 20 and 200. Drops play no role in it.
 *
 * Known faults: it grows by 0.8 a second at most, so it sheds what the service could well do; the long mean learns what an overload
 * taught it, and the limit comes back late.
 *
 * Source: github.com/Netflix/concurrency-limits, README and the documentation comments of `Gradient2Limit`, whose
 * defaults these are.
 */
import type { LimitAlgorithm, PeerSample } from './limited-gate.ts';

const INITIAL_LIMIT = 20;
const MIN_LIMIT = 20;
const MAX_LIMIT = 200;
const SMOOTHING = 0.2;
const QUEUE_SIZE = 4;
const RTT_TOLERANCE = 1.5;
const LONG_WINDOW = 600;
const WARM_UP = 10;

export class Gradient2 implements LimitAlgorithm {
  #limit = INITIAL_LIMIT;
  #longMs = 0;
  #warmUp = 0;

  get limit(): number {
    return this.#limit;
  }

  get baselineMs(): number {
    return this.#longMs;
  }

  sample({ rttMs, inFlight }: PeerSample): void {
    const longMs = this.#learn(rttMs);
    if (longMs > 2 * rttMs) this.#longMs *= 0.95;
    if (inFlight < this.#limit / 2) return;
    const gradient = Math.max(0.5, Math.min(1, (RTT_TOLERANCE * longMs) / rttMs));
    const aim = gradient * this.#limit + QUEUE_SIZE;
    const smoothed = (1 - SMOOTHING) * this.#limit + SMOOTHING * aim;
    this.#limit = Math.max(MIN_LIMIT, Math.min(MAX_LIMIT, smoothed));
  }

  tick(): void {
    return;
  }

  #learn(shortMs: number): number {
    if (this.#warmUp < WARM_UP) {
      this.#warmUp += 1;
      this.#longMs += (shortMs - this.#longMs) / this.#warmUp;
    } else this.#longMs += (2 / (LONG_WINDOW + 1)) * (shortMs - this.#longMs);
    return this.#longMs;
  }
}
