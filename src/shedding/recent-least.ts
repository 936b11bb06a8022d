/**
 * The smallest of the recent values: CoDel's trick against mistaking a burst for a state. A pause of the garbage
 * collector is one large value among small ones; a loop that is behind has no small ones.
 *
 * Recent is the span, but never fewer values than told: a pause longer than the span would else stand alone in it.
 */

export class RecentLeast {
  readonly #spanMs: number;
  readonly #fewest: number;
  readonly #values: Float64Array;
  readonly #atMs: Float64Array;
  #count = 0;

  /** `most`: values kept, with one value each `spanMs / most` the whole span is covered; `fewest`: judged at least. */
  constructor(spanMs: number, most: number, fewest: number) {
    this.#spanMs = spanMs;
    this.#fewest = fewest;
    this.#values = new Float64Array(most);
    this.#atMs = new Float64Array(most);
  }

  add(value: number, now: number): void {
    const slot = this.#count % this.#values.length;
    this.#values[slot] = value;
    this.#atMs[slot] = now;
    this.#count += 1;
  }

  /** 0 while fewer than `fewest` values are known. */
  least(now: number): number {
    if (this.#count < this.#fewest) return 0;
    const kept = Math.min(this.#count, this.#values.length);
    let least = Number.POSITIVE_INFINITY;
    for (let back = 1; back <= kept; back += 1) {
      const slot = (this.#count - back) % this.#values.length;
      if (back > this.#fewest && now - (this.#atMs[slot] ?? 0) > this.#spanMs) break;
      least = Math.min(least, this.#values[slot] ?? 0);
    }
    return least;
  }
}
