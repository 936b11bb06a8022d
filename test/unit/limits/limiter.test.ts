import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { compileRate } from '../../../src/limits/gcra.ts';
import { Limiter } from '../../../src/limits/limiter.ts';
import type { Charge, LimitDecision, OnUnavailable } from '../../../src/limits/decision.ts';
import { retryAfterSeconds } from '../../../src/limits/fields.ts';
import type { StoreCall } from '../../../src/limits/store.ts';
import { Caller, charge, decideNow, ScriptedStore } from './fixtures.ts';

function limiterOn(store: ScriptedStore, onUnavailable: OnUnavailable = 'local', workers = 1): Limiter {
  return new Limiter({ store, onUnavailable, workers, random: seededRandom(5) });
}

/** A worker that holds leased units of these charges, asked each millisecond from 0 to 200. */
function leasing(store: ScriptedStore, asked: readonly (readonly Charge[])[]): Limiter {
  const limiter = limiterOn(store);
  limiter.configure({ onUnavailable: 'local', leases: { enforcement: 'auto', maxOverRatio: 0.05 } });
  for (let now = 0; now < 200; now++) for (const charges of asked) decideNow(limiter, charges, now);
  return limiter;
}

const client = charge('client', compileRate(1, 3));
const route = charge('route', compileRate(1, 2));
const tier = charge('tier', compileRate(10, 10));
const total = charge('route-total', compileRate(10, 1));
const global = charge('global', compileRate(10, 50));

describe('a decision', () => {
  test('without charges, or for nothing, is free and asks nobody', () => {
    const store = new ScriptedStore();
    const limiter = limiterOn(store);
    expect(decideNow(limiter, [], 0).path).toBe('none');
    expect(decideNow(limiter, [client], 0, 0)).toMatchObject({ ok: true, path: 'none' });
    expect(store.asked).toBe(0);
  });

  test('over five levels is one call, and tells the figures of each level in the order of the charges', () => {
    const store = new ScriptedStore();
    const decision = decideNow(limiterOn(store), [client, route, tier, total, global], 0);
    expect(decision).toMatchObject({ ok: true, path: 'store', code: '', refusedBy: '' });
    expect(decision.levels.map((level) => level.remaining)).toEqual([2, 1, 9, 0, 49]);
    expect(decision.levels.map((level) => level.fullMs)).toEqual([1000, 1000, 100, 100, 100]);
    expect(store.asked).toBe(1);
  });

  test("a client's refusal leaves the global bucket alone", () => {
    const store = new ScriptedStore();
    const limiter = limiterOn(store);
    for (let i = 0; i < 20; i++) decideNow(limiter, [client, global], 0);
    expect(decideNow(limiter, [global], 0).levels[0]?.remaining).toBe(50 - 3 - 1);
  });

  test('several refusals: the first level in the order of precedence is named, the longest wait counts', () => {
    const limiter = limiterOn(new ScriptedStore());
    const slowTotal = charge('route-total', compileRate(0.1, 1));
    const quick = charge('client', compileRate(1, 1));
    expect(decideNow(limiter, [slowTotal, quick], 0).ok).toBe(true);
    const decision = decideNow(limiter, [slowTotal, quick], 0);
    expect(decision).toMatchObject({
      ok: false,
      refusedBy: 'client',
      code: 'SPW_RATE_CLIENT',
      retryAfterMs: 10_000,
    });
  });

  test('each level has its code', () => {
    for (const [level, code] of [
      ['client', 'SPW_RATE_CLIENT'],
      ['route', 'SPW_RATE_ROUTE'],
      ['tier', 'SPW_RATE_GLOBAL'],
      ['route-total', 'SPW_RATE_GLOBAL'],
      ['global', 'SPW_RATE_GLOBAL'],
    ] as const) {
      const limiter = limiterOn(new ScriptedStore());
      const only = charge(level, compileRate(1, 1));
      decideNow(limiter, [only], 0);
      expect(decideNow(limiter, [only], 0)).toMatchObject({ ok: false, refusedBy: level, code });
    }
  });

  test('an observed level is charged and counted, and never refuses', () => {
    const limiter = limiterOn(new ScriptedStore());
    const observed = charge('route', compileRate(1, 1), false);
    expect(decideNow(limiter, [client, observed], 0).observed).toEqual([]);
    const second = decideNow(limiter, [client, observed], 0);
    expect(second).toMatchObject({ ok: true, observed: ['route'], refusedBy: '' });
    expect(second.levels[0]?.remaining).toBe(1);
  });

  test('later, when the store answers later, and exactly once', () => {
    const store = new ScriptedStore();
    store.mode = 'late';
    const limiter = limiterOn(store);
    const caller = new Caller([client]);
    limiter.decide(caller, 0);
    expect(caller.told).toBe(0);
    store.buckets.decide(store.waiting[0] ?? (undefined as never), 5);
    expect(caller.told).toBe(1);
    expect(caller.decision).toMatchObject({ ok: true, path: 'store' });
  });
});

