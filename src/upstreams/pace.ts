/**
 * Which instances are slow by the measure of their own service.
 *
 * Signal: the time to headers of each good answer, as a mean of logarithms over some seconds, by instance and over the service. Decision: the ratio of the two, from `SLOW_RATIO` on; below it, 1. Why beside the peak EWMA: that one tells at
 * once that an instance stalls, but it is the largest of few values, and among equals it says three as easily as one. So it
 * cannot be raised to a power, which is what a tail asks for: of two in ten that take three times as long, peak EWMA alone
 * sends each a quarter of a fast one's share, and p99 is a third above that of ten fast ones. Why logarithms: one report
 * of ten seconds among a thousand short answers says nothing of its instance. Why the service and not the other one drawn:
 * of two slow ones each is slow, and neither looks it beside the other. Each answer is compared with what the service
 * took just then: when all become slower or quicker at once, those who answer seldom are not slow by what they were before.
 * Cold start and idle gap: some answers of the service's own length are assumed, so the first ones decide nothing, and what
 * is old decides nothing any more. Recovery: by its own answers, in about `FADE_MS` at a twentieth of its share. When all
 * the others queue their answers take longer too, and nobody is slow any more: what is left is needed.
 * Limits: an instance with the sessions of those who ask for more looks slow; of equal halves the slow half is the measure
 * as much as the fast one. Source: ours; the ratio of a geometric mean to that of its peers.
 */

import { grown } from './grown.ts';

/** Half as fast again is slow. Less: chance makes some of equals slow; more: the third of a fast one is found only half the time. */
const SLOW_RATIO = 1.5;
const SLOW_EXCESS = Math.log(SLOW_RATIO);
/** Half: at a few requests a second nothing is ever known; double: a repaired instance waits twenty seconds for its share. */
const FADE_MS = 10_000;
/**
 * What is known from more answers than this fades as below. An instance that has become slow is asked a fifth as often, and
 * needs long to outweigh what it was: of two in ten each had 0.24 of a fast one's share from the fifth to the tenth second
 * and the p99 was 1.3 times that of before; now 0.1 and 1.12. Half: chance makes some of equals slow; double: twice as long.
 */
const MANY = 100;
/** Half: one long pause of an instance is all that is known of it; double: see above. */
const MANY_FADE_MS = 2000;
/** The same of the service. Half: chance moves it; double: all are slow for a moment when it takes five times as long. */
const MANY_FADE_OF_ALL_MS = 1000;
/**
 * Answers assumed of one that is not known to be slow. With exponential times one of five equals is then called slow for 1 % of
 * the first ten seconds; at a quarter it was for 12 %, and what it was not sent is too much for four at 70 % load. Double: one
 * that gets four a second is never found.
 */
const ASSUMED = 12;
/** Of one that is: it gets a tenth as many answers. Half: one long answer keeps it slow; double: it comes and goes. */
const ASSUMED_OF_SLOW = 3;

/**
 * Of a fast one's share, what all slow ones of a service have together at least, so that a recovery is seen; what their price
 * leaves them counts, and while no pair has one nothing is saved up, so of this a tenth is left. At half one slow one has less
 * than the tenth that it is promised; at double, beside one of ten, p99 is 1.12 times that of ten fast ones instead of 1.06.
 */
const LEAST_SHARE = 0.12;
/** Past this ratio a request to it counts for its square: a tenth of the requests at one ten times slower would be the p99. */
const LEAST_UNTIL_RATIO = 3.3;
/** And at most for so many. Half: one that hangs for seconds is the p999; double: another slow one waits for half a minute. */
const MOST_COUNTED = 100;

export class Pace {
  /** Of the logarithms of the ratios of its answers to the service's. */
  #mean = new Float64Array(0);
  #weight = new Float64Array(0);
  #at = new Float64Array(0);
  /** Where its last answer showed it to be slow: for how many a request to it counts. Else 0. */
  #found = new Float64Array(0);
  /** Of the slot that was compared last: the logarithm of its ratio. In an array: a number that is returned is an object. */
  readonly #excess = new Float64Array(1);
  #allMean = 0;
  #allWeight = 0;
  #allAt = 0;
  /** Requests that slow ones have had too few (from 1 on they get one), or too many; one number. */
  readonly #credit = new Float64Array(1);

