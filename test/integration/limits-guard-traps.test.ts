/**
 * Traps of rate-limiter-flexible that lie in its windows and blocks, each with the behaviour that keeps it shut. Where a
 * trap can be shown, the library's own way is shown beside ours, so that the test proves that it would notice.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Cluster, Redis } from 'ioredis';
import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { CappedMemory, MOST_KEYS } from '../../src/io/guard/capped-memory.ts';
import { guardKey, strike, type GuardName } from '../../src/io/guard/guard-store.ts';
import { RedisGuardStore } from '../../src/io/guard/redis-guard-store.ts';
import { openRedis } from '../../src/io/limit-store/redis-options.ts';
import type { RedisPlace } from '../../src/io/limit-store/redis-options.ts';
import { seededRandom } from '../../src/kernel/random.ts';
import { Strikes, type GuardRule, type Tally } from '../../src/limits/guard.ts';
import { PENALTY_SUFFIX } from '../../src/io/guard/guards.ts';
import { RedisCluster } from '../harness/redis-fleet.ts';
import { RedisServer } from '../harness/redis.ts';
import { until } from './limits-stores.ts';

const DAY_S = 86_400;

const PLACE: RedisPlace = {
  url: null,
  sentinels: null,
  sentinelName: 'mymaster',
  cluster: null,
  username: null,
  password: null,
  sentinelPassword: null,
  tls: null,
};

function rule(strikes: number, windowSeconds: number, blockSeconds: number): GuardRule {
  return { kind: 'guard', strikes, windowSeconds, blockSeconds, enforced: true };
}

function named(suffix: string, ...figures: [number, number, number]): GuardName {
  return { name: suffix, suffix, rule: rule(...figures) };
}

/** A store, and a promise for each strike. */
class Counting {
  readonly store: RedisGuardStore;
  insured = 0;
  readonly #waiting = new Map<string, ((tally: Tally) => void)[]>();

  constructor(client: Redis | Cluster) {
    this.store = new RedisGuardStore({
      client,
      told: (_name, client, tally) => this.#waiting.get(client)?.shift()?.(tally),
      onInsured: () => this.insured++,
      now: () => performance.now(),
    });
  }

  async strike(guard: GuardName, client: string): Promise<Tally> {
    return await new Promise((resolve) => {
      const waiting = this.#waiting.get(client) ?? [];
      this.#waiting.set(client, waiting);
      waiting.push(resolve);
      this.store.count(guard, client);
    });
  }

  /** Redis itself answers. */
  async up(): Promise<this> {
    const probe = named('probe', 1_000_000, 1, 1);
    await until(async () => (await this.strike(probe, 'probe')).shared, 'Redis counts');
    this.insured = 0;
    return this;
  }
}

let server: RedisServer;
let opened: Counting[] = [];
beforeEach(async () => {
  server = await RedisServer.start();
});
afterEach(async () => {
  for (const { store } of opened) store.close();
  opened = [];
  await server.stop();
});

async function open(): Promise<Counting> {
  const counting = new Counting(openRedis({ ...PLACE, url: server.url }, seededRandom(1)));
  opened.push(counting);
  return await counting.up();
}

test('two guards share no script', async () => {
  const counting = await open();
  const logins = named('g.logins', 2, 60, 600);
  const codes = named('g.codes', 9, 1000, 20);
  const penalty = named(PENALTY_SUFFIX, 50, 30, 3600);
  // Interleaved, as the last definition would win.
  for (let i = 1; i <= 3; i++) {
    expect(await counting.strike(logins, 'c')).toMatchObject({ strikes: i, shared: true });
    expect(await counting.strike(codes, 'c')).toMatchObject({ strikes: i, shared: true });
    expect(await counting.strike(penalty, 'c')).toMatchObject({ strikes: i, shared: true });
  }
  const redis = server.client();
  try {
    const ttl = async (guard: GuardName): Promise<number> => await redis.ttl(`spw:${guardKey(guard, 'c')}`);
    expect(await ttl(logins)).toBeGreaterThan(590);
    expect(await ttl(codes)).toBeGreaterThan(990);
    expect(await ttl(penalty)).toBeLessThanOrEqual(30);
    // One script for all of them, the library's own; those of the limits have connections of their own.
    expect(await redis.info('memory')).toMatch(/number_of_cached_scripts:1\r/);
  } finally {
    redis.disconnect();
  }
});

