/**
 * Guards and penalties as a client and an operator meet them: real gateways, in memory and on a real Redis.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { RedisServer } from '../harness/redis.ts';
import { ask, begin, expectProblem, startService, valueOf } from './path-fixture.ts';
import type { Answer, Listening } from './path-fixture.ts';

const ABNORMAL = 'https://iana.org/assignments/http-problem-types#abnormal-usage-detected';

let origin: Listening;
/** Tries that reached the instance. */
let tries = 0;
beforeAll(async () => {
  origin = await startService((request, response) => {
    if (!(request.url ?? '').startsWith('/login')) {
      response.writeHead(200, { 'content-length': 2 }).end('ok');
      return;
    }
    tries++;
    const status = request.headers['x-password'] === 'right' ? 200 : 401;
    if (request.headers['x-endless'] !== undefined) {
      response.writeHead(status).write('it goes on');
      return;
    }
    response.writeHead(status, { 'content-length': 4 }).end('said');
  });
});
afterAll(async () => {
  await origin[Symbol.asyncDispose]();
});
afterEach(() => {
  tries = 0;
});

const KEYS = `
clients:
  keys:
    - { key: ada-key, client: ada, tier: free }
    - { key: bob-key, client: bob, tier: free }
    - { key: cem-key, client: cem, tier: shadow }
    - { key: dan-key, client: dan, tier: free }
    - { key: eve-key, client: eve, tier: free }
`;

const GUARD = 'failures: 3, per: 10m, blockFor: 15m';

function configuration(
  more: {
    workers?: number;
    guard?: string;
    mode?: string;
    store?: string;
    tiers?: string;
    allow?: string;
  } = {},
): string {
  return `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: ${more.workers ?? 1}
${more.store ?? ''}
${KEYS}
  allow: [${more.allow ?? ''}]
limits: { mode: ${more.mode ?? 'enforce'} }
tiers:
${more.tiers ?? '  free: {}\n  shadow: {}'}
services: { shop: { instances: [${origin.url}], sla: 5s, readiness: { path: /ready, interval: 600s, timeout: 10s } } }
routes:
  - { path: /, service: shop }
  - { path: /login, service: shop, guard: { ${more.guard ?? GUARD} } }
`;
}

async function login(gateway: Gateway, key: string, password = 'wrong'): Promise<Answer> {
  return await ask(gateway.port, {
    method: 'POST',
    path: '/login',
    headers: { ...(key === '' ? {} : { 'x-api-key': key }), 'x-password': password },
    body: 'name=ada',
  });
}

async function shop(gateway: Gateway, key: string): Promise<Answer> {
  return await ask(gateway.port, { headers: { 'x-api-key': key } });
}

/** Fails `count` times in turn; the statuses. */
async function fail(gateway: Gateway, key: string, count: number): Promise<number[]> {
  const seen: number[] = [];
  for (let i = 0; i < count; i++) seen.push((await login(gateway, key)).status);
  return seen;
}

/** Fails until each of the two workers has refused; a worker's name begins its request ids. */
async function blockedByBoth(gateway: Gateway, key: string): Promise<void> {
  const refused = new Set<string>();
  await eventually('both workers refuse', async () => {
    const { status, rawHeaders } = await login(gateway, key);
    if (status === 429) refused.add((valueOf(rawHeaders, 'x-request-id') ?? '').split('-')[0] ?? '');
    return refused.size === 2;
  });
}

async function limited(gateway: Gateway, level: string, mode = 'enforce'): Promise<number> {
  const { body } = await gateway.admin('/metrics');
  const found = new RegExp(`limited_total\\{tier="\\w+",level="${level}",mode="${mode}"\\} (\\d+)`).exec(
    String(body),
  );
  return Number(found?.[1] ?? 0);
}

