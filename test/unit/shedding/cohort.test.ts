import { describe, expect, test } from 'vitest';
import {
  COHORTS,
  LEVELS,
  LEVELS_PER_CLASS,
  Levels,
  clientMark,
  cohortOf,
} from '../../../src/shedding/cohort.ts';

const HOUR = 3_600_000;
const NOON = 1_800_000_000_000 - (1_800_000_000_000 % HOUR);

function names(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `client-${i}`);
}

function cohortsAt(wallMs: number, count: number): number[] {
  return names(count).map((name) => cohortOf(clientMark(name, wallMs)));
}

function correlation(a: readonly number[], b: readonly number[]): number {
  const mean = (of: readonly number[]): number => of.reduce((sum, one) => sum + one, 0) / of.length;
  const meanA = mean(a);
  const meanB = mean(b);
  let both = 0;
  let squareA = 0;
  let squareB = 0;
  a.forEach((one, i) => {
    const other = b[i] ?? 0;
    both += (one - meanA) * (other - meanB);
    squareA += (one - meanA) ** 2;
    squareB += (other - meanB) ** 2;
  });
  return both / Math.sqrt(squareA * squareB);
}

describe('the place of a client', () => {
  test('it is the same during an hour and another one in the next', () => {
    expect(cohortsAt(NOON, 500)).toEqual(cohortsAt(NOON + HOUR - 1, 500));
    const now = cohortsAt(NOON, 5000);
    for (let hour = 1; hour <= 24; hour += 1)
      expect(Math.abs(correlation(now, cohortsAt(NOON + hour * HOUR, 5000)))).toBeLessThan(0.06);
  });

  test('names that differ in one character are spread evenly over all places', () => {
    const counts = Array.from({ length: COHORTS }, () => 0);
    for (const cohort of cohortsAt(NOON, 112_000)) counts[cohort] = (counts[cohort] ?? 0) + 1;
    // 1 000 expected each, standard deviation 32.
    expect(Math.min(...counts)).toBeGreaterThan(840);
    expect(Math.max(...counts)).toBeLessThan(1160);
  });

  test('the ends of the hash are the ends of the range', () => {
    expect(cohortOf(0)).toBe(0);
    expect(cohortOf(2 ** 32 - 1)).toBe(COHORTS - 1);
    expect(COHORTS).toBe(112);
    expect(LEVELS).toBe(512);
  });
});

describe('a level', () => {
  test('is above every level of the class before it', () => {
    const levels = new Levels(0);
    for (const rank of [0, 1, 2, 3] as const) {
      for (const name of names(200)) {
        const level = levels.of(rank, clientMark(name, NOON), false, 0);
        expect(Math.floor(level / LEVELS_PER_CLASS)).toBe(rank);
        expect(level % LEVELS_PER_CLASS).toBe(cohortOf(clientMark(name, NOON)));
      }
    }
  });

  test('a retry is the first of its class to go, whoever it is', () => {
    const levels = new Levels(0);
    expect(levels.of(1, clientMark('a', NOON), true, 0)).toBe(255);
    expect(levels.of(3, clientMark('b', NOON), true, 0)).toBe(511);
  });

  test('one that sends more than its share goes before the others, in its class alone', () => {
    const levels = new Levels(0);
    const greedy = clientMark('greedy', NOON);
    let level = 0;
    for (let i = 0; i < 2000; i += 1) {
      if (i % 3 === 0) level = levels.of(2, greedy, false, i);
      else levels.of(2, clientMark(`c${i % 211}`, NOON), false, i);
    }
    expect(level).toBeGreaterThanOrEqual(2 * LEVELS_PER_CLASS + COHORTS);
    expect(level).toBeLessThan(2 * LEVELS_PER_CLASS + LEVELS_PER_CLASS - 1);
    expect(levels.of(1, greedy, false, 2000)).toBe(LEVELS_PER_CLASS + cohortOf(greedy));
  });
});
