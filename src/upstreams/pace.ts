/**
 * Which instances are slow by the measure of their own service.
 *
 * Signal: the time to headers of each good answer, as a mean of logarithms over about ten seconds, by instance and over the
 * service. Decision: the ratio of the two, from `SLOW_RATIO` on; below it, 1. Why beside the peak EWMA: that one tells at
 * once that an instance stalls, but it is the largest of few values, and among equals it says three as easily as one. So it
 * cannot be raised to a power, which is what a tail asks for: of two in ten that take three times as long, peak EWMA alone
 * sends each a quarter of a fast one's share, and p99 is a third above that of ten fast ones. Why logarithms: one report
 * of ten seconds among a thousand short answers says nothing of its instance. Why the service and not the other one drawn:
 * of two slow ones each is slow, and neither looks it beside the other.
 * Cold start and idle gap: some answers of the service's own length are assumed, so the first ones decide nothing, and what
 * is old decides nothing any more. Recovery: by its own answers, in about `FADE_MS` at a share of a tenth. When all the
 * others queue their answers take longer too, and nobody is slow any more: what is left is needed.
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
 * Answers assumed of one that is not known to be slow. With exponential times one of five equals is then called slow for 1 % of
 * the first ten seconds; at a quarter it was for 12 %, and what it was not sent is too much for four at 70 % load. Double: one
 * that gets four a second is never found.
 */
const ASSUMED = 12;
/** Of one that is: it gets a tenth as many answers. Half: one long answer keeps it slow; double: it comes and goes. */
const ASSUMED_OF_SLOW = 3;

/**
 * How often a slow one is taken all the same; with what its price leaves it, it has about a tenth of a fast one's share. At
 * half a repaired one is found in a minute, at double p99 beside two slow ones of ten is a quarter above that of ten fast ones.
 */
const LEAST_CHANCE = 0.045;
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

  /** Nothing is known of it (any more). */
  forget(slot: number): void {
    this.#weight[slot] = 0;
    this.#found[slot] = 0;
    this.#mean[slot] = this.#allMean;
  }

  /** Takes a good answer. */
  note(slot: number, rttMs: number, now: number): void {
    const value = Math.log1p(rttMs);
    const weight = (this.#weight[slot] ?? 0) * kept(now - (this.#at[slot] ?? 0)) + 1;
    const mean = this.#mean[slot] ?? 0;
    this.#weight[slot] = weight;
    this.#mean[slot] = mean + (value - mean) / weight;
    this.#at[slot] = now;
    this.#allWeight = this.#allWeight * kept(now - this.#allAt) + 1;
    this.#allMean += (value - this.#allMean) / this.#allWeight;
    this.#allAt = now;
    this.#found[slot] = this.isSlow(slot, now) ? 1 : 0;
  }

  /** Its answers take much longer than the service's. */
  isSlow(slot: number, now: number): boolean {
    this.#compare(slot, now);
    return (this.#excess[0] ?? 0) >= SLOW_EXCESS;
  }

  /** A slow one gets this request though it is slow. */
  isTried(slot: number, dice: Dice, now: number): boolean {
    this.#compare(slot, now);
    const over = Math.max(1, Math.exp(this.#excess[0] ?? 0) / LEAST_UNTIL_RATIO);
    return dice.happens(LEAST_CHANCE / (over * over));
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
function kept(ageMs: number): number {
  return ageMs > 0 ? Math.exp(-ageMs / FADE_MS) : 1;
}
