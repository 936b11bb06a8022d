/**
 * Requests that are over before the store has decided on them: their callers leave, or their time is up. Nothing was done
 * for them, so what the answer brings after all goes back: units, and the slot among a client's requests in flight.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { RedisServer, Relay } from '../harness/redis.ts';
import { ask, begin, expectProblem, startService } from './path-fixture.ts';
import type { Asked, Listening } from './path-fixture.ts';

/** Of each answer of Redis: more than a route's time, less than `redis.timeout`. */
const LAG_MS = 400;
const BURST = 3;

let origin: Listening;
let redis: RedisServer;
let relay: Relay;
let gateway: Gateway;
let served = 0;

beforeAll(async () => {
  origin = await startService((_, response) => {
    served += 1;
    response.writeHead(200, { 'content-length': 0 }).end();
  });
  redis = await RedisServer.start();
  relay = await Relay.start(redis.port);
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
redis: { url: '${relay.url}', timeout: 1s, keySecret: a-secret-of-the-tests }
services:
  shop: { instances: [${origin.url}], shedding: { mode: off }, sla: 5s, readiness: { path: /, interval: 600s, timeout: 10s } }
clients:
  keys:
    - { key: leaves-key, client: leaves, tier: rated }
    - { key: late-key, client: late, tier: rated }
    - { key: one-key, client: one, tier: single }
    - { key: both-key, client: both, tier: both }
tiers:
  rated: { rate: 1/h, burst: ${BURST} }
  single: { concurrency: 1 }
  both: { rate: 1/h, burst: ${BURST}, concurrency: 1 }
limits: { enforcement: exact }
routes:
  - { path: /, service: shop, timeout: 10s }
  - { path: /late, service: shop, timeout: 100ms }
`);
  // Ready on the fallback too: what is tested needs the store.
  await eventually('Redis is up', async () =>
    /^spillway_redis_up 1$/m.test(String((await gateway.admin('/metrics')).body)),
  );
  served = 0;
});
afterEach(() => relay.lag(0));
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await relay.stop();
  await redis.stop();
  await origin[Symbol.asyncDispose]();
});

function as(client: string, path = '/'): Asked {
  return { path, headers: { 'x-api-key': `${client}-key` } };
}

/** Asks and leaves as soon as Redis has been asked. */
async function leave(asked: Asked): Promise<void> {
  const before = relay.asked;
  const { sent } = begin(gateway.port, asked);
  sent.on('error', () => undefined);
  sent.end();
  await eventually('Redis is asked', () => relay.asked > before);
  sent.destroy();
}

/** Until Redis keeps nothing of any client: every bucket is full and no slot is held. */
async function untilNothingIsKept(): Promise<void> {
  const client = redis.client();
  try {
    await eventually('nothing is charged', async () => (await client.keys('spw:{c.*')).length === 0);
  } finally {
    client.disconnect();
  }
}

async function statuses(client: string, times: number): Promise<number[]> {
  const all: number[] = [];
  for (let i = 0; i < times; i++) all.push((await ask(gateway.port, as(client))).status);
  return all;
}

describe('a request that is over before the store has decided', () => {
  test('by its caller who left, is not charged', async () => {
    relay.lag(LAG_MS);
    // Were they charged, their bucket would not be full again for hours.
    for (let i = 0; i < BURST; i++) await leave(as('leaves'));
    await untilNothingIsKept();
    relay.lag(0);
    expect(served).toBe(0);
    expect(await statuses('leaves', BURST + 1)).toEqual([200, 200, 200, 429]);
  });

  test('by its time, is not charged', async () => {
    relay.lag(LAG_MS);
    for (let i = 0; i < BURST; i++)
      expectProblem(await ask(gateway.port, as('late', '/late')), 504, 'SPW_DEADLINE_EXCEEDED');
    await eventually('its units are back', async () => {
      const { body } = await gateway.admin('/v1/limits/late');
      return JSON.stringify(body).includes(`"remaining":${BURST}`);
    });
    relay.lag(0);
    expect(await statuses('late', BURST + 1)).toEqual([200, 200, 200, 429]);
  });

  test('by its caller who left while he waited for a slot, holds none', async () => {
    relay.lag(LAG_MS);
    await leave(as('one'));
    relay.lag(0);
    await eventually('the slot is free', async () => (await ask(gateway.port, as('one'))).status === 200);
  });

  test('by its caller who left with a slot while he waited for his units, has neither', async () => {
    relay.lag(LAG_MS);
    const before = relay.asked;
    const { sent } = begin(gateway.port, as('both'));
    sent.on('error', () => undefined);
    sent.end();
    // First for the slot, then for the units.
    await eventually('Redis is asked twice', () => relay.asked > before + 1);
    sent.destroy();
    await eventually('the slot is free', async () => (await ask(gateway.port, as('both'))).status === 200);
    relay.lag(0);
    expect(await statuses('both', BURST)).toEqual([200, 200, 429]);
  });
});
