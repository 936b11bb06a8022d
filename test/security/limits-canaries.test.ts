/**
 * What names a caller stays with the gateway (limits.md L11): no key, token, cookie or address reaches Redis, a metric or an
 * explanation, and no key, token or cookie a log. Not as it is, and not as a digest that anybody can compute who guesses
 * it: four thousand million addresses are quickly tried.
 *
 * Canaries go in by every way there is: known and unknown keys, in a header and in a cookie, good and forged tokens,
 * addresses of both families from a trusted proxy, admitted, over their limit, blocked by a guard. All that Redis is ever
 * sent is recorded, and what it keeps is read.
 */
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { AUDIENCE, forge, ISSUER, makeKey } from '../harness/issuer.ts';
import { eventually } from '../harness/ports.ts';
import { RedisServer } from '../harness/redis.ts';
import { ask, startService, valueOf } from '../integration/path-fixture.ts';
import type { Listening } from '../integration/path-fixture.ts';

const HEADER_KEY = 'canary-header-key-5d1f';
const COOKIE_KEY = 'canary-cookie-key-77ab';
const UNKNOWN_KEY = 'canary-unknown-key-90c2';
const FORGED = forge({ alg: 'none' }, { sub: 'canary' }, 'canary-signature');
const SESSION = 'canary-session-4410';
const ADDRESSES = ['203.0.113.77', '2001:db8:77aa:bb:1:2:3:4'];

/** A secret as a dump could show it: itself, in other alphabets, as a digest. */
function shapesOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const shapes = [
    secret,
    bytes.toString('hex'),
    bytes.toString('base64').replace(/=+$/, ''),
    bytes.toString('base64url'),
  ];
  for (const algorithm of ['md5', 'sha1', 'sha256', 'sha512']) {
    const digest = createHash(algorithm).update(secret).digest();
    // A bucket's name is 22 characters long: a digest that was cut is no better.
    shapes.push(digest.toString('hex').slice(0, 32), digest.toString('base64url').slice(0, 22));
    shapes.push(digest.toString('base64').slice(0, 22));
  }
  return shapes;
}

/** The canaries that show in `text`, in whatever shape. */
function shown(text: string, secrets: readonly string[]): string[] {
  const plain = text.toLowerCase();
  return secrets.filter((secret) => shapesOf(secret).some((shape) => plain.includes(shape.toLowerCase())));
}

let redis: RedisServer;
let origin: Listening;
let gateway: Gateway;
let token: string;
const requestIds: string[] = [];
const sent: string[] = [];
const statuses = new Map<number, number>();
/** All that came to Redis, with its arguments. */
let commands = '';
let stopWatching: () => void = () => undefined;

async function send(path: string, headers: Readonly<Record<string, string>>): Promise<void> {
  const answer = await ask(gateway.port, { path, headers });
  sent.push(JSON.stringify(headers));
  statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
  const id = valueOf(answer.rawHeaders, 'x-request-id');
  if (id !== undefined) requestIds.push(id);
}

