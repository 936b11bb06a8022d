/** Bounds, stated before: a surge is taken for a jump in less than 1 % of draws, a jump is missed in less than 10 %. */
import { describe, expect, test } from 'vitest';
import { seededRandom, type Random } from '../../../src/kernel/random.ts';
import { Jump } from '../../../src/shedding/jump.ts';
import type { Reading } from '../../../src/shedding/window.ts';
import { medianOf, poisson } from './chance.ts';
import { reading } from './readings.ts';

/** A well service in which nobody waits: 0.4 answers a ms at 50 ms, for so many windows of 200 ms. */
function calm(windows = 3): Jump {
  const jump = new Jump();
  for (let i = 0; i < windows; i += 1) jump.note(reading({ p50Ms: 50, bound: false }));
  return jump;
}

describe('a jump', () => {
  test('is an answer three times as slow and half of the pace', () => {
    expect(calm().seen(reading({ p50Ms: 150, ratePerMs: 0.2 }))).toBe(true);
  });

  test('is none while latency rises by less than 1.8, whatever becomes of the pace', () => {
    expect(calm().seen(reading({ p50Ms: 89, ratePerMs: 0.02 }))).toBe(false);
    expect(calm().seen(reading({ p50Ms: 50, ratePerMs: 0.02 }))).toBe(false);
  });

  test('is none when the pace rises or stays: a surge onto a service as it was', () => {
    expect(calm().seen(reading({ p50Ms: 120, ratePerMs: 0.4 }))).toBe(false);
    expect(calm().seen(reading({ p50Ms: 150, ratePerMs: 0.6 }))).toBe(false);
  });

  test('asks for less of a fall the larger the rise', () => {
    const fallen = { ratePerMs: 0.28 };
    expect(calm().seen(reading({ p50Ms: 95, ...fallen }))).toBe(false);
    expect(calm().seen(reading({ p50Ms: 300, ...fallen }))).toBe(true);
  });

  test('asks for more of a fall the fewer the answers', () => {
    const slow = { p50Ms: 150, ratePerMs: 0.25 };
    expect(calm().seen(reading({ ...slow, elapsedMs: 400 }))).toBe(true);
    expect(calm().seen(reading({ ...slow, elapsedMs: 40 }))).toBe(false);
  });

  test('compares with a pace averaged over some two hundred answers, not with the last window', () => {
    const jump = calm();
    jump.note(reading({ p50Ms: 50, bound: false, ratePerMs: 0.9 }));
    // Against the last window alone the pace would have halved.
    expect(jump.seen(reading({ p50Ms: 95, ratePerMs: 0.4 }))).toBe(false);
    const lasting = calm(0);
    for (let i = 0; i < 4; i += 1) lasting.note(reading({ p50Ms: 50, bound: false, ratePerMs: 0.9 }));
    expect(lasting.seen(reading({ p50Ms: 95, ratePerMs: 0.4 }))).toBe(true);
  });

  test('is seen only where lately nobody waited', () => {
    const slow = reading({ p50Ms: 300, ratePerMs: 0.1 });
    const full = calm();
    for (let i = 0; i < 7; i += 1) full.note(reading({ p50Ms: 60, bound: true }));
    expect(full.seen(slow)).toBe(true);
    full.note(reading({ p50Ms: 60, bound: true }));
    expect(full.seen(slow)).toBe(false);
    // What is older counts for nothing in the next average either.
    full.note(reading({ p50Ms: 300, ratePerMs: 0.1, bound: false }));
    expect(full.seen(reading({ p50Ms: 600, ratePerMs: 0.09 }))).toBe(false);
  });

  test('is none before the first window, and none where every window was full', () => {
    expect(new Jump().seen(reading({ p50Ms: 300, ratePerMs: 0.01 }))).toBe(false);
    const greedy = new Jump();
    for (let i = 0; i < 3; i += 1) greedy.note(reading({ p50Ms: 50, bound: true }));
    expect(greedy.seen(reading({ p50Ms: 300, ratePerMs: 0.01 }))).toBe(false);
  });
});

describe('by chance', () => {
  const DRAWS = 4000;
  const CAPACITY = 0.4;

  /** A window of a Poisson count around `mean` at this pace, its median that of so many lognormal answers. */
  function drawn(random: Random, mean: number, ratePerMs: number, medianMs: number, bound: boolean): Reading {
    const elapsedMs = mean / ratePerMs;
    const count = poisson(random, mean);
    const p50Ms = medianOf(random, count, medianMs);
    return reading({ elapsedMs, samples: count, ratePerMs: count / elapsedMs, p50Ms, bound });
  }

  /** Share of surges from 0.8 to 1.0 of the capacity, latency so many times as before, that pass for a jump. */
  function falseAlarms(seed: number, mean: number, slower: number): number {
    const random = seededRandom(seed);
    let alarms = 0;
    for (let i = 0; i < DRAWS; i += 1) {
      const jump = new Jump();
      for (let w = 0; w < 5; w += 1) jump.note(drawn(random, mean, 0.8 * CAPACITY, 50, false));
      if (jump.seen(drawn(random, mean, CAPACITY, 50 * slower, true))) alarms += 1;
    }
    return alarms / DRAWS;
  }

  test.each([1.5, 2, 2.5])('a surge that makes answers %f times as slow is none in 99 of 100', (slower) => {
    expect(falseAlarms(11, 40, slower)).toBeLessThan(0.01);
  });

  test('nor is it where two workers share the windows', () => {
    expect(falseAlarms(12, 20, 2)).toBeLessThan(0.01);
  });

  test('50 ms that become 300 are seen within two windows in nine of ten', () => {
    const random = seededRandom(13);
    let seen = 0;
    for (let i = 0; i < DRAWS; i += 1) {
      const jump = new Jump();
      for (let w = 0; w < 5; w += 1) jump.note(drawn(random, 40, 0.12, 50, false));
      // The first window is a mixture; then twenty in flight give twenty answers in 300 ms.
      const first = drawn(random, 40, 0.09, 150, true);
      const found = jump.seen(first);
      jump.note(first);
      if (found || jump.seen(drawn(random, 40, 20 / 300, 300, true))) seen += 1;
    }
    expect(seen / DRAWS).toBeGreaterThan(0.9);
  });
});
