/**
 * Of two instances, the one that gets the request: the cheaper, the first of the two if they are nearly equal.
 *
 * Signal: what this worker saw of each (`LatencyBook`, `Silence`), its queue, the supervisor's picture. Decision: cost is
 * the time expected there × requests in flight × its warning or weight, × the square of how slow it is (`Pace`).
 * A young instance is thinned: drawn, it stays with probability warm = age / slow start, and then wins only its half, or by
 * a cost below warm² of the other's: it is idle because it is thinned, and its short queue and the short times that come
 * of that must not give back what thinning took. A fixed ratio (8) gave it 1.33 times its share while the others still
 * worked off the queue of its absence, and 0.8 of it towards the end; without any, one grown alone drowns beside it.
 * Dividing its cost instead of thinning starves it at low load and floods it at high load. One on trial gets that share
 * whatever it costs: it is there to be judged by requests, and a slow first answer must not put off the next for a minute.
 * A slow one gets a least share too, or nobody would see that it has recovered. One that says it is full (`LoadGate`) was
 * passed over before all that, by `Balancer`.
 * Why the square, on top of the time that is in the cost already: two of ten that take three times as long then get 0.06 of
 * a fast one's share each instead of a quarter, and p99 is 1.05 to 1.1 times that of ten fast ones instead of 1.3 (load 0.3
 * to 0.7, 1 to 16 workers). To the third power the fast half of a service queues beside an idle slow half.
 */

import type { Dice } from './dice.ts';
import type { LatencyBook } from './latency-book.ts';
import type { PinCounts } from './pin-counts.ts';
import type { Roster } from './roster.ts';
import type { Silence } from './silence.ts';

/** Costs within this ratio are equal. Half the margin: noise decides, no gain; double: p99 beside a slow instance + 8 %. */
const EQUAL_RATIO = 1.25;
/** The same for a pick that pins: its load comes later, so the number of sessions counts for more. */
const EQUAL_RATIO_PIN = 2;

export class ChoiceOfTwo {
  readonly #roster: Roster;
  readonly #book: LatencyBook;
  readonly #silence: Silence;
  readonly #pins: PinCounts;
  readonly #dice: Dice;
  /** A number that is returned is an object where the call is not inlined; one in an array is none. */
  readonly #costs = new Float64Array(2);

  constructor(roster: Roster, book: LatencyBook, silence: Silence, pins: PinCounts, dice: Dice) {
    this.#roster = roster;
    this.#book = book;
    this.#silence = silence;
    this.#pins = pins;
    this.#dice = dice;
  }

  /**
   * @param aQueue requests in flight there
   * @param makesPin a session will be pinned to it
   */
  pick(
    a: number,
    aQueue: number,
    b: number,
    bQueue: number,
    makesPin: boolean,
    slowStartMs: number,
    now: number,
  ): number {
    const { pace } = this.#book;
    const aWarm = this.#roster.warm(a, slowStartMs, now);
    const bWarm = this.#roster.warm(b, slowStartMs, now);
    const aTrial = this.#roster.onTrial(a);
    if (aTrial !== this.#roster.onTrial(b)) {
      const tried = aTrial ? a : b;
      // Two of n draws meet it, so a half of them is its share.
      const chance = (aTrial ? aWarm : bWarm) / 2;
      if (this.#book.isBlameless(tried, now)) return this.#dice.happens(chance) === aTrial ? a : b;
    }
    const aYoung = aWarm < 1;
    const bYoung = bWarm < 1;
    if (aYoung !== bYoung && !this.#dice.happens(Math.min(aWarm, bWarm))) return aYoung ? b : a;
    const aSlow = pace.isSlow(a, now);
    if (aSlow !== pace.isSlow(b, now)) {
      const slow = aSlow ? a : b;
      if (pace.isTried(slow, this.#dice, now) && this.#book.isBlameless(slow, now)) return slow;
    }
    this.#price(0, a, aQueue, b, now);
    this.#price(1, b, bQueue, a, now);
    const aCost = this.#costs[0] ?? 0;
    const bCost = this.#costs[1] ?? 0;
    const equal = makesPin ? EQUAL_RATIO_PIN : EQUAL_RATIO;
    if (aCost > bCost * (bYoung && !aYoung ? equal / (bWarm * bWarm) : equal)) return b;
    if (bCost > aCost * (aYoung && !bYoung ? equal / (aWarm * aWarm) : equal)) return a;
    return makesPin && this.pinLoad(b, now) < this.pinLoad(a, now) ? b : a;
  }

  #price(place: number, slot: number, queue: number, beside: number, now: number): void {
    const costs = this.#costs;
    this.#book.expect(costs, place, slot, now, beside);
    this.#silence.atLeast(costs, place, slot, now);
    costs[place] = (costs[place] ?? 0) * (queue + 1) * this.#roster.factor(slot);
    this.#book.pace.raise(costs, place, slot, now);
    this.#book.load.raise(costs, place, slot, now);
  }

  /** Its sessions, as far as this worker knows, for its weight. */
  pinLoad(slot: number, now: number): number {
    return this.#pins.count(slot, now) * this.#roster.factor(slot);
  }
}
