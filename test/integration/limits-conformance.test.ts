/** One suite for every store: what the port promises, Redis, the message channel and memory keep alike. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BucketStore } from '../../src/io/limit-store/gcra-limiter.ts';
import { IpcLimitStore, serveLimitBatch } from '../../src/io/limit-store/ipc.ts';
import type { LimitBatchMessage, LimitBatchReply } from '../../src/io/limit-store/ipc.ts';
import { RedisClusterStore } from '../../src/io/limit-store/redis-cluster.ts';
import { seededRandom } from '../../src/kernel/random.ts';
import { EmbeddedStore } from '../../src/limits/embedded-store.ts';
import { compileRate } from '../../src/limits/gcra.ts';
import { RedisServer } from '../harness/redis.ts';
import { RedisCluster } from '../harness/redis-fleet.ts';
import { Ask, AskSlots, terms } from '../unit/limits/fixtures.ts';
import { ask, OpenStore, slots, take, until } from './limits-stores.ts';

interface Subject {
  readonly store: BucketStore;
  readonly stop: () => Promise<void>;
}

async function redisSubject(): Promise<Subject> {
  const server = await RedisServer.start();
  const open = await new OpenStore(server.url, { timeoutMs: 1000 }).fit();
  return {
    store: open.store,
    stop: async () => {
      open.store.close();
      await server.stop();
    },
  };
}

async function clusterSubject(): Promise<Subject> {
  const cluster = await RedisCluster.start();
  const place = { url: null, sentinels: null, sentinelName: '', cluster: cluster.addresses };
  const store = new RedisClusterStore({
    place: { ...place, username: null, password: null, sentinelPassword: null, tls: null },
    timeoutMs: 1000,
    gateway: 'gw-1',
    workers: 1,
    gateways: 1,
    random: seededRandom(1),
    onState: () => {},
  });
  await until(() => store.view(performance.now()).state === 'fit', 'the cluster is fit');
  return {
    store,
    stop: async () => {
      store.close();
      await cluster[Symbol.asyncDispose]();
    },
  };
}

async function ipcSubject(): Promise<Subject> {
  const supervisor = new EmbeddedStore(1000, seededRandom(1));
  const { port1, port2 } = new MessageChannel();
  const store = new IpcLimitStore({
    send: (message) => port1.postMessage(JSON.stringify(message)),
    timeoutMs: 1000,
    random: seededRandom(2),
    onState: () => {},
  });
  port2.addEventListener('message', (event) => {
    const reply = serveLimitBatch(supervisor, parsed(event) as LimitBatchMessage, performance.now());
    port2.postMessage(JSON.stringify(reply));
  });
  port1.addEventListener('message', (event) => store.receive(parsed(event) as LimitBatchReply));
  port1.start();
  port2.start();
  await until(() => store.view(performance.now()).state === 'fit', 'the channel is fit');
  return {
    store,
    stop: () => {
      store.close();
      port1.close();
      return Promise.resolve();
    },
  };
}

function parsed(event: Event): unknown {
  return JSON.parse((event as MessageEvent).data as string);
}

function memorySubject(): Promise<Subject> {
  return Promise.resolve({ store: new EmbeddedStore(1000, seededRandom(1)), stop: () => Promise.resolve() });
}

const slow = compileRate(0.01, 3);

describe.each([
  ['redis', redisSubject],
  ['redis cluster', clusterSubject],
  ['ipc', ipcSubject],
  ['memory', memorySubject],
] as const)('a %s store', (kind, open) => {
  let subject: Subject;
  beforeAll(async () => {
    subject = await open();
  });
  afterAll(() => subject.stop());

  test('says what it is and that it is fit', () => {
    expect(subject.store.view(performance.now())).toMatchObject({
      kind: kind.split(' ')[0],
      state: 'fit',
      reason: '',
    });
    expect(subject.store.gateways()).toBe(1);
    expect(subject.store.pauseMs(performance.now())).toBe(0);
  });

  test('gives a full bucket its burst and no more', async () => {
    const admitted: boolean[] = [];
    for (let i = 0; i < 5; i++) admitted.push(await take(subject.store, 'burst', slow));
    expect(admitted).toEqual([true, true, true, false, false]);
  });

  test('a forgotten bucket is full, its neighbour is not', async () => {
    for (const key of ['gone', 'stays']) for (let i = 0; i < 3; i++) await take(subject.store, key, slow);
    expect(await subject.store.forget('gone')).toBe(true);
    expect(await subject.store.forget('gone')).toBe(false);
    expect(await take(subject.store, 'gone', slow, 3)).toBe(true);
    expect(await take(subject.store, 'stays', slow)).toBe(false);
  });

  test('gives units back with time', async () => {
    const quick = compileRate(100, 1);
    expect(await take(subject.store, 'time', quick)).toBe(true);
    await until(() => take(subject.store, 'time', quick), 'a unit is back');
  });

  test('tells what is left, how long to wait and when the bucket is full', async () => {
    const reply = await ask(subject.store, ['figures'], terms(slow, 2));
    expect(reply).toEqual([1, 2, 1, 0, 2 * slow.unitTicks]);
    const refused = await ask(subject.store, ['figures'], terms(slow, 2));
    if (typeof refused === 'string') throw new Error(refused);
    const [ok, granted, remaining, waitTicks = 0, fullTicks = 0] = refused;
    expect([ok, granted, remaining]).toEqual([0, 0, 1]);
    // Less than 10 s have gone by since the first call.
    expect(waitTicks).toBeGreaterThan(slow.unitTicks - 100_000_000);
    expect(waitTicks).toBeLessThanOrEqual(slow.unitTicks);
    expect(fullTicks - waitTicks).toBe(slow.unitTicks);
  });

  test("a client's refusal leaves the global bucket alone", async () => {
    const global = compileRate(0.01, 50);
    let admitted = 0;
    for (let i = 0; i < 20; i++) {
      const reply = await ask(subject.store, ['one client', 'everybody'], [...terms(slow), ...terms(global)]);
      if (reply[0] === 1) admitted++;
    }
    expect(admitted).toBe(3);
    expect((await ask(subject.store, ['everybody'], terms(global, 0)))[2]).toBe(47);
  });

  test('an observed level refuses nobody', async () => {
    const tiny = compileRate(0.01, 1);
    const replies = [];
    for (let i = 0; i < 2; i++) replies.push(await ask(subject.store, ['seen'], terms(tiny, 1, 0)));
    expect(replies.map((reply) => [reply[0], reply[1]])).toEqual([
      [1, 1],
      [1, 0],
    ]);
  });

  test('a peek takes nothing', async () => {
    for (let i = 0; i < 5; i++) expect((await ask(subject.store, ['peeked'], terms(slow, 0)))[2]).toBe(3);
  });

  test('many calls of one turn are each answered once, and together admit the burst', async () => {
    const wide = compileRate(0.01, 100);
    const calls = Array.from(
      { length: 300 },
      () => new Ask(['crowd', 'crowd too'], [...terms(wide), ...terms(slow, 0)]),
    );
    for (const call of calls) expect(subject.store.decide(call, performance.now())).toBe(true);
    const replies = await Promise.all(calls.map((call) => call.done));
    expect(replies.filter((reply) => reply?.[0] === 1)).toHaveLength(100);
    expect(calls.every((call) => call.told === 1)).toBe(true);
  });

  test('units that are given back can be taken again, once, and never more than there were', async () => {
    const now = performance.now();
    expect(await take(subject.store, 'back', slow, 3)).toBe(true);
    expect(subject.store.refund(['back', 'untouched'], [2, 2], [slow.unitTicks, slow.unitTicks], now)).toBe(
      true,
    );
    expect((await ask(subject.store, ['back'], terms(slow, 0)))[2]).toBe(2);
    expect((await ask(subject.store, ['untouched'], terms(slow, 0)))[2]).toBe(3);
    expect(subject.store.refund(['back'], [50], [slow.unitTicks], now)).toBe(true);
    expect((await ask(subject.store, ['back'], terms(slow, 0))).slice(2)).toEqual([3, 0, 0]);
  });

  test('what is given back in a turn is there for who asks after it in the same turn', async () => {
    expect(await take(subject.store, 'same turn', slow, 3)).toBe(true);
    subject.store.refund(['same turn'], [3], [slow.unitTicks], performance.now());
    expect(await take(subject.store, 'same turn', slow, 3)).toBe(true);
  });

  test('workers never hold more slots together than the limit, whoever asks first', async () => {
    expect(await slots(subject.store, 'crowded', 'a', 3, 5)).toBe(3);
    expect(await slots(subject.store, 'crowded', 'b', 4, 5)).toBe(2);
    expect(await slots(subject.store, 'crowded', 'a', 4, 5, 3)).toBe(3);
    expect(await slots(subject.store, 'crowded', 'c', 1, 5)).toBe(0);
  });

  test('a slot that goes back is free for the others at once; a repeated question changes nothing', async () => {
    expect(await slots(subject.store, 'passed on', 'a', 2, 2)).toBe(2);
    expect(await slots(subject.store, 'passed on', 'a', 2, 2, 2)).toBe(2);
    expect(await slots(subject.store, 'passed on', 'b', 1, 2)).toBe(0);
    expect(await slots(subject.store, 'passed on', 'a', 1, 2, 1)).toBe(1);
    expect(await slots(subject.store, 'passed on', 'b', 1, 2)).toBe(1);
    expect(await slots(subject.store, 'passed on', 'a', 0, 2)).toBe(0);
    expect(await slots(subject.store, 'passed on', 'b', 2, 2, 1)).toBe(2);
  });

  test('slots in use cannot be taken away; nobody gets one until there is room under the lowered limit', async () => {
    expect(await slots(subject.store, 'lowered', 'a', 6, 8)).toBe(6);
    expect(await slots(subject.store, 'lowered', 'a', 6, 3, 6)).toBe(6);
    expect(await slots(subject.store, 'lowered', 'b', 1, 3)).toBe(0);
    expect(await slots(subject.store, 'lowered', 'a', 2, 3, 2)).toBe(2);
    expect(await slots(subject.store, 'lowered', 'b', 1, 3)).toBe(1);
  });

  test('where there is plenty a worker gets a quarter more, and a small limit has nothing to spare', async () => {
    expect(await slots(subject.store, 'plenty', 'a', 8, 100)).toBe(10);
    expect(await slots(subject.store, 'plenty', 'b', 45, 100)).toBe(45);
    expect(await slots(subject.store, 'small', 'a', 1, 31)).toBe(1);
  });

  test('slots, units and decisions of one turn are each answered in the order in which they were asked', async () => {
    const now = performance.now();
    const first = new Ask(['mixed'], terms(slow, 2));
    const second = new Ask(['mixed', 'mixed too'], [...terms(slow, 3), ...terms(slow, 1)]);
    const held = new AskSlots('mixed slots', 'a', 2, 0, 3);
    const more = new AskSlots('mixed slots', 'b', 2, 0, 3);
    subject.store.decide(first, now);
    subject.store.slots(held, now);
    subject.store.refund(['mixed'], [2], [slow.unitTicks], now);
    subject.store.slots(more, now);
    subject.store.decide(second, now);
    expect([await held.done, await more.done]).toEqual([2, 1]);
    expect((await first.done)?.slice(0, 3)).toEqual([1, 2, 1]);
    expect((await second.done)?.slice(0, 3)).toEqual([1, 3, 0]);
  });

  test('the cost is charged at every level', async () => {
    const wide = compileRate(0.01, 10);
    // ok, then granted, remaining, waitTicks and fullTicks of each level
    expect(await ask(subject.store, ['c1', 'c2'], [...terms(wide, 5), ...terms(wide, 5)])).toEqual([
      1,
      5,
      5,
      0,
      5 * wide.unitTicks,
      5,
      5,
      0,
      5 * wide.unitTicks,
    ]);
  });
});
