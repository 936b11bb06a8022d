/** Capacity that is not known yet, or moves, and nobody tells. */
import { expect, test } from 'vitest';
import { assertGroups } from './assert-groups.ts';
import { SHEDDABLE, ORIGIN } from './loads.ts';
import { World } from './model.ts';

assertGroups('cold start', 'moving capacity');

test('a baseline learnt under load is found out', () => {
  // 20 permits on 5 slots: the first median is four times the service time.
  const world = new World({ ...ORIGIN, slots: 5, seed: 302 });
  world.poisson(SHEDDABLE, 300, 0, 40_000);
  world.run(40_500);
  expect(world.workers[0]?.gate.view(40_000).baselineMs).toBeLessThan(90);
  expect(world.report.goodput(15_000, 40_000) / 100).toBeGreaterThan(0.93);
});