beforeAll(async () => {
  redis = await RedisServer.start();
  const watching = redis.client();
  const monitor = await watching.monitor();
  monitor.on('monitor', (_time: string, args: readonly string[]) => (commands += `${args.join(' ')}\n`));
  stopWatching = () => {
    monitor.disconnect();
    watching.disconnect();
  };
  origin = await startService((request, response) => {
    response.writeHead(request.url === '/login' ? 401 : 200, { 'content-length': 2 }).end('ok');
  });
  const key = await makeKey('ES256', 'c1');
  token = await key.sign();
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
redis: { url: '${redis.url}', timeout: 500ms }
trust: { proxies: [127.0.0.0/8] }
services: { shop: { instances: [${origin.url}], sla: 5s, affinity: {} } }
clients:
  identify:
    - { header: x-api-key }
    - { cookie: shop-key }
    - { jwt: { keys: [${JSON.stringify(key.jwk)}], issuer: '${ISSUER}', audience: '${AUDIENCE}', algorithms: [ES256] } }
    - { ip: {} }
  keys:
    - { key: ${HEADER_KEY}, client: anna, tier: small }
    - { key: 'sha256:${createHash('sha256').update(COOKIE_KEY).digest('hex')}', client: bert, tier: small }
tiers:
  default: { rate: 1/h, burst: 2, concurrency: 10, penalty: { refusals: 3, per: 1m, blockFor: 1m } }
  small: { rate: 1/h, burst: 6, concurrency: 10 }
limits: { global: { rate: 20000/s, burst: 20000 } }
routes:
  - { path: /, service: shop, limits: { perClient: { rate: 1000/s } } }
  - { path: /login, service: shop, guard: { status: [401], failures: 2, per: 1m, blockFor: 1m } }
log: { access: all }
`);
  for (let round = 0; round < 5; round++) {
    for (const path of ['/', '/login']) {
      await send(path, { 'x-api-key': HEADER_KEY });
      await send(path, { 'x-api-key': UNKNOWN_KEY });
      await send(path, { cookie: `shop-key=${COOKIE_KEY}; session=${SESSION}` });
      await send(path, { authorization: `Bearer ${token}` });
      await send(path, { authorization: `Bearer ${FORGED}` });
      for (const address of ADDRESSES) await send(path, { 'x-forwarded-for': address });
    }
  }
  // Counts and reports of the last of them.
  await pause(1500);
});

afterAll(async () => {
  stopWatching();
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
  await redis.stop();
});

/** Every key of the Redis with its value, whatever its type. */
async function dump(): Promise<string> {
  const client = redis.client();
  const lines: string[] = [];
  for (const key of await client.keys('*')) {
    const type = await client.type(key);
    const value =
      type === 'hash' ? await client.hgetall(key) : type === 'string' ? await client.get(key) : type;
    lines.push(`${key} ${JSON.stringify(value)}`);
  }
  client.disconnect();
  return lines.join('\n');
}

const KEYS = [HEADER_KEY, COOKIE_KEY, UNKNOWN_KEY, FORGED, SESSION];

describe('after traffic of every kind', () => {
  test('the traffic was admitted, refused, not known and blocked, and all canaries were in it', async () => {
    expect([...statuses.keys()].toSorted((a, b) => a - b)).toEqual([200, 401, 429]);
    expect(shown(sent.join('\n'), [...KEYS, token, ...ADDRESSES])).toHaveLength(
      KEYS.length + 1 + ADDRESSES.length,
    );
    const { body } = await gateway.admin('/metrics');
    for (const level of ['client', 'guard', 'penalty'])
      expect(body).toMatch(new RegExp(`limited_total\\{.*level="${level}"`));
  });

  test('Redis was sent no key, token, cookie or address, and keeps none', async () => {
    const kept = await dump();
    expect(commands).toMatch(/spw:\{c\.[\w-]{22}\}:t/);
    expect(kept).toMatch(/spw:\{c\.[\w-]{22}\}/);
    expect(shown(commands, [...KEYS, token, ...ADDRESSES])).toEqual([]);
    expect(shown(kept, [...KEYS, token, ...ADDRESSES])).toEqual([]);
    // Names of clients are the operator's, and a bucket hides them too.
    expect(commands).not.toMatch(/anna|bert/);
  });

  test('no metric shows one, and no client', async () => {
    const page = String((await gateway.admin('/metrics')).body);
    expect(page).toContain('spillway_limited_total');
    expect(shown(page, [...KEYS, token, ...ADDRESSES])).toEqual([]);
    expect(page).not.toMatch(/anna|bert|ip:/);
  });

  test('no explanation shows one', async () => {
    let told = 0;
    for (const id of new Set(requestIds)) {
      const { status, body } = await gateway.admin(`/v1/explain/${id}`);
      if (status !== 200) continue;
      told++;
      expect(shown(JSON.stringify(body), [...KEYS, token, ...ADDRESSES])).toEqual([]);
    }
    expect(told).toBeGreaterThan(20);
  });

  test('status, services and the configuration in force show none', async () => {
    for (const path of ['/v1/status', '/v1/services', '/v1/config', '/v1/limits/anna', '/readyz?verbose']) {
      const { status, body } = await gateway.admin(path);
      expect([path, status]).toEqual([path, 200]);
      expect(shown(JSON.stringify(body), [...KEYS, token, ...ADDRESSES])).toEqual([]);
    }
  });

  test('no log line shows a key, a token or a cookie', async () => {
    await eventually('the access log is written', () => gateway.logs().includes('SPW_RATE_CLIENT'));
    expect(shown(gateway.logs(), [...KEYS, token])).toEqual([]);
  });
});

test('the search itself finds what is there, in each shape', () => {
  for (const shape of shapesOf(HEADER_KEY))
    expect(shown(`"k":"${shape}…"`, [HEADER_KEY])).toEqual([HEADER_KEY]);
  expect(shown('nothing of it', KEYS)).toEqual([]);
});
