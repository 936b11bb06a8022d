import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { compileRate } from '../../../src/limits/gcra.ts';
import { Limiter } from '../../../src/limits/limiter.ts';
import type { StoreCall, StoreReply } from '../../../src/limits/store.ts';
import { Ask, AUTO, Caller, charge, decideNow, leasing, room, ScriptedStore, takeOut } from './fixtures.ts';

/**
 * Whose units a worker holds when a store is lost and comes back: those of the share are never the store's, and what comes
 * late makes nobody hold more than one lease.
 */

const global = charge('global', compileRate(2000, 2000));
const small = charge('client', compileRate(1, 2));
/** What is held at most after 200 ms of one each: an eighth of the demand, which fades with 400 ms. */
const LEASE = 20;
/** The leases of the calm before have ended. */
const LATER = 320;

interface Scene {
  readonly store: ScriptedStore;
  readonly share: ScriptedStore;
  readonly limiter: Limiter;
}

/** A worker that leases of a store, and may ask for a share when it is lost. */
function scene(): Scene {
  const store = new ScriptedStore();
  const share = new ScriptedStore();
  const limiter = leasing(store, [global]);
  limiter.configure({ onUnavailable: 'local', store, share: { store: share, withinMs: 27 }, leases: AUTO });
  return { store, share, limiter };
}

function lose(store: ScriptedStore): void {
  store.mode = 'unfit';
  store.pause = 250;
}

function find(store: ScriptedStore): void {
  store.mode = 'answers';
  store.pause = 0;
}

function firstOf({ waiting }: ScriptedStore): StoreCall {
  const [call] = waiting;
  if (call === undefined) throw new Error('nobody asks');
  return call;
}

/** What the store decides on a call that hears nothing of it yet. */
function decidedOn(store: ScriptedStore, call: StoreCall, now: number): StoreReply {
  const ask = new Ask(call.keys, call.terms);
  store.buckets.decide(ask, now);
  return ask.reply ?? [];
}

function callersAt(limiter: Limiter, count: number, now: number): Caller[] {
  const callers = Array.from({ length: count }, () => new Caller([global]));
  for (const caller of callers) limiter.decide(caller, now);
  return callers;
}

function expectBalance(limiter: Limiter, now: number): void {
  const { granted, spent, expired, refunded } = limiter.leaseTokens(now);
  expect(granted).toBe(spent + expired + refunded + limiter.leased('global', now));
}

describe('a deadline that was missed', () => {
  test('is followed by the share, whose word counts, and the late answer of the store takes its place', () => {
    const { store, share, limiter } = scene();
    takeOut(store, global, 500, LATER);
    store.mode = 'late';
    const [caller] = callersAt(limiter, 1, LATER);
    firstOf(store).unavailable(LATER + 25);
    expect(caller?.decision).toMatchObject({ ok: true, path: 'fallback' });
    const ofShare = limiter.leased('global', LATER + 26);
    expect(ofShare).toBeGreaterThan(4);
    const reply = decidedOn(store, firstOf(store), LATER + 27);
    firstOf(store).late?.(reply, LATER + 30);
    expect(caller?.told).toBe(1);
    const held = limiter.leased('global', LATER + 30);
    expect(held).toBeGreaterThan(4);
    expect(held).toBeLessThanOrEqual(LEASE);
    // All that is held now is the store's, so all of it goes back there and nothing to the share.
    const left = [room(store, global, LATER + 30), room(share, global, LATER + 30)];
    limiter.drain(LATER + 30);
    expect([room(store, global, LATER + 30), room(share, global, LATER + 30)]).toEqual([
      (left[0] ?? 0) + held,
      left[1],
    ]);
    expect(limiter.leaseTokens(LATER + 30).refunded).toBe(held);
    expectBalance(limiter, LATER + 30);
  });

  test('serves the crowd that waited on its flight out of what the share grants', () => {
    const { store, share, limiter } = scene();
    store.mode = 'late';
    share.mode = 'late';
    const callers = callersAt(limiter, 5, LATER);
    firstOf(store).unavailable(LATER + 25);
    expect(callers.map(({ told }) => told)).toEqual([0, 0, 0, 0, 0]);
    share.buckets.decide(firstOf(share), LATER + 26);
    expect(callers.map(({ decision, told }) => [decision?.ok, decision?.path, told])).toEqual([
      [true, 'fallback', 1],
      ...Array.from({ length: 4 }, () => [true, 'lease', 1]),
    ]);
    expect(share.asked).toBe(1);
  });

  test.each([
    ['a share that is silent', (share: ScriptedStore) => firstOf(share).unavailable(LATER + 27)],
    [
      'a share that has too little for them',
      (share: ScriptedStore) => {
        takeOut(share, global, room(share, global, LATER + 26), LATER + 26);
        share.buckets.decide(firstOf(share), LATER + 27);
      },
    ],
  ])('lets nobody of that crowd wait again after %s', (_, end) => {
    const { store, share, limiter } = scene();
    store.mode = 'late';
    share.mode = 'late';
    const callers = callersAt(limiter, 5, LATER);
    firstOf(store).unavailable(LATER + 25);
    end(share);
    expect(callers.map(({ told }) => told)).toEqual([1, 1, 1, 1, 1]);
    expect(share.asked).toBe(1);
  });

  test('of a request that was decided alone and whose share comes late: what it grants is for the next', () => {
    const { store, share, limiter } = scene();
    lose(store);
    share.mode = 'late';
    const [caller] = callersAt(limiter, 1, LATER);
    const call = firstOf(share);
    call.unavailable(LATER + 2);
    expect(caller?.decision).toMatchObject({ ok: true, path: 'fallback' });
    // The store of the message channel tells it as the answer of a call that it had in a hurry.
    share.buckets.decide(call, LATER + 9);
    expect(caller?.told).toBe(1);
    expect(decideNow(limiter, [global], LATER + 10).path).toBe('lease');
    expectBalance(limiter, LATER + 10);
  });

  test('of a share that comes so late that the store is back: its units are not kept beside those of the store', () => {
    const { store, share, limiter } = scene();
    lose(store);
    share.mode = 'late';
    callersAt(limiter, 1, LATER);
    const call = firstOf(share);
    call.unavailable(LATER + 2);
    find(store);
    expect(decideNow(limiter, [global], LATER + 3).path).toBe('store');
    const held = limiter.leased('global', LATER + 4);
    share.buckets.decide(call, LATER + 4);
    expect(limiter.leased('global', LATER + 4)).toBe(held);
    expectBalance(limiter, LATER + 4);
  });
});

