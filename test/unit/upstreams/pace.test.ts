import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { ANY_VERSION } from '../../../src/upstreams/candidates.ts';
import { Dice } from '../../../src/upstreams/dice.ts';
import { Pace } from '../../../src/upstreams/pace.ts';

/** Ten answer in 20 ms, every 100 ms each; the first `slow` take `ms`. */
function paceOf(ms: number, answers: number, slow = 1): { pace: Pace; now: number } {
  const pace = new Pace();
  pace.grow(10);
  for (let slot = 0; slot < 10; slot++) pace.forget(slot);
  let now = 0;
  for (let turn = 0; turn < 100; turn++) {
    now += 100;
    for (let slot = slow; slot < 10; slot++) pace.note(slot, 20, now);
    if (turn >= 100 - answers) for (let slot = 0; slot < slow; slot++) pace.note(slot, ms, now);
  }
  return { pace, now };
}

function raised(pace: Pace, slot: number, now: number): number | undefined {
  const costs = Float64Array.of(0, 7);
  pace.raise(costs, 1, slot, now);
  return costs[1];
}

/** Of draws among `count`, of which the first `slow` are slow: in how many a slow one is tried. */
function triedRatio(pace: Pace, count: number, slow: number, now: number): number {
  const dice = new Dice(seededRandom(3));
  let tried = 0;
  for (let turn = 0; turn < 200_000; turn++) {
    pace.drawn(ANY_VERSION, count);
    const first = dice.below(count);
    let second = dice.below(count - 1);
    if (second >= first) second++;
    if (first < slow !== second < slow && pace.isTried(Math.min(first, second), dice, now)) tried++;
  }
  return tried / 200_000;
}

describe('the pace of an instance', () => {
  it('is slow from half as long again as its service on', () => {
    for (const [ms, isSlow] of [
      [10, false],
      [25, false],
      [40, true],
      [60, true],
    ] as const) {
      const { pace, now } = paceOf(ms, 100);
      expect(pace.isSlow(0, now)).toBe(isSlow);
      expect(pace.isSlow(1, now)).toBe(false);
    }
  });

  it('is not told from one long answer, but from some', () => {
    const one = paceOf(60, 1);
    expect(one.pace.isSlow(0, one.now)).toBe(false);
    const few = paceOf(60, 5);
    expect(few.pace.isSlow(0, few.now)).toBe(false);
    const some = paceOf(60, 15);
    expect(some.pace.isSlow(0, some.now)).toBe(true);
  });

  it('one report of ten seconds among a hundred short answers says nothing', () => {
    const { pace, now } = paceOf(20, 100);
    pace.note(0, 10_000, now);
    expect(pace.isSlow(0, now)).toBe(false);
  });

  it('costs a slow one the square of how slow it is, and nobody else anything', () => {
    const { pace, now } = paceOf(60, 100);
    const factor = (raised(pace, 0, now) ?? 0) / 7;
    expect(factor).toBeGreaterThan(4);
    expect(factor).toBeLessThan(9);
    expect(raised(pace, 1, now)).toBe(7);
  });

  it('leaves a slow one a tenth of a fast one, several the same together, one that is twenty times slower less', () => {
    for (const [count, slow] of [
      [2, 1],
      [3, 1],
      [10, 1],
      [10, 2],
      [10, 5],
    ] as const) {
      const { pace, now } = paceOf(60, 100, slow);
      const share = triedRatio(pace, count, slow, now) * (count - 1);
      expect(share).toBeGreaterThan(0.095);
      expect(share).toBeLessThan(0.125);
    }
    const { pace, now } = paceOf(400, 100);
    expect(triedRatio(pace, 10, 1, now) * 9).toBeLessThan(0.02);
  });

  it('tells versions apart: where all are slow says nothing of where one is', () => {
    const { pace, now } = paceOf(60, 100, 3);
    const dice = new Dice(seededRandom(3));
    let tried = 0;
    for (let turn = 0; turn < 200_000; turn++) {
      pace.drawn(0, 2);
      pace.isTried(1, dice, now);
      pace.drawn(1, 10);
      if (dice.below(5) === 0 && pace.isTried(0, dice, now)) tried++;
    }
    expect((tried / 200_000) * 9).toBeGreaterThan(0.095);
  });

  it('one that becomes slow after many quick answers is found in four seconds', () => {
    const { pace } = paceOf(20, 0);
    let now = 10_000;
    for (let turn = 0; turn < 2000; turn++) {
      now += 5;
      for (let slot = 0; slot < 10; slot++) pace.note(slot, 20, now);
    }
    expect(pace.isSlow(0, now)).toBe(false);
    for (let turn = 0; turn < 200; turn++) {
      now += 20;
      for (let slot = 1; slot < 10; slot++) for (let more = 0; more < 4; more++) pace.note(slot, 20, now);
      pace.note(0, 60, now);
    }
    expect(pace.isSlow(0, now)).toBe(true);
  });

  it('forgets what is old, and all when the instance comes back', () => {
    const { pace, now } = paceOf(60, 20);
    expect(pace.isSlow(0, now + 60_000)).toBe(false);
    pace.forget(0);
    expect(pace.isSlow(0, now)).toBe(false);
  });

  it.each([
    ['slower', [10, 10, 10, 10, 10], 20, 60],
    ['slower, at few answers', [5, 5], 20, 100],
    ['slower, at few answers of many', [2, 2, 2, 2, 2], 20, 160],
    ['slower, at many answers', [200, 200, 200, 200, 200], 20, 60],
    ['quicker, one answering seldom', [100, 100, 100, 100, 10], 100, 20],
    ['slower, most answering seldom', [50, 50, 1, 1, 1], 20, 60],
    ['quicker, most answering seldom', [50, 50, 1, 1, 1], 60, 20],
  ])('nobody is slow when all become %s', (_, perSecond, fromMs, toMs) => {
    const pace = new Pace();
    pace.grow(perSecond.length);
    for (const slot of perSecond.keys()) pace.forget(slot);
    for (let now = 1; now < 60_000; now++) {
      for (const [slot, rate] of perSecond.entries())
        if (Math.floor((now * rate) / 1000) > Math.floor(((now - 1) * rate) / 1000))
          pace.note(slot, now < 30_000 ? fromMs : toMs, now);
      if (now % 100 === 0) for (const slot of perSecond.keys()) expect(pace.isSlow(slot, now)).toBe(false);
    }
  });
});

describe('dice', () => {
  it('fall evenly, one pair after the other', () => {
    const dice = new Dice(seededRandom(5));
    const counts = new Map<string, number>();
    for (let turn = 0; turn < 60_000; turn++) {
      const pair = `${dice.below(3)} ${dice.below(2)}`;
      counts.set(pair, (counts.get(pair) ?? 0) + 1);
    }
    expect(counts.size).toBe(6);
    for (const count of counts.values()) expect(Math.abs(count / 10_000 - 1)).toBeLessThan(0.05);
  });

  it('stay within their range, also of one face', () => {
    const dice = new Dice(() => 0);
    for (let turn = 0; turn < 1000; turn++) {
      expect(dice.below(1)).toBe(0);
      expect(dice.below(1000)).toBeLessThan(1000);
      expect(dice.happens(0)).toBe(false);
      expect(dice.happens(1)).toBe(true);
    }
  });
});
