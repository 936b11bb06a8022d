import { describe, expect, test } from 'vitest';
import type { Charge } from '../../../src/limits/decision.ts';
import { compileRate } from '../../../src/limits/gcra.ts';
import type { Limiter } from '../../../src/limits/limiter.ts';
import type { StoreCall } from '../../../src/limits/store.ts';
import { Ask, AUTO, Caller, charge, decideNow, leasing, room, ScriptedStore, takeOut } from './fixtures.ts';

/** Spends until a refill has come: the lease is full. */
function filled(store: ScriptedStore, limiter: Limiter, each: Charge, now: number): void {
  const { asked } = store;
  while (store.asked === asked) decideNow(limiter, [each], now);
}

const small = charge('client', compileRate(1, 2));
const tier = charge('tier', compileRate(4000, 4000));
const global = charge('global', compileRate(2000, 2000));

describe('a request that lacks a level', () => {
  test('asks for that alone and spends what is held of the others', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [global]);
    filled(store, limiter, global, 200);
    const held = limiter.leased('global', 200);
    const left = room(store, global, 200);
    expect(decideNow(limiter, [small, global], 200)).toMatchObject({ ok: true, path: 'store' });
    expect(store.last).toEqual(['client']);
    expect(limiter.leased('global', 200)).toBe(held - 1);
    expect(room(store, global, 200)).toBe(left);
  });

  test('and is refused there gets back what was kept aside for it, and is charged nowhere', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [tier, global]);
    for (let i = 0; i < 2; i++) decideNow(limiter, [small, tier, global], 200);
    const before = [tier, global].map((each) => [limiter.leased(each.key, 201), room(store, each, 201)]);
    for (const path of ['store', 'hold', 'hold'])
      expect(decideNow(limiter, [small, tier, global], 201)).toMatchObject({
        ok: false,
        path,
        refusedBy: 'client',
      });
    expect([tier, global].map((each) => [limiter.leased(each.key, 201), room(store, each, 201)])).toEqual(
      before,
    );
  });

  test('and waits for it does not lend what it keeps aside', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [global]);
    store.mode = 'late';
    const held = limiter.leased('global', 200);
    const callers = Array.from({ length: 3 }, (_, i) => new Caller([{ ...small, key: `c${i}` }, global]));
    for (const caller of callers) limiter.decide(caller, 200);
    expect(limiter.leased('global', 200)).toBe(held - 3);
    for (const call of store.waiting) call.unavailable(225);
    expect(callers.map(({ decision }) => decision?.path)).toEqual(['fallback', 'fallback', 'fallback']);
    // What was kept aside has been charged in the store, and the share of the outage decides over the rest.
    expect(limiter.leased('global', 225)).toBe(held - 3);
  });

  test('fills on its way every lease that lacks a part', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [tier], [global]);
    filled(store, limiter, tier, 200);
    filled(store, limiter, global, 200);
    // Of some 20 held more goes than they ride along for, and less than a refill is sent for.
    const { asked } = store;
    for (let i = 0; i < 8; i++) decideNow(limiter, [tier, global], 200);
    expect(store.asked).toBe(asked);
    decideNow(limiter, [small, tier, global], 200);
    expect([...store.last].toSorted()).toEqual(['client', 'global', 'tier']);
  });

  test('an observed level has room for this request: it is charged and does not count as refusing', () => {
    const store = new ScriptedStore();
    const observed = charge('global', compileRate(1000, 1000), false);
    const limiter = leasing(store, [observed]);
    takeOut(store, observed, room(store, observed, 400) - 1, 400);
    expect(decideNow(limiter, [observed], 400)).toMatchObject({ ok: true, path: 'store', observed: [] });
    expect(room(store, observed, 400)).toBe(0);
    expect(decideNow(limiter, [observed], 400)).toMatchObject({ ok: true, observed: ['global'] });
  });
});