describe('a guard in one worker', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway(configuration());
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  async function reload(text: string): Promise<void> {
    await gateway.rewrite(text);
    expect((await gateway.admin('/v1/reload', { method: 'POST' })).status).toBe(200);
  }

  test('so many failures are forgiven, then the client is blocked at this route and nowhere else', async () => {
    expect(await fail(gateway, 'ada-key', 4)).toEqual([401, 401, 401, 401]);
    const blocked = await login(gateway, 'ada-key', 'right');
    expect(tries).toBe(4);
    const problem = expectProblem(blocked, 429, 'SPW_RATE_ROUTE');
    expect(problem).toMatchObject({
      type: ABNORMAL,
      detail:
        'This client failed more than 3 times in 10 minutes on this route and is blocked for 15 minutes.',
      'violated-policies': ['guard'],
    });
    const after = Number(valueOf(blocked.rawHeaders, 'retry-after'));
    expect(after).toBeGreaterThanOrEqual(895);
    expect(after).toBeLessThanOrEqual(930);
    expect((await shop(gateway, 'ada-key')).status).toBe(200);
    expect((await login(gateway, 'bob-key', 'right')).status).toBe(200);
    await eventually('the metric counts it', async () => (await limited(gateway, 'guard')) === 1);
    const requestId = valueOf(blocked.rawHeaders, 'x-request-id') ?? '';
    const { body } = await gateway.admin(`/v1/explain/${requestId}`);
    expect(JSON.stringify(body)).toContain('blocked by the guard');
  });

  test('a browser is shown the words, a gRPC client told them', async () => {
    const headers = { 'x-api-key': 'ada-key', accept: 'text/html', 'sec-fetch-mode': 'navigate' };
    const page = await ask(gateway.port, { path: '/login', headers });
    expect(page.status).toBe(429);
    expect(page.body.toString()).toContain('is blocked for 15 minutes.');
    const grpc = await ask(gateway.port, {
      method: 'POST',
      path: '/login',
      headers: { 'x-api-key': 'ada-key', 'content-type': 'application/grpc', te: 'trailers' },
      body: 'x',
    });
    expect(decodeURIComponent(valueOf(grpc.rawHeaders, 'grpc-message') ?? '')).toContain(
      'blocked for 15 minutes',
    );
  });

  test('what succeeds never counts, nor what the gateway itself refuses', async () => {
    for (let i = 0; i < 10; i++) {
      expect((await login(gateway, 'bob-key', 'right')).status).toBe(200);
      const unknown = await ask(gateway.port, { path: '/login', headers: { 'x-api-key': 'nobody' } });
      expect(unknown.status).toBe(401);
    }
    expect((await login(gateway, 'bob-key', 'right')).status).toBe(200);
    const headers = { 'x-password': 'right' };
    expect(await ask(gateway.port, { path: '/login', headers })).toMatchObject({ status: 200 });
  });

  test('a refused WebSocket handshake counts, and an answer that its caller does not wait for', async () => {
    const headers = {
      'x-api-key': 'cem-key',
      connection: 'upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    };
    for (let i = 0; i < 2; i++)
      expect((await ask(gateway.port, { path: '/login', headers })).status).toBe(401);
    for (let i = 0; i < 2; i++) {
      const { sent, answered } = begin(gateway.port, {
        path: '/login',
        headers: { 'x-api-key': 'cem-key', 'x-endless': '1' },
      });
      sent.end();
      const { message } = await answered;
      expect(message.statusCode).toBe(401);
      message.destroy();
    }
    await eventually('blocked', async () => (await login(gateway, 'cem-key', 'right')).status === 429);
  });

  test('a block outlives a reload, also one that changes the figures; a guard that goes lifts it', async () => {
    await reload(configuration({ guard: 'failures: 9, per: 5m, blockFor: 5m' }));
    expect((await login(gateway, 'ada-key', 'right')).status).toBe(429);
    await reload(configuration().replace(`, guard: { ${GUARD} }`, ''));
    expect((await login(gateway, 'ada-key', 'right')).status).toBe(200);
  });

  test('an operator lifts the block of an address that no limit knows of', async () => {
    await reload(configuration());
    const stranger = async (password: string): Promise<number> => {
      const headers = { 'x-password': password };
      return (await ask(gateway.port, { method: 'POST', path: '/login', headers, body: 'name=ada' })).status;
    };
    const lift = async (): Promise<number> =>
      (await gateway.admin('/v1/limits/127.0.0.1', { method: 'DELETE' })).status;
    expect(await lift()).toBe(404);
    for (let i = 0; i < 4; i++) expect(await stranger('wrong')).toBe(401);
    expect(await stranger('right')).toBe(429);
    expect(await lift()).toBe(200);
    expect(await stranger('right')).toBe(200);
    expect(await lift()).toBe(404);
  });

  test('nobody is blocked who is never limited, and nobody where limits are off', async () => {
    for (const more of [{ allow: '127.0.0.0/8' }, { mode: 'off' }]) {
      await reload(configuration(more));
      expect(await fail(gateway, 'dan-key', 9)).toEqual(Array.from({ length: 9 }, () => 401));
    }
  });

  test('under observe nobody is blocked, and what would have been is counted', async () => {
    let met = 0;
    const observers = { 'dan-key': { mode: 'observe' }, 'eve-key': { guard: `${GUARD}, mode: observe` } };
    for (const [key, more] of Object.entries(observers)) {
      await reload(configuration(more));
      expect(await fail(gateway, key, 9)).toEqual(Array.from({ length: 9 }, () => 401));
      met += 5;
      await eventually('five would have met the block', async () => {
        return (await limited(gateway, 'guard', 'observe')) === met;
      });
    }
  });
});

