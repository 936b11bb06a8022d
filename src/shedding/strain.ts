/**
 * How hard a service is pressed: the share of arrivals that were refused lately, and since when.
 *
 * The share is over whole seconds, so it is one figure for people and metrics, not a control signal. "Since when" feeds
 * `Retry-After`; it ends when nobody was refused for two seconds (one would end in the gaps of a square wave).
 */
const SLICE_MS = 1000;
const OVER_MS = 2000;

export class Strain {
  /** Refused ÷ arrived in the last full second, 0..1. */
  ratio = 0;
  #arrived = 0;
  #refused = 0;
  #sliceAtMs: number;
  #sinceMs = Number.NEGATIVE_INFINITY;
  #refusedAtMs = Number.NEGATIVE_INFINITY;

  constructor(now: number) {
    this.#sliceAtMs = now;
  }

  arrived(): void {
    this.#arrived += 1;
  }

  refused(now: number): void {
    this.#refused += 1;
    if (now - this.#refusedAtMs > OVER_MS) this.#sinceMs = now;
    this.#refusedAtMs = now;
  }

  /** For how long somebody has been refused, ms; 0 when it is over. */
  lastingMs(now: number): number {
    return now - this.#refusedAtMs > OVER_MS ? 0 : now - this.#sinceMs;
  }

  tick(now: number): void {
    if (now - this.#sliceAtMs < SLICE_MS) return;
    // A waiter may be refused in a later slice than it arrived in.
    this.ratio =
      this.#refused === 0 ? 0 : Math.min(1, this.#refused / Math.max(1, this.#arrived, this.#refused));
    this.#arrived = 0;
    this.#refused = 0;
    this.#sliceAtMs = now;
  }
}
