/**
 * Waiting for something to become true, woken by whoever may have made it so.
 *
 * A short beat asks again besides, since some conditions become true by time alone; twice as long and a start without
 * instances is noticed that much later, half costs wake-ups for nothing.
 */

const BEAT_MS = 50;

export class Conditions {
  readonly #waiting = new Set<() => void>();

  /** Something happened: every condition is asked again. */
  wake(): void {
    for (const check of this.#waiting) check();
  }

  /** Resolves with true when the condition holds, with false after the span. */
  async until(condition: () => boolean, timeoutMs: number): Promise<boolean> {
    if (condition()) return true;
    return await new Promise<boolean>((resolve) => {
      const check = (): void => {
        if (condition()) finish(true);
      };
      const timer = timeoutMs === Infinity ? undefined : setTimeout(() => finish(false), timeoutMs);
      const beat = setInterval(check, BEAT_MS);
      const finish = (held: boolean): void => {
        clearTimeout(timer);
        clearInterval(beat);
        this.#waiting.delete(check);
        resolve(held);
      };
      this.#waiting.add(check);
    });
  }
}
