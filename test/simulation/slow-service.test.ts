/** A service that is merely slow is not shed: the bounds are in suite.ts, other ways to be slow are here. */
import { describe, expect, test } from 'vitest';
import { assertGroups } from './assert-groups.ts';
import { World } from './model.ts';
import { PrototypeGate } from './peers/prototype.ts';
import { CAPACITY, CRITICAL, DEFAULT, ORIGIN, SHEDDABLE, steady } from './loads.ts';
import { turnsSlow } from './scenarios/slowness.ts';

const SEEDS = [201, 202, 203, 204, 205] as const;

assertGroups('slow service', 'mix');

describe('a service turns slow', () => {
  test('the prototype sheds a quarter and more in the same five seconds', () => {
    const { report } = turnsSlow(SEEDS[0], 0, 1, (policy, random) => new PrototypeGate(policy, random));
    expect(report.shedRatio(10_000, 15_000)).toBeGreaterThan(0.2);
  });

  test('answers slower than the SLA are served as if there were no limit', () => {
    for (const seed of SEEDS.slice(0, 3)) {
      const options = { slaMs: 250, slots: 40, meanMs: 25, seed } as const;
      const goodput: number[] = [];
      for (const mode of ['enforce', 'off'] as const) {
        const world = new World({ ...options, policy: { mode } });
        world.poisson(DEFAULT, 160, 0, 40_000);
        world.clock.at(10_000, () => {
          world.service.meanMs = 150;
        });
        world.run(41_000);
        goodput.push(world.report.goodput(10_000, 40_000));
      }
      expect(goodput[0] ?? 0).toBeGreaterThan(0.95 * (goodput[1] ?? Number.NaN));
    }
  });

  test('slow and therefore overloaded: half the speed at 0.7 of the old capacity keeps the new one', () => {
    for (const seed of SEEDS.slice(0, 3)) {
      const world = new World({ slaMs: 250, slots: 40, meanMs: 25, seed });
      world.poisson(CRITICAL, 320, 0, 30_000);
      world.poisson(SHEDDABLE, 800, 0, 30_000);
      world.clock.at(8000, () => {
        world.service.meanMs = 50;
      });
      world.run(30_500);
      const critical = world.report.tally(9000, 30_000, [CRITICAL]);
      expect(world.report.goodput(10_000, 30_000) / 800).toBeGreaterThan(0.93);
      expect(critical.good / critical.offered).toBeGreaterThan(0.98);
    }
  });

  test('nothing stays at the floor: a service that slowed down in ten seconds gets its permits back', () => {
    for (const seed of SEEDS.slice(0, 3)) {
      const world = new World({ slaMs: 500, slots: 200, meanMs: 50, seed });
      world.poisson(DEFAULT, 120, 0, 60_000);
      world.clock.every(100, (now) => {
        if (now > 10_000 && now <= 20_000) world.service.meanMs = 50 + (now - 10_000) / 40;
      });
      world.run(61_000);
      expect(world.report.shedRatio(45_000, 60_000)).toBeLessThan(0.02);
    }
  });

  test('a heavier mix is not congestion: a fifth of the requests four times as long sheds next to nothing', () => {
    // Two services behind one: the mean and the spread grow, the load stays at 0.4 of what is then the capacity.
    for (const seed of SEEDS.slice(0, 3)) {
      const world = new World({ ...ORIGIN, seed });
      world.poisson(DEFAULT, 0.25 * CAPACITY, 0, 30_000);
      world.clock.at(10_000, () => {
        world.service.meanMs = 80;
        world.service.sigma = 0.9;
      });
      world.run(31_000);
      expect(world.report.shedRatio(0, 30_000)).toBeLessThan(0.005);
    }
  });

  test('when the service is fast again, so is the baseline', () => {
    const world = new World({ slaMs: 500, slots: 200, meanMs: 50, seed: 9 });
    world.poisson(DEFAULT, 120, 0, 60_000);
    world.clock.at(10_000, () => {
      world.service.meanMs = 300;
    });
    world.clock.at(30_000, () => {
      world.service.meanMs = 50;
    });
    world.run(60_500);
    expect(world.workers[0]?.gate.view(60_000).baselineMs).toBeLessThan(60);
    expect(world.report.tally(30_000, 60_000).shed).toBe(0);
  });

  test('a steady service is judged alike by each seed', () => {
    const limits = SEEDS.map(
      (seed) => steady(0.6 * CAPACITY, 20_000, { ...ORIGIN, seed }).workers[0]?.gate.view(20_000).slow,
    );
    expect(limits).toEqual(SEEDS.map(() => false));
  });
});
