/**
 * More is offered than the service can serve, or nearly. The bounds are in suite.ts; peers must show their known faults, or
 * the simulator flatters.
 */
import { describe, expect, test } from 'vitest';
import { assertGroups } from './assert-groups.ts';
import { CAPACITY, DEFAULT, ORIGIN, overload, SHEDDABLE, steady } from './loads.ts';
import { World } from './model.ts';
import { PrototypeGate } from './peers/prototype.ts';
import type { Report } from './report.ts';

const SEEDS = [101, 102, 103, 104, 105] as const;

assertGroups('overload', 'critical', 'underload');

/** Twice the capacity; after three seconds three quarters of the slots are gone. */
function slotsLost(seed: number, limit: number | 'auto'): Report {
  const world = new World({ ...ORIGIN, seed, policy: { limit } });
  world.poisson(DEFAULT, 2 * CAPACITY, 0, 12_000);
  world.clock.at(3000, () => world.service.setSlots(5));
  world.run(12_500);
  return world.report;
}

test('the first second after the surge has all that is offered', () => {
  for (const seed of SEEDS.slice(0, 3)) {
    for (const workers of [1, 2]) {
      const world = new World({ ...ORIGIN, seed, workers });
      world.poisson(DEFAULT, 0.8 * CAPACITY, 0, 20_000);
      world.poisson(SHEDDABLE, 9.2 * CAPACITY, 5000, 12_000);
      world.run(20_500);
      const after = world.report.tally(12_500, 20_000);
      expect(after.good / after.offered).toBeGreaterThan(0.99);
      expect(after.shed).toBe(0);
    }
  }
});

test('an idle limit does not drift', () => {
  const world = steady(20, 120_000, { ...ORIGIN, seed: 1 });
  expect(world.workers[0]?.gate.view(120_000).limit).toBeLessThanOrEqual(20);
});

describe('peers show their known faults', () => {
  test('without a limit a surge of ten seconds leaves nothing in time for fifteen more', () => {
    const world = new World({ ...ORIGIN, seed: 3, policy: { mode: 'off' }, timeoutMs: 1e9 });
    world.poisson(DEFAULT, (now) => (now < 10_000 ? 2 : 0.7) * CAPACITY, 0, 25_000);
    world.run(25_500);
    expect(world.report.goodput(2000, 25_000) / CAPACITY).toBeLessThan(0.01);
  });

  test('a fixed limit tuned to the service holds, and is wrong when the capacity moves', () => {
    const tuned = overload(2, 12_000, { seed: 3, policy: { limit: 24 } });
    expect(tuned.report.goodput(2000, 12_000) / CAPACITY).toBeGreaterThan(0.95);
    // 24 permits on five slots are answered after a median of 240 ms, at the very edge of the SLA. No less than half
    // are in time only because the queue in front is ours, refuses early and adds next to no wait; a proxy whose own
    // queue waits as well has all of them late. So the bound is a comparison with the found limit on the same arrivals.
    // (The found limit's own bound, for each seed, is in suite.ts: this one is about the peer.)
    const sums = { fixed: 0, found: 0 };
    for (const seed of SEEDS) {
      const fixed = slotsLost(seed, 24);
      sums.fixed += fixed.goodput(6000, 12_000);
      sums.found += slotsLost(seed, 'auto').goodput(6000, 12_000);
      expect(fixed.tally(6000, 12_000).late / 600).toBeGreaterThan(0.25);
    }
    expect(sums.found / SEEDS.length / 100).toBeGreaterThan(0.9);
    expect(sums.fixed).toBeLessThan(0.75 * sums.found);
  });

  test('the prototype keeps goodput, with a longer tail than ours', () => {
    for (const seed of SEEDS.slice(0, 3)) {
      const prototype = overload(10, 12_000, {
        seed,
        gate: (policy, random) => new PrototypeGate(policy, random),
      });
      const ours = overload(10, 12_000, { seed });
      expect(prototype.report.goodput(2000, 12_000) / CAPACITY).toBeGreaterThan(0.95);
      expect(ours.report.latencyMs(0.99, 2000, 12_000)).toBeLessThan(
        prototype.report.latencyMs(0.99, 2000, 12_000),
      );
    }
  });
});