describe('a penalty', () => {
  const penal = (mode: string): string => `
  free: { rate: 1/h, burst: 2, mode: ${mode}, penalty: { refusals: 3, per: 10m, blockFor: 15m } }
  shadow: { rate: 1/h, burst: 2, penalty: { refusals: 3, per: 10m, blockFor: 15m, mode: observe } }`;

  test('blocks a client that keeps asking after refusals, everywhere, and charges it nowhere', async () => {
    await using gateway = await startGateway(configuration({ tiers: penal('enforce') }));
    // Two are its quota, and a store that a busy machine made late may let it have a few more.
    const told: string[] = [];
    while (told.length < 4) {
      const answer = await shop(gateway, 'ada-key');
      if (answer.status === 429) told.push(expectProblem(answer, 429, 'SPW_RATE_CLIENT').detail);
    }
    expect(new Set(told)).toEqual(new Set(['This client may ask once an hour.']));
    const decided = await decisions(gateway);
    for (const path of ['/', '/login']) {
      const blocked = await ask(gateway.port, { path, headers: { 'x-api-key': 'ada-key' } });
      const problem = expectProblem(blocked, 429, 'SPW_RATE_CLIENT');
      expect(problem).toMatchObject({ type: ABNORMAL, 'violated-policies': ['penalty'] });
      expect(Number(valueOf(blocked.rawHeaders, 'retry-after'))).toBeGreaterThanOrEqual(895);
      expect(valueOf(blocked.rawHeaders, 'ratelimit')).toBeUndefined();
    }
    await eventually('the metric counts both', async () => (await limited(gateway, 'penalty')) === 2);
    // The limits were not asked.
    expect(await decisions(gateway)).toBe(decided);
    expect((await shop(gateway, 'bob-key')).status).toBe(200);
  });

  test('under observe blocks nobody, whether the penalty, its tier or all limits only observe', async () => {
    await using gateway = await startGateway(configuration({ tiers: penal('observe') }));
    const refused: number[] = [];
    for (let i = 0; i < 9; i++) {
      expect((await shop(gateway, 'ada-key')).status).toBe(200);
      // Its limit is enforced, its penalty is not.
      const answer = await shop(gateway, 'cem-key');
      if (answer.status === 429) refused.push(answer.status);
      expect(answer.body.toString()).not.toContain('penalty');
    }
    expect(refused.length).toBeGreaterThan(4);
    await eventually('some would have met the block', async () => {
      return (await limited(gateway, 'penalty', 'observe')) > 0;
    });
    expect(await limited(gateway, 'penalty')).toBe(0);
  });

  test('an operator who fills the quota lifts it, and the guard too', async () => {
    await using gateway = await startGateway(configuration({ tiers: penal('enforce'), workers: 2 }));
    const blocked = async (): Promise<boolean> => (await shop(gateway, 'ada-key')).body.includes('penalty');
    await eventually('blocked', blocked);
    expect((await gateway.admin('/v1/limits/ada', { method: 'DELETE' })).status).toBe(200);
    expect((await shop(gateway, 'ada-key')).status).toBe(200);
    // Its limit is enforced again, and three refusals are forgiven again.
    for (let i = 0; i < 3; i++) expect(await blocked()).toBe(false);
  });
});

