/** The store behind sentinels and in a cluster: found, followed when it moves, and lost only as far as it is lost. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { keySlot } from '../../src/io/limit-store/key-slot.ts';
import { openPrimary } from '../../src/io/limit-store/redis-options.ts';
import type { RedisPlace } from '../../src/io/limit-store/redis-options.ts';
import { RedisClusterStore } from '../../src/io/limit-store/redis-cluster.ts';
import { RedisLimitStore } from '../../src/io/limit-store/redis.ts';
import { seededRandom } from '../../src/kernel/random.ts';
import { compileRate } from '../../src/limits/gcra.ts';
import { issueCertificate, makeAuthority } from '../harness/certificates.ts';
import { freePort, RedisServer } from '../harness/redis.ts';
import { RedisCluster, RedisSentinel } from '../harness/redis-fleet.ts';
import { terms } from '../unit/limits/fixtures.ts';
import { ask, take, until } from './limits-stores.ts';

const rate = compileRate(1 / 3600, 1000);
const NOWHERE: RedisPlace = {
  url: null,
  sentinels: null,
  sentinelName: RedisSentinel.primaryName,
  cluster: null,
  username: null,
  password: null,
  sentinelPassword: null,
  tls: null,
};

type Store = RedisLimitStore | RedisClusterStore;
let opened: Store[] = [];
afterEach(() => {
  for (const store of opened) store.close();
  opened = [];
});

interface Open {
  readonly store: Store;
  readonly told: string[];
}

function open(place: Partial<RedisPlace>, options: { gateway?: string; workers?: number } = {}): Open {
  const told: string[] = [];
  const whole = { ...NOWHERE, ...place };
  const common = {
    timeoutMs: 500,
    gateway: options.gateway ?? 'gw-1',
    workers: options.workers ?? 1,
    gateways: 1,
    random: seededRandom(3),
    onState: (state: string, reason: string): void => void told.push(`${state} ${reason}`.trim()),
  };
  const store =
    whole.cluster === null
      ? new RedisLimitStore({ ...common, client: openPrimary(whole, seededRandom(5)) })
      : new RedisClusterStore({ ...common, place: whole });
  opened.push(store);
  return { store, told };
}

async function fit({ store }: Open): Promise<void> {
  await until(() => store.view(performance.now()).state === 'fit', 'it is fit');
}

/** Units gone from a bucket of `rate`, as the store says. */
async function charged(store: Store, key: string): Promise<number> {
  const reply = await ask(store, [key], terms(rate, 0));
  return rate.burst - Number(reply[2]);
}

describe('TLS', () => {
  test('is verified: the authority that is named, under the name that is expected, and nothing else', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'spillway-redis-tls-'));
    const authority = makeAuthority(folder);
    const { cert, key } = issueCertificate(folder, authority, 'redis', ['redis.test']);
    const port = await freePort();
    const tlsArguments = ['--tls-cert-file', cert, '--tls-key-file', key, '--tls-auth-clients', 'no'];
    const server = await RedisServer.start([
      '--tls-port',
      String(port),
      '--tls-ca-cert-file',
      authority.cert,
      '--requirepass',
      'sesame',
      ...tlsArguments,
    ]);
    const url = `rediss://127.0.0.1:${port}`;
    const right = { ca: authority.cert, serverName: 'redis.test' };
    const opened = open({ url, password: 'sesame', tls: right });
    await fit(opened);
    expect(await take(opened.store, 'k', rate)).toBe(true);
    for (const tls of [{ ...right, serverName: 'other.test' }, { ...right, ca: null }, null]) {
      const refused = open({ url, password: 'sesame', tls });
      await until(() => refused.told.length > 0, 'refused');
      expect(refused.told[0]).toMatch(/^unfit (ERR_TLS_CERT_ALTNAME_INVALID|UNABLE_TO_|SELF_SIGNED)/);
    }
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });
});

