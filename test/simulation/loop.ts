/**
 * The gateway's own event loop: one thread, work in batches.
 *
 * A turn takes everything that has arrived since the last one, spends each item's cost one after the other, and only
 * then looks again; timers run at the start of a turn, late if the last one was long. So a closed crowd on a saturated
 * loop sees latencies of whole turns that no service has caused.
 */
import type { Clock } from './clock.ts';

interface Work {
  readonly costMs: number;
  readonly run: (now: number) => void;
}

interface Timer {
  readonly periodMs: number;
  dueAt: number;
  readonly run: (now: number) => void;
}

export class Loop {
  readonly #clock: Clock;
  #inbox: Work[] = [];
  readonly #timers: Timer[] = [];
  #busyUntil = 0;
  #turning = false;
  #busyMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Total busy time, ms. */
  get busyMs(): number {
    return this.#busyMs;
  }

  every(periodMs: number, run: (now: number) => void): void {
    const timer: Timer = { periodMs, dueAt: this.#clock.now + periodMs, run };
    this.#timers.push(timer);
    this.#clock.at(timer.dueAt, () => this.#wake());
  }

  /** Something for this loop arrives now; `run` sees the moment at which its cost is paid. */
  post(costMs: number, run: (now: number) => void): void {
    this.#inbox.push({ costMs, run });
    this.#wake();
  }

  /** The thread does nothing else for a while: a collector's pause, a synchronous plugin. */
  block(ms: number): void {
    this.post(ms, () => undefined);
  }

  #wake(): void {
    if (this.#turning) return;
    this.#turning = true;
    this.#clock.at(Math.max(this.#clock.now, this.#busyUntil), (now) => this.#turn(now));
  }

  #turn(start: number): void {
    let cursor = start;
    for (const timer of this.#timers) {
      if (timer.dueAt > start) continue;
      timer.run(start);
      timer.dueAt = start + timer.periodMs;
      this.#clock.at(timer.dueAt, () => this.#wake());
    }
    const batch = this.#inbox;
    this.#inbox = [];
    for (const work of batch) {
      cursor += work.costMs;
      work.run(cursor);
    }
    this.#busyMs += cursor - start;
    this.#busyUntil = cursor;
    this.#turning = false;
    if (this.#inbox.length > 0) this.#wake();
  }
}
