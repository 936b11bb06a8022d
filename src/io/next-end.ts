/**
 * One timer for many things that end by a clock: it wakes for whichever ends next, and again for the one after.
 *
 * Limits: an end is never told early, and late by as much as the loop is.
 */

/** The runtime's timers end at 24 days and then fire at once. Half: two idle looks a day; double is no fewer than one. */
const LONGEST_TIMER_MS = 86_400_000;

export interface NextEndParts {
  /** Monotonic ms. */
  readonly now: () => number;
  /** When the next one ends; Infinity without any. */
  readonly nextMs: () => number;
  readonly onEnd: () => void;
}

export class NextEnd {
  readonly #parts: NextEndParts;
  #timer: NodeJS.Timeout | undefined = undefined;
  #stopped = false;

  constructor(parts: NextEndParts) {
    this.#parts = parts;
  }

  /** Something has another end now. */
  changed(): void {
    clearTimeout(this.#timer);
    const { now, nextMs, onEnd } = this.#parts;
    const next = nextMs();
    if (this.#stopped || next === Infinity) return;
    const waitMs = Math.min(LONGEST_TIMER_MS, Math.max(0, Math.ceil(next - now())));
    this.#timer = setTimeout(() => {
      onEnd();
      this.changed();
    }, waitMs).unref();
  }

  /** For good. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }
}
