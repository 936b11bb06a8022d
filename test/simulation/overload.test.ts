/**
 * Bounds, stated before: from a cold start on, goodput ≥ 0.9 of the capacity (≥ 0.96 after two seconds), p99 of the
 * served within the SLA, critical never refused at 0.3 of the capacity. Peers must show their known faults, or the
 * simulator flatters.
 */
import { describe, expect, test } from 'vitest';
import { World } from './model.ts';
import { PrototypeGate } from './prototype.ts';
import type { Report } from './report.ts';
import { CAPACITY, CRITICAL, DEFAULT, ORIGIN, overload, SHEDDABLE, steady } from './scenarios.ts';
import { judge, SCENARIOS } from './suite.ts';

const SEEDS = [101, 102, 103, 104, 105] as const;

/** Twice the capacity; after three seconds three quarters of the slots are gone. */
function slotsLost(seed: number, limit: number | 'auto'): Report {
  const world = new World({ ...ORIGIN, seed, policy: { limit } });
  world.poisson(DEFAULT, 2 * CAPACITY, 0, 12_000);
  world.clock.at(3000, () => world.service.setSlots(5));
  world.run(12_500);
  return world.report;
}

describe('offered more than the service can serve', () => {
  for (const scenario of SCENARIOS.filter(({ group }) => group === 'overload')) {
    test(`${scenario.name}: goodput, latency and critical keep their bounds`, () => {
      expect(judge(scenario, SEEDS).misses).toEqual([]);
    });
  }

  for (const scenario of SCENARIOS.filter(({ group }) => group === 'critical')) {
    test(`${scenario.name}: critical lives`, () => {
      expect(judge(scenario, SEEDS.slice(0, 3)).misses).toEqual([]);
    });
  }

  test('critical alone at 0.9 C is never refused', () => {
    for (const seed of SEEDS.slice(0, 3)) {
      const world = new World({ ...ORIGIN, seed });
      world.poisson(CRITICAL, 0.9 * CAPACITY, 0, 30_000);
      world.run(30_500);
      expect(world.report.tally(0, 30_000).shed).toBe(0);
    }
  });

  test('critical alone above the capacity degrades, it does not collapse', () => {
    const world = new World({ ...ORIGIN, seed: 7 });
    world.poisson(CRITICAL, 2 * CAPACITY, 0, 15_000);
    world.run(15_500);
    expect(world.report.goodput(2000, 15_000) / CAPACITY).toBeGreaterThan(0.93);
  });

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

  test('the limit never dips to measure: five minutes of 2 C keep their goodput', () => {
    const { report } = overload(2, 300_000, { seed: 5, workers: 2 });
    expect(report.goodput(2000, 300_000) / CAPACITY).toBeGreaterThan(0.97);
    expect(report.latencyMs(0.99, 2000, 300_000)).toBeLessThan(ORIGIN.slaMs);
  });

  test('a square wave of 0.5 and 3 C each second keeps what it can', () => {
    for (const seed of SEEDS.slice(0, 3)) {
      const world = new World({ ...ORIGIN, seed });
      world.poisson(CRITICAL, 0.2 * CAPACITY, 0, 20_000);
      const high = (now: number): number => (Math.floor(now / 1000) % 2 === 1 ? 3 : 0.5);
      world.poisson(SHEDDABLE, (now) => (high(now) - 0.2) * CAPACITY, 0, 20_000);
      world.run(20_500);
      const critical = world.report.tally(2000, 20_000, [CRITICAL]);
      expect(world.report.goodput(2000, 20_000) / CAPACITY).toBeGreaterThan(0.7);
      expect(critical.good / critical.offered).toBeGreaterThan(0.97);
    }
  });
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

describe('offered less than the service can serve', () => {
  for (const scenario of SCENARIOS.filter(({ group }) => group === 'underload')) {
    test(scenario.name, () => {
      expect(judge(scenario, SEEDS.slice(0, 3)).misses).toEqual([]);
    });
  }

  test('an idle limit does not drift', () => {
    const world = steady(20, 120_000, { ...ORIGIN, seed: 1 });
    expect(world.workers[0]?.gate.view(120_000).limit).toBeLessThanOrEqual(20);
  });
});
