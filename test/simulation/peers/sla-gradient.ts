/**
 * A loser on purpose: the limit steered straight by SLA ÷ p95, as a first idea would have it, and as a fixed target
 * latency does (the shape of fbthrift's `targetRttFixed`). Every 500 ms with 30 samples or more: gradient = SLA ÷ p95,
 * within 0.5 and 1; at 1 and with half the limit or more in flight L + √L, else gradient · L; within 4 and 1 000.
 *
 * It holds overload well enough. But where the service itself takes that long, fewer requests make nothing faster: it
 * cuts to the floor and refuses whom the idle slots would have served. Our
 * own governor asks for elasticity first; this is what it would be without.
 */
import type { LimitAlgorithm, PeerSample } from './limited-gate.ts';

const WINDOW_MS = 500;
const WINDOW_SAMPLES = 30;
const INITIAL_LIMIT = 20;
const MIN_LIMIT = 4;
const MAX_LIMIT = 1000;

export class SlaGradient implements LimitAlgorithm {
  readonly baselineMs = 0;
  readonly #slaMs: number;
  #limit = INITIAL_LIMIT;
  #latencies: number[] = [];
  #mostInFlight = 0;
  #closeAt = WINDOW_MS;

  constructor(slaMs: number) {
    this.#slaMs = slaMs;
  }

  get limit(): number {
    return this.#limit;
  }

  sample({ rttMs, inFlight }: PeerSample): void {
    this.#latencies.push(rttMs);
    this.#mostInFlight = Math.max(this.#mostInFlight, inFlight);
  }

  tick(now: number): void {
    if (now < this.#closeAt || this.#latencies.length < WINDOW_SAMPLES) return;
    const sorted = this.#latencies.sort((a, b) => a - b);
    const p95Ms = sorted[Math.floor(0.95 * sorted.length)] ?? 0;
    const gradient = Math.max(0.5, Math.min(1, this.#slaMs / p95Ms));
    const needed = 2 * this.#mostInFlight >= this.#limit;
    const next = gradient < 1 ? gradient * this.#limit : this.#limit + (needed ? Math.sqrt(this.#limit) : 0);
    this.#limit = Math.min(MAX_LIMIT, Math.max(MIN_LIMIT, next));
    this.#latencies = [];
    this.#mostInFlight = 0;
    this.#closeAt = now + WINDOW_MS;
  }
}