describe('never more than one lease is held', () => {
  test('when a late grant comes while the next one is on its way', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [global]);
    store.mode = 'late';
    callersAt(limiter, 1, LATER);
    const [first] = store.waiting;
    first?.unavailable(LATER + 25);
    callersAt(limiter, 1, LATER + 26);
    const [, second] = store.waiting;
    first?.late?.(decidedOn(store, firstOf(store), LATER + 27), LATER + 27);
    store.buckets.decide(second ?? (undefined as never), LATER + 28);
    expect(limiter.leased('global', LATER + 28)).toBeGreaterThan(4);
    expect(limiter.leased('global', LATER + 28)).toBeLessThanOrEqual(LEASE);
    expectBalance(limiter, LATER + 28);
  });

  test('when units of requests that were not served come while the next ones are on their way', () => {
    const store = new ScriptedStore();
    const limiter = leasing(store, [global]);
    const given: (() => void)[] = [];
    for (let i = 0; i < 60; i++) {
      const caller = new Caller([global]);
      limiter.decide(caller, 200);
      const { decision } = caller;
      if (decision !== undefined) given.push(() => limiter.giveBack(caller, decision, 200, 202));
      if (i === 20) store.mode = 'late';
    }
    expect(store.waiting.length).toBeGreaterThan(0);
    for (const giveBack of given) giveBack();
    for (const call of store.waiting) store.buckets.decide(call, 203);
    // With sixty asked for in a moment it is worth to hold some more.
    expect(limiter.leased('global', 203)).toBeLessThanOrEqual(LEASE + 60 / 8);
    expectBalance(limiter, 203);
  });
});