describe('sentinels', () => {
  test('name the primary; when it dies they name another, and the store follows with what it holds', async () => {
    await using fleet = await RedisSentinel.start('sesame');
    const place = { sentinels: [`127.0.0.1:${fleet.port}`], password: 'sesame', sentinelPassword: 'sesame' };
    const opened = open(place);
    await fit(opened);
    const { store } = opened;
    for (let i = 0; i < 5; i++) expect(await take(store, 'k', rate)).toBe(true);
    const replica = fleet.servers[1].client('sesame');
    await until(async () => (await replica.exists('k')) === 1, 'the replica has a copy');
    replica.disconnect();
    await fleet.servers[0].kill();
    await fleet.promoted();
    const promotedAt = performance.now();
    await until(() => opened.told.length === 3, 'it is fit again');
    expect(opened.told.map((line) => line.split(' ')[0])).toEqual(['fit', 'unfit', 'fit']);
    expect(performance.now() - promotedAt).toBeLessThan(10_000);
    expect(await take(store, 'k', rate)).toBe(true);
    expect(await charged(store, 'k')).toBe(6);
  });

  test('that cannot be reached are told once, as the reason', async () => {
    const opened = open({ sentinels: ['127.0.0.1:1', '127.0.0.1:2'] });
    await until(() => opened.told.length > 0, 'told');
    expect(opened.told).toEqual(['unfit sentinels']);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(opened.told).toHaveLength(1);
  });
});

