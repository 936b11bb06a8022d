import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { compileRate } from '../../../src/limits/gcra.ts';
import { Limiter } from '../../../src/limits/limiter.ts';
import { Caller, charge, decideNow, leasing, room, ScriptedStore, takeOut } from './fixtures.ts';

/** What becomes of units that a worker took ahead of use, and of those that a request did not use. */

const small = charge('client', compileRate(1, 2));
const tier = charge('tier', compileRate(4000, 4000));
const global = charge('global', compileRate(2000, 2000));

describe('the account of leased units', () => {
  test('counts as expired what went to make room for other buckets, and what a request under way had of it', () => {
    const store = new ScriptedStore();
    const limiter = new Limiter({ store, onUnavailable: 'local', workers: 1, random: seededRandom(5) });
    limiter.configure({ onUnavailable: 'local', leases: { enforcement: 'leased', maxOverRatio: 0.05 } });
    const rate = compileRate(10, 10);
    const first = charge('client', rate, true, 'k0');
    decideNow(limiter, [first], 0);
    store.mode = 'late';
    const waiting = new Caller([first, small]);
    limiter.decide(waiting, 0);
    store.mode = 'answers';
    for (let i = 1; i < 10_000; i++) decideNow(limiter, [charge('client', rate, true, `k${i}`)], 0);
    takeOut(store, small, 2, 0);
    store.buckets.decide(store.waiting[0] ?? (undefined as never), 1);
    expect(waiting.decision).toMatchObject({ ok: false });
    const before = limiter.leaseTokens(1).expired;
    expect(before).toBeGreaterThan(1000);
    // What was not pushed out ends with its time.
    const { granted, spent, expired, refunded } = limiter.leaseTokens(200);
    expect(expired).toBeGreaterThan(before);
    expect(granted).toBe(spent + expired + refunded);
  });

  test('counts as expired what nobody asks for any more', () => {
    const limiter = leasing(new ScriptedStore(), [global]);
    expect(limiter.leased('global', 199)).toBeGreaterThan(0);
    const { granted, spent, expired } = limiter.leaseTokens(400);
    expect(granted).toBe(spent + expired);
  });

  test('counts units that a lease takes over from a request that was not served as granted to it', () => {
    const limiter = leasing(new ScriptedStore(), [global]);
    const decision = decideNow(limiter, [global], 200);
    limiter.giveBack(new Caller([global]), decision, 200, 210);
    const { granted, spent, expired, refunded } = limiter.leaseTokens(210);
    expect(decision.path).toBe('lease');
    expect(granted).toBe(spent + expired + refunded + limiter.leased('global', 210));
  });
});

describe('units of a request that was not served', () => {
  test('go back to the lease, and where there is none to the store', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [global]);
    const decision = decideNow(limiter, [small, global], 200);
    const held = limiter.leased('global', 200);
    expect(room(store, small, 200)).toBe(1);
    limiter.giveBack(new Caller([small, global]), decision, 200, 210);
    expect(limiter.leased('global', 210)).toBe(held + 1);
    expect(room(store, small, 210)).toBe(2);
  });

  test('stay charged later than a second after', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store);
    const slow = charge('client', compileRate(0.1, 2));
    const decision = decideNow(limiter, [slow], 200);
    limiter.giveBack(new Caller([slow]), decision, 200, 1201);
    expect(room(store, slow, 1201)).toBe(1);
  });

  test('stay charged while the client was limited within the last second', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store);
    const slow = charge('client', compileRate(1, 1));
    const decision = decideNow(limiter, [slow, tier], 0);
    expect(decideNow(limiter, [slow, tier], 0).ok).toBe(false);
    const left = room(store, tier, 0);
    limiter.giveBack(new Caller([slow, tier]), decision, 0, 900);
    expect(room(store, tier, 0)).toBe(left);
    // Admitted again: that he was limited is not forgotten by it.
    const again = decideNow(limiter, [slow, tier], 1500);
    expect(again.ok).toBe(true);
    limiter.giveBack(new Caller([slow, tier]), again, 1500, 1900);
    expect(room(store, slow, 1900)).toBe(0);
  });

  test('were not all charged: not by a share, and not at an observed level that had none', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store);
    const observed = charge('route', compileRate(0.01, 1), false);
    const own = charge('client', compileRate(0.01, 5));
    decideNow(limiter, [own, observed], 0);
    const decision = decideNow(limiter, [own, observed], 0);
    expect(decision.observed).toEqual(['route']);
    limiter.giveBack(new Caller([own, observed]), decision, 0, 10);
    expect([room(store, own, 10), room(store, observed, 10)]).toEqual([4, 0]);
    store.mode = 'unfit';
    const share = decideNow(limiter, [own], 20);
    store.mode = 'answers';
    limiter.giveBack(new Caller([own]), share, 20, 30);
    expect([share.path, room(store, own, 30)]).toEqual(['fallback', 4]);
  });
});
