/** What an operator is told of an override, and who hears of it in which order; there is no store here, or a lost one. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { MOST_OVERRIDES } from '../../../src/limits/override-book.ts';
import type { PeekFigures } from '../../../src/io/client-peek.ts';
import type { BlockFigures } from '../../../src/io/guard/guards.ts';
import { ACME, bench, known, lost, OWN, SHARED, type Script } from './admin-limits-bench.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

const FIGURES = { ratePerSecond: 5, burst: 8, ttlMs: 60_000 };
const obeying: Script = () => known([OWN, SHARED]);

describe('an override', () => {
  test('is with the workers before the operator has an answer, and stands in it', async () => {
    const { limits, asked, told } = bench([obeying, obeying], false);
    const result = await limits.override('acme', FIGURES, 'admin');
    expect(asked).toEqual(['0 look', '1 look', 'told limit-overrides', '0 obey', '1 obey']);
    const entries = [{ bucket: ACME.bucket, ratePerSecond: 5, burst: 8, leftMs: 60_000 }];
    expect(told).toEqual([{ type: 'limit-overrides', entries, gone: [], filled: [] }]);
    const note = { until: '2023-11-14T22:14:21.000Z', by: 'edge-1' };
    expect(result).toMatchObject({
      state: 'known',
      quota: {
        client: 'acme',
        scope: 'gateway',
        override: { rate: '5/s', burst: 8, ...note },
        limits: [
          { level: 'client', override: note },
          { level: 'global', shared: true },
        ],
      },
    });
    // The client's own rate is another, not that of all.
    expect(result).not.toHaveProperty('quota.limits.1.override');
  });

  test('without a burst has one second of its rate, at least one unit and enough for every route', async () => {
    const { limits, told } = bench([obeying], false);
    for (const [ratePerSecond, burst] of [
      [20, 20],
      [7.5, 8],
    ] as const) {
      await limits.override('acme', { ratePerSecond, burst: undefined, ttlMs: 1000 }, 'admin');
      expect(told.at(-1)).toMatchObject({ entries: [{ ratePerSecond, burst }] });
    }
  });

  test.each([
    [{ ...FIGURES, burst: 4 }, 'a burst of 4 can never serve a request that costs 5'],
    [{ ...FIGURES, ratePerSecond: 0.1, burst: undefined }, 'a burst of 1 can never serve'],
    [{ ...FIGURES, ratePerSecond: 0 }, 'more than 0 units a second'],
    [{ ...FIGURES, ratePerSecond: 2_000_000 }, 'at most 1,000,000 units'],
    [{ ...FIGURES, ratePerSecond: 1e-6, burst: 1000 }, 'fills within a year'],
  ])('that can never be kept is refused and changes nothing', async (figures, why) => {
    const { limits, told } = bench([obeying], false);
    const result = await limits.override('acme', figures, 'admin');
    expect(result).toMatchObject({ state: 'invalid', detail: expect.stringContaining(why) });
    expect(told).toEqual([]);
  });

  test('of nobody, or with no worker to say who is meant, changes nothing', async () => {
    for (const [script, state] of [
      [() => ({ state: 'unknown' as const }), 'unknown'],
      [() => ({ state: 'unavailable' as const, reason: 'starting' }), 'unavailable'],
    ] as const) {
      const { limits, told } = bench([script], false);
      expect(await limits.override('acme', FIGURES, 'admin')).toMatchObject({ state });
      expect(told).toEqual([]);
    }
  });

  test('of a caller that has used nothing yet is set all the same, and then known', async () => {
    const untouched: Script = () => known([{ ...OWN, remaining: 10, fullMs: 0 }], false);
    const { limits } = bench([untouched], false);
    expect((await limits.look('ip:x')).state).toBe('unknown');
    expect((await limits.override('ip:x', FIGURES, 'admin')).state).toBe('known');
    expect((await limits.look('ip:x')).state).toBe('known');
  });

  test('is set while the store is lost, and says where it holds', async () => {
    const { limits } = bench([() => lost]);
    const result = await limits.override('acme', FIGURES, 'admin');
    expect(result).toMatchObject({
      state: 'known',
      quota: { client: 'acme', workers: { asked: 1, answered: 0 }, limits: [], override: { burst: 8 } },
    });
  });

  test('is one line when it is set, one when it is removed, one when it has ended', async () => {
    const { limits, logged, clock } = bench([obeying], false);
    await limits.override('acme', FIGURES, 'admin 127.0.0.1');
    await limits.fill('acme', 'admin ::1');
    await limits.override('acme', { ...FIGURES, ttlMs: 500 }, 'admin 127.0.0.1');
    clock.now += 500;
    await vi.advanceTimersByTimeAsync(500);
    const line = { client: 'acme', rate: '5/s', burst: 8, gateway: 'edge-1' };
    expect(logged).toEqual([
      [
        { ...line, until: expect.any(String), ttlMs: 60_000, scope: 'gateway', by: 'admin 127.0.0.1' },
        'limit override set',
      ],
      [{ ...line, until: expect.any(String), scope: 'gateway', by: 'admin ::1' }, 'limit override removed'],
      [expect.objectContaining({ ttlMs: 500 }), 'limit override set'],
      [{ ...line, until: '2023-11-14T22:13:21.500Z' }, 'limit override ended'],
    ]);
    expect((await limits.look('acme')) as object).not.toHaveProperty('quota.override');
  });

  test('finds no place beside ten thousand others, and replaces its own', async () => {
    const { limits, limitOverrides } = bench([obeying], false);
    await limits.override('acme', FIGURES, 'admin');
    for (let i = 1; i < MOST_OVERRIDES; i++) {
      const bucket = String(i).padStart(22, '0');
      await limitOverrides.set({ ...FIGURES, bucket, hashed: null, client: bucket, by: 'admin' });
    }
    const other = { ...FIGURES, bucket: 'b'.repeat(22), hashed: null, client: 'b', by: 'admin' };
    expect(await limitOverrides.set(other)).toBeUndefined();
    expect((await limits.override('acme', FIGURES, 'admin')).state).toBe('known');
  });
});

test('an override that another operator ends before it is shared is not called one too many', async () => {
  const { limits, limitOverrides, logged } = bench([obeying], false);
  const order = { ...FIGURES, bucket: ACME.bucket, hashed: null, client: 'acme', by: 'one' };
  await limitOverrides.set(order);
  const [removed, set] = await Promise.all([
    limitOverrides.remove(ACME.bucket, 'two'),
    limitOverrides.set(order),
  ]);
  expect([removed, set]).toEqual(['gateway', 'gateway']);
  expect(limitOverrides.find(ACME.bucket)).toBeUndefined();
  expect(logged.map(([, message]) => message)).toEqual([
    'limit override set',
    'limit override set',
    'limit override removed',
  ]);
  expect((await limits.override('acme', FIGURES, 'three')).state).toBe('known');
});

describe('a filling', () => {
  test('ends the override first, so that the full bucket is that of the tier', async () => {
    const { limits, asked, told } = bench([obeying], false);
    await limits.override('acme', FIGURES, 'admin');
    asked.length = 0;
    const result = await limits.fill('acme', 'admin');
    expect(asked).toEqual(['0 look', 'told limit-overrides', '0 fill', '0 release']);
    expect(told.at(-1)).toMatchObject({ entries: [], gone: [ACME.bucket] });
    expect(result).not.toHaveProperty('quota.override');
  });

  test('while the store is lost ends the override all the same, and says that this is all', async () => {
    let script: Script = obeying;
    const { limits, told } = bench([(act) => script(act)], false);
    await limits.override('acme', FIGURES, 'admin');
    script = () => lost;
    const result = await limits.fill('acme', 'admin');
    expect(result).toMatchObject({
      state: 'unavailable',
      detail: expect.stringMatching(/nothing was filled\. The override was removed\.$/),
    });
    expect(told.at(-1)).toMatchObject({ gone: [ACME.bucket] });
  });
});

describe('a peek', () => {
  const level = (more: Partial<PeekFigures>): PeekFigures => ({
    level: 'client',
    enforced: true,
    remaining: 0,
    leased: 0,
    waitMs: 0,
    never: false,
    ...more,
  });
  const told = async (cost: number, ...workers: PeekFigures[][]): Promise<unknown> => {
    const scripts = workers.map(
      (levels): Script =>
        () =>
          known([OWN], true, { route: '/', cost, blocks: [], levels }),
    );
    const result = await bench(scripts).limits.look('acme', { route: '/', cost });
    return (result as { quota: { peek: unknown } }).quota.peek;
  };
  const passes = { ok: true, status: 0, code: '', refusedBy: '', retryAfterMs: 0, observed: [] };

  test('passes with room, or with what one worker holds, and not with what two hold together', async () => {
    expect(await told(3, [level({ remaining: 9 })])).toMatchObject({ route: '/', cost: 3, ...passes });
    const lacking = { remaining: 1, waitMs: 500 };
    expect(await told(3, [level({ ...lacking, leased: 2 })], [level(lacking)])).toMatchObject(passes);
    expect(
      await told(3, [level({ ...lacking, leased: 1 })], [level({ ...lacking, leased: 1 })]),
    ).toMatchObject({
      ok: false,
      status: 429,
      code: 'SPW_RATE_CLIENT',
      refusedBy: 'client',
      retryAfterMs: 500,
    });
  });

  test('is refused by the first level, after the longest wait, and tells who only observes', async () => {
    const levels = [
      level({ waitMs: 10, enforced: false }),
      level({ level: 'route', waitMs: 200 }),
      level({ level: 'global', waitMs: 900 }),
    ];
    expect(await told(1, levels)).toMatchObject({
      ok: false,
      code: 'SPW_RATE_ROUTE',
      refusedBy: 'route',
      retryAfterMs: 900,
      observed: ['client'],
    });
    expect(await told(1, [level({ level: 'global', waitMs: 900 })])).toMatchObject({
      status: 503,
      code: 'SPW_RATE_GLOBAL',
    });
  });

  test('of more than a bucket holds has no time to wait; of nothing passes', async () => {
    expect(await told(50, [level({ waitMs: 10, never: true })])).toMatchObject({
      ok: false,
      retryAfterMs: null,
    });
    expect(await told(0, [level({ remaining: 0 })])).toMatchObject(passes);
  });

  test('meets a block first, then the requests in flight, then the rates', async () => {
    const peeked = async (enforced: boolean, inFlight: number, blocks: readonly BlockFigures[]) => {
      const levels = [level({ waitMs: 200 })];
      const slots = { most: 2, enforced, inFlight, held: inFlight };
      const answer = { ...known([OWN], true, { route: '/', cost: 1, blocks, levels }), slots };
      const result = await bench([() => answer, () => answer]).limits.look('acme', { route: '/', cost: 1 });
      return (result as { quota: { peek: unknown } }).quota.peek;
    };
    const guard = {
      kind: 'guard',
      name: '/',
      code: 'SPW_RATE_ROUTE',
      enforced: true,
      restMs: 5000.5,
    } as const;
    const penalty = { ...guard, kind: 'penalty', code: 'SPW_RATE_CLIENT', restMs: 7000 } as const;
    const refusal = { ok: false, status: 429, observed: [] };
    expect(await peeked(true, 1, [guard])).toMatchObject({
      ...refusal,
      code: 'SPW_RATE_ROUTE',
      refusedBy: 'guard',
      retryAfterMs: 5001,
    });
    expect(await peeked(true, 1, [guard, penalty])).toMatchObject({
      refusedBy: 'penalty',
      retryAfterMs: 7000,
    });
    // One in flight at each of the two workers are all that may be.
    const full = { code: 'SPW_CONCURRENCY_CLIENT', refusedBy: 'concurrency', retryAfterMs: 1000 };
    expect(await peeked(true, 1, [])).toMatchObject({ ...refusal, ...full });
    expect(await peeked(true, 0, [])).toMatchObject({ ...refusal, refusedBy: 'client', retryAfterMs: 200 });
    expect(await peeked(false, 1, [{ ...guard, enforced: false }])).toMatchObject({
      refusedBy: 'client',
      observed: ['guard', 'concurrency'],
    });
  });

  test('of a route that there is none of is told the routes', async () => {
    const { limits } = bench([() => ({ state: 'no-route', routes: ['/', '/dear'] })]);
    const result = await limits.look('acme', { route: '/x', cost: undefined });
    expect(result).toEqual({ state: 'no-route', routes: ['/', '/dear'] });
  });
});
