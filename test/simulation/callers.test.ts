/** Callers who try again, call too often, go away, read slowly: what the gateway does, and that the model has them. */
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../src/kernel/random.ts';
import { assertGroups } from './assert-groups.ts';
import { persistent, zipf } from './callers.ts';
import type { Outcome } from './flow.ts';
import { ORIGIN, SHEDDABLE } from './loads.ts';
import { World } from './model.ts';

assertGroups('callers');

describe('callers in the model', () => {
  test('try as often as they say, at the times that they say', () => {
    const world = new World({ ...ORIGIN, seed: 1 });
    world.service.fault = () => 'error500';
    const ends: Outcome[] = [];
    world.send(
      persistent(
        world,
        { rank: SHEDDABLE, done: (_now, outcome) => ends.push(outcome) },
        { kind: 'fixed', tries: 3, afterMs: 250 },
        seededRandom(1),
      ),
    );
    world.run(2000);
    const from = [0, 200, 500, 600];
    expect(from.map((at) => world.report.tally(at, at + 100).offered)).toEqual([1, 1, 1, 0]);
    expect(world.report.tally(0, 2000)).toMatchObject({ offered: 3, failed: 3 });
    expect(ends).toEqual(['failed']);
  });

  test('who goes away frees the slot of a service that notices', () => {
    const world = new World({ ...ORIGIN, slots: 1, sigma: 0, seed: 1 });
    world.service.quits = true;
    world.send({ rank: SHEDDABLE, patienceMs: 10 });
    world.send({ rank: SHEDDABLE });
    world.run(200);
    expect(world.report.tally(0, 200)).toMatchObject({ offered: 2, left: 1, good: 1 });
    expect(world.report.latencyMs(1, 0, 200)).toBe(60);
    expect(world.service.busySlotMs).toBe(60);
    expect(world.service.deserted).toEqual({ beforeMs: 10, afterMs: 0 });
  });

  test('a few of them call most', () => {
    const next = zipf(100, 1, seededRandom(3));
    const counts = Array.from({ length: 101 }, () => 0);
    for (let i = 0; i < 10_000; i += 1) {
      const id = next();
      counts[id] = (counts[id] ?? 0) + 1;
    }
    expect(counts[0]).toBe(0);
    // 1 ÷ (1 + 1/2 + … + 1/100) = 0.193.
    expect((counts[1] ?? 0) / 10_000).toBeCloseTo(0.193, 1);
    expect((counts[10] ?? 0) / (counts[1] ?? 1)).toBeCloseTo(0.1, 1);
  });
});