describe('a bucket on hold', () => {
  test('refuses without a trip until it can have room again', () => {
    const store = new ScriptedStore();
    const limiter = limiterOn(store);
    for (let i = 0; i < 4; i++) decideNow(limiter, [client, global], 0);
    expect(store.asked).toBe(4);
    for (let now = 0; now < 1000; now += 10) {
      expect(decideNow(limiter, [client, global], now)).toMatchObject({
        ok: false,
        path: 'hold',
        refusedBy: 'client',
      });
    }
    expect(store.asked).toBe(4);
    expect(decideNow(limiter, [client, global], 1000)).toMatchObject({ ok: true, path: 'store' });
  });

  test('tells what it knows of the held level and nothing of the others', () => {
    const limiter = limiterOn(new ScriptedStore());
    for (let i = 0; i < 4; i++) decideNow(limiter, [client, global], 0);
    const decision = decideNow(limiter, [client, global], 400);
    expect(decision.levels).toEqual([
      { remaining: 0, waitMs: 600, fullMs: 2600 },
      { remaining: -1, waitMs: 0, fullMs: 0 },
    ]);
    expect(decision.retryAfterMs).toBe(600);
  });

  test('a shared limit on hold refuses everybody here, other clients included', () => {
    const store = new ScriptedStore();
    const limiter = limiterOn(store);
    decideNow(limiter, [charge('client', compileRate(1, 9), true, 'a'), total], 0);
    decideNow(limiter, [charge('client', compileRate(1, 9), true, 'b'), total], 0);
    const third = decideNow(limiter, [charge('client', compileRate(1, 9), true, 'c'), total], 0);
    expect(third).toMatchObject({ path: 'hold', code: 'SPW_RATE_GLOBAL', refusedBy: 'route-total' });
  });

  test('an observed bucket is never held', () => {
    const store = new ScriptedStore();
    const limiter = limiterOn(store);
    const observed = charge('route', compileRate(1, 1), false);
    for (let i = 0; i < 5; i++) expect(decideNow(limiter, [observed], 0).ok).toBe(true);
    expect(store.asked).toBe(5);
  });

  test('a reload lifts all holds, and the buckets stay', () => {
    const store = new ScriptedStore();
    const limiter = limiterOn(store);
    for (let i = 0; i < 4; i++) decideNow(limiter, [client], 0);
    limiter.configure({ onUnavailable: 'local' });
    const raised = charge('client', compileRate(1, 5));
    expect(decideNow(limiter, [raised], 0)).toMatchObject({ ok: true, path: 'store' });
    expect(decideNow(limiter, [client], 0)).toMatchObject({ ok: false, path: 'store' });
  });

  test('who is alone on a bucket and waits as told is admitted, a thousand times', () => {
    const random = seededRandom(11);
    const limiter = limiterOn(new ScriptedStore());
    for (let round = 0, now = 0; round < 1000; round++) {
      const rate = compileRate(0.05 + random() * 30, 1 + Math.floor(random() * 20));
      const mine = charge('client', rate, true, `k${round}`);
      const cost = 1 + Math.floor(random() * rate.burst);
      let decision = decideNow(limiter, [mine], now, cost);
      for (let i = 0; i < 60 && decision.ok; i++) decision = decideNow(limiter, [mine], now, cost);
      expect(decision.ok).toBe(false);
      now += retryAfterSeconds(decision, random) * 1000;
      expect(decideNow(limiter, [mine], now, cost)).toMatchObject({ ok: true });
    }
  });
});

