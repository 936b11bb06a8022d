/** Answers that must not be taken for speed, and callers who leave: the bounds are in suite.ts. */
import { expect, test } from 'vitest';
import { assertGroups } from './assert-groups.ts';
import { CAPACITY, DEFAULT, ORIGIN } from './loads.ts';
import { World } from './model.ts';

assertGroups('faults');

test('impatient callers do not hide an overload', () => {
  // Everybody leaves after 300 ms, whether it waits or is being served.
  for (const seed of [401, 402, 403]) {
    const world = new World({ ...ORIGIN, seed, timeoutMs: 300 });
    world.poisson(DEFAULT, 3 * CAPACITY, 0, 12_000);
    world.run(12_500);
    expect(world.report.goodput(2000, 12_000) / CAPACITY).toBeGreaterThan(0.9);
  }
});
