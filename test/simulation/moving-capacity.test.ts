/**
 * Capacity moves, nobody tells. Bounds, stated before: three seconds after 20 → 5 slots at 800/s goodput is 0.85 of the new
 * capacity, after 5 → 80 at 2 000/s 0.9; critical (a tenth of the load) lives.
 */
import { describe, expect, test } from 'vitest';
import { World } from './model.ts';
import { ORIGIN, SHEDDABLE } from './scenarios.ts';
import { judge, SCENARIOS } from './suite.ts';

const SEEDS = [301, 302, 303] as const;

describe('capacity moves under load', () => {
  for (const scenario of SCENARIOS.filter(({ group }) => group === 'moving capacity')) {
    test(`${scenario.name} is followed within three seconds`, () => {
      expect(judge(scenario, SEEDS).misses).toEqual([]);
    });
  }
});

describe('cold start in 3 C', () => {
  for (const scenario of SCENARIOS.filter(({ group }) => group === 'cold start')) {
    test(`${scenario.name}: found from 20 permits`, () => {
      expect(judge(scenario, SEEDS).misses).toEqual([]);
    });
  }

  test('a baseline learnt under load is found out', () => {
    // 20 permits on 5 slots: the first median is four times the service time.
    const world = new World({ ...ORIGIN, slots: 5, seed: 302 });
    world.poisson(SHEDDABLE, 300, 0, 40_000);
    world.run(40_500);
    expect(world.workers[0]?.gate.view(40_000).baselineMs).toBeLessThan(90);
    expect(world.report.goodput(15_000, 40_000) / 100).toBeGreaterThan(0.93);
  });
});
