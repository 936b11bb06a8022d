import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import type { Charge } from '../../../src/limits/decision.ts';
import { EmbeddedStore } from '../../../src/limits/embedded-store.ts';
import { compileRate } from '../../../src/limits/gcra.ts';
import { Limiter, type ShareStore } from '../../../src/limits/limiter.ts';
import type { LimitStore } from '../../../src/limits/store.ts';
import { serveLimitBatch } from '../../../src/io/limit-store/ipc.ts';
import { AUTO, Caller, charge, decideNow, leasing, room, ScriptedStore } from './fixtures.ts';

const RATE = 40;
const BURST = 20;
const own = charge('client', compileRate(RATE, BURST), true, 'spw:{c.abcdefghijklmnopqrstuv}:t');
const shared = charge('global', compileRate(RATE, BURST), true, 'spw:{g}:global');

/** Workers of one gateway whose store is lost, and the memory that they share in their supervisor. */
function gateway(
  workers: number,
  gateways = 1,
): { store: ScriptedStore; supervisor: ScriptedStore; workers: Limiter[] } {
  const store = new ScriptedStore();
  const supervisor = new ScriptedStore();
  store.live = gateways;
  const limiters = Array.from({ length: workers }, (_, index) => {
    const limiter = new Limiter({ store, onUnavailable: 'local', workers, random: seededRandom(index + 1) });
    limiter.setWorkers(workers, index);
    limiter.configure({ onUnavailable: 'local', store, share: shareAt(supervisor) });
    return limiter;
  });
  return { store, supervisor, workers: limiters };
}

function shareAt(store: LimitStore): ShareStore {
  return { store, withinMs: 27 };
}

function lose(store: ScriptedStore): void {
  store.mode = 'unfit';
  store.pause = 250;
}

/** Requests that pass of so many, each a millisecond after the one before. */
function admitted(
  limiter: Limiter,
  charges: readonly Charge[],
  from: number,
  count: number,
  cost = 1,
): number {
  let passed = 0;
  for (let at = 0; at < count; at++) if (decideNow(limiter, charges, from + at, cost).ok) passed++;
  return passed;
}

