/**
 * The gateway's own event loop in the way. Bounds, stated before: a closed loop of 200 connections on a fast service is
 * refused nothing after the first second, however slow the gateway is; a collector's pause of 100 ms each second sheds
 * nobody at 0.7 C; a loop offered twice what it can turn over keeps serving, critical first.
 */
import { describe, expect, test } from 'vitest';
import { World, type WorldOptions } from './model.ts';
import { CRITICAL, DEFAULT, ORIGIN, SHEDDABLE } from './scenarios.ts';

const SEEDS = [501, 502, 503] as const;

describe('a closed loop of 200 connections on a 2 ms service', () => {
  for (const loopMs of [0.1, 0.25, 0.5]) {
    test(`nothing is refused after the first second where a request costs the loop ${loopMs} ms`, () => {
      for (const seed of SEEDS) {
        const cost = { requestMs: loopMs / 2, answerMs: loopMs / 2, shedMs: loopMs / 5 };
        const world = new World({ seed, slaMs: 250, slots: 64, meanMs: 2, cost });
        world.closedLoop(DEFAULT, 200, 0);
        world.run(8000);
        expect(world.report.tally(1000, 7500).shed).toBe(0);
        // The loop is the bottleneck and stays in full use.
        expect(world.report.goodput(1000, 7500)).toBeGreaterThan(0.95 * (1000 / loopMs));
      }
    });
  }

  test('cold code, five times slower for the first half second, changes nothing after the first second', () => {
    for (const seed of SEEDS) {
      const cost = { requestMs: 0.12, answerMs: 0.12, shedMs: 0.05 };
      const world = new World({ seed, slaMs: 250, slots: 64, meanMs: 2, cost });
      const loop = world.workers[0]?.loop;
      // Every 5 ms of the first 500 the loop loses 4 to the compiler.
      world.clock.every(5, (now) => {
        if (now < 500) loop?.block(4);
      });
      world.closedLoop(DEFAULT, 200, 0);
      world.run(6000);
      expect(world.report.tally(1000, 5500).shed).toBe(0);
    }
  });

  test('two workers on 100 connections each refuse nothing either', () => {
    const cost = { requestMs: 0.15, answerMs: 0.15, shedMs: 0.05 };
    const world = new World({ seed: 5, slaMs: 250, slots: 64, meanMs: 2, workers: 2, cost });
    world.closedLoop(DEFAULT, 200, 0);
    world.run(6000);
    expect(world.report.tally(1000, 5500).shed).toBe(0);
  });
});

describe('the loop itself', () => {
  test('a pause of 100 ms each second sheds nobody', () => {
    for (const seed of SEEDS) {
      const cost = { requestMs: 0.15, answerMs: 0.1, shedMs: 0.03 };
      const world = new World({ ...ORIGIN, seed, cost });
      world.poisson(DEFAULT, 280, 0, 20_000);
      world.clock.every(1000, () => world.workers[0]?.loop?.block(100));
      world.run(20_500);
      expect(world.report.tally(0, 20_000).shed).toBe(0);
    }
  });

  function twiceTheLoop(seed: number, options: Partial<WorldOptions>): World {
    const cost = { requestMs: 0.15, answerMs: 0.1, shedMs: 0.03 };
    const world = new World({ seed, slaMs: 250, slots: 400, meanMs: 20, cost, ...options });
    world.poisson(CRITICAL, 800, 0, 16_000);
    world.poisson(SHEDDABLE, (now) => (now > 3000 && now < 12_000 ? 7200 : 1000), 0, 16_000);
    world.run(17_000);
    return world;
  }

  test('offered twice what it can turn over, it refuses at the front and critical goes on', () => {
    for (const seed of SEEDS) {
      const { report } = twiceTheLoop(seed, {});
      const critical = report.tally(6000, 12_000, [CRITICAL]);
      expect(report.shedByCode.get('SPW_SHED_OVERLOAD') ?? 0).toBeGreaterThan(10_000);
      expect(critical.good / critical.offered).toBeGreaterThan(0.75);
      expect(report.goodput(6000, 12_000)).toBeGreaterThan(1400);
      // Two seconds after it is over everything is served again.
      const after = report.tally(14_000, 16_000);
      expect(after.good / after.offered).toBeGreaterThan(0.99);
    }
  });
});
