/**
 * Which instances are slow by the measure of their own service.
 *
 * Signal: the time to headers of each good answer, as a mean of logarithms over two to ten seconds, by instance and over the
 * service. Decision: the ratio of the two, from `SLOW_RATIO` on; below it, 1. Why beside the peak EWMA: that one tells at
 * once that an instance stalls, but it is the largest of few values, and among equals it says three as easily as one. So it
 * cannot be raised to a power, which is what a tail asks for: of two in ten that take three times as long, peak EWMA alone
 * sends each a quarter of a fast one's share, and p99 is a third above that of ten fast ones. Why logarithms: one report
 * of ten seconds among a thousand short answers says nothing of its instance. Why the service and not the other one drawn:
 * of two slow ones each is slow, and neither looks it beside the other.
 * Cold start and idle gap: some answers of the service's own length are assumed, so the first ones decide nothing, and what
 * is old decides nothing any more. Recovery: by its own answers, in about `FADE_MS` at a twentieth of its share. When all
 * the others queue their answers take longer too, and nobody is slow any more: what is left is needed.
 * Limits: an instance with the sessions of those who ask for more looks slow; of equal halves the slow half is the measure
 * as much as the fast one. Source: ours; the ratio of a geometric mean to that of its peers.
 */

import type { Dice } from './dice.ts';
import { grown } from './grown.ts';

/** Half as fast again is slow. Less: chance makes some of equals slow; more: the third of a fast one is found only half the time. */
const SLOW_RATIO = 1.5;
const SLOW_EXCESS = Math.log(SLOW_RATIO);
/** Half: at a few requests a second nothing is ever known; double: a repaired instance waits twenty seconds for its share. */
const FADE_MS = 10_000;
/**
 * What is known from more answers than this, an instance, fades as below. At a fifth of the requests of before, an instance
 * that has become slow needs long to outweigh what it was: of two in ten each still had 0.24 of a fast one's share after ten
 * seconds and the p99 was 1.3 times that of before; now 0.1 and 1.12. Half: chance makes some of equals slow; double: twice as long.
 */
const MANY = 100;
/** Half: one long pause of an instance is all that is known of it; double: see above. */
const MANY_FADE_MS = 2000;
/**
 * Answers assumed of one that is not known to be slow. With exponential times one of five equals is then called slow for 1 % of
 * the first ten seconds; at a quarter it was for 12 %, and what it was not sent is too much for four at 70 % load. Double: one
 * that gets four a second is never found.
 */
const ASSUMED = 12;
/** Of one that is: it gets a tenth as many answers. Half: one long answer keeps it slow; double: it comes and goes. */
const ASSUMED_OF_SLOW = 3;

/**
 * Of a fast one's share, what all slow ones together are given though they are slow, so that a recovery is seen: within ten
 * seconds, at 10 to 1000 requests a second. What their price leaves them comes on top. Half: one slow one has less than the
 * tenth that it is promised; double: beside one of ten, p99 is 1.12 times that of ten fast ones instead of 1.06.
 */
const LEAST_SHARE = 0.11;
/** Past this ratio the chance falls with its square: a tenth of the requests at one ten times slower would be the p99. */
const LEAST_UNTIL_RATIO = 3.3;

export class Pace {
  #mean = new Float64Array(0);
  #weight = new Float64Array(0);
  #at = new Float64Array(0);
  /** 1 where its last answer showed it to be slow. */
  #found = new Float64Array(0);
  /** Of the slot that was compared last: the logarithm of its ratio. In an array: a number that is returned is an object. */
  readonly #excess = new Float64Array(1);
  /** Slots with a weight, and those of them that are found to be slow. */
  #known = 0;
  #slow = 0;
  #allMean = 0;
  #allWeight = 0;
  #allAt = 0;

  /** Makes room for slots below `size`; what is known stays. */
  grow(size: number): void {
    this.#mean = grown(this.#mean, size);
    this.#weight = grown(this.#weight, size);
    this.#at = grown(this.#at, size);
    this.#found = grown(this.#found, size);
  }

  /** Nothing is known of it (any more); also of one that is drawn no longer. */
  forget(slot: number): void {
    if ((this.#weight[slot] ?? 0) > 0) this.#known--;
    this.#slow -= this.#found[slot] ?? 0;
    this.#weight[slot] = 0;
    this.#found[slot] = 0;
    this.#mean[slot] = this.#allMean;
  }

  /** Takes a good answer. */
  note(slot: number, rttMs: number, now: number): void {
    const value = Math.log1p(rttMs);
    const before = this.#weight[slot] ?? 0;
    if (before === 0) this.#known++;
    const weight = before * kept(now - (this.#at[slot] ?? 0), before > MANY) + 1;
    const mean = this.#mean[slot] ?? 0;
    this.#weight[slot] = weight;
    this.#mean[slot] = mean + (value - mean) / weight;
    this.#at[slot] = now;
    this.#allWeight = this.#allWeight * kept(now - this.#allAt, this.#allWeight > MANY * this.#known) + 1;
    this.#allMean += (value - this.#allMean) / this.#allWeight;
    this.#allAt = now;
    const found = this.isSlow(slot, now) ? 1 : 0;
    this.#slow += found - (this.#found[slot] ?? 0);
    this.#found[slot] = found;
  }

  /** Its answers take much longer than the service's. */
  isSlow(slot: number, now: number): boolean {
    this.#compare(slot, now);
    return (this.#excess[0] ?? 0) >= SLOW_EXCESS;
  }

  /** Of a pair in which it alone is slow, a slow one gets this request though it is slow. */
  isTried(slot: number, dice: Dice, now: number): boolean {
    this.#compare(slot, now);
    const over = Math.max(1, Math.exp(this.#excess[0] ?? 0) / LEAST_UNTIL_RATIO);
    const n = Math.max(2, this.#known);
    // Two of n draws meet it; a fast one gets 1 / (n - 1) of all requests.
    const chance = (LEAST_SHARE * n) / (2 * (n - 1) * Math.max(1, this.#slow));
    return dice.happens(chance / (over * over));
  }

  /** Raises the cost of a slot, at a place of `costs`, by the square of how slow it is. */
  raise(costs: Float64Array, place: number, slot: number, now: number): void {
    this.#compare(slot, now);
    const excess = this.#excess[0] ?? 0;
    if (excess >= SLOW_EXCESS) costs[place] = (costs[place] ?? 0) * Math.exp(2 * excess);
  }

  #compare(slot: number, now: number): void {
    const excess = (this.#mean[slot] ?? 0) - this.#allMean;
    this.#excess[0] = excess;
    if (excess < SLOW_EXCESS) return;
    const age = Math.max(0, now - (this.#at[slot] ?? 0));
    const weight = (this.#weight[slot] ?? 0) * Math.exp(-age / FADE_MS);
    const assumed = this.#found[slot] === 1 ? ASSUMED_OF_SLOW : ASSUMED;
    this.#excess[0] = (excess * weight) / (weight + assumed);
  }
}

/** How much of a weight is left after a time. */
function kept(ageMs: number, isMuch: boolean): number {
  return ageMs > 0 ? Math.exp(-ageMs / (isMuch ? MANY_FADE_MS : FADE_MS)) : 1;
}
