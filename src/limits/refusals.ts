/**
 * How many requests a shared limit has refused in the last second: the spread of `retry-after` follows it, so that
 * those who come back do not come back together. Two half-second slices a bucket; only shared buckets are counted,
 * and there are as many as the configuration names.
 */

const SLICE_MS = 500;

interface Count {
  slice: number;
  current: number;
  previous: number;
}

export class Refusals {
  readonly #counts = new Map<string, Count>();

  /** Counts one refusal and returns those of the last second, this one included. */
  count(key: string, now: number): number {
    const slice = Math.floor(now / SLICE_MS);
    let count = this.#counts.get(key);
    if (count === undefined) {
      count = { slice, current: 0, previous: 0 };
      this.#counts.set(key, count);
    }
    if (slice !== count.slice) {
      count.previous = slice === count.slice + 1 ? count.current : 0;
      count.current = 0;
      count.slice = slice;
    }
    count.current++;
    return count.current + count.previous;
  }

  clear(): void {
    this.#counts.clear();
  }
}
