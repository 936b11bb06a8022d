/** Traps of the libraries under the limiter, each with the behaviour that keeps it shut. */
import { readFileSync } from 'node:fs';
import { globSync } from 'node:fs';
import * as rateLimiterFlexible from 'rate-limiter-flexible';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { redisOptions } from '../../src/io/limit-store/redis-options.ts';
import { seededRandom } from '../../src/kernel/random.ts';
import { compileRate } from '../../src/limits/gcra.ts';
import { Limiter } from '../../src/limits/limiter.ts';
import { freePort, RedisServer, Relay } from '../harness/redis.ts';
import { Ask, Caller, charge, terms } from '../unit/limits/fixtures.ts';
import { ask, OpenStore, take, until } from './limits-stores.ts';

const rate = compileRate(1 / 3600, 1000);

let server: RedisServer;
let relay: Relay;
let opened: OpenStore[] = [];
beforeEach(async () => {
  server = await RedisServer.start();
  relay = await Relay.start(server.port);
});
afterEach(async () => {
  for (const open of opened) open.store.close();
  opened = [];
  await relay.stop();
  await server.stop();
});

function openAt(url: string, timeoutMs = 25): OpenStore {
  const open = new OpenStore(url, { timeoutMs });
  opened.push(open);
  return open;
}

async function charged(key: string): Promise<number> {
  const redis = server.client();
  const left = await redis.get(key);
  const [seconds, micros] = await redis.time();
  redis.disconnect();
  if (left === null) return 0;
  const now = (Number(seconds) - 1_735_689_600) * 1e7 + Number(micros) * 10;
  return Math.round((Number(left) - now) / rate.unitTicks);
}

test("a client's refusal leaves the global bucket alone", async () => {
  const { store } = await openAt(server.url, 1000).fit();
  const mine = compileRate(1 / 3600, 1);
  const refused = await Promise.all(
    Array.from({ length: 50 }, () => ask(store, ['mine', 'global'], [...terms(mine), ...terms(rate)])),
  );
  expect(refused.filter((reply) => reply[0] === 1)).toHaveLength(1);
  expect(await charged('global')).toBe(1);
});

test('a stopped Redis delays nobody past the deadline', async () => {
  const open = await openAt(server.url).fit();
  server.pause();
  const asked = performance.now();
  const calls = Array.from({ length: 200 }, () => new Ask(['k'], terms(rate)));
  for (const call of calls) expect(open.store.decide(call, asked)).toBe(true);
  await Promise.all(calls.map((call) => call.done));
  for (const call of calls) {
    expect(call.reply).toBeUndefined();
    // Its connection is silent for a second before it is given up.
    expect(call.toldAt - asked).toBeLessThan(900);
  }
  server.resume();
});

test('a loop that was busy past the deadline reads the answer that lies in the socket before it counts', async () => {
  const open = await openAt(server.url).fit();
  for (let round = 0; round < 5; round++) {
    const call = new Ask(['k'], terms(rate));
    open.store.decide(call, performance.now());
    await new Promise((resolve) => setImmediate(resolve));
    // So long that Redis has answered meanwhile, also where both share one core.
    const end = performance.now() + 400;
    while (performance.now() < end);
    expect(await call.done).toHaveLength(5);
  }
  expect(open.store.view(performance.now()).missed).toBe(0);
});

