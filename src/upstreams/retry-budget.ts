/**
 * How many retries a service gets: retries of the last 10 s ≤ 6 + budget · first attempts.
 *
 * Why a budget and not only a maximum a request: when everything fails, "one retry each" doubles the load on what is
 * already failing. The floor of 6 lets a quiet service retry its odd failure; the share bounds the amplification of a busy
 * one. Retries are counted over eleven slices of 1 s and first attempts over ten, so the bound holds in every 10 s, not
 * only in those that begin with a slice.
 *
 * Cold start and silence: an empty window, 6 retries. Limits: each worker has its own; no retry is ever owed.
 * Source: Finagle's RetryBudget, linkerd2, gRPC A6; upstreams.md §5.
 */
import { SliceWindow } from '../kernel/window.ts';

/** Half: two bad minutes of a quiet service surface as errors; double: twelve repeats hit a service that is down. */
const FLOOR = 6;
const SLICE_MS = 1000;
const SLICES = 10;

export class RetryBudget {
  #ratio: number;
  readonly #first = new SliceWindow(SLICE_MS, SLICES, 1);
  readonly #retries = new SliceWindow(SLICE_MS, SLICES + 1, 1);

  /** @param ratio retries for each first attempt, 0..1 */
  constructor(ratio: number) {
    this.#ratio = ratio;
  }

  /** A reload: what was counted stays. */
  configure(ratio: number): void {
    this.#ratio = ratio;
  }

  /** A request starts its first attempt. */
  attempt(now: number): void {
    this.#first.add(0, 1, now);
  }

  /** Takes one retry if there is one; ask last, after everything else has agreed. */
  tryRetry(now: number): boolean {
    // The one to be taken counts too, so that the bound still holds when it has been.
    if (this.#retries.sum(0, now) + 1 > FLOOR + this.#ratio * this.#first.sum(0, now)) return false;
    this.#retries.add(0, 1, now);
    return true;
  }
}
