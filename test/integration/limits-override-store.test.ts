/** Overrides in Redis: what the scripts leave there, and what two gateways' books make of a Redis that forgets or is silent. */
import { setImmediate as turn } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { configurationSchema } from '../../config/schema.ts';
import type { RedisConfiguration } from '../../config/schema.ts';
import type { ToWorker } from '../../src/io/ipc.ts';
import { LimitOverrides } from '../../src/io/limit-overrides.ts';
import { OVERRIDES_KEY } from '../../src/io/limit-store/override-scripts.ts';
import { OverrideStore } from '../../src/io/limit-store/override-store.ts';
import { MOST_OVERRIDES, type BookEntry, type BookOrder } from '../../src/limits/override-book.ts';
import { seededRandom } from '../../src/kernel/random.ts';
import { eventually } from '../harness/ports.ts';
import { RedisCluster } from '../harness/redis-fleet.ts';
import { RedisServer } from '../harness/redis.ts';

let server: RedisServer;
let client: Redis;
beforeAll(async () => {
  server = await RedisServer.start();
  client = server.client();
});
afterAll(async () => {
  client.disconnect();
  await server.stop();
});
beforeEach(async () => {
  await client.flushall();
});

const closing: { close(): void }[] = [];
afterEach(() => {
  for (const each of closing.splice(0)) each.close();
});

function redisOf(section: object): RedisConfiguration {
  const { redis } = configurationSchema.parse({
    listeners: [{ port: 1 }],
    services: { shop: { instances: ['http://127.0.0.1:1'] } },
    routes: [{ path: '/', service: 'shop' }],
    redis: section,
  });
  if (redis === null) throw new Error('no redis');
  return redis;
}

async function open(section: object = { url: server.url }): Promise<OverrideStore> {
  const ready = Promise.withResolvers<void>();
  const store = new OverrideStore(redisOf(section), {
    random: seededRandom(1),
    now: () => performance.now(),
    onReady: ready.resolve,
  });
  closing.push(store);
  await ready.promise;
  return store;
}

function entry(bucket: string, more: Partial<BookEntry> = {}): BookEntry {
  const now = performance.now();
  const figures = { hashed: null, client: 'a name', ratePerSecond: 1 / 3600, burst: 8, by: 'edge-1' };
  return { bucket, ...figures, endsMs: now + 60_000, untilMs: Date.now() + 60_000, serial: 0, ...more };
}

const set = (bucket: string, more: Partial<BookEntry> = {}): BookOrder => ({
  kind: 'set',
  entry: entry(bucket, more),
});

async function write(store: OverrideStore, ...orders: BookOrder[]) {
  return await store.write(orders, performance.now());
}

async function names(store: OverrideStore): Promise<string[]> {
  return (await store.read()).entries.map(({ bucket }) => bucket).toSorted();
}