test('guard windows are whole seconds up to 24 days', async () => {
  const counting = await open();
  // The shortest ends; the library's half a second never does.
  const short = named('g.short', 1, 1, 1);
  expect((await counting.strike(short, 'c')).restMs).toBeLessThanOrEqual(1000);
  expect((await counting.strike(short, 'c')).strikes).toBe(2);
  await until(async () => (await counting.strike(short, 'c')).strikes === 1, 'the block is over');
  const redis = server.client();
  try {
    const half = new RateLimiterRedis({ storeClient: redis, keyPrefix: 'half', points: 1, duration: 0.5 });
    await half.consume('c');
    expect(await redis.pttl('half:c')).toBe(-1);
  } finally {
    redis.disconnect();
  }
  // The longest counts, in memory too, where the timer of one that is longer than 2^31 ms fires at once.
  const longest = new CappedMemory();
  const longer = new RateLimiterMemory({ points: 1, duration: 25 * DAY_S });
  vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  for (let i = 1; i <= 3; i++) {
    expect((await longest.strike('c', rule(1, 24 * DAY_S, 24 * DAY_S))).consumedPoints).toBe(i);
    expect((await longer.consume('c')).consumedPoints).toBe(1);
    await pause(20);
  }
  vi.restoreAllMocks();
});

test('a spray of addresses cannot grow the insurance', async () => {
  const counting = await open();
  await server.kill();
  const guard = named('g.spray', 5, 600, 600);
  await until(async () => !(await counting.strike(guard, 'first')).shared, 'the insurance counts');
  expect((await counting.strike(guard, 'first')).strikes).toBeGreaterThan(1);
  // One memory for all guards, and the timers of those who had to go are gone with them.
  const memory = new CappedMemory(1000);
  const rules = [rule(5, 600, 600), rule(9, 60, 60)] as const;
  const made = vi.spyOn(globalThis, 'setTimeout');
  const cleared = vi.spyOn(globalThis, 'clearTimeout');
  for (let i = 0; i < 20_000; i++) await memory.strike(`ip${i}`, rules[i % 2 === 0 ? 0 : 1]);
  expect(memory.dump().storage.length).toBe(1000);
  expect(made.mock.calls.length - cleared.mock.calls.length).toBe(1000);
  vi.restoreAllMocks();
  // Whoever struck last is known still.
  expect((await memory.strike('ip19999', rules[1])).consumedPoints).toBe(2);
  expect(MOST_KEYS).toBe(20_000);
  for (const { key } of memory.dump().storage) await memory.delete(key);
});

test('a block outlives Redis', async () => {
  const counting = await open();
  const guard = named('g.block', 3, 30, 600);
  const strikes = new Strikes();
  const fail = async (client: string): Promise<Tally | undefined> => {
    if (!strikes.strike(client, guard.rule, performance.now())) return undefined;
    const tally = await counting.strike(guard, client);
    strikes.counted(client, guard.rule, tally, performance.now());
    return tally;
  };
  // One that Redis knew of, and one that it half knew.
  for (let i = 0; i < 4; i++) await fail('known');
  for (let i = 0; i < 3; i++) await fail('half');
  expect(strikes.blockedMs('known', performance.now())).toBeGreaterThan(590_000);
  expect(strikes.blockedMs('half', performance.now())).toBe(0);
  await server.kill();
  await until(async () => !(await counting.strike(named('probe', 9, 1, 1), 'p')).shared, 'Redis is lost');
  expect(strikes.blockedMs('known', performance.now())).toBeGreaterThan(590_000);
  expect(await fail('known')).toBeUndefined();
  // The insurance begins to count at 1, and this was the fourth.
  expect(await fail('half')).toMatchObject({ strikes: 1, shared: false });
  expect(strikes.blockedMs('half', performance.now())).toBeGreaterThan(590_000);
  // What the insurance counts by itself it blocks for as long as Redis would, and not for the rest of the window.
  for (let i = 1; i <= 3; i++) expect((await counting.strike(guard, 'new')).strikes).toBe(i);
  const blocking = await counting.strike(guard, 'new');
  expect(blocking).toMatchObject({ strikes: 4, shared: false });
  expect(blocking.restMs).toBeGreaterThan(590_000);
  // A reload that sets the figures anew, and the way back, lift nothing.
  const reloaded = named('g.block', 3, 30, 500);
  expect((await counting.strike(reloaded, 'newer')).restMs).toBeLessThanOrEqual(30_000);
  for (let i = 0; i < 3; i++) await counting.strike(reloaded, 'newer');
  expect((await counting.strike(reloaded, 'newer')).restMs).toBeGreaterThan(490_000);
  await server.restart();
  await counting.up();
  expect(strikes.blockedMs('half', performance.now())).toBeGreaterThan(590_000);
});

