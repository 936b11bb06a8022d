/**
 * Counts of the recent past: a ring of slices, aged on use.
 *
 * Signal: things that happened, added as whole numbers. Decision: how many of them lie in the last `slices` slices. Why a
 * ring: it costs the same at one event a second and at a hundred thousand, needs no timer, and its sums are exact, since
 * integers below 2^53 neither drift nor round (a decaying average does both). Time moves it only when it is asked or
 * added to: the slices that passed are taken out then, and after a silence of the whole length it is empty, so that an
 * old fault never meets a new caller.
 *
 * Limits: the newest slice is only as old as `now`, so the window covers between (slices − 1) and slices × sliceMs; who
 * must never forget early takes one slice more. A `now` before the newest slice counts into the newest one.
 * Source: linkerd2-proxy, `success_rate.rs`.
 */
export class SliceWindow {
  readonly #sliceMs: number;
  readonly #slices: number;
  readonly #columns: number;
  /** Row by row, `columns` numbers a slice: one slice is cleared by one fill. */
  readonly #counts: Float64Array;
  readonly #sums: Float64Array;
  /** Serial number of the newest slice since the clock's origin. */
  #newest = Number.NEGATIVE_INFINITY;

  /**
   * @param sliceMs length of a slice in ms, > 0
   * @param slices how many are kept, ≥ 1
   * @param columns how many things are counted side by side, ≥ 1
   */
  constructor(sliceMs: number, slices: number, columns: number) {
    if (!(sliceMs > 0)) throw new RangeError(`a slice of ${sliceMs} ms has no length`);
    this.#sliceMs = sliceMs;
    this.#slices = slices;
    this.#columns = columns;
    this.#counts = new Float64Array(slices * columns);
    this.#sums = new Float64Array(columns);
  }

  /** Adds `by` (a whole number ≥ 0) to a column at `now` (monotonic ms). */
  add(column: number, by: number, now: number): void {
    this.#age(now);
    const at = this.#row(this.#newest) + column;
    this.#counts[at] = (this.#counts[at] ?? 0) + by;
    this.#sums[column] = (this.#sums[column] ?? 0) + by;
  }

  /** What was added to a column in the window that ends at `now`. */
  sum(column: number, now: number): number {
    this.#age(now);
    return this.#sums[column] ?? 0;
  }

  clear(): void {
    this.#counts.fill(0);
    this.#sums.fill(0);
  }

  #row(serial: number): number {
    // Serials before the clock's origin are negative, and so is their remainder.
    const index = serial % this.#slices;
    return (index < 0 ? index + this.#slices : index) * this.#columns;
  }

  #age(now: number): void {
    const serial = Math.floor(now / this.#sliceMs);
    const passed = serial - this.#newest;
    if (!(passed > 0)) return;
    if (passed >= this.#slices) {
      this.clear();
      this.#newest = serial;
      return;
    }
    for (let step = 0; step < passed; step++) {
      this.#newest++;
      this.#drop(this.#row(this.#newest));
    }
  }

  /** Takes the oldest slice out, so that its place becomes the newest. */
  #drop(row: number): void {
    for (let column = 0; column < this.#columns; column++) {
      this.#sums[column] = (this.#sums[column] ?? 0) - (this.#counts[row + column] ?? 0);
      this.#counts[row + column] = 0;
    }
  }
}
