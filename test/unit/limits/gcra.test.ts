import { describe, expect, test } from 'vitest';
import { compileRate, decideLevels, TICKS_PER_SECOND } from '../../../src/limits/gcra.ts';

const NOW = 5_000_000 * TICKS_PER_SECOND;

/** Decides one level from a TAT; returns the reply and the TAT afterwards. */
function one(tat: number, level: readonly number[], now = NOW): { reply: number[]; tat: number } {
  const tats = [tat];
  const reply: number[] = [];
  decideLevels(tats, level, 0, 1, now, reply);
  return { reply, tat: tats[0] as number };
}

describe('compiling a rate', () => {
  test('a unit of 10/m takes 6 s to the tick, although 10/60 is no exact number', () => {
    const rate = compileRate(10 / 60, 5);
    expect(rate.unitTicks).toBe(60_000_000);
    expect(rate.depthTicks).toBe(300_000_000);
    expect([rate.quota, rate.windowSeconds]).toEqual([5, 30]);
  });

  test('rates as they are written keep whole figures', () => {
    for (const [units, seconds] of [
      [600, 60],
      [5000, 3600],
      [1, 86_400],
      [100, 3600],
      [7, 60],
    ] as const) {
      const exact = (TICKS_PER_SECOND * seconds) / units;
      expect(compileRate(units / seconds, units).unitTicks).toBe(Math.ceil(exact));
      expect(compileRate(units / seconds, units).windowSeconds).toBe(seconds);
      expect(compileRate(units / seconds, units).quota).toBe(units);
    }
  });

  test('a unit that is no whole number of ticks is rounded to the strict side', () => {
    expect(compileRate(3, 1).unitTicks).toBe(3_333_334);
    expect(compileRate(700_000, 1).unitTicks).toBe(15);
  });

  test('a limit that cannot be kept exactly is refused in one sentence', () => {
    expect(() => compileRate(1_000_001, 1)).toThrow('at most 1,000,000');
    expect(() => compileRate(0, 1)).toThrow('more than 0');
    expect(() => compileRate(Number.NaN, 1)).toThrow('more than 0');
    expect(() => compileRate(1 / 86_400, 400)).toThrow('within a year');
    expect(() => compileRate(1, 1.5)).toThrow('whole number');
    expect(() => compileRate(1, 4, 5)).toThrow('can never serve');
  });
});

describe('one bucket', () => {
  const level = [1_000_000, 5, 1, 1, 1]; // 10 units a second, 5 at once

  test('a bucket that does not exist is full', () => {
    const { reply, tat } = one(0, level);
    expect(reply).toEqual([1, 1, 4, 0, 1_000_000]);
    expect(tat).toBe(NOW + 1_000_000);
  });

  test('an empty bucket says when the next unit is there, and is left as it was', () => {
    const empty = NOW + 5_000_000;
    const { reply, tat } = one(empty, level);
    expect(reply).toEqual([0, 0, 0, 1_000_000, 5_000_000]);
    expect(tat).toBe(empty);
    expect(one(empty, level, NOW + 999_999).reply[3]).toBe(1);
    expect(one(empty, level, NOW + 1_000_000).reply[0]).toBe(1);
  });

  test('a cost of several units needs all of them', () => {
    const three = [1_000_000, 5, 3, 3, 1];
    expect(one(NOW + 2_000_000, three).reply).toEqual([1, 3, 0, 0, 5_000_000]);
    expect(one(NOW + 2_000_001, three).reply).toEqual([0, 0, 2, 1, 2_000_001]);
  });

  test('a clock that was stepped back by an hour waits no longer than the bucket takes to fill', () => {
    expect(one(NOW + 3600 * TICKS_PER_SECOND, level).reply).toEqual([0, 0, 0, 1_000_000, 5_000_000]);
  });

  test('a lowered limit waits no longer than the new one takes to fill', () => {
    const oldEmpty = NOW + 1000 * 1_000_000;
    expect(one(oldEmpty, [1_000_000, 2, 1, 1, 1]).reply[4]).toBe(2_000_000);
  });

  test('a peek reports and takes nothing', () => {
    expect(one(NOW + 2_000_000, [1_000_000, 5, 0, 0, 1])).toEqual({
      reply: [1, 0, 3, 0, 2_000_000],
      tat: NOW + 2_000_000,
    });
  });

  test('a wish above the least worth having takes what there is', () => {
    expect(one(NOW + 2_000_000, [1_000_000, 5, 2, 10, 1]).reply.slice(0, 3)).toEqual([1, 3, 0]);
    expect(one(NOW + 4_000_000, [1_000_000, 5, 2, 10, 1]).reply.slice(0, 2)).toEqual([0, 0]);
  });
});

describe('several levels', () => {
  const roomy = [1000, 100, 1, 1, 1];
  const empty = [1_000_000, 5, 1, 1, 1];

  test('one refusal refuses all, and no level is charged', () => {
    const tats = [NOW, NOW + 5_000_000, NOW];
    const reply: number[] = [];
    decideLevels(tats, [...roomy, ...empty, ...roomy], 0, 3, NOW, reply);
    expect(reply[0]).toBe(0);
    expect([reply[1], reply[5], reply[9]]).toEqual([0, 0, 0]);
    expect(tats).toEqual([NOW, NOW + 5_000_000, NOW]);
  });

  test('an observed level that is empty refuses nobody and takes nothing', () => {
    const tats = [NOW, NOW + 5_000_000];
    const reply: number[] = [];
    decideLevels(tats, [...roomy, 1_000_000, 5, 1, 1, 0], 0, 2, NOW, reply);
    expect(reply).toEqual([1, 1, 99, 0, 1000, 0, 0, 1_000_000, 5_000_000]);
  });

  test('replies of one message stand one after the other', () => {
    const reply: number[] = [7];
    decideLevels([NOW], [0, 0, 0, 0, 0, ...roomy], 5, 1, NOW, reply);
    expect(reply).toEqual([7, 1, 1, 99, 0, 1000]);
  });
});