test('a Redis that stands still counts nothing twice, and whoever strikes meanwhile is blocked all the same', async () => {
  const counting = await open();
  const guard = named('g.still', 3, 600, 600);
  expect((await counting.strike(guard, 'c')).strikes).toBe(1);
  server.pause();
  try {
    const first = counting.strike(guard, 'c');
    const seen: Tally[] = [];
    // The first waits until its socket is given up; the others are counted by the insurance before that.
    await until(async () => {
      const tally = await Promise.race([counting.strike(guard, 'd'), first, pause(50)]);
      if (tally !== undefined) seen.push(tally);
      return seen.length >= 3;
    }, 'the insurance counts');
    expect(seen.every(({ shared }) => !shared)).toBe(true);
    expect((await first).shared).toBe(false);
  } finally {
    server.resume();
  }
  await counting.up();
  const redis = server.client();
  try {
    // Whatever was in the socket of the stopped server was at most what was sent before it was given up.
    expect(Number(await redis.get(`spw:${guardKey(guard, 'c')}`))).toBeLessThanOrEqual(2);
  } finally {
    redis.disconnect();
  }
});

test('who is forgiven stays forgiven, though the strike that blocks was under way', async () => {
  const counting = await open();
  const guard = named('g.under-way', 3, 600, 600);
  const redis = server.client();
  try {
    for (let round = 0; round < 10; round++) {
      let told = 0;
      const strikes = Array.from({ length: 4 }, async () => {
        const tally = await counting.strike(guard, `c${round}`);
        told++;
        return tally.strikes;
      });
      await counting.store.forgive([guard], `c${round}`);
      expect(told).toBe(4);
      expect(await Promise.all(strikes)).toEqual([1, 2, 3, 4]);
      // The library blocks by a trip of its own, which must not come after the deletion.
      expect(await redis.exists(`spw:${guardKey(guard, `c${round}`)}`)).toBe(0);
    }
  } finally {
    redis.disconnect();
  }
});

test('in a cluster all that is counted of a client lies in one slot, and clients lie apart', async () => {
  await using cluster = await RedisCluster.start();
  const place = { ...PLACE, cluster: cluster.addresses };
  const counting = new Counting(openRedis(place, seededRandom(2)));
  opened.push(counting);
  await counting.up();
  const [guard, penalty] = [named('g.logins', 2, 60, 600), named(PENALTY_SUFFIX, 2, 60, 600)];
  const owners = new Set<number>();
  for (let client = 0; client < 12; client++) {
    for (const each of [guard, penalty]) {
      for (let i = 1; i <= 3; i++)
        expect(await counting.strike(each, `c${client}`)).toMatchObject({ strikes: i, shared: true });
      expect((await counting.strike(each, `c${client}`)).restMs).toBeGreaterThan(590_000);
    }
    const [one, other] = await Promise.all(
      [guard, penalty].map((each) => cluster.ownerOf(`spw:${guardKey(each, `c${client}`)}`)),
    );
    expect(one).toBe(other);
    owners.add(one ?? -1);
  }
  expect(owners.size).toBe(3);
});

test('the ten-thousandth blocked key costs what the first did', async () => {
  const scans = countScans();
  const strikes = new Strikes();
  const one = rule(1, 600, 600);
  try {
    for (let i = 0; i < 10_000; i++) {
      strikes.strike(`ip${i}`, one, 0);
      strikes.strike(`ip${i}`, one, 0);
      if (strikes.blockedMs(`ip${i}`, 0) === 0) throw new Error('not blocked');
    }
    expect(scans.count).toBe(0);
    // The library's own memory of blocked keys looks through all of them once there are a thousand.
    const redis = server.client();
    const library = new RateLimiterRedis({
      storeClient: redis,
      points: 1,
      duration: 600,
      inMemoryBlockOnConsumed: 2,
      inMemoryBlockDuration: 600,
    });
    for (let i = 0; i < 1100; i++) {
      await strike(library, `ip${i}`);
      await strike(library, `ip${i}`);
    }
    redis.disconnect();
    expect(scans.count).toBeGreaterThan(100);
  } finally {
    scans.stop();
  }
});

/** How often a map of a thousand or more was walked through. */
function countScans(): { readonly count: number; readonly stop: () => void } {
  const own = Object.getOwnPropertyDescriptor(Map.prototype, Symbol.iterator) as PropertyDescriptor;
  const walk = Map.prototype[Symbol.iterator];
  let count = 0;
  const value = function (this: Map<unknown, unknown>) {
    if (this.size > 999) count++;
    return walk.call(this);
  };
  Reflect.defineProperty(Map.prototype, Symbol.iterator, { ...own, value });
  return {
    get count() {
      return count;
    },
    stop: () => {
      Reflect.defineProperty(Map.prototype, Symbol.iterator, own);
    },
  };
}
