/**
 * Netflix's windowed limit, default parameters: the algorithm inside hears of one sample a second, the mean latency of
 * that second, if it had ten or more.
 *
 * A window ends with the first answer after its second, so one with few answers is thrown away, not extended.
 *
 * Source: github.com/Netflix/concurrency-limits, the documentation comments of `WindowedLimit` and its defaults.
 */
import type { LimitAlgorithm, PeerSample } from './limited-gate.ts';

const WINDOW_MS = 1000;
const WINDOW_SAMPLES = 10;

export class Windowed implements LimitAlgorithm {
  readonly #inner: LimitAlgorithm;
  #sumMs = 0;
  #samples = 0;
  #mostInFlight = 0;
  #dropped = false;
  #nextAt = 0;

  constructor(inner: LimitAlgorithm) {
    this.#inner = inner;
  }

  get limit(): number {
    return this.#inner.limit;
  }

  get baselineMs(): number {
    return this.#inner.baselineMs;
  }

  sample({ startMs, rttMs, inFlight, dropped }: PeerSample): void {
    this.#sumMs += rttMs;
    this.#samples += 1;
    this.#mostInFlight = Math.max(this.#mostInFlight, inFlight);
    this.#dropped ||= dropped;
    const now = startMs + rttMs;
    if (now <= this.#nextAt) return;
    this.#nextAt = now + WINDOW_MS;
    if (this.#samples >= WINDOW_SAMPLES)
      this.#inner.sample({
        startMs,
        rttMs: this.#sumMs / this.#samples,
        inFlight: this.#mostInFlight,
        dropped: this.#dropped,
      });
    this.#sumMs = 0;
    this.#samples = 0;
    this.#mostInFlight = 0;
    this.#dropped = false;
  }

  tick(now: number): void {
    this.#inner.tick(now);
  }
}