describe('a cluster', () => {
  const GLOBAL = 'spw:{g}:global';
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await RedisCluster.start();
  });
  afterAll(async () => await cluster[Symbol.asyncDispose]());
  beforeEach(async () => {
    for (const node of [0, 1, 2]) await cluster.client(node).flushall();
  });

  test('keeps each bucket where its slot is, and an operator finds it there', async () => {
    const opened = open({ cluster: [cluster.addresses[1] ?? ''] });
    await fit(opened);
    expect(opened.told).toEqual(['fit']);
    const owners = new Set<number>();
    for (let i = 0; i < 30; i++) {
      const key = `spw:{c.${i}}:t`;
      expect(keySlot(key)).toBe(await cluster.client(0).cluster('KEYSLOT', key));
      expect(await take(opened.store, key, rate)).toBe(true);
      const owner = await cluster.ownerOf(key);
      owners.add(owner);
      expect(await cluster.client(owner).exists(key)).toBe(1);
    }
    expect(owners).toEqual(new Set([0, 1, 2]));
    expect(await opened.store.forget('spw:{c.1}:t')).toBe(true);
    expect(await opened.store.forget('spw:{c.1}:t')).toBe(false);
  });

  test('decides over a client and what all share, all or nothing, though no script reaches over both', async () => {
    const opened = open({ cluster: cluster.addresses });
    await fit(opened);
    const { store } = opened;
    // A client that lies elsewhere than the global limit, and one bucket more beside each.
    const owner = await cluster.ownerOf(GLOBAL);
    let hash = 0;
    while ((await cluster.ownerOf(`{c.${hash}}`)) === owner) hash++;
    const small = compileRate(1 / 3600, 3);
    const keys = [`spw:{c.${hash}}:t`, 'spw:{g}:tier.free', `spw:{c.${hash}}:r.x`, GLOBAL];
    const levels = [...terms(small), ...terms(rate), ...terms(rate), ...terms(rate)];
    const replies = [];
    for (let i = 0; i < 6; i++) replies.push(await ask(store, keys, levels));
    expect(replies.map((reply) => reply[0])).toEqual([1, 1, 1, 0, 0, 0]);
    // The reply speaks of the levels in the order of the question, refused or not.
    expect(replies[2]?.slice(1, 3)).toEqual([1, 0]);
    expect(replies[2]?.slice(5, 7)).toEqual([1, 997]);
    expect(replies[5]?.slice(1, 3)).toEqual([0, 0]);
    expect(replies[5]?.slice(13, 15)).toEqual([0, 997]);
    expect(Number(replies[5]?.[3])).toBeGreaterThan(0);
    await until(async () => (await charged(store, GLOBAL)) === 3, 'what was refused is back');
    expect(await charged(store, 'spw:{g}:tier.free')).toBe(3);
    expect(await charged(store, `spw:{c.${hash}}:r.x`)).toBe(3);
  });

  test('hears of all gateways at one node, and tries the others by a write of its own', async () => {
    const first = open({ cluster: cluster.addresses }, { gateway: 'a', workers: 2 });
    const second = open({ cluster: cluster.addresses }, { gateway: 'b', workers: 3 });
    await Promise.all([fit(first), fit(second)]);
    await until(() => first.store.gateways() === 2 && first.store.workers() === 5, 'two gateways');
    await cluster.client(2).config('SET', 'maxmemory', '1');
    await until(() => first.told.includes('unfit OOM'), 'a node without memory is found without a request');
    await cluster.client(2).config('SET', 'maxmemory', '0');
    await fit(first);
  });

  test('whose slots are moved under load charges each call once, and loses none', async () => {
    const opened = open({ cluster: cluster.addresses });
    await fit(opened);
    const { store } = opened;
    const key = 'spw:{c.moved}:t';
    const slot = keySlot(key);
    const from = await cluster.ownerOf(key);
    const to = (from + 1) % 3;
    const load = { running: true, asked: 0, answered: 0 };
    const worker = async (): Promise<void> => {
      while (load.running) {
        load.asked++;
        if (typeof (await ask(store, [key], terms(rate))) !== 'string') load.answered++;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    const workers = Promise.all([worker(), worker(), worker()]);
    await until(() => load.answered > 20, 'load');
    await cluster.moveSlot(slot, from, to);
    const moved = load.answered;
    await until(() => load.answered > moved + 30, 'load on the other node');
    load.running = false;
    await workers;
    expect(await cluster.client(to).exists(key)).toBe(1);
    expect(load.answered).toBe(load.asked);
    expect(await charged(store, key)).toBe(load.answered);
    expect(opened.told).toEqual(['fit']);
  });

  test('amid a move is asked for a key where the key has gone (ASK), and charges it once', async () => {
    const opened = open({ cluster: cluster.addresses });
    await fit(opened);
    const { store } = opened;
    const [gone, late] = ['spw:{c.half}:t', 'spw:{c.half}:r.x'];
    const slot = keySlot(gone);
    const from = await cluster.ownerOf(gone);
    const to = (from + 1) % 3;
    expect(await take(store, gone, rate)).toBe(true);
    const [source, target] = [cluster.client(from), cluster.client(to)];
    await target.cluster('SETSLOT', slot, 'IMPORTING', await source.cluster('MYID'));
    await source.cluster('SETSLOT', slot, 'MIGRATING', await target.cluster('MYID'));
    await cluster.moveKeys(slot, from, to);
    expect(await take(store, gone, rate)).toBe(true);
    expect(await charged(store, gone)).toBe(2);
    // New keys are made where the slot goes.
    expect(await take(store, late, rate)).toBe(true);
    expect(await charged(store, late)).toBe(1);
    for (const client of [target, source])
      await client.cluster('SETSLOT', slot, 'NODE', await target.cluster('MYID'));
    expect(await take(store, gone, rate)).toBe(true);
    expect(await charged(store, gone)).toBe(3);
    expect(await target.exists(gone, late)).toBe(2);
    expect(opened.told).toEqual(['fit']);
  });

  test('that loses one primary loses its slots only, until a replica is promoted', async () => {
    for (const client of [0, 1, 2, 3])
      await cluster.client(client).config('SET', 'cluster-require-full-coverage', 'no');
    const opened = open({ cluster: cluster.addresses });
    await fit(opened);
    const { store } = opened;
    const of = async (node: number): Promise<string> => {
      for (let i = 0; ; i++) if ((await cluster.ownerOf(`{c.${i}}`)) === node) return `spw:{c.${i}}:t`;
    };
    const [lost, kept] = [await of(0), await of(1)];
    expect(await take(store, lost, rate)).toBe(true);
    await cluster.client(3).readonly();
    await until(async () => (await cluster.client(3).exists(lost)) === 1, 'the replica has a copy');
    await cluster.nodes[0]?.kill();
    await until(() => opened.told.length === 2, 'one is lost');
    expect(await ask(store, [lost], terms(rate))).toBe('unfit');
    expect(await take(store, kept, rate)).toBe(true);
    await cluster.promoted(3);
    await until(async () => Array.isArray(await ask(store, [lost], terms(rate))), 'its slots are back');
    expect(await charged(store, lost)).toBe(2);
    await fit(opened);
    expect(opened.told.map((line) => line.split(' ')[0])).toEqual(['fit', 'unfit', 'fit']);
  });
});

test('a cluster of which nobody answers is told once', async () => {
  const opened = open({ cluster: ['127.0.0.1:1'] });
  await until(() => opened.told.length > 0, 'told');
  expect(opened.told).toEqual(['unfit ECONNREFUSED']);
  expect(await ask(opened.store, ['k'], terms(rate))).toBe('unfit');
});