test('only allowed, existing classes are imported', () => {
  const allowed = [
    'RateLimiterCompatibleAbstract',
    'RateLimiterRes',
    'RateLimiterRedis',
    'RateLimiterMemory',
  ];
  let imports = 0;
  for (const file of globSync('{src,plugins,config}/**/*.ts', {
    cwd: new URL('../..', import.meta.url).pathname,
  })) {
    const text = readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
    for (const [, names = ''] of text.matchAll(/import \{([^}]*)\} from 'rate-limiter-flexible'/g)) {
      imports++;
      for (const name of names.split(',').map((part) => part.trim())) {
        // What is only a type is gone when it runs.
        if (name === '' || name.startsWith('type ')) continue;
        expect(allowed, `${file} imports ${name}`).toContain(name);
        expect(rateLimiterFlexible, `${name} exists`).toHaveProperty(name);
      }
    }
    expect(text, file).not.toMatch(/(require\(|import\(|from )'rate-limiter-flexible\//);
  }
  expect(imports).toBeGreaterThan(0);
});

test('without Redis the first answer takes a millisecond', async () => {
  const open = openAt(`redis://127.0.0.1:${await freePort()}`);
  const limiter = new Limiter({
    store: open.store,
    onUnavailable: 'local',
    workers: 1,
    random: seededRandom(1),
  });
  const took: number[] = [];
  for (let i = 0; i < 20; i++) {
    const caller = new Caller([charge('client', rate)]);
    const start = performance.now();
    limiter.decide(caller, start);
    took.push(performance.now() - start);
    // A value, not a promise: it is there when the call returns.
    expect(caller.decision).toMatchObject({ ok: true, path: 'fallback' });
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  expect(Math.min(...took)).toBeLessThan(1);
});

test('a cut connection charges once or not at all', async () => {
  const open = await openAt(relay.url, 1000).fit();
  for (const round of [0, 1, 2, 3]) {
    await open.fit();
    const key = `cut${round}`;
    // Answers are swallowed, so these are charged in Redis and unanswered here; then the connection is reset.
    relay.swallowAnswers();
    const calls = Array.from({ length: 10 }, () => new Ask([key], terms(rate)));
    for (const call of calls) open.store.decide(call, performance.now());
    await until(async () => (await charged(key)) > 0, 'the calls have arrived');
    relay.cut();
    await Promise.all(calls.map((call) => call.done));
    expect(calls.every((call) => call.told === 1 && call.reply === undefined)).toBe(true);
    await open.unfit();
    await open.fit();
    expect(await take(open.store, `${key} after`, rate)).toBe(true);
    expect(await charged(key)).toBe(10);
  }
});

test('reloads never throw: stores made and closed at any moment, calls on their way', async () => {
  for (let round = 0; round < 30; round++) {
    const open = openAt(server.url, 50);
    if (round % 3 === 0) await open.fit();
    if (round % 3 === 1) await new Promise((resolve) => setImmediate(resolve));
    const calls = Array.from({ length: 5 }, () => new Ask(['k'], terms(rate)));
    const taken = calls.filter((call) => open.store.decide(call, performance.now()));
    if (round % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
    open.store.close();
    await Promise.all(taken.map((call) => call.done));
    expect(open.store.decide(new Ask(['k'], terms(rate)), performance.now())).toBe(false);
    expect(calls.every((call) => call.told <= 1)).toBe(true);
  }
});

test('a Redis that greets after 400 ms is reached', async () => {
  relay.delay(400);
  const open = await openAt(relay.url, 10_000).fit();
  expect(relay.accepted).toBe(1);
  expect(await ask(open.store, ['k'], terms(rate))).toHaveLength(5);
});

test('a demoted primary is left at its first refusal', async () => {
  const other = await RedisServer.start();
  const open = await openAt(relay.url, 10_000).fit();
  const redis = server.client();
  // A failover behind one address: new connections lead to the new primary, the old one stays up as a replica.
  relay.retarget(other.port);
  await redis.replicaof('127.0.0.1', other.port);
  const demotedAt = performance.now();
  expect(await ask(open.store, ['k'], terms(rate))).toBe('unavailable');
  await until(() => relay.accepted === 2, 'a new connection');
  expect(performance.now() - demotedAt).toBeLessThan(8000);
  await open.fit();
  expect(await take(open.store, 'k', rate)).toBe(true);
  const onOther = other.client();
  expect(await onOther.exists('k')).toBe(1);
  onOther.disconnect();
  redis.disconnect();
  open.store.close();
  await other.stop();
});

test('a half-open connection is replaced', async () => {
  const open = await openAt(relay.url).fit();
  relay.freeze();
  const frozenAt = performance.now();
  expect(await ask(open.store, ['k'], terms(rate))).toBe('unavailable');
  await until(() => relay.accepted === 2, 'a new connection');
  expect(performance.now() - frozenAt).toBeGreaterThan(900);
  await open.fit();
  expect(await take(open.store, 'k', rate)).toBe(true);
});

test('a handshake that hangs is given up and begun anew', async () => {
  relay.delay(60_000);
  const open = openAt(relay.url);
  await until(() => relay.accepted === 1, 'the first connection');
  relay.delay(0);
  await open.fit();
  expect(relay.accepted).toBe(2);
});

test('ten thousand connection errors leave one log line', async () => {
  const open = openAt(`redis://127.0.0.1:${await freePort()}`);
  await open.unfit();
  const { store } = open;
  // The library's own event, as often as it would come in hours of an outage; without a listener each would be fatal.
  const errors = Array.from({ length: 10_000 }, () =>
    Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }),
  );
  for (const error of errors) store.connectionError(error);
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(open.told).toEqual(['unfit ECONNREFUSED']);
});

test('the client library is set up as the traps demand', () => {
  const options = redisOptions(seededRandom(1));
  expect(options).toMatchObject({
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    enableAutoPipelining: false,
    maxRetriesPerRequest: 0,
    connectTimeout: 500,
  });
  expect(options).not.toHaveProperty('commandTimeout');
  expect(options.reconnectOnError?.(new Error('READONLY You can not write'))).toBe(1);
  expect(options.reconnectOnError?.(new Error('ERR whatever'))).toBe(false);
  const delays = [1, 2, 3, 4, 5, 6, 100].map((attempt) => Number(options.retryStrategy?.(attempt)));
  for (const [i, least] of [50, 100, 200, 400, 800, 1000, 1000].entries()) {
    expect(delays[i]).toBeGreaterThanOrEqual(least);
    expect(delays[i]).toBeLessThan(least + 200);
  }
});
