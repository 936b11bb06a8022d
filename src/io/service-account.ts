import { SliceWindow } from '../kernel/window.ts';

/**
 * What became of the requests of one service in one worker: of the last ten seconds for the line in words and the log,
 * since the start for whoever compares how workers share a service.
 */

const SPAN_SLICES = 10;
const SLICE_MS = 1000;
const IN_TIME = 0;
const LATE = 1;
const SHED = 2;
const WOULD_SHED = 3;
const ADMITTED = 4;
const WAITED_US = 5;
const COLUMNS = 6;

/** Requests of the last ten seconds. */
export interface RecentCounts {
  /** Answers within the SLA. */
  readonly inTime: number;
  /** Later ones, and those of 500 and above. */
  readonly late: number;
  readonly shed: number;
  /** Under observe. */
  readonly wouldShed: number;
  /** Mean time that admitted requests had waited for their permit, ms. */
  readonly queueWaitMs: number;
}

/** Requests since this worker began. */
export interface TotalCounts {
  readonly answered: number;
  readonly inTime: number;
  readonly shed: number;
  readonly wouldShed: number;
}

export class ServiceAccount {
  readonly #recent = new SliceWindow(SLICE_MS, SPAN_SLICES, COLUMNS);
  #answered = 0;
  #inTime = 0;
  #shed = 0;
  #wouldShed = 0;

  inTime(now: number): void {
    this.#answered += 1;
    this.#inTime += 1;
    this.#recent.add(IN_TIME, 1, now);
  }

  late(now: number): void {
    this.#answered += 1;
    this.#recent.add(LATE, 1, now);
  }

  shed(now: number): void {
    this.#shed += 1;
    this.#recent.add(SHED, 1, now);
  }

  wouldShed(now: number): void {
    this.#wouldShed += 1;
    this.#recent.add(WOULD_SHED, 1, now);
  }

  admitted(waitedMs: number, now: number): void {
    this.#recent.add(ADMITTED, 1, now);
    if (waitedMs > 0) this.#recent.add(WAITED_US, Math.round(waitedMs * 1000), now);
  }

  recent(now: number): RecentCounts {
    const recent = this.#recent;
    return {
      inTime: recent.sum(IN_TIME, now),
      late: recent.sum(LATE, now),
      shed: recent.sum(SHED, now),
      wouldShed: recent.sum(WOULD_SHED, now),
      queueWaitMs: recent.sum(WAITED_US, now) / 1000 / Math.max(1, recent.sum(ADMITTED, now)),
    };
  }

  get totals(): TotalCounts {
    return {
      answered: this.#answered,
      inTime: this.#inTime,
      shed: this.#shed,
      wouldShed: this.#wouldShed,
    };
  }
}