describe('requests that come while units are on their way', () => {
  test('wait for them and make no trip', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [global]);
    store.mode = 'late';
    const asked = store.asked;
    // The lease has ended.
    const callers = Array.from({ length: 5 }, () => new Caller([global]));
    for (const caller of callers) limiter.decide(caller, 320);
    expect(store.asked).toBe(asked + 1);
    store.buckets.decide(store.waiting[0] ?? (undefined as never), 321);
    expect(callers.map(({ decision }) => decision?.path)).toEqual([
      'store',
      'lease',
      'lease',
      'lease',
      'lease',
    ]);
    expect(callers.every(({ decision, told }) => decision?.ok === true && told === 1)).toBe(true);
  });

  test('are refused with it', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [global]);
    takeOut(store, global, room(store, global, 320), 320);
    store.mode = 'late';
    const callers = Array.from({ length: 3 }, () => new Caller([global]));
    for (const caller of callers) limiter.decide(caller, 320);
    store.buckets.decide(store.waiting[0] ?? (undefined as never), 320);
    expect(callers.map(({ decision }) => decision?.path)).toEqual(['store', 'hold', 'hold']);
    expect(callers.every(({ decision, told }) => decision?.ok === false && told === 1)).toBe(true);
  });

  test('fall back with it, without a wait of their own', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [global]);
    store.mode = 'late';
    const callers = Array.from({ length: 3 }, () => new Caller([global]));
    for (const caller of callers) limiter.decide(caller, 320);
    const asked = store.asked;
    store.waiting[0]?.unavailable(345);
    expect(callers.map(({ decision }) => decision?.path)).toEqual(['fallback', 'fallback', 'fallback']);
    expect(store.asked).toBe(asked);
  });

  test('not more of them than a grant is sure to serve', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [global]);
    store.mode = 'late';
    const asked = store.asked;
    const callers = Array.from({ length: 60 }, () => new Caller([global]));
    for (const caller of callers) limiter.decide(caller, 320);
    expect(store.asked).toBeGreaterThan(asked + 1);
    for (const call of store.waiting) store.buckets.decide(call, 321);
    expect(callers.every(({ decision, told }) => decision?.ok === true && told === 1)).toBe(true);
  });

  test('a level of another request refused the trip: who waited asks for itself', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [global]);
    takeOut(store, small, 2, 320);
    store.mode = 'late';
    const [first, second] = [new Caller([small, global]), new Caller([global])];
    limiter.decide(first, 320);
    limiter.decide(second, 320);
    expect(store.waiting).toHaveLength(1);
    store.buckets.decide(store.waiting[0] ?? (undefined as never), 321);
    expect([first.decision?.refusedBy, second.told]).toEqual(['client', 0]);
    store.buckets.decide(store.waiting[1] ?? (undefined as never), 322);
    expect(second.decision).toMatchObject({ ok: true, path: 'store' });
  });

  test.each([
    [
      'a reload that leases no more',
      (limiter: Limiter): void => {
        limiter.configure({ onUnavailable: 'local', leases: { enforcement: 'exact', maxOverRatio: 0 } });
      },
    ],
    [
      'a worker that leaves',
      (limiter: Limiter): void => {
        limiter.drain(320);
      },
    ],
  ])('are served by it after %s', (_, end) => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [global]);
    store.mode = 'late';
    const callers = Array.from({ length: 3 }, () => new Caller([global]));
    for (const caller of callers) limiter.decide(caller, 320);
    expect(store.waiting).toHaveLength(1);
    end(limiter);
    store.buckets.decide(store.waiting[0] ?? (undefined as never), 321);
    expect(callers.map(({ decision, told }) => [decision?.ok, told])).toEqual([
      [true, 1],
      [true, 1],
      [true, 1],
    ]);
  });

  test('has it waited so long that another wait would be felt, its share decides', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [global]);
    takeOut(store, small, 2, 320);
    store.mode = 'late';
    const second = new Caller([global]);
    limiter.decide(new Caller([small, global]), 320);
    limiter.decide(second, 320);
    store.buckets.decide(store.waiting[0] ?? (undefined as never), 326);
    expect(second.decision).toMatchObject({ ok: true, path: 'fallback' });
    expect(store.waiting).toHaveLength(1);
  });
});