describe('the hash in Redis', () => {
  test('has what was set until it is removed, exactly as it was set, by the clock of Redis', async () => {
    const store = await open();
    expect(await store.look()).toEqual({ life: '', version: 0 });
    const first = await write(store, set('a'), set('b', { ratePerSecond: 0.1 + 0.2, burst: 3 }));
    expect(first).toMatchObject({ version: 1, taken: [true, true] });
    const state = await store.read();
    expect(state).toMatchObject({ life: first.life, version: 1 });
    expect(state.entries.find(({ bucket }) => bucket === 'b')).toMatchObject({
      ratePerSecond: 0.1 + 0.2,
      burst: 3,
      by: 'edge-1',
      serial: 1,
    });
    const left = (state.entries[0]?.untilMs ?? 0) - state.nowMs;
    expect(left).toBeGreaterThan(50_000);
    expect(left).toBeLessThanOrEqual(60_000);
    expect(await write(store, { kind: 'remove', bucket: 'a' })).toMatchObject({
      version: 2,
      life: first.life,
    });
    expect(await names(store)).toEqual(['b']);
    // It goes by itself when no gateway is left.
    expect(await client.pttl(OVERRIDES_KEY)).toBeGreaterThan(30 * 86_400_000);
  });

  test('remembers who was filled lately, and no more than it can hold', async () => {
    const store = await open();
    for (let i = 0; i < 40; i++) {
      const orders = Array.from({ length: 10 }, (_, j): BookOrder => {
        return { kind: 'fill', bucket: String(i * 10 + j).padStart(22, '0') };
      });
      await write(store, ...orders);
    }
    const { fills } = await store.read();
    expect(fills.length).toBeGreaterThan(100);
    expect(fills.length).toBeLessThan(200);
    expect(fills.at(-1)).toEqual({ bucket: String(399).padStart(22, '0'), serial: 40 });
    expect((await client.hget(OVERRIDES_KEY, 'fills'))?.length).toBeLessThanOrEqual(4096);
  });

  test('has a place for ten thousand, and for one that is there', async () => {
    const store = await open();
    for (let i = 0; i < MOST_OVERRIDES; i += 500) {
      await write(store, ...Array.from({ length: 500 }, (_, j) => set(String(i + j).padStart(22, '0'))));
    }
    const { taken } = await write(store, set('one more'), set('0'.padStart(22, '0')));
    expect(taken).toEqual([false, true]);
    expect(await names(store)).toHaveLength(MOST_OVERRIDES);
  });

  test('loses what has ended when it is tidied, and nothing else', async () => {
    const store = await open();
    await write(store, set('a', { endsMs: performance.now() + 1 }), set('b'));
    await eventually('the first has ended', async () => {
      const { nowMs, entries } = await store.read();
      return (entries.find(({ bucket }) => bucket === 'a')?.untilMs ?? Infinity) <= nowMs;
    });
    await store.tidy(['a', 'b', 'c']);
    expect(await names(store)).toEqual(['b']);
  });

  test('what is not ours in it is passed over', async () => {
    const store = await open();
    await write(store, set('a'));
    await client.hset(OVERRIDES_KEY, { x: 'garbage', y: '1|a|b|c|d', z: '|||' });
    expect(await names(store)).toEqual(['a']);
    await store.tidy(['x', 'y', 'z']);
  });
});

describe('a Redis that has forgotten', () => {
  test('is given back everything when it is empty, and the second gateway changes nothing', async () => {
    const store = await open();
    const held = [entry('a', { serial: 3 }), entry('b', { serial: 7 })];
    expect(await store.restore('gone', 7, held)).toBe(2);
    const { version, life, entries } = await store.read();
    expect(version).toBe(8);
    expect(entries.map(({ bucket, serial }) => [bucket, serial])).toEqual([
      ['a', 3],
      ['b', 7],
    ]);
    expect(await store.restore('gone', 7, held)).toBe(0);
    expect(await store.look()).toEqual({ life, version });
  });

  test('that went back has what was removed since taken out, and what is newer stays', async () => {
    const store = await open();
    const { life } = await write(store, set('old'), set('kept'));
    // What the gateway knows: version 5, in which "old" was removed, "kept" was set anew and "new" came.
    const held = [entry('kept', { serial: 4, burst: 99 }), entry('new', { serial: 5 })];
    expect(await store.restore(life, 5, held)).toBe(2);
    const state = await store.read();
    expect(state.version).toBe(6);
    expect(Object.fromEntries(state.entries.map(({ bucket, burst }) => [bucket, burst]))).toEqual({
      kept: 99,
      new: 8,
    });
    // Another gateway that knew less comes too late to change it.
    expect(await store.restore(life, 4, [entry('kept', { serial: 2, burst: 1 })])).toBe(0);
    expect((await store.read()).version).toBe(6);
  });
});

const SECRET = 'the same secret in all gateways';

