/**
 * Clients of one class that send more than their share while the gateway cannot serve all.
 *
 * Signal: arrivals by client, fading by half each 10 s, in 64 counters: a newcomer takes over the smallest one and
 * inherits its count as a possible error (Space-Saving; Metwally et al., 2005). Decision: an elephant has over 5 % of its
 * class's arrivals and over 4 times their mean, by what it surely sent; it keeps its grade until the next halving, and
 * loses it only below half of both bounds, so that its fate does not flicker.
 *
 * Why: one client of many connections would else hold the places of hundreds. Twenty equal clients of 5 % each are no
 * elephants: hence the mean. Where there are more clients than counters the mean is too high, so 6.25 % are needed.
 * Cold start: nobody is one before 512 arrivals. Idle gap: a minute without arrivals forgets all.
 * Limits: a mark is 32 bits of a hash, so two clients may be counted as one, one time in some ten million.
 */

/** Half: 12.5 % are needed among many; double: each arrival of a mouse looks through twice as many. */
const COUNTERS = 64;
export const ELEPHANT_GRADES = 15;
const SHARE = 0.05;
const TIMES_MEAN = 4;
/** Half reads chance as greed (5 % of 256 are 13 requests); double is late. */
const EVIDENCE = 512;
const HALVING_MS = 10_000;
const FORGET_MS = 60_000;
/** Grades a doubling of the share: 5 % to 100 % are 4.3 doublings. */
const GRADES_PER_DOUBLING = 3.4;

export class Elephants {
  readonly #marks = new Uint32Array(COUNTERS);
  readonly #counts = new Float64Array(COUNTERS);
  /** What a counter may owe to those who had it before. */
  readonly #errors = new Float64Array(COUNTERS);
  readonly #grades = new Uint8Array(COUNTERS);
  #used = 0;
  #total = 0;
  #halvedAtMs: number;

  constructor(now: number) {
    this.#halvedAtMs = now;
  }

  /** Counts an arrival of the client. @returns 0 for an ordinary one, 1..15 by its share else */
  arrived(mark: number, now: number): number {
    if (now - this.#halvedAtMs >= HALVING_MS) this.#halve(now);
    this.#total += 1;
    const at = this.#counterOf(mark);
    const counts = this.#counts;
    counts[at] = (counts[at] ?? 0) + 1;
    const grade = this.#grades[at] ?? 0;
    if (grade > 0 || this.#total < EVIDENCE || !this.#exceeds(at, 1)) return grade;
    return (this.#grades[at] = this.#gradeOf(at));
  }

  /** Its own counter, a free one, or the smallest. */
  #counterOf(mark: number): number {
    const marks = this.#marks;
    const counts = this.#counts;
    let smallest = 0;
    let least = Number.POSITIVE_INFINITY;
    for (let at = 0; at < this.#used; at += 1) {
      if (marks[at] === mark) return at;
      const count = counts[at] ?? 0;
      if (count < least) {
        least = count;
        smallest = at;
      }
    }
    if (this.#used < COUNTERS) {
      smallest = this.#used;
      this.#used += 1;
      least = 0;
      counts[smallest] = 0;
    }
    marks[smallest] = mark;
    this.#errors[smallest] = least;
    this.#grades[smallest] = 0;
    return smallest;
  }

  /** Over `times` both bounds, by what it surely sent. */
  #exceeds(at: number, times: number): boolean {
    const sure = (this.#counts[at] ?? 0) - (this.#errors[at] ?? 0);
    return sure > times * this.#total * Math.max(SHARE, TIMES_MEAN / this.#used);
  }

  #gradeOf(at: number): number {
    const share = ((this.#counts[at] ?? 0) - (this.#errors[at] ?? 0)) / this.#total;
    const grade = 1 + Math.floor(GRADES_PER_DOUBLING * Math.log2(share / SHARE));
    return Math.max(1, Math.min(ELEPHANT_GRADES, grade));
  }

  #halve(now: number): void {
    if (now - this.#halvedAtMs >= FORGET_MS) {
      this.#used = 0;
      this.#total = 0;
    }
    this.#halvedAtMs = now;
    for (let at = 0; at < this.#used; at += 1) {
      // Judged before halving; the ratio is the same after it.
      if ((this.#grades[at] ?? 0) > 0) this.#grades[at] = this.#exceeds(at, 0.5) ? this.#gradeOf(at) : 0;
      this.#counts[at] = (this.#counts[at] ?? 0) / 2;
      this.#errors[at] = (this.#errors[at] ?? 0) / 2;
    }
    this.#total /= 2;
  }
}