describe('the size of a lease', () => {
  test('four are worth beginning one, and two are worth keeping it', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store);
    let now = 0;
    /** Asks at this pace for two seconds; how many of the last second's needed no trip. */
    const pace = (perSecond: number): number => {
      let leased = 0;
      for (let i = 0; i < 2 * perSecond; i++) {
        now += 1000 / perSecond;
        if (decideNow(limiter, [global], now).path === 'lease' && i >= perSecond) leased++;
      }
      return leased;
    };
    // 3 units are used in half a life.
    expect(pace(68)).toBe(0);
    expect(pace(120)).toBeGreaterThan(60);
    expect(pace(68)).toBeGreaterThan(20);
    expect(pace(30)).toBe(0);
    expect(pace(68)).toBe(0);
  });

  test('falls at a reload with the policy or the limit, and what is held beyond it is let go', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [global]);
    let now = 200;
    // Until a refill has just come.
    while (limiter.leased('global', now) <= 10 && now < 300) decideNow(limiter, [global], now++);
    expect(limiter.leased('global', now)).toBeGreaterThan(10);
    limiter.configure({ onUnavailable: 'local', leases: { ...AUTO, maxOverRatio: 0.002 } });
    decideNow(limiter, [global], now);
    expect(limiter.leased('global', now)).toBeLessThanOrEqual(8);
    const lowered = charge('global', compileRate(50, 10));
    limiter.configure({ onUnavailable: 'local', leases: AUTO });
    decideNow(limiter, [lowered], now);
    expect(limiter.leased('global', now)).toBeLessThanOrEqual(5);
    expect(limiter.leaseTokens(now).expired).toBeGreaterThan(0);
  });

  test('falls with each worker more, of all gateways as the store has heard', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [global]);
    store.holders = 40;
    // The next trip notices.
    for (let now = 200; now < 240; now++) decideNow(limiter, [global], now);
    expect(limiter.leased('global', 240)).toBeLessThanOrEqual(5);
  });
});

describe('a worker that leaves', () => {
  test('gives back what it holds, and asks for each unit from then on', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [tier], [global]);
    takeOut(store, global, 500, 201);
    const held = limiter.leased('global', 201);
    const left = room(store, global, 201);
    expect(held).toBeGreaterThan(0);
    limiter.drain(201);
    expect(room(store, global, 201)).toBe(left + held);
    expect(limiter.leased('global', 201)).toBe(0);
    expect(decideNow(limiter, [global], 201).path).toBe('store');
    expect(limiter.leaseTokens(201).refunded).toBeGreaterThanOrEqual(held);
  });

  test('gives nothing back of what had ended', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [global]);
    takeOut(store, global, 500, 400);
    const left = room(store, global, 400);
    limiter.drain(400);
    expect(room(store, global, 400)).toBe(left);
  });
});

describe('a charge that nobody waits for', () => {
  test('says whether it was within the limit, as far as is known', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store);
    expect([1, 2, 3, 4].map(() => limiter.chargeOnly([small], 1, 0))).toEqual([true, true, false, false]);
    expect(limiter.chargeOnly([], 1, 0)).toBe(true);
    expect(store.asked).toBe(3);
    store.mode = 'late';
    expect(limiter.chargeOnly([{ ...small, key: 'other' }], 1, 0)).toBe(true);
    limiter.configure({ onUnavailable: 'deny' });
    store.mode = 'unfit';
    expect(limiter.chargeOnly([{ ...small, key: 'other' }], 1, 0)).toBe(true);
  });
});

describe('a grant that comes after its deadline', () => {
  function lateGrant(store: ScriptedStore, limiter: Limiter): Ask {
    store.mode = 'late';
    limiter.decide(new Caller([global]), 320);
    const call: StoreCall = store.waiting[0] ?? (undefined as never);
    call.unavailable(345);
    const answer = new Ask(call.keys, call.terms);
    store.buckets.decide(answer, 345);
    return answer;
  }

  test('is kept while younger than a life, and ends when that is over', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [global]);
    const { reply = [] } = lateGrant(store, limiter);
    store.waiting[0]?.late?.(reply, 350);
    expect(limiter.leased('global', 350)).toBeGreaterThan(4);
    expect(limiter.leased('global', 420)).toBe(0);
  });

  test('is lost when older', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [global]);
    const { reply = [] } = lateGrant(store, limiter);
    const { expired } = limiter.leaseTokens(350);
    store.waiting[0]?.late?.(reply, 425);
    expect(limiter.leased('global', 425)).toBe(0);
    expect(limiter.leaseTokens(425).expired).toBeGreaterThan(expired);
  });
});