describe('without the store', () => {
  test('local: this worker gives its share of every limit, at once', () => {
    const store = new ScriptedStore();
    store.mode = 'unfit';
    store.live = 3;
    const limiter = limiterOn(store, 'local', 4);
    const many = charge('client', compileRate(100, 240));
    let admitted = 0;
    for (let now = 0; now <= 1000; now++) {
      const decision = decideNow(limiter, [many], now);
      expect(decision.path).toBe('fallback');
      if (decision.ok) admitted++;
    }
    // A twelfth of a burst of 240, and of 100/s a unit each 120 ms.
    expect(admitted).toBe(20 + 8);
    expect(store.asked).toBe(0);
  });

  test('local: a share has room for the dearest request of the limit', () => {
    const store = new ScriptedStore();
    store.mode = 'unfit';
    const limiter = limiterOn(store, 'local', 8);
    const dear = charge('client', compileRate(10, 10, 5));
    expect(decideNow(limiter, [dear], 0, 5).ok).toBe(true);
    expect(decideNow(limiter, [dear], 0, 5).ok).toBe(false);
  });

  test('local: a worker more is a smaller share for each', () => {
    const store = new ScriptedStore();
    store.mode = 'unfit';
    const limiter = limiterOn(store, 'local', 1);
    limiter.setWorkers(10, 0);
    const rate = charge('client', compileRate(1, 100));
    let admitted = 0;
    while (decideNow(limiter, [rate], 0).ok) admitted++;
    expect(admitted).toBe(10);
  });

  test('local: its buckets outlive an outage, so that five flaps give no five bursts', () => {
    const store = new ScriptedStore();
    const limiter = limiterOn(store);
    let admitted = 0;
    for (let flap = 0; flap < 5; flap++) {
      store.mode = 'unfit';
      for (let i = 0; i < 10; i++) if (decideNow(limiter, [client], flap).ok) admitted++;
      store.mode = 'answers';
      decideNow(limiter, [global], flap);
    }
    expect(admitted).toBe(3);
  });

  test('a late store: the same request is decided by the share, and the late answer changes nothing', () => {
    const store = new ScriptedStore();
    store.mode = 'late';
    const limiter = limiterOn(store);
    const caller = new Caller([client]);
    limiter.decide(caller, 0);
    store.waiting[0]?.unavailable(25);
    expect(caller.decision).toMatchObject({ ok: true, path: 'fallback' });
    expect(caller.told).toBe(1);
  });

  test('a refusal by the share is not held: the store may have room as soon as it is back', () => {
    const store = new ScriptedStore();
    store.mode = 'unfit';
    const limiter = limiterOn(store, 'local', 100);
    while (decideNow(limiter, [client], 0).ok);
    store.mode = 'answers';
    expect(decideNow(limiter, [client], 0)).toMatchObject({ ok: true, path: 'store' });
  });

  test('allow: everything passes, nothing is known', () => {
    const store = new ScriptedStore();
    store.mode = 'unfit';
    const limiter = limiterOn(store, 'allow');
    for (let i = 0; i < 100; i++)
      expect(decideNow(limiter, [client], 0)).toMatchObject({ ok: true, path: 'fallback' });
  });

  test('deny: 503 with the pause, a second and up to two more', () => {
    const store = new ScriptedStore();
    store.mode = 'unfit';
    store.pause = 700;
    const decision = decideNow(limiterOn(store, 'deny'), [client], 0);
    expect(decision).toMatchObject({
      ok: false,
      code: 'SPW_RATE_STORE_DOWN',
      refusedBy: '',
      retryAfterMs: 1700,
    });
    expect(retryAfterSeconds(decision, () => 0)).toBe(2);
    expect(retryAfterSeconds(decision, () => 0.999)).toBe(4);
  });
});

