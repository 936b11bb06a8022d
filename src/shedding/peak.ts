/**
 * The largest in-flight of the last minute, in six slices of ten seconds.
 *
 * An idle limit must not admit a whole surge at once, so the limit stays within five times of what was in use lately.
 * A minute: ten seconds would forget between two bursts, ten minutes would remember last night's capacity.
 */
const SLICES = 6;
const SLICE_MS = 10_000;
const HEADROOM = 5;

export class Peak {
  readonly #slices = new Float64Array(SLICES);
  #slice: number;

  constructor(now: number) {
    this.#slice = Math.floor(now / SLICE_MS);
  }

  /** The limit that the peak allows. */
  get limit(): number {
    let most = 0;
    for (const value of this.#slices) if (value > most) most = value;
    return HEADROOM * most;
  }

  note(inFlight: number, now: number): void {
    const slice = Math.floor(now / SLICE_MS);
    const missed = Math.min(SLICES, slice - this.#slice);
    for (let i = 0; i < missed; i += 1) this.#slices[(slice - i) % SLICES] = 0;
    if (missed > 0) this.#slice = slice;
    const index = this.#slice % SLICES;
    if (inFlight > (this.#slices[index] ?? 0)) this.#slices[index] = inFlight;
  }
}
