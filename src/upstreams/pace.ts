/**
 * Which instances are slow by the measure of their own service.
 *
 * Signal: the time to headers of each good answer, as the ratio to what the service took just then, its logarithm averaged
 * over some seconds. Decision: that ratio, from `SLOW_RATIO` on; below it, 1. Why beside the peak EWMA: that one tells at
 * once that an instance stalls, but it is the largest of few values, and among equals it says three as easily as one. So it
 * cannot be raised to a power, which is what a tail asks for: of two in ten that take three times as long, peak EWMA alone
 * sends each a quarter of a fast one's share, and p99 is a third above that of ten fast ones. Why logarithms: one report
 * of ten seconds among a thousand short answers says nothing of its instance. Why the service and not the other one drawn:
 * of two slow ones each is slow, and neither looks it beside the other. Why just then: when all become slower or quicker at
 * once, those who answer seldom are not slow by what they were before.
 * Cold start and idle gap: some answers of the service's own length are assumed, so the first ones decide nothing, and what
 * is old decides nothing any more. Recovery: by its own answers, in about `FADE_MS` at a tenth of its share or less. When all
 * the others queue their answers take longer too, and nobody is slow any more: what is left is needed.
 * Limits: an instance with the sessions of those who ask for more looks slow; of equal halves the slow half is the measure
 * as much as the fast one. Source: ours; the ratio of a geometric mean to that of its peers.
 */

import { COMMON_VERSIONS } from './candidates.ts';
import type { Dice } from './dice.ts';
import { grown } from './grown.ts';

/** Ranges of candidates have numbers below 0. */
const FIRST_VERSION = -COMMON_VERSIONS;

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
/**
 * The same two of the service, which must be quicker than its instances: at five times either, all are slow for some seconds
 * when it takes five times as long. At half, chance moves it.
 */
const MANY_OF_ALL = 20;
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
 * Of a fast one's share, what all slow ones of a version together are given though they are slow, so that a recovery is seen;
 * what their price leaves them comes on top. At half one slow one has less than the tenth that it is promised; at double,
 * beside one of ten, p99 is 1.12 times that of ten fast ones instead of 1.06.
 */
const LEAST_SHARE = 0.11;
/** Past this ratio the chance falls with its square: a tenth of the requests at one ten times slower would be the p99. */
const LEAST_UNTIL_RATIO = 3.3;
/**
 * Draws by which it is known how often one of a pair alone is slow. Half: among a thousand instances chance tells it; double: at
 * 30 requests a second two that become slow weigh as two for half a minute.
 */
const DRAWS_KNOWN = 500;

export class Pace {
  /** Of the logarithms of the ratios of its answers to the service's. */
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
  /** By version: in how many pairs of a draw one alone is slow. */
  #mixed = new Float64Array(0);
  /** Of the draw under way: its place there, and among how many it is. */
  #version = 0;
  #count = 2;

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
    this.#allWeight = leftOf(this.#allWeight, now - this.#allAt, MANY_OF_ALL, MANY_FADE_OF_ALL_MS) + 1;
    this.#allMean += (value - this.#allMean) / this.#allWeight;
    this.#allAt = now;
    const weight = leftOf(this.#weight[slot] ?? 0, now - (this.#at[slot] ?? 0), MANY, MANY_FADE_MS) + 1;
    const mean = this.#mean[slot] ?? 0;
    this.#weight[slot] = weight;
    this.#mean[slot] = mean + (value - this.#allMean - mean) / weight;
    this.#at[slot] = now;
    this.#found[slot] = this.isSlow(slot, now) ? 1 : 0;
  }

  /** Its answers take much longer than the service's. */
  isSlow(slot: number, now: number): boolean {
    this.#compare(slot, now);
    return (this.#excess[0] ?? 0) >= SLOW_EXCESS;
  }

  /** One of `count` is about to be drawn: those of a version, or of a range (`candidates.ts`). */
  drawn(version: number, count: number): void {
    const place = version + FIRST_VERSION;
    if (place >= this.#mixed.length) this.#mixed = grown(this.#mixed, 2 * place + 2);
    this.#mixed[place] = (this.#mixed[place] ?? 0) * (1 - 1 / DRAWS_KNOWN);
    this.#version = place;
    this.#count = count;
  }

  /** Of a pair in which it alone is slow, a slow one gets this request though it is slow. */
  isTried(slot: number, dice: Dice, now: number): boolean {
    const mixed = this.#mixed[this.#version] ?? 0;
    this.#mixed[this.#version] = mixed + 1 / DRAWS_KNOWN;
    // Two of all draws meet it when it is the only one.
    const chance = LEAST_SHARE / (this.#count - 1) / Math.max(mixed, 2 / this.#count);
    this.#compare(slot, now);
    const over = Math.max(1, Math.exp(this.#excess[0] ?? 0) / LEAST_UNTIL_RATIO);
    return dice.happens(chance / (over * over));
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
    const assumed = this.#found[slot] === 1 ? ASSUMED_OF_SLOW : ASSUMED;
    this.#excess[0] = (excess * weight) / (weight + assumed);
  }
}

/** What is left of a weight after a time: of more than `many` little. */
function leftOf(weight: number, ageMs: number, many: number, manyFadeMs: number): number {
  const left = weight * fade(ageMs, FADE_MS);
  if (weight <= many) return left;
  return Math.max(weight * fade(ageMs, manyFadeMs), many * fade(ageMs, FADE_MS));
}

function fade(ageMs: number, fadeMs: number): number {
  return ageMs > 0 ? Math.exp(-ageMs / fadeMs) : 1;
}
