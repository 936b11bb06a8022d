import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../src/kernel/random.ts';
import type { Charge, Level } from '../../src/limits/decision.ts';
import { retryAfterSeconds } from '../../src/limits/fields.ts';
import { compileRate } from '../../src/limits/gcra.ts';
import type { LeasePolicy } from '../../src/limits/leases.ts';
import { Limiter } from '../../src/limits/limiter.ts';
import { Ask, decideNow, ScriptedStore } from '../unit/limits/fixtures.ts';

/** What holds for every decision of a worker, whatever is asked, leased, observed or lost. */

const LEVELS: readonly Level[] = ['client', 'route', 'tier', 'route-total', 'global'];
const policies = fc.constantFrom<LeasePolicy>(
  { enforcement: 'exact', maxOverRatio: 0.05 },
  { enforcement: 'auto', maxOverRatio: 0.2 },
  { enforcement: 'leased', maxOverRatio: 0.05 },
);
const limits = fc.array(
  fc.record({
    ratePerSecond: fc.constantFrom(1, 20, 300, 5000),
    burst: fc.constantFrom(1, 5, 60, 900),
    enforced: fc.boolean(),
  }),
  { minLength: 1, maxLength: 5 },
);
const requests = fc.array(
  fc.record({
    gapMs: fc.constantFrom(0, 0, 0.3, 2, 40, 700),
    cost: fc.constantFrom(1, 1, 1, 2, 7),
    levels: fc.integer({ min: 1, max: 31 }),
    store: fc.constantFrom<ScriptedStore['mode']>('answers', 'answers', 'answers', 'unfit'),
  }),
  { maxLength: 150 },
);

function limiterOn(store: ScriptedStore, leases: LeasePolicy): Limiter {
  const limiter = new Limiter({ store, onUnavailable: 'local', workers: 2, random: seededRandom(3) });
  limiter.configure({ onUnavailable: 'local', leases });
  return limiter;
}

/** Units of each bucket that nobody has used: in the store, and held by the worker. */
function free(store: ScriptedStore, limiter: Limiter, charges: readonly Charge[], now: number): number[] {
  return charges.map(({ key, rate }) => {
    const ask = new Ask([key], [rate.unitTicks, rate.burst, 0, 0, 0]);
    store.buckets.decide(ask, now);
    return (ask.reply?.[2] ?? NaN) + limiter.leased(key, now);
  });
}

describe('every decision', () => {
  test('charges a refused request at no level and an admitted one at each, whatever is leased', () => {
    fc.assert(
      fc.property(policies, limits, requests, (leases, rows, list) => {
        const store = new ScriptedStore();
        const limiter = limiterOn(store, leases);
        const all = rows.map(({ ratePerSecond, burst, enforced }, i): Charge => {
          const level = LEVELS[i] as Level;
          return { key: level, level, rate: compileRate(ratePerSecond, Math.max(7, burst)), enforced };
        });
        let now = 1000;
        for (const { gapMs, cost, levels } of list) {
          now += gapMs;
          const charges = all.filter((_, i) => (levels & (1 << i)) !== 0);
          const before = free(store, limiter, charges, now);
          const decision = decideNow(limiter, charges, now, cost);
          const after = free(store, limiter, charges, now);
          for (const [i, charge] of charges.entries()) {
            const charged = decision.ok && !decision.observed.includes(charge.level);
            expect((before[i] as number) - (after[i] as number)).toBe(charged ? cost : 0);
          }
          expect(decision.refusedBy === '' || charges.some((each) => each.level === decision.refusedBy)).toBe(
            true,
          );
        }
      }),
      { numRuns: 300 },
    );
  });

  test('under observe lets everybody pass, whatever the store does', () => {
    fc.assert(
      fc.property(
        policies,
        limits,
        requests,
        fc.constantFrom('local' as const, 'allow' as const, 'deny' as const),
        (leases, rows, list, onUnavailable) => {
          const store = new ScriptedStore();
          const limiter = limiterOn(store, leases);
          limiter.configure({ onUnavailable });
          const charges = rows.map(({ ratePerSecond, burst }, i): Charge => {
            const level = LEVELS[i] as Level;
            return {
              key: level,
              level,
              rate: compileRate(ratePerSecond, Math.max(7, burst)),
              enforced: false,
            };
          });
          let now = 1000;
          for (const { gapMs, cost, store: mode } of list) {
            now += gapMs;
            store.mode = mode;
            expect(decideNow(limiter, charges, now, cost)).toMatchObject({
              ok: true,
              code: '',
              refusedBy: '',
            });
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  test.each(['auto', 'leased'] as const)(
    'out of leases (%s): who is alone and waits as told is admitted, a thousand times',
    (enforcement) => {
      const random = seededRandom(11);
      const limiter = limiterOn(new ScriptedStore(), { enforcement, maxOverRatio: 0.05 });
      let leased = 0;
      for (let round = 0, now = 0; round < 1000; round++) {
        const rate = compileRate(50 + random() * 400, 20 + Math.floor(random() * 400));
        const mine: Charge = { key: `k${round}`, level: 'client', rate, enforced: true };
        const cost = 1 + Math.floor(random() * 5);
        let decision = decideNow(limiter, [mine], now, cost);
        for (let i = 0; i < 1000 && decision.ok; i++) {
          now += 0.2;
          decision = decideNow(limiter, [mine], now, cost);
          if (decision.path === 'lease') leased++;
        }
        expect(decision.ok).toBe(false);
        const toldMs = retryAfterSeconds(decision, random) * 1000;
        expect(toldMs).toBeGreaterThanOrEqual(decision.retryAfterMs);
        now += toldMs;
        expect(decideNow(limiter, [mine], now, cost)).toMatchObject({ ok: true });
      }
      expect(leased).toBeGreaterThan(10_000);
    },
  );

  test('leased: even the smallest limit is taken two units at a time, and never beyond its burst', () => {
    const store = new ScriptedStore();
    const limiter = limiterOn(store, { enforcement: 'leased', maxOverRatio: 0.05 });
    const tiny: Charge = { key: 'k', level: 'client', rate: compileRate(1, 3), enforced: true };
    const paths = [0, 0, 0, 0].map((now) => {
      const { ok, path } = decideNow(limiter, [tiny], now);
      return `${path} ${ok}`;
    });
    expect(paths.toSorted()).toEqual(['hold false', 'lease true', 'lease true', 'store true']);
    expect(limiter.leased('k', 0)).toBe(0);
  });
});
