/** The store in Redis when all is well: exact over connections, one call a decision, nothing left behind. */
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { seededRandom } from '../../src/kernel/random.ts';
import { LIVE_KEY } from '../../src/io/limit-store/scripts.ts';
import { compileRate } from '../../src/limits/gcra.ts';
import { Limiter } from '../../src/limits/limiter.ts';
import { RedisServer } from '../harness/redis.ts';
import { Ask, Caller, charge, terms } from '../unit/limits/fixtures.ts';
import { ask, callsOf, OpenStore, until } from './limits-stores.ts';

let server: RedisServer;
let redis: Redis;
/** One gateway was there and went, before the first test. */
let idle: RedisServer;
let opened: OpenStore[] = [];
beforeAll(async () => {
  [server, idle] = await Promise.all([RedisServer.start(), RedisServer.start()]);
  redis = server.client();
  const client = idle.client();
  const { store } = await new OpenStore(idle.url, { timeoutMs: 1000 }).fit();
  store.close();
  expect(await client.exists(LIVE_KEY)).toBe(1);
  client.disconnect();
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
  await idle.stop();
});
beforeEach(() => redis.flushall());
afterEach(() => {
  for (const open of opened) open.store.close();
  opened = [];
});

function open(options: { gateway?: string; workers?: number; timeoutMs?: number } = {}): Promise<OpenStore> {
  const store = new OpenStore(server.url, { timeoutMs: 1000, ...options });
  opened.push(store);
  return store.fit();
}

test('a decision is one call, whatever the levels, admitted or refused', async () => {
  const { store } = await open();
  const rate = compileRate(1, 200);
  await redis.config('RESETSTAT');
  for (let levels = 1; levels <= 5; levels++) {
    const keys = Array.from({ length: levels }, (_, i) => `k${i}`);
    for (let i = 0; i < 20; i++)
      await ask(
        store,
        keys,
        keys.flatMap(() => terms(rate, i < 10 ? 1 : 201)),
      );
  }
  const info = await redis.info('commandstats');
  expect(callsOf(info, 'evalsha')).toBe(100);
  expect(callsOf(info, 'eval')).toBeLessThanOrEqual(30); // heartbeats
});

test('calls of one turn leave as one pipeline, at most 64 in each', async () => {
  const { store } = await open();
  const before = store.view(performance.now());
  const calls = Array.from({ length: 130 }, () => new Ask(['k'], terms(compileRate(1, 200))));
  for (const call of calls) store.decide(call, performance.now());
  await Promise.all(calls.map((call) => call.done));
  const after = store.view(performance.now());
  expect(after.calls - before.calls).toBe(130);
  expect(after.batches - before.batches).toBe(3);
});

test('four connections under four times the load never admit more than rate · window + burst', async () => {
  const stores = await Promise.all([1, 2, 3, 4].map((i) => open({ gateway: `gw-${i}` })));
  const rate = compileRate(100, 10);
  let offered = 0;
  let admitted = 0;
  const startMs = await redisMs();
  const end = performance.now() + 2000;
  await Promise.all(
    stores.map(async ({ store }) => {
      while (performance.now() < end) {
        const replies = await Promise.all(
          Array.from({ length: 8 }, () => ask(store, ['shared'], terms(rate))),
        );
        offered += replies.length;
        admitted += replies.filter((reply) => reply[0] === 1).length;
      }
    }),
  );
  // By Redis's own clock, so that the bound needs no slack.
  const spanMs = (await redisMs()) - startMs;
  expect(offered).toBeGreaterThan(4 * admitted);
  expect(admitted).toBeLessThanOrEqual(10 + (100 * spanMs) / 1000);
  expect(admitted).toBeGreaterThan(0.8 * (10 + (100 * 2000) / 1000));
});

async function redisMs(): Promise<number> {
  const [seconds, micros] = await redis.time();
  return Number(seconds) * 1000 + Number(micros) / 1000;
}

test('however many connections race for one burst, exactly the burst is admitted', async () => {
  const stores = await Promise.all([1, 2, 3, 4].map((i) => open({ gateway: `gw-${i}` })));
  const rate = compileRate(1 / 3600, 97);
  const replies = await Promise.all(
    stores.flatMap(({ store }) =>
      Array.from({ length: 60 }, () => ask(store, ['x', 'y'], [...terms(rate), ...terms(rate, 0)])),
    ),
  );
  expect(replies.filter((reply) => reply[0] === 1)).toHaveLength(97);
});

test('a refused request changes no key, and writes none', async () => {
  const { store } = await open();
  const wide = compileRate(1, 10);
  await ask(store, ['a', 'b'], [...terms(wide, 9), ...terms(wide, 9)]);
  const before = await redis.mget('a', 'b', 'c');
  const reply = await ask(store, ['c', 'a', 'b'], [...terms(wide), ...terms(wide, 5), ...terms(wide)]);
  expect(reply[0]).toBe(0);
  expect(await redis.mget('a', 'b', 'c')).toEqual(before);
});

test('a key goes when its bucket is full again', async () => {
  const { store } = await open();
  await ask(store, ['gone'], terms(compileRate(20, 2), 2));
  await until(async () => (await redis.exists('gone')) === 0, 'the key has expired');
});

test('gateways hear of each other by their heartbeats, and of their workers', async () => {
  const first = await open({ gateway: 'a', workers: 2 });
  await open({ gateway: 'b', workers: 3 });
  await until(() => first.store.gateways() === 2, 'two gateways');
  expect(first.store.view(performance.now()).workers).toBe(5);
  first.store.setWorkers(4);
  await until(() => first.store.view(performance.now()).workers === 7, 'a worker more');
});

test('a gateway that falls silent is forgotten after three seconds, also where the clock was set back meanwhile', async () => {
  const first = await open({ gateway: 'a' });
  const second = await open({ gateway: 'b' });
  await redis.hset(LIVE_KEY, 'heard before', `1:${((await redisMs()) / 1000 + 60).toFixed(3)}`);
  await until(() => first.store.gateways() === 3, 'three gateways');
  second.store.close();
  await until(() => first.store.gateways() === 1, 'one gateway');
  expect(await redis.hkeys(LIVE_KEY)).toEqual(['a']);
});

test('the limiter on Redis: all or nothing, then on hold without a trip', async () => {
  const { store } = await open();
  const limiter = new Limiter({ store, onUnavailable: 'deny', workers: 1, random: seededRandom(1) });
  const charges = [
    charge('client', compileRate(0.1, 2), true, 'spw:{c.X}:t'),
    charge('global', compileRate(1, 100), true, 'spw:{g}:global'),
  ];
  const decisions = [];
  for (let i = 0; i < 4; i++) {
    const caller = new Caller(charges);
    limiter.decide(caller, performance.now());
    decisions.push(await caller.done);
  }
  expect(decisions.map((decision) => [decision.ok, decision.path])).toEqual([
    [true, 'store'],
    [true, 'store'],
    [false, 'store'],
    [false, 'hold'],
  ]);
  expect(decisions[2]).toMatchObject({ refusedBy: 'client', code: 'SPW_RATE_CLIENT' });
  expect((await ask(store, ['spw:{g}:global'], terms(compileRate(1, 100), 0)))[2]).toBe(98);
});

// The last test, so that its time has passed.
test('an idle Redis keeps no trace of gateways that are gone', async () => {
  const client = idle.client();
  await until(async () => (await client.exists(LIVE_KEY)) === 0, 'the hash has expired');
  client.disconnect();
});
