import { describe, expect, test } from 'vitest';
import { between, seededRandom } from '../../../src/kernel/random.ts';
import { grown, headroom } from '../../../src/shedding/growth.ts';

/** Baseline 50 ms, tolerance 75 ms: `way` is the share of the way between the two. */
function after(limit: number, way: number, workers = 1): number {
  return grown(limit, workers, 50 + 25 * way, 50, 75);
}

describe('a limit that was too small grows', () => {
  test('by half where no queueing is to be seen', () => {
    expect(after(40, 0)).toBe(60);
    expect(after(40, 0.15)).toBe(60);
    expect(after(40, -0.5)).toBe(60);
  });

  test('by a quarter near the baseline', () => {
    expect(after(40, 0.151)).toBe(50);
    expect(after(40, 0.3)).toBe(50);
  });

  test('by half a root further from it', () => {
    for (const way of [0.301, 0.6, 1]) expect(after(64, way)).toBe(68);
  });

  test('by one at the least, shared by the workers', () => {
    expect(after(1, 1)).toBe(2);
    expect(after(0.25, 1, 4)).toBe(0.5);
  });

  test('to a sixteen-fold capacity within two seconds of windows of 200 ms', () => {
    let limit = 20;
    let windows = 0;
    for (; limit < 320; windows += 1) limit = after(limit, 0);
    expect(windows).toBeLessThanOrEqual(10);
  });
});

describe('workers that share a service', () => {
  test('grow together as one would', () => {
    for (const workers of [2, 4, 16]) {
      for (const limit of [20, 64, 400]) {
        const together = workers * (after(limit / workers, 1, workers) - limit / workers);
        expect(together).toBeCloseTo(after(limit, 1) - limit);
        expect(workers * headroom(limit / workers, workers)).toBeCloseTo(headroom(limit, 1));
      }
    }
  });
});

test.each([
  [60, 6],
  [4, 80],
  [30, 31],
])(
  'growth evens out two limits of %i and %i that see the same latency, by the headroom of a cut as well',
  (a, b) => {
    // Forty slots of 50 ms behind both: what is more only waits.
    const random = seededRandom(31);
    let [one, two]: [number, number] = [a, b];
    let apart = 0;
    for (let window = 0; window < 600; window += 1) {
      const p50Ms = 50 * Math.max(1, (one + two) / 40) * between(random, 0.9, 1.1);
      const next = (limit: number): number =>
        p50Ms <= 75
          ? grown(limit, 1, p50Ms, 50, 75)
          : Math.min(limit, (limit * (1 + 75 / p50Ms) + headroom(limit, 1)) / 2);
      [one, two] = [next(one), next(two)];
      apart = Math.abs(Math.log(one / two));
    }
    expect(apart).toBeLessThan(Math.log(1.1));
  },
);