async function decisions(gateway: Gateway): Promise<number> {
  const { body } = await gateway.admin('/metrics');
  const found = String(body).matchAll(/^spillway_limit_decisions_total\{[^}]*\} (\d+)/gm);
  return [...found].reduce((sum, [, count]) => sum + Number(count), 0);
}

/**
 * Tries one after the other at gateways of four workers in all: the failures that are forgiven, and at most one a worker. A
 * machine that lets nobody count for a while is no reason to fail, so there are three clients; but never more than
 * what each worker by itself lets through.
 */
async function countTogether(gateways: readonly Gateway[]): Promise<void> {
  const seen: number[] = [];
  for (const key of ['ada-key', 'dan-key', 'eve-key']) {
    tries = 0;
    for (let i = 0; i < 40; i++) await login(gateways[i % gateways.length] as Gateway, key);
    expect(tries).toBeGreaterThan(3);
    expect(tries).toBeLessThanOrEqual(4 * 4);
    seen.push(tries);
    if (tries <= 3 + 4) return;
  }
  expect(Math.min(...seen)).toBeLessThanOrEqual(3 + 4);
}

test('without Redis all workers of a gateway count together', async () => {
  await using gateway = await startGateway(configuration({ workers: 4 }));
  await countTogether([gateway]);
});

describe('with Redis', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(async () => {
    await redis.stop();
  });
  const store = (): string =>
    `redis: { url: '${redis.url}', timeout: 500ms, keySecret: a-secret-of-the-tests }`;

  async function keys(): Promise<string[]> {
    const client = redis.client();
    try {
      return (await client.keys('spw:*:g.*')).toSorted();
    } finally {
      client.disconnect();
    }
  }

  test('all gateways count together, and what is blocked stays blocked when Redis goes', async () => {
    const started = await Promise.all(
      [1, 2].map(() => startGateway(configuration({ workers: 2, store: store() }))),
    );
    await using one = started[0] as Gateway;
    await using two = started[1] as Gateway;
    for (const each of [one, two]) {
      await eventually('Redis is up', async () => {
        const { body } = await each.admin('/v1/status');
        return (body as { redis: { state: string } }).redis.state === 'up';
      });
    }
    await countTogether([one, two]);
    const held = await keys();
    expect(held.length).toBeGreaterThan(0);
    // A keyed hash and a digest: neither client nor key nor route in clear.
    for (const key of held) expect(key).toMatch(/^spw:\{c\.[\w-]{22}\}:g\.[\w-]{8}$/);
    await blockedByBoth(one, 'ada-key');
    await redis.kill();
    tries = 0;
    await eventually('Redis is lost', async () => {
      const { body } = await one.admin('/v1/status');
      return (body as { redis: { state: string } }).redis.state === 'down';
    });
    expect(await fail(one, 'ada-key', 10)).toEqual(Array.from({ length: 10 }, () => 429));
    expect(tries).toBe(0);
    // Whoever fails only now is blocked too, each worker counting by itself.
    await fail(one, 'bob-key', 30);
    expect(tries).toBeGreaterThan(3);
    expect(tries).toBeLessThanOrEqual(2 * 4);
    await redis.restart();
  });

  test('an operator lifts a block for all workers, also one that only another gateway has met', async () => {
    await using gateway = await startGateway(configuration({ workers: 2, store: store() }));
    await blockedByBoth(gateway, 'bob-key');
    const filled = await gateway.admin('/v1/limits/bob', { method: 'DELETE' });
    expect(filled.status).toBe(200);
    expect(await keys()).toEqual([]);
    for (let i = 0; i < 10; i++) expect((await login(gateway, 'bob-key', 'right')).status).toBe(200);
    await using other = await startGateway(configuration({ store: store() }));
    await blockedByBoth(gateway, '');
    expect((await other.admin('/v1/limits/127.0.0.1', { method: 'DELETE' })).status).toBe(200);
    expect(await keys()).toEqual([]);
    await eventually('it is served', async () => (await login(gateway, '', 'right')).status === 200);
  });
});
