/**
 * Which worker is asked what when an operator looks at a client or fills its quota; workers are scripted, the questions
 * and their patience real, time is vitest's.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { QuotaView } from '../../../src/io/admin-port.ts';
import type { QuotaAnswer } from '../../../src/io/client-quota.ts';
import { bench, known, lost, OWN, SHARED, type Script } from './admin-limits-bench.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

describe('a look', () => {
  test("takes the store's figures once and adds what all workers hold, up to the burst", async () => {
    const { limits } = bench([
      () => known([{ ...OWN, leased: 2 }, SHARED]),
      () =>
        known([
          { ...OWN, leased: 1 },
          { ...SHARED, remaining: 9, leased: 5 },
        ]),
    ]);
    const result = await limits.look('acme');
    expect(result).toStrictEqual({
      state: 'known',
      quota: {
        client: 'acme',
        tier: 'free',
        store: 'redis',
        workers: { asked: 2, answered: 2 },
        blocks: [],
        limits: [
          {
            level: 'client',
            name: 'free',
            mode: 'enforce',
            shared: false,
            rate: '1/m',
            burst: 10,
            remaining: 7,
            leased: 3,
            retryAfterMs: 0,
            fullMs: 360_000,
          },
          {
            level: 'global',
            name: '',
            mode: 'enforce',
            shared: true,
            rate: '21/m',
            burst: 10,
            remaining: 9,
            leased: 5,
            retryAfterMs: 0,
            fullMs: 360_000,
          },
        ],
      },
    });
  });

  test('of a client whose token one worker has seen that worker says the tier, and its limits', async () => {
    const gold = { ...OWN, name: 'gold', burst: 50, remaining: 30 };
    const claimed = { ...known([gold, SHARED]), tier: 'gold', claimed: true };
    const slots = { most: 3, enforced: true, inFlight: 0, held: 0 };
    const others = { ...known([{ ...SHARED, leased: 5 }], false), tier: 'default', slots };
    const result = await bench([() => others, () => claimed, () => others]).limits.look('acme');
    expect(result).toMatchObject({
      quota: {
        tier: 'gold',
        workers: { asked: 3, answered: 3 },
        limits: [
          { level: 'client', name: 'gold', remaining: 30 },
          { level: 'global', leased: 10 },
        ],
      },
    });
    expect(result).not.toHaveProperty('quota.concurrency');
  });

  test('an empty bucket says when one unit is back, unless a worker still holds one', async () => {
    const empty = { ...OWN, remaining: 0, waitMs: 59_000 };
    for (const [leased, retryAfterMs] of [
      [0, 59_000],
      [1, 0],
    ] as const) {
      const result = await bench([() => known([{ ...empty, leased }])]).limits.look('acme');
      expect(result).toMatchObject({ quota: { limits: [{ remaining: leased, retryAfterMs }] } });
    }
  });

  test.each([
    [1000, '1000/s'],
    [0.5, '30/m'],
    [7 / 3600, '7/h'],
    [1.25, '75/m'],
    [Math.PI, '3.14159/s'],
  ])('a rate of %f a second is written %s', async (ratePerSecond, rate) => {
    const result = await bench([() => known([{ ...OWN, ratePerSecond }])]).limits.look('acme');
    expect(result).toMatchObject({ quota: { limits: [{ rate }] } });
  });

  test('a worker that is silent, or whose store is lost, is left out after 250 ms and the deadline', async () => {
    const { limits } = bench([() => undefined, () => lost, () => known([OWN])]);
    const told = vi.fn();
    const looking = limits.look('acme').finally(told);
    await vi.advanceTimersByTimeAsync(349);
    expect(told).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(told).toHaveBeenCalled();
    expect(await looking).toMatchObject({ state: 'known', quota: { workers: { asked: 3, answered: 1 } } });
  });

  test('without any figures it says why, in words for the store there is', async () => {
    expect(await bench([() => lost, () => lost]).limits.look('acme')).toStrictEqual({
      state: 'unavailable',
      detail: 'Redis is unavailable (ECONNREFUSED), so the quota is not known; nothing was changed.',
    });
    expect(await bench([() => ({ ...lost, reason: 'slow' })], false).limits.look('acme')).toMatchObject({
      detail: 'The limit store is unavailable (slow), so the quota is not known; nothing was changed.',
    });
    expect(await bench([]).limits.look('acme')).toMatchObject({
      detail: 'No worker answered in time, so the quota is not known.',
    });
  });

  test('shows what all workers have in flight, and each block as the worker that knows of the longest', async () => {
    const slots = { most: 4, enforced: true, inFlight: 1, held: 2 };
    const block = { kind: 'guard', name: '/login', code: 'SPW_RATE_ROUTE', enforced: true } as const;
    const penalty = { ...block, kind: 'penalty', name: 'free', enforced: false, restMs: 9 } as const;
    const { limits } = bench([
      () => ({ ...known([OWN]), slots, blocks: [{ ...block, restMs: 1000 }, penalty] }),
      () => ({ ...known([OWN]), slots, blocks: [{ ...block, restMs: 700 }] }),
      () => ({ ...known([OWN]), slots: { ...slots, inFlight: 0, held: 0 } }),
    ]);
    const result = await limits.look('acme');
    expect(result).toMatchObject({
      quota: {
        concurrency: { mode: 'enforce', allowed: 4, inFlight: 2, held: 4 },
        blocks: expect.arrayContaining([
          { by: 'guard', name: '/login', mode: 'enforce', retryAfterMs: 1000 },
          { by: 'penalty', name: 'free', mode: 'observe', retryAfterMs: 9 },
        ]),
      },
    });
    expect((result as { quota: QuotaView }).quota.blocks).toHaveLength(2);
    const full = { ...OWN, remaining: 10, fullMs: 0 };
    const busy = bench([() => ({ ...known([full], false), slots })]);
    expect(await busy.limits.look('ip:x')).toMatchObject({ state: 'known' });
  });

  test('who is not configured is known by what is missing from an own bucket or by a block, and by nothing else', async () => {
    const full = { ...OWN, remaining: 10, fullMs: 0 };
    expect(await bench([() => known([full, SHARED], false)]).limits.look('ip:x')).toEqual({
      state: 'unknown',
    });
    expect(await bench([() => known([full, SHARED])]).limits.look('acme')).toMatchObject({ state: 'known' });
    expect(await bench([() => known([OWN], false)]).limits.look('ip:x')).toMatchObject({ state: 'known' });
    const block = {
      kind: 'guard',
      name: '/login',
      code: 'SPW_RATE_ROUTE',
      enforced: true,
      restMs: 1,
    } as const;
    const blocked = { ...known([full, SHARED], false), blocks: [block] };
    const two = bench([() => known([full, SHARED], false), () => blocked]);
    expect(await two.limits.look('ip:x')).toMatchObject({ state: 'known' });
    expect(await bench([() => ({ state: 'unknown' })]).limits.look('x')).toEqual({ state: 'unknown' });
  });
});

describe('a filling', () => {
  const full = { ...OWN, remaining: 10, fullMs: 0 };
  const obeying: Script = (act) => known([act === 'look' ? OWN : full]);

  test('is done by one worker, and then all forget', async () => {
    const { limits, asked } = bench([obeying, obeying, obeying]);
    const result = await limits.fill('acme', 'me');
    expect(result).toMatchObject({ state: 'known', quota: { limits: [{ remaining: 10 }] } });
    expect(asked).toEqual(['0 look', '1 look', '2 look', '0 fill', '0 release', '1 release', '2 release']);
  });

  test('is done by a worker that has just reached the store', async () => {
    const { limits, asked } = bench([(act) => (act === 'look' ? lost : known([full])), obeying]);
    await limits.fill('acme', 'me');
    expect(asked).toContain('1 fill');
    expect(asked).not.toContain('0 fill');
  });

  test('of nobody, or with no store, changes nothing', async () => {
    for (const script of [() => lost, () => known([full], false), () => ({ state: 'unknown' as const })]) {
      const { limits, asked } = bench([script, script]);
      expect((await limits.fill('acme', 'me')).state).not.toBe('known');
      expect(asked).toEqual(['0 look', '1 look']);
    }
  });

  test.each([
    ['fails', (): QuotaAnswer => lost, 'ECONNREFUSED'],
    ['stays without an answer', (): undefined => undefined, 'no answer from the worker'],
  ] as const)('that %s is not called done, nor undone', async (_what, script, why) => {
    const { limits, asked } = bench([(act) => (act === 'fill' ? script() : known([OWN]))]);
    const filling = limits.fill('acme', 'me');
    await vi.advanceTimersByTimeAsync(400);
    const result = await filling;
    expect(result).toMatchObject({
      state: 'unavailable',
      detail: expect.stringContaining('is not known, so ask again'),
    });
    expect(result).toMatchObject({ detail: expect.stringContaining(why) });
    expect(asked).toEqual(['0 look', '0 fill']);
  });

  test('stands although no worker could say that it forgot', async () => {
    const { limits } = bench([(act) => (act === 'release' ? lost : obeying(act))]);
    expect(await limits.fill('acme', 'me')).toMatchObject({
      state: 'known',
      quota: { workers: { asked: 1, answered: 0 }, limits: [{ remaining: 10 }] },
    });
  });
});
