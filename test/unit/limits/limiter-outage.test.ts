import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import type { OnUnavailable } from '../../../src/limits/decision.ts';
import { retryAfterSeconds } from '../../../src/limits/fields.ts';
import { compileRate } from '../../../src/limits/gcra.ts';
import { Limiter } from '../../../src/limits/limiter.ts';
import { charge, decideNow, ScriptedStore } from './fixtures.ts';

function limiterOn(store: ScriptedStore, onUnavailable: OnUnavailable = 'local', workers = 1): Limiter {
  return new Limiter({ store, onUnavailable, workers, random: seededRandom(5) });
}

describe('deny', () => {
  test('refuses nobody who is only observed', () => {
    const store = new ScriptedStore();
    store.mode = 'unfit';
    const limiter = limiterOn(store, 'deny');
    const shadow = charge('client', compileRate(1, 3), false);
    const shadowGlobal = charge('global', compileRate(10, 30), false);
    expect(decideNow(limiter, [shadow, shadowGlobal], 0)).toMatchObject({
      ok: true,
      path: 'fallback',
      code: '',
    });
    const real = charge('global', compileRate(10, 30));
    expect(decideNow(limiter, [shadow, real], 0)).toMatchObject({ ok: false, code: 'SPW_RATE_STORE_DOWN' });
  });

  test('admits what leases can pay for, and gives back what it kept aside for a request that it denies', () => {
    const store = new ScriptedStore();
    const limiter = limiterOn(store, 'deny');
    limiter.configure({ onUnavailable: 'deny', leases: { enforcement: 'auto', maxOverRatio: 0.05 } });
    const ample = charge('global', compileRate(2000, 2000));
    const small = charge('client', compileRate(1, 3));
    for (let now = 0; now < 200; now++) decideNow(limiter, [ample], now);
    store.mode = 'unfit';
    const held = limiter.leased('global', 200);
    expect(decideNow(limiter, [small, ample], 200)).toMatchObject({ ok: false, code: 'SPW_RATE_STORE_DOWN' });
    expect(limiter.leased('global', 200)).toBe(held);
    expect(decideNow(limiter, [ample], 200)).toMatchObject({ ok: true, path: 'lease' });
  });
});

describe("a worker's share", () => {
  test('begins as full as the bucket was last seen in the store', () => {
    const store = new ScriptedStore();
    const limiter = limiterOn(store, 'local', 2);
    const spent = charge('client', compileRate(1, 10), true, 'spent');
    const half = charge('client', compileRate(1, 10), true, 'half');
    const fresh = charge('client', compileRate(1, 10), true, 'fresh');
    for (let i = 0; i < 10; i++) decideNow(limiter, [spent], 0);
    for (let i = 0; i < 4; i++) decideNow(limiter, [half], 0);
    store.mode = 'unfit';
    const admitted = [spent, half, fresh].map((each) => {
      let count = 0;
      while (decideNow(limiter, [each], 1).ok) count++;
      return count;
    });
    // Half of a burst of 10; of it nothing, and three fifths, and all.
    expect(admitted).toEqual([0, 3, 5]);
  });

  test('fills with time like every bucket, so an old debt is forgotten', () => {
    const store = new ScriptedStore();
    const limiter = limiterOn(store);
    const spent = charge('client', compileRate(1, 5));
    for (let i = 0; i < 5; i++) decideNow(limiter, [spent], 0);
    store.mode = 'unfit';
    expect(decideNow(limiter, [spent], 999).ok).toBe(false);
    expect(decideNow(limiter, [spent], 1000).ok).toBe(true);
  });

  test('lost and found five times: what was spent of it stays spent', () => {
    const store = new ScriptedStore();
    const limiter = limiterOn(store);
    const own = charge('client', compileRate(0.01, 4));
    let admitted = 0;
    for (let flap = 0; flap < 5; flap++) {
      for (const mode of ['unfit', 'answers'] as const) {
        store.mode = mode;
        for (let i = 0; i < 10; i++) if (decideNow(limiter, [own], flap).ok) admitted++;
      }
    }
    // The burst of the share and that of the store.
    expect(admitted).toBe(8);
  });

  test('who waits as told and is alone is admitted, a thousand times', () => {
    const random = seededRandom(11);
    const store = new ScriptedStore();
    store.mode = 'unfit';
    const limiter = limiterOn(store, 'local', 3);
    for (let round = 0, now = 0; round < 1000; round++) {
      const rate = compileRate(0.05 + random() * 30, 1 + Math.floor(random() * 20));
      const mine = charge('client', rate, true, `k${round}`);
      const cost = 1 + Math.floor(random() * rate.burst);
      let decision = decideNow(limiter, [mine], now, cost);
      for (let i = 0; i < 60 && decision.ok; i++) decision = decideNow(limiter, [mine], now, cost);
      expect(decision).toMatchObject({ ok: false, path: 'fallback' });
      now += retryAfterSeconds(decision, random) * 1000;
      expect(decideNow(limiter, [mine], now, cost)).toMatchObject({ ok: true });
    }
  });
});
