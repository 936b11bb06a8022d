/** Several workers and gateways share a service without a word, or with one each tenth of a second. */
import { describe, expect, test } from 'vitest';
import { assertGroups } from './assert-groups.ts';
import type { Gate } from './gate.ts';
import { ORIGIN, SHEDDABLE } from './loads.ts';
import { World } from './model.ts';

assertGroups('workers');

describe('what workers share', () => {
  test('is summed over the others of one gateway, and heard later', () => {
    const heard: { worker: number; at: number; others: object }[] = [];
    let made = 0;
    function sharing(): Gate {
      const worker = made++;
      return {
        enter: () => undefined,
        leave: () => undefined,
        tick: () => undefined,
        view: () => ({ limit: 1, inFlight: 0, queueDepth: 0, baselineMs: 0, p50Ms: 0, slow: false }),
        share: () => ({ one: 1, mine: 10 ** worker, name: 'not a number' }),
        hear: (others, at) => heard.push({ worker, at, others }),
      };
    }
    const world = new World({
      ...ORIGIN,
      seed: 1,
      workers: 3,
      gateways: 2,
      broadcast: { everyMs: 100, delayMs: 20 },
      gate: sharing,
    });
    world.run(250);
    expect(heard).toHaveLength(12);
    expect(heard.slice(0, 6)).toEqual(
      [110, 101, 11, 110_000, 101_000, 11_000].map((mine, worker) => ({
        worker,
        at: 120,
        others: { one: 2, mine },
      })),
    );
  });

  test('requests fall to workers in the shares asked for', () => {
    const world = new World({ ...ORIGIN, seed: 2, workers: 2, spread: [0.25, 0.75] });
    world.poisson(SHEDDABLE, 200, 0, 20_000);
    world.run(20_500);
    const goods = world.workers.map(({ good }) => good);
    expect((goods[0] ?? 0) / ((goods[0] ?? 0) + (goods[1] ?? 0))).toBeCloseTo(0.25, 1);
  });
});