  /** Makes room for slots below `size`; what is known stays. */
  grow(size: number): void {
    this.#mean = grown(this.#mean, size);
    this.#weight = grown(this.#weight, size);
    this.#at = grown(this.#at, size);
    this.#found = grown(this.#found, size);
  }

  /** Nothing is known of it (any more). */
  forget(slot: number): void {
    this.#weight[slot] = 0;
    this.#found[slot] = 0;
    this.#mean[slot] = 0;
  }

  /** Takes a good answer. */
  note(slot: number, rttMs: number, now: number): void {
    const value = Math.log1p(rttMs);
    this.#allWeight = leftOf(this.#allWeight, now - this.#allAt, MANY_FADE_OF_ALL_MS) + 1;
    this.#allMean += (value - this.#allMean) / this.#allWeight;
    this.#allAt = now;
    const weight = leftOf(this.#weight[slot] ?? 0, now - (this.#at[slot] ?? 0), MANY_FADE_MS) + 1;
    const mean = this.#mean[slot] ?? 0;
    this.#weight[slot] = weight;
    this.#mean[slot] = mean + (value - this.#allMean - mean) / weight;
    this.#at[slot] = now;
    const over = this.isSlow(slot, now) ? Math.exp(this.#excess[0] ?? 0) / LEAST_UNTIL_RATIO : 0;
    this.#found[slot] = over > 0 ? Math.min(MOST_COUNTED, Math.max(1, over * over)) : 0;
  }

  /** Its answers take much longer than the service's. */
  isSlow(slot: number, now: number): boolean {
    this.#compare(slot, now);
    return (this.#excess[0] ?? 0) >= SLOW_EXCESS;
  }

  /** The request is given to one of `count`. */
  given(slot: number, count: number): void {
    let credit = this.#credit[0] ?? 0;
    if (credit < 1 && count > 1) credit += LEAST_SHARE / (count - 1);
    const counted = this.#found[slot] ?? 0;
    this.#credit[0] = counted > 0 ? Math.max(0, credit) - counted : credit;
  }

  /** Slow ones have had less than is theirs: the next that is drawn gets the request. */
  get owesSlow(): boolean {
    return (this.#credit[0] ?? 0) >= 1;
  }

  /** Raises the cost of a slot, at a place of `costs`, by the square of how slow it is. */
  raise(costs: Float64Array, place: number, slot: number, now: number): void {
    this.#compare(slot, now);
    const excess = this.#excess[0] ?? 0;
    if (excess >= SLOW_EXCESS) costs[place] = (costs[place] ?? 0) * Math.exp(2 * excess);
  }

  #compare(slot: number, now: number): void {
    const excess = this.#mean[slot] ?? 0;
    this.#excess[0] = excess;
    if (excess < SLOW_EXCESS) return;
    const ageMs = Math.max(0, now - (this.#at[slot] ?? 0));
    const weight = Math.min(MANY, this.#weight[slot] ?? 0) * Math.exp(-ageMs / FADE_MS);
    const assumed = (this.#found[slot] ?? 0) > 0 ? ASSUMED_OF_SLOW : ASSUMED;
    this.#excess[0] = (excess * weight) / (weight + assumed);
  }
}

/** What is left of a weight after a time. */
function leftOf(weight: number, ageMs: number, manyFadeMs: number): number {
  const left = weight * fade(ageMs, FADE_MS);
  if (weight <= MANY) return left;
  return Math.max(weight * fade(ageMs, manyFadeMs), MANY * fade(ageMs, FADE_MS));
}

function fade(ageMs: number, fadeMs: number): number {
  return ageMs > 0 ? Math.exp(-ageMs / fadeMs) : 1;
}
