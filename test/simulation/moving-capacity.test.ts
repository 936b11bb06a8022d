/**
 * Capacity moves, nobody tells. Bounds, stated before: three seconds after 20 → 5 slots at 800/s goodput is 0.85 of the new
 * capacity, after 5 → 80 at 2 000/s 0.9; critical (a tenth of the load) lives.
 */
import { describe, expect, test } from 'vitest';
import { World } from './model.ts';
import { CRITICAL, DEFAULT, ORIGIN, SHEDDABLE } from './scenarios.ts';

const SEEDS = [301, 302, 303] as const;

function moves(seed: number, workers: number): World {
  const world = new World({ ...ORIGIN, seed, workers });
  const offered = (now: number): number => (now < 17_000 ? 800 : 2000);
  world.poisson(CRITICAL, (now) => 0.1 * offered(now), 0, 30_000);
  world.poisson(DEFAULT, (now) => 0.9 * offered(now), 0, 30_000);
  world.clock.at(5000, () => world.service.setSlots(5));
  world.clock.at(17_000, () => world.service.setSlots(80));
  world.run(30_500);
  return world;
}

describe('capacity moves under load', () => {
  for (const workers of [1, 2]) {
    test(`20 → 5 → 80 slots is followed within three seconds by ${workers} worker(s)`, () => {
      let few = 0;
      for (const seed of SEEDS) {
        const { report } = moves(seed, workers);
        few += report.goodput(8000, 17_000) / 100 / SEEDS.length;
        expect(report.goodput(8000, 17_000) / 100).toBeGreaterThan(0.75);
        expect(report.goodput(20_000, 30_000) / 1600).toBeGreaterThan(0.9);
        const critical = report.tally(20_000, 30_000, [CRITICAL]);
        expect(critical.shed).toBe(0);
        expect(critical.good / critical.offered).toBeGreaterThan(0.99);
        // At 5 slots critical alone is 0.8 of the capacity; two workers cannot pool five slots.
        const scarce = report.tally(8000, 17_000, [CRITICAL]);
        expect(scarce.good / scarce.offered).toBeGreaterThan(workers === 1 ? 0.9 : 0.65);
      }
      expect(few).toBeGreaterThan(0.85);
    });
  }
});

describe('cold start in 3 C', () => {
  for (const slots of [5, 40, 400]) {
    test(`${slots} slots are found from 20 permits`, () => {
      for (const seed of SEEDS) {
        const world = new World({ ...ORIGIN, slots, seed });
        const capacity = world.service.capacityPerSecond;
        world.poisson(CRITICAL, 0.3 * capacity, 0, 8000);
        world.poisson(SHEDDABLE, 2.7 * capacity, 0, 8000);
        world.run(8500);
        expect(world.report.goodput(4500, 8000) / capacity).toBeGreaterThan(0.8);
      }
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
