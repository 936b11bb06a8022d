/**
 * The secret behind the names of clients: where none is configured, gateways agree on one through the Redis they share; and
 * what else a supervisor does there.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Redis } from 'ioredis';
import { storeWarnings } from '../../src/io/limit-store/store-warnings.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { RedisServer } from '../harness/redis.ts';
import { ask, startService } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

const SECRET = 'spw:{gw}:secret';
const LIVE = 'spw:{gw}:live';
let origin: Listening;
let server: RedisServer;
let redis: Redis;
beforeAll(async () => {
  origin = await startService(
    (_, response) => void response.writeHead(200, { 'content-length': 2 }).end('ok'),
  );
  server = await RedisServer.start();
  redis = server.client();
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
  await origin[Symbol.asyncDispose]();
});
beforeEach(() => redis.flushall());

async function start(): Promise<Gateway> {
  return await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
redis: { url: '${server.url}', timeout: 500ms }
services: { shop: { instances: [${origin.url}], sla: 5s, readiness: { path: /ready, interval: 600s, timeout: 10s } } }
clients: { keys: [{ key: gold-key, client: gina, tier: gold }] }
tiers: { gold: { rate: 1/h, burst: 3 } }
limits: { enforcement: exact }
routes: [{ path: /, service: shop }]
`);
}

const status = async ({ port }: Gateway): Promise<number> =>
  (await ask(port, { headers: { 'x-api-key': 'gold-key' } })).status;

test('gateways that start at once name a client alike, and its limit is one', async () => {
  const [first, second] = await Promise.all([start(), start()]);
  await using _first = first;
  await using _second = second;
  const [since = '', secret = ''] = (await redis.get(SECRET))?.split(':') ?? [];
  expect([since, secret]).toEqual([expect.stringMatching(/^\d{13}$/), expect.stringMatching(/^[\w-]{43}$/)]);
  const seen = [];
  for (let i = 0; i < 3; i++) seen.push(await status(first), await status(second));
  expect(seen).toEqual([200, 200, 200, 429, 429, 429]);
  expect(await redis.keys('spw:{c.*')).toHaveLength(1);
  // It is in no output; `GET /v1/config` has none either.
  expect(first.logs()).not.toContain(secret);
  expect(JSON.stringify((await first.admin('/v1/config')).body)).not.toContain(secret);
  expect(JSON.stringify((await first.admin('/metrics')).body)).not.toContain(secret);
});

test('one that starts before its Redis has a secret of its own, and takes the shared one when it hears of it', async () => {
  await using first = await start();
  const secret = await redis.get(SECRET);
  expect(await status(first)).toBe(200);
  const [name] = await redis.keys('spw:{c.*');
  await server.kill();
  await using late = await start();
  expect(await status(late)).toBe(200);
  await server.restart();
  // It came back empty: whoever sees it first writes what all but the late one have; the late one may be quicker.
  await eventually('both have one secret', async () => {
    const found = await redis.get(SECRET);
    if (found === null) return false;
    await redis.del(...(await redis.keys('spw:{c.*')), 'none');
    await Promise.all([status(first), status(late)]);
    const names = await redis.keys('spw:{c.*');
    // One name is also what there is while only one of them asks Redis.
    return names.length === 1 && ((await redis.get(SECRET)) !== secret || names[0] === name);
  });
});

test('a gateway that ends leaves the live ones at once, and only itself', async () => {
  await using first = await start();
  const second = await start();
  await eventually('two live', async () => (await redis.hlen(LIVE)) === 2);
  await second.stop();
  expect(await redis.hlen(LIVE)).toBe(1);
  await second[Symbol.asyncDispose]();
  expect(await status(first)).toBe(200);
});

describe('what an operator is told of a Redis', () => {
  test('that evicts keys, once, in the log', async () => {
    await redis.config('SET', 'maxmemory', '100mb');
    await redis.config('SET', 'maxmemory-policy', 'allkeys-lru');
    await using gateway = await start();
    await eventually('it is told', () =>
      gateway.logs().includes('evicts keys when its memory is full (allkeys-lru)'),
    );
    await redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await eventually('it is back', async () => (await redis.hlen(LIVE)) === 1 && (await status(gateway)) > 0);
    expect(gateway.logs().split('evicts keys').length).toBe(2);
    await redis.config('SET', 'maxmemory', '0');
    await redis.config('SET', 'maxmemory-policy', 'noeviction');
  });

  test.each([
    ['redis_version:5.0.7\r\n', ['this Redis is 5.0: limits need 6.2 or newer']],
    ['redis_version:6.0.16\r\n', ['this Redis is 6.0: limits need 6.2 or newer']],
    ['redis_version:6.2.0\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n', []],
    ['redis_version:10.1.0\r\nmaxmemory:5\r\nmaxmemory_policy:noeviction\r\n', []],
    [
      'redis_version:7.2.4\r\nmaxmemory:5\r\nmaxmemory_policy:volatile-ttl\r\n',
      [expect.stringContaining('volatile-ttl')],
    ],
    ['', []],
  ])('%j', (info, warnings) => {
    expect(storeWarnings(info)).toEqual(warnings);
  });
});