describe('units of a share', () => {
  /** The store is lost, and leases are of the share. */
  function lost(): Scene {
    const made = scene();
    lose(made.store);
    for (let now = LATER; now < LATER + 20; now++) decideNow(made.limiter, [global], now);
    expect(made.limiter.leased('global', LATER + 20)).toBeGreaterThan(0);
    return made;
  }

  test.each(['during', 'just after'])(
    'do not go to the store when the worker leaves %s the outage',
    (when) => {
      const { store, limiter } = lost();
      takeOut(store, global, 500, LATER + 20);
      const left = room(store, global, LATER + 20);
      if (when === 'just after') find(store);
      limiter.drain(LATER + 20);
      expect(room(store, global, LATER + 20)).toBe(left);
      expect(limiter.leaseTokens(LATER + 20).refunded).toBe(0);
      expectBalance(limiter, LATER + 20);
    },
  );

  test('nor do those of requests that were not served: they go back to the lease, and without one nowhere', () => {
    const { store, share, limiter } = lost();
    takeOut(store, global, 500, LATER + 20);
    const caller = new Caller([global]);
    const decision = decideNow(limiter, [global], LATER + 20);
    expect(decision.path).toBe('lease');
    const held = limiter.leased('global', LATER + 20);
    limiter.giveBack(caller, decision, LATER + 20, LATER + 21);
    expect(limiter.leased('global', LATER + 21)).toBe(held + 1);
    find(store);
    const left = [store, share].map((each) => room(each, global, LATER + 150));
    limiter.giveBack(caller, decision, LATER + 20, LATER + 150);
    expect([store, share].map((each) => room(each, global, LATER + 150))).toEqual(left);
    expect(limiter.leased('global', LATER + 150)).toBe(0);
  });

  test('nor when the worker holds units of the store by then', () => {
    const { store, limiter } = lost();
    const decision = decideNow(limiter, [global], LATER + 20);
    find(store);
    limiter.forget(['global']);
    expect(decideNow(limiter, [global], LATER + 21).path).toBe('store');
    const held = limiter.leased('global', LATER + 21);
    const left = room(store, global, LATER + 21);
    limiter.giveBack(new Caller([global]), decision, LATER + 20, LATER + 22);
    expect([limiter.leased('global', LATER + 22), room(store, global, LATER + 21)]).toEqual([held, left]);
  });

  test('units of the store that cannot be given back are told as expired', () => {
    const { store, limiter } = scene();
    decideNow(limiter, [global], LATER);
    const held = limiter.leased('global', LATER);
    const { expired } = limiter.leaseTokens(LATER);
    lose(store);
    limiter.drain(LATER);
    expect(limiter.leaseTokens(LATER)).toMatchObject({ refunded: 0, expired: expired + held });
  });

  test('a refill asks for them in the background, and nobody waits for it', () => {
    const { share, limiter } = lost();
    share.mode = 'late';
    let now = LATER + 20;
    while (share.waiting.length === 0) expect(decideNow(limiter, [global], now++).path).toBe('lease');
    const held = limiter.leased('global', now);
    const { asked } = share;
    expect(decideNow(limiter, [global], now).path).toBe('lease');
    expect(share.asked).toBe(asked);
    share.buckets.decide(firstOf(share), now);
    expect(limiter.leased('global', now)).toBeGreaterThan(held + 4);
    expect(limiter.leased('global', now)).toBeLessThanOrEqual(LEASE);
    expectBalance(limiter, now);
  });
});

describe('a refusal by the share', () => {
  test('is no reason to keep the units of who was admitted by the store since', () => {
    const { store, limiter } = scene();
    const slow = charge('client', compileRate(1 / 3600, 2));
    lose(store);
    for (let i = 0; i < 3; i++) decideNow(limiter, [slow], LATER);
    expect(decideNow(limiter, [slow], LATER)).toMatchObject({ ok: false, path: 'hold' });
    find(store);
    const decision = decideNow(limiter, [slow], LATER + 10);
    expect([decision.path, room(store, slow, LATER + 10)]).toEqual(['store', 1]);
    limiter.giveBack(new Caller([slow]), decision, LATER + 10, LATER + 20);
    expect(room(store, slow, LATER + 20)).toBe(2);
  });
});

describe('where the share is not to be asked', () => {
  test.each([
    ['allow', { ok: true, path: 'fallback' }],
    ['deny', { ok: false, code: 'SPW_RATE_STORE_DOWN' }],
  ] as const)(
    '`%s` decides without it, also those who waited, and refills come to nothing',
    (onUnavailable, told) => {
      const { store, share, limiter } = scene();
      limiter.configure({ onUnavailable });
      store.mode = 'late';
      const callers = callersAt(limiter, 3, LATER);
      firstOf(store).unavailable(LATER + 25);
      for (const { decision } of callers) expect(decision).toMatchObject(told);
      lose(store);
      expect(decideNow(limiter, [small, global], LATER + 26)).toMatchObject(told);
      expect(share.asked).toBe(0);
    },
  );

  test('nor by a request whose flight was refused by another level after a while: the store is there', () => {
    const { store, share, limiter } = scene();
    takeOut(store, small, 2, LATER);
    store.mode = 'late';
    const second = new Caller([global]);
    limiter.decide(new Caller([small, global]), LATER);
    limiter.decide(second, LATER);
    store.buckets.decide(firstOf(store), LATER + 6);
    expect(second.decision).toMatchObject({ ok: true, path: 'fallback' });
    expect(share.asked).toBe(0);
  });
});

test('a supervisor that falls silent during an outage leaves a worker its part, as full as the share was', () => {
  const { store, share, limiter } = scene();
  const slow = charge('client', compileRate(1 / 3600, 4));
  lose(store);
  for (let i = 0; i < 3; i++) expect(decideNow(limiter, [slow], LATER).ok).toBe(true);
  share.mode = 'unfit';
  expect([0, 1, 2].map(() => decideNow(limiter, [slow], LATER + 1).ok)).toEqual([true, false, false]);
});

test('a worker of a fresh gateway asks nobody but its share while Redis has never been there', () => {
  const store = new ScriptedStore();
  const share = new ScriptedStore();
  const limiter = new Limiter({ store, onUnavailable: 'local', workers: 1, random: seededRandom(5) });
  limiter.configure({ onUnavailable: 'local', store, share: { store: share, withinMs: 27 } });
  lose(store);
  expect(decideNow(limiter, [small], 0)).toMatchObject({ ok: true, path: 'fallback' });
  expect([store.asked, share.asked]).toEqual([0, 1]);
});