describe('two gateways', () => {
  interface Member {
    readonly overrides: LimitOverrides;
    readonly told: ToWorker[];
    readonly filled: string[];
    readonly lines: string[];
    /** The client as the last such line called it. */
    readonly named: (message: string) => unknown;
  }

  function gateway(host: string): Member {
    const told: ToWorker[] = [];
    const filled: string[] = [];
    const lines: string[] = [];
    const names = new Map<string, unknown>();
    const note = (fields: { client?: unknown }, message: string): void => {
      lines.push(message);
      names.set(message, fields.client);
    };
    const overrides = new LimitOverrides({
      now: () => performance.now(),
      wallMs: () => Date.now(),
      random: seededRandom(1),
      log: { info: note, warn: note },
      host,
      broadcast: (message) => void told.push(message),
      onFilled: (bucket) => void filled.push(bucket),
    });
    closing.push(overrides);
    overrides.configure(redisOf({ url: server.url }), SECRET);
    return { overrides, told, filled, lines, named: (message) => names.get(message) };
  }

  const order = (bucket: string, burst = 5) => {
    const client = `name of ${bucket}`;
    return { bucket, hashed: null, client, ratePerSecond: 5, burst, ttlMs: 60_000, by: 'admin' };
  };

  test('hear of each other, and what one removes is gone at the other', async () => {
    const [one, two] = [gateway('one'), gateway('two')];
    await eventually('it is shared', async () => (await one.overrides.set(order('a'))) === 'all-gateways');
    await eventually('heard', async () => two.overrides.find('a')?.burst === 5);
    expect(two.overrides.find('a')).toMatchObject({ by: 'one' });
    expect(two.told.at(-1)).toMatchObject({ entries: [{ bucket: 'a' }], gone: [] });
    expect(await two.overrides.remove('a', 'admin')).toBe('all-gateways');
    await eventually('gone', async () => one.overrides.find('a') === undefined);
    expect(one.told.at(-1)).toMatchObject({ entries: [], gone: ['a'] });
    await one.overrides.filled('b');
    await eventually('told', async () =>
      two.told.some((each) => each.type === 'limit-overrides' && each.filled.includes('b')),
    );
    // Each fills its own share too, for the next outage.
    expect([one.filled, two.filled]).toEqual([['b'], ['b']]);
  });

  test('what was set at one a moment ago is ended by the other, though it has not looked since', async () => {
    const [one, two] = [gateway('one'), gateway('two')];
    await eventually('both are there', async () => (await two.overrides.filled('x')) === 'all-gateways');
    for (let round = 0; round < 5; round++) {
      await eventually('shared', async () => (await one.overrides.set(order('a'))) === 'all-gateways');
      expect(await two.overrides.remove('a', 'admin')).toBe('all-gateways');
    }
    await eventually('gone', async () => one.overrides.find('a') === undefined);
    expect(await client.hexists(OVERRIDES_KEY, 'a')).toBe(0);
  });

  test('of what one set and the other took back no name is left behind', async () => {
    const [one, two] = [gateway('one'), gateway('two')];
    await eventually('shared', async () => (await one.overrides.set(order('a'))) === 'all-gateways');
    expect(one.named('limit override set')).toBe('name of a');
    await eventually('taken back', async () => (await two.overrides.remove('a', 'admin')) !== undefined);
    await eventually('gone', async () => one.overrides.find('a') === undefined);
    await two.overrides.set(order('a'));
    await eventually('heard', async () => one.overrides.find('a') !== undefined);
    await one.overrides.remove('a', 'admin');
    expect(one.named('limit override removed')).toBe('a');
  });

  test('give back what a failover lost, and what was removed since stays removed', async () => {
    const [one, two] = [gateway('one'), gateway('two')];
    await eventually('shared', async () => (await one.overrides.set(order('early'))) === 'all-gateways');
    const before = await client.dumpBuffer(OVERRIDES_KEY);
    if (before === null) throw new Error('nothing there');
    await one.overrides.set(order('late'));
    await one.overrides.remove('early', 'admin');
    await eventually('both know', async () => two.overrides.find('late') !== undefined);
    await client.restore(OVERRIDES_KEY, 0, before, 'REPLACE');
    await eventually('written back', async () => {
      const hash = await client.hgetall(OVERRIDES_KEY);
      return 'late' in hash && !('early' in hash) && Number(hash['version']) > 3;
    });
    await two.overrides.set(order('after'));
    await eventually('they agree', async () => one.overrides.find('after') !== undefined);
    for (const { overrides } of [one, two]) {
      expect(overrides.entries(SECRET).map(({ bucket }) => bucket)).toEqual(
        expect.arrayContaining(['late', 'after']),
      );
      expect(overrides.find('early')).toBeUndefined();
    }
    expect([...one.lines, ...two.lines]).toContain(
      'limit overrides that the store had forgotten written back',
    );
  });

  test('another store in the configuration gets what is in force', async () => {
    const one = gateway('one');
    await eventually('shared', async () => (await one.overrides.set(order('a'))) === 'all-gateways');
    one.overrides.configure(null, SECRET);
    expect(await one.overrides.set(order('b'))).toBe('gateway');
    // Without Redis there is one store, and whoever asked has filled it.
    expect([await one.overrides.filled('b'), one.filled]).toEqual(['gateway', []]);
    await client.flushall();
    one.overrides.configure(redisOf({ url: server.url, timeout: '30ms' }), SECRET);
    await eventually('both are there', async () => {
      const hash = await client.hgetall(OVERRIDES_KEY);
      return 'a' in hash && 'b' in hash;
    });
  });

  test('a Redis that stands still costs an operator less than a second, and nothing is lost', async () => {
    const one = gateway('one');
    await eventually('shared', async () => (await one.overrides.set(order('a'))) === 'all-gateways');
    server.pause();
    try {
      expect(await one.overrides.set(order('b'))).toBe('this-gateway-only');
      expect(one.overrides.find('b')).toMatchObject({ burst: 5, serial: 0 });
    } finally {
      server.resume();
    }
    await eventually('it is told', async () => 'b' in (await client.hgetall(OVERRIDES_KEY)));
  });

  test('twenty orders in an outage wait together for as long as one, and the next for nothing', async () => {
    const one = gateway('one');
    await eventually('shared', async () => (await one.overrides.set(order('a'))) === 'all-gateways');
    const buckets = Array.from({ length: 20 }, (_, i) => `b${i}`);
    server.pause();
    try {
      const scopes: unknown[] = [];
      const setting = buckets.map(async (bucket) => scopes.push(await one.overrides.set(order(bucket))));
      await Promise.race(setting);
      // The first has waited for its deadline; the others wait for nothing after that.
      await turn();
      expect(scopes).toEqual(buckets.map(() => 'this-gateway-only'));
      const first = await Promise.race([one.overrides.set(order('c')), turn('it waits')]);
      expect(first).toBe('this-gateway-only');
    } finally {
      server.resume();
    }
    await eventually('all are told', async () => (await client.hlen(OVERRIDES_KEY)) === 3 + 1 + 20 + 1);
    expect(await one.overrides.set(order('d'))).toBe('all-gateways');
  });
});

test('a cluster keeps them as one server does', async () => {
  await using cluster = await RedisCluster.start();
  const store = await open({ cluster: cluster.addresses });
  await eventually('it takes them', async () => {
    try {
      return (await write(store, set('a'))).taken[0] === true;
    } catch {
      return false;
    }
  });
  expect(await names(store)).toEqual(['a']);
  expect((await store.look()).version).toBeGreaterThanOrEqual(1);
  await store.restore('gone', 9, [entry('b', { serial: 9 })]);
  expect(await names(store)).toEqual(['a', 'b']);
});
