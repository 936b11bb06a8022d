/**
 * Answers that must not be taken for speed. Bounds, stated before: the limit is no higher after fast errors than before,
 * the baseline no lower; a service whose every answer is an error is not also refused by us.
 */
import { describe, expect, test } from 'vitest';
import { World } from './model.ts';
import { CAPACITY, DEFAULT, ORIGIN, SHEDDABLE } from './scenarios.ts';

const SEEDS = [401, 402, 403] as const;

function limitAt(world: World): { limit: number; baselineMs: number } {
  const gate = world.workers[0]?.gate;
  if (gate === undefined) throw new Error('a world has workers');
  return gate.view(world.clock.now);
}

describe('errors', () => {
  test('fast errors never raise the limit', () => {
    for (const seed of SEEDS) {
      const world = new World({ ...ORIGIN, seed });
      world.service.fault = (random) => (world.clock.now > 8000 && random() < 0.8 ? 'error500' : undefined);
      world.poisson(DEFAULT, 0.7 * CAPACITY, 0, 20_000);
      world.run(8000);
      const before = limitAt(world);
      world.run(20_500);
      const after = limitAt(world);
      expect(after.limit).toBeLessThanOrEqual(before.limit);
      expect(after.baselineMs).toBeGreaterThan(0.9 * before.baselineMs);
      expect(world.report.tally(0, 20_000).shed).toBe(0);
    }
  });

  test('a 404 scan does not lower the baseline', () => {
    for (const seed of SEEDS) {
      const world = new World({ ...ORIGIN, seed });
      world.service.fault = (random) =>
        world.clock.now > 5000 && random() < 0.9 ? 'notFound404' : undefined;
      world.poisson(DEFAULT, 0.6 * CAPACITY, 0, 5000);
      world.poisson(SHEDDABLE, 1500, 5000, 15_000);
      world.run(5000);
      const before = limitAt(world);
      world.run(15_500);
      const after = limitAt(world);
      expect(after.baselineMs).toBeGreaterThan(0.85 * before.baselineMs);
    }
  });

  test('constant 503s do not floor the limit', () => {
    for (const seed of SEEDS) {
      const world = new World({ ...ORIGIN, seed });
      world.service.fault = () => (world.clock.now > 5000 ? 'busy503' : undefined);
      world.poisson(DEFAULT, 0.5 * CAPACITY, 0, 40_000);
      world.run(40_500);
      expect(limitAt(world).limit).toBeGreaterThan(10);
      expect(world.report.shedRatio(10_000, 40_000)).toBeLessThan(0.05);
    }
  });

  test('a tenth of 503s costs less than another tenth', () => {
    for (const seed of SEEDS) {
      const world = new World({ ...ORIGIN, seed });
      world.service.fault = (random) => (random() < 0.1 ? 'busy503' : undefined);
      world.poisson(DEFAULT, 0.5 * CAPACITY, 0, 60_000);
      world.run(60_500);
      expect(world.report.shedRatio(0, 60_000)).toBeLessThan(0.1);
    }
  });
});

describe('timeouts and callers that leave', () => {
  test('stable timeouts are drops, not calm', () => {
    const world = new World({ ...ORIGIN, sigma: 0, seed: 4, timeoutMs: 1000 });
    world.poisson(DEFAULT, 0.7 * CAPACITY, 0, 25_000);
    world.clock.at(8000, () => {
      world.service.meanMs = 5000;
    });
    world.run(8000);
    const before = limitAt(world);
    world.run(25_500);
    // Timeouts that all look alike are a narrow distribution: a limiter that sees only latency grows on them.
    expect(limitAt(world).limit).toBeLessThanOrEqual(before.limit);
  });

  test('when the answers come back, so does the service within seconds', () => {
    for (const seed of SEEDS) {
      const world = new World({ ...ORIGIN, seed, timeoutMs: 1000 });
      world.poisson(DEFAULT, 0.7 * CAPACITY, 0, 40_000);
      world.clock.at(8000, () => world.service.setSlots(0));
      world.clock.at(12_000, () => world.service.setSlots(20));
      world.run(40_500);
      const after = world.report.tally(20_000, 40_000);
      expect(after.good / after.offered).toBeGreaterThan(0.98);
    }
  });

  test('impatient callers do not hide an overload', () => {
    // Everybody leaves after 300 ms, whether it waits or is being served.
    for (const seed of SEEDS) {
      const world = new World({ ...ORIGIN, seed, timeoutMs: 300 });
      world.poisson(DEFAULT, 3 * CAPACITY, 0, 12_000);
      world.run(12_500);
      expect(world.report.goodput(2000, 12_000) / CAPACITY).toBeGreaterThan(0.9);
    }
  });
});