describe('while the store is lost', () => {
  test.each([1, 2, 5, 8])('one worker of %i admits all of the share of its gateway', (count) => {
    const { store, workers } = gateway(count);
    lose(store);
    const passed = admitted(workers[0] as Limiter, [own], 0, 10_000);
    expect(passed).toBeGreaterThanOrEqual(0.98 * (10 * RATE + BURST));
    expect(passed).toBeLessThanOrEqual(10 * RATE + BURST);
  });

  test.each([
    [1, 8, 1],
    [3, 4, 1],
    [10, 6, 5],
  ])('a burst of %i is given once by %i workers to requests of %i units', (burst, count, cost) => {
    const { store, workers } = gateway(count);
    const slow = charge('route', compileRate(burst / 3600, burst, cost));
    lose(store);
    let units = 0;
    for (const limiter of workers) units += cost * admitted(limiter, [slow], 0, 20, cost);
    expect(units).toBe(burst);
  });

  test('a share is what falls to one of the gateways, with room for the dearest request', () => {
    const { store, workers } = gateway(2, 4);
    const dear = charge('route', compileRate(10 / 3600, 10, 7));
    lose(store);
    expect(admitted(workers[0] as Limiter, [dear], 0, 20, 7)).toBe(1);
    expect(admitted(workers[1] as Limiter, [dear], 20, 20, 1)).toBe(0);
  });

  test('a bucket begins as full as a worker last saw it in the store, and is not emptied again by each request', () => {
    const { store, workers } = gateway(2);
    const slow = charge('client', compileRate(10 / 3600, 10));
    expect(admitted(workers[0] as Limiter, [slow], 0, 6)).toBe(6);
    lose(store);
    expect(admitted(workers[0] as Limiter, [slow], 10, 20)).toBe(4);
    expect(admitted(workers[1] as Limiter, [slow], 30, 20)).toBe(0);
  });

  test('a bucket that was emptied under a slower limit is brought back to its depth once, and then fills', () => {
    const { store, workers } = gateway(2);
    const hourly = charge('client', compileRate(10 / 3600, 10));
    const faster = charge('client', compileRate(1, 10));
    expect(admitted(workers[0] as Limiter, [hourly], 0, 12)).toBe(10);
    lose(store);
    for (const limiter of workers) limiter.configure({ onUnavailable: 'local' });
    // Ten seconds from empty to full: asked each second, it gives one each second, and more to nobody.
    let passed = 0;
    for (let second = 1; second <= 20; second++)
      for (const limiter of workers) passed += admitted(limiter, [faster], second * 1000 + 100, 3);
    expect(passed).toBeGreaterThanOrEqual(18);
    expect(passed).toBeLessThanOrEqual(20);
  });

  test('a refusal is remembered until the store is back, and not a moment longer', () => {
    const { store, supervisor, workers } = gateway(1);
    const [limiter] = workers as [Limiter];
    const slow = charge('client', compileRate(1 / 3600, 1));
    lose(store);
    expect(decideNow(limiter, [slow], 0).path).toBe('fallback');
    expect(decideNow(limiter, [slow], 1)).toMatchObject({ ok: false, path: 'fallback' });
    const { asked } = supervisor;
    expect(decideNow(limiter, [slow], 2)).toMatchObject({ ok: false, path: 'hold' });
    expect(supervisor.asked).toBe(asked);
    expect(limiter.isOnHold(slow.key, 1, 3)).toBe(true);
    store.mode = 'answers';
    store.pause = 0;
    expect(limiter.isOnHold(slow.key, 1, 4)).toBe(false);
    expect(decideNow(limiter, [slow], 4)).toMatchObject({ ok: true, path: 'store' });
  });

  test('all levels make one decision, and who is refused is charged at none', () => {
    const { store, supervisor, workers } = gateway(2);
    const narrow = charge('route', compileRate(2 / 3600, 2));
    lose(store);
    expect(admitted(workers[0] as Limiter, [narrow, shared], 0, 10)).toBe(2);
    expect(admitted(workers[1] as Limiter, [narrow, shared], 10, 10)).toBe(0);
    expect(room(supervisor, shared, 10)).toBe(BURST - 2);
  });

  test('leases are taken from the share as from the store: most requests ask nobody', () => {
    const store = new ScriptedStore();
    const supervisor = new ScriptedStore();
    const big = charge('client', compileRate(1000, 1000));
    const limiter = leasing(store, [big]);
    limiter.configure({ onUnavailable: 'local', store, share: shareAt(supervisor), leases: AUTO });
    lose(store);
    for (let now = 200; now < 400; now++) expect(decideNow(limiter, [big], now).ok).toBe(true);
    expect(supervisor.asked).toBeGreaterThan(5);
    expect(supervisor.asked).toBeLessThan(40);
    // All but what had been held of the store before is paid for there.
    expect(1000 - room(supervisor, big, 200)).toBeGreaterThanOrEqual(150);
  });

  test('also under `exact`, until the store is back: then each request asks it again', () => {
    const { store, supervisor, workers } = gateway(1);
    const [limiter] = workers as [Limiter];
    const big = charge('client', compileRate(1000, 1000));
    limiter.configure({
      onUnavailable: 'local',
      store,
      share: shareAt(supervisor),
      leases: { enforcement: 'exact', maxOverRatio: 0.05 },
    });
    lose(store);
    const paths: string[] = [];
    for (let now = 0; now < 400; now++) paths.push(decideNow(limiter, [big], now).path);
    expect(paths.filter((path) => path === 'lease').length).toBeGreaterThan(300);
    store.mode = 'answers';
    store.pause = 0;
    for (let now = 400; now < 600; now++) paths.push(decideNow(limiter, [big], now).path);
    expect(new Set(paths.slice(-100))).toEqual(new Set(['store']));
    expect(store.asked).toBeGreaterThan(100);
  });

  test('a supervisor that is silent too leaves each worker its part', () => {
    const { store, supervisor, workers } = gateway(2);
    lose(store);
    supervisor.mode = 'unfit';
    const passed = workers.map((limiter) => admitted(limiter, [own], 0, 5));
    expect(passed).toEqual([5, 5]);
    const rest = workers.map((limiter) => admitted(limiter, [own], 5, 50));
    expect(Math.max(...rest)).toBeLessThan(BURST / 2);
  });

  test('a supervisor that answers too late is not waited for any longer', () => {
    const { store, supervisor, workers } = gateway(1);
    lose(store);
    supervisor.mode = 'late';
    const caller = new Caller([own]);
    workers[0]?.decide(caller, 0);
    expect(caller.told).toBe(0);
    supervisor.waiting[0]?.unavailable(25);
    expect(caller.decision).toMatchObject({ ok: true, path: 'fallback' });
    expect(caller.told).toBe(1);
  });
});

test('floors cross the message channel: a bucket is raised to them before its decision, those beside it are not', () => {
  const supervisor = new EmbeddedStore(100, seededRandom(1));
  const { unitTicks, burst } = compileRate(10, 10);
  const terms = [unitTicks, burst, 1, 1, 1];
  const floored = 64;
  const reply = serveLimitBatch(
    supervisor,
    [1, ['a', 'b', 'c'], [...terms, ...terms, 4 * unitTicks, 0, ...terms], [floored + 2, 1]],
    0,
  );
  const [, replies] = reply;
  // ok, then granted and remaining of a and b; ok, then those of c.
  expect([replies[0], replies[1], replies[2], replies[5], replies[6]]).toEqual([1, 1, 5, 1, 9]);
  expect([replies[9], replies[10], replies[11]]).toEqual([1, 1, 9]);
});
