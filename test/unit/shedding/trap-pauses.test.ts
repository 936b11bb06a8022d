/**
 * Trap 20 of the design, further than the pause of a collector: a worker that stood still for a second finds all that
 * came meanwhile at once. Bounds, stated before, at 0.7 of the capacity, three in ten critical: nobody critical is
 * refused, and two seconds later 95 % of what is offered is in time.
 */
import { expect, test } from 'vitest';
import { CAPACITY, CRITICAL, DEFAULT, ORIGIN } from '../../simulation/loads.ts';
import { World } from '../../simulation/model.ts';

test.each([1, 2, 3, 4, 5])(
  'a worker that stood still for a second refuses nobody critical (seed %i)',
  (seed) => {
    const world = new World({ ...ORIGIN, seed, cost: { requestMs: 0.1, answerMs: 0.1, shedMs: 0.03 } });
    world.poisson(CRITICAL, 0.21 * CAPACITY, 0, 12_000);
    world.poisson(DEFAULT, 0.49 * CAPACITY, 0, 12_000);
    world.clock.at(5000, () => world.workers[0]?.loop?.block(1000));
    world.run(12_500);
    expect(world.report.tally(0, 12_000, [CRITICAL]).shed).toBe(0);
    const after = world.report.tally(8000, 12_000);
    expect(after.good / after.offered).toBeGreaterThanOrEqual(0.95);
  },
);
