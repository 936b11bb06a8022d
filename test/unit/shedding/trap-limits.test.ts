/**
 * Traps 3, 13 and 19 of the design, by name, where virtual time says it best. Bounds, stated before: at 1.1 of the
 * capacity the limit is after five minutes at most half as much again as after thirty seconds; the loop's pressure reaches 0.98 and
 * no more; a class alone on the line, however unimportant, is refused nothing at 0.7 of the capacity and has 95 % of it at
 * twice. Trap 22, sixteen workers in front of five slots, is a scenario of the simulation: it falls short of its bound.
 */
import { expect, test } from 'vitest';
import { LoopPressure } from '../../../src/shedding/pressure.ts';
import { CAPACITY, DEFAULT, ORIGIN, SHEDDABLE } from '../../simulation/loads.ts';
import { World } from '../../simulation/model.ts';

const SEEDS = [1, 2, 3] as const;

test('mild overload does not grow the limit for ever', () => {
  const world = new World({ ...ORIGIN, seed: 3 });
  const gate = world.workers[0]?.gate;
  world.poisson(DEFAULT, 1.1 * CAPACITY, 0, 300_000);
  let early = 0;
  let late = 0;
  for (let second = 1; second <= 300; second += 1) {
    world.run(second * 1000);
    const limit = gate?.view(world.clock.now).limit ?? 0;
    if (second > 20 && second <= 40) early = Math.max(early, limit);
    if (second > 240) late = Math.max(late, limit);
  }
  expect(late).toBeLessThanOrEqual(1.5 * early);
  expect(world.report.goodput(2000, 300_000) / CAPACITY).toBeGreaterThan(0.95);
});

test('pressure reaches 0.98, and no more', () => {
  const pressure = new LoopPressure(250, 0);
  let most = 0;
  // Turns of 400 ms, all of them busy.
  for (let now = 400; now <= 60_000; now += 400) {
    pressure.beat(now, 1);
    most = Math.max(most, pressure.view(now).pressure);
  }
  expect(most).toBeCloseTo(0.98, 6);
});

test('ceilings waste nothing: a class alone on the line has all there is', () => {
  for (const seed of SEEDS) {
    const below = new World({ ...ORIGIN, seed });
    below.poisson(SHEDDABLE, 0.7 * CAPACITY, 0, 30_000);
    below.run(30_500);
    expect(below.report.tally(0, 30_000).shed).toBe(0);
    const above = new World({ ...ORIGIN, seed });
    above.poisson(SHEDDABLE, 2 * CAPACITY, 0, 20_000);
    above.run(20_500);
    expect(above.report.goodput(2000, 20_000) / CAPACITY).toBeGreaterThan(0.95);
  }
});