describe('a decision out of leases', () => {
  test('tells its own figures, whatever else the store decides inside the call for its refill', () => {
    const mine = charge('client', compileRate(1000, 2000), true, 'mine');
    const shared = charge('global', compileRate(5000, 9000), true, 'shared');
    const other = charge('client', compileRate(1000, 300), true, 'other');
    const nested: LimitDecision[] = [];
    let outer = true;
    /** Answers at once, and with the same answer lets somebody else's request go on. */
    class BusyStore extends ScriptedStore {
      override decide(call: StoreCall, now: number): boolean {
        const taken = super.decide(call, now);
        if (outer && now > 200) {
          outer = false;
          nested.push(decideNow(limiter, [other], now));
        }
        return taken;
      }
    }
    const store = new BusyStore();
    const limiter = leasing(store, [[mine, shared], [other]]);
    let now = 201;
    let decision = decideNow(limiter, [mine, shared], now);
    // Until the decision that asked for a refill.
    while (nested.length === 0) decision = decideNow(limiter, [mine, shared], (now += 1));
    expect([decision.path, nested[0]?.path]).toEqual(['lease', 'lease']);
    expect(decision.levels).toHaveLength(2);
    expect(nested[0]?.levels).toHaveLength(1);
    // A level that is another's has at most its burst of 300.
    expect(decision.levels[0]?.remaining).toBeGreaterThan(300);
    expect(decision.levels[0]?.remaining).toBeLessThanOrEqual(2000);
    expect(decision.levels[1]?.remaining).toBeGreaterThan(2000);
    expect(nested[0]?.levels[0]?.remaining).toBeLessThanOrEqual(300);
  });
});

describe('when an operator has filled the buckets', () => {
  const ample = charge('client', compileRate(1000, 2000));

  test('the lease goes: the next request asks the store', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [[ample]]);
    expect(limiter.leased('client', 200)).toBeGreaterThanOrEqual(4);
    expect(decideNow(limiter, [ample], 200).path).toBe('lease');
    limiter.forget(['client']);
    expect(limiter.leased('client', 200)).toBe(0);
    expect(decideNow(limiter, [ample], 200).path).toBe('store');
  });

  test('a lease that ended holds nothing, nor does a bucket that was never asked for', () => {
    const limiter = leasing(new ScriptedStore(), [[ample]]);
    expect(limiter.leased('client', 400)).toBe(0);
    expect(limiter.leased('route', 200)).toBe(0);
  });

  test('the hold goes, and nobody else loses his', () => {
    const store = new ScriptedStore();
    const limiter = limiterOn(store);
    const other = charge('client', compileRate(1, 1), true, 'other');
    const mine = charge('client', compileRate(1, 1), true, 'mine');
    for (const each of [mine, other, mine, other]) decideNow(limiter, [each], 0);
    expect([mine, other].map((each) => decideNow(limiter, [each], 1).path)).toEqual(['hold', 'hold']);
    store.buckets.forget('mine');
    limiter.forget(['mine']);
    expect(decideNow(limiter, [mine], 1)).toMatchObject({ ok: true, path: 'store' });
    expect(decideNow(limiter, [other], 1).path).toBe('hold');
  });

  test('the share of an outage is whole again too', () => {
    const store = new ScriptedStore();
    store.mode = 'unfit';
    const limiter = limiterOn(store);
    while (decideNow(limiter, [client], 0).ok);
    limiter.forget(['client']);
    expect(decideNow(limiter, [client], 0)).toMatchObject({ ok: true, path: 'fallback' });
  });
});

describe('the chance in retry-after', () => {
  test("one's own limit: up to a quarter of the wait, at least a second", () => {
    const limiter = limiterOn(new ScriptedStore());
    const slow = charge('client', compileRate(1 / 20, 1));
    decideNow(limiter, [slow], 0);
    expect(decideNow(limiter, [slow], 0)).toMatchObject({ retryAfterMs: 20_000, jitterSeconds: 5 });
  });

  test('a shared limit: as long as serving those refused in the last second takes, at most 30 s', () => {
    const limiter = limiterOn(new ScriptedStore());
    const shared = charge('global', compileRate(10, 1));
    decideNow(limiter, [shared], 0);
    let jitter = 0;
    for (let i = 0; i < 45; i++) jitter = decideNow(limiter, [shared], 0).jitterSeconds;
    expect(jitter).toBe(5);
    for (let i = 0; i < 1000; i++) jitter = decideNow(limiter, [shared], 1).jitterSeconds;
    expect(jitter).toBe(30);
    decideNow(limiter, [shared], 5000);
    expect(decideNow(limiter, [shared], 5000).jitterSeconds).toBe(1);
  });
});
