/**
 * Who called a service, and whose calls failed, within the last 5 to 10 s: whether one caller alone fails among several.
 *
 * Signal: a bit of 32 for each caller. Two may share one, and then look like one alone until a third fails: a verdict comes
 * later for it, never sooner. Cold start and silence: nobody was seen, and one caller is no crowd.
 */

/** Below as many callers, one that fails may as well be all there are. Half: two are a crowd; double: six must call. */
const CROWD = 3;
/** Half: a caller of every three seconds is no part of the crowd; double: one of a minute ago is. */
const HALF_MS = 5000;

export class CallerSets {
  #seen = 0;
  #seenBefore = 0;
  #failed = 0;
  #failedBefore = 0;
  #sinceMs = 0;

  add(caller: number, hasFailed: boolean, now: number): void {
    const age = now - this.#sinceMs;
    if (age >= HALF_MS) {
      const recent = age < 2 * HALF_MS;
      this.#seenBefore = recent ? this.#seen : 0;
      this.#failedBefore = recent ? this.#failed : 0;
      this.#seen = 0;
      this.#failed = 0;
      this.#sinceMs = now;
    }
    this.#seen |= caller;
    if (hasFailed) this.#failed |= caller;
  }

  get failed(): number {
    return this.#failed | this.#failedBefore;
  }

  /** The set is one caller's, and others were seen. */
  isOneOfMany(set: number): boolean {
    return set !== 0 && (set & (set - 1)) === 0 && bits(this.#seen | this.#seenBefore) >= CROWD;
  }

  clear(): void {
    this.#seen = 0;
    this.#seenBefore = 0;
    this.#failed = 0;
    this.#failedBefore = 0;
  }
}

/** How many bits of a 32-bit set are on. */
function bits(set: number): number {
  let count = 0;
  for (let rest = set; rest !== 0; rest &= rest - 1) count++;
  return count;
}
