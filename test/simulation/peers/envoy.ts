/**
 * Envoy's adaptive concurrency filter with its gradient controller, default parameters.
 *
 * Every 60 s, up to 15 % later, and at the start, the limit is pinned to 3 until 50 answers have come: their median is
 * minRTT (those sent before are not asked). Between those, every 100 ms: gradient = minRTT · 1.25 ÷ median of the window, within 0.5 and 2, and
 * limit = gradient · limit + √(gradient · limit), within 3 and 1 000. A limit that sat at 3 for five windows asks for a new minRTT. Nothing asks
 * whether the limit was needed, so it drifts up where nobody is near it; that is its known fault.
 *
 * Source: Envoy documentation, "Adaptive Concurrency", and the comments of its API (`GradientControllerConfig`). The
 * 100 ms and the 60 s have no default there: they are those of its example. The range of the gradient is that of the
 * documented gauge.
 */
import type { Random } from '../../../src/kernel/random.ts';
import type { LimitAlgorithm, PeerSample } from './limited-gate.ts';

const UPDATE_MS = 100;
const MIN_RTT_INTERVAL_MS = 60_000;
const JITTER = 0.15;
const MIN_RTT_SAMPLES = 50;
const MIN_LIMIT = 3;
const MAX_LIMIT = 1000;
const BUFFER = 0.25;
const LOW_WINDOWS = 5;

export class EnvoyGradient implements LimitAlgorithm {
  readonly #random: Random;
  #limit = MIN_LIMIT;
  #minRttMs = 0;
  #latencies: number[] = [];
  /** While minRTT is being measured: the limit to go back to. */
  #deferred: number | undefined;
  #measureAt = 0;
  /** When measuring began: who was sent before has met a queue. */
  #epochMs = 0;
  #updateAt = UPDATE_MS;
  #lowWindows = 0;

  constructor(random: Random) {
    this.#random = random;
    this.#measure(0);
  }

  get limit(): number {
    return this.#limit;
  }

  get baselineMs(): number {
    return this.#minRttMs;
  }

  /** minRTT is being measured at this moment. */
  get measuring(): boolean {
    return this.#deferred !== undefined;
  }

  sample({ startMs, rttMs, dropped }: PeerSample): void {
    // A request that was cut off is no latency sample.
    if (dropped || startMs < this.#epochMs) return;
    this.#latencies.push(rttMs);
    if (this.#deferred === undefined || this.#latencies.length < MIN_RTT_SAMPLES) return;
    this.#minRttMs = median(this.#latencies);
    this.#latencies = [];
    this.#limit = this.#deferred;
    this.#deferred = undefined;
    const now = startMs + rttMs;
    this.#measureAt = now + MIN_RTT_INTERVAL_MS * (1 + JITTER * this.#random());
    this.#updateAt = now + UPDATE_MS;
  }

  tick(now: number): void {
    if (this.#deferred !== undefined) return;
    if (now >= this.#measureAt) this.#measure(now);
    else if (now >= this.#updateAt) {
      this.#updateAt = now + UPDATE_MS;
      this.#update(now);
    }
  }

  #update(now: number): void {
    if (this.#latencies.length === 0) return;
    const sampleRttMs = median(this.#latencies);
    this.#latencies = [];
    const gradient = Math.min(2, Math.max(0.5, (this.#minRttMs * (1 + BUFFER)) / sampleRttMs));
    const scaled = gradient * this.#limit;
    this.#limit = Math.min(MAX_LIMIT, Math.max(MIN_LIMIT, Math.floor(scaled + Math.sqrt(scaled))));
    this.#lowWindows = this.#limit === MIN_LIMIT ? this.#lowWindows + 1 : 0;
    if (this.#lowWindows >= LOW_WINDOWS) this.#measure(now);
  }

  #measure(now: number): void {
    this.#epochMs = now;
    this.#deferred = this.#limit;
    this.#limit = MIN_LIMIT;
    this.#latencies = [];
    this.#lowWindows = 0;
  }
}

function median(values: number[]): number {
  values.sort((a, b) => a - b);
  return values[Math.floor(values.length / 2)] ?? 0;
}
