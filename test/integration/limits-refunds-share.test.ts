/**
 * What an operator fills is full in an outage too: the share of every limit that a gateway gives while Redis is lost is kept
 * from one outage to the next.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { RedisServer } from '../harness/redis.ts';
import { ask, startService } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

const BURST = 3;

let origin: Listening;
let redis: RedisServer;
let gateway: Gateway;

beforeAll(async () => {
  origin = await startService((_, response) => response.writeHead(200, { 'content-length': 0 }).end());
  redis = await RedisServer.start();
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
redis: { url: '${redis.url}', timeout: 100ms, keySecret: a-secret-of-the-tests }
services: { shop: { instances: [${origin.url}], sla: 5s, readiness: { path: /, interval: 600s, timeout: 10s } } }
clients:
  keys:
    - { key: filled-key, client: filled, tier: rated }
    - { key: other-key, client: other, tier: rated }
tiers: { rated: { rate: 1/h, burst: ${BURST} } }
routes:
  - { path: /, service: shop }
  - { path: /few, service: shop, methods: [GET], limits: { perClient: { rate: 1/h, burst: 1 } } }
`);
  await redisIs(1);
});
afterAll(async () => {
  redis.resume();
  await gateway[Symbol.asyncDispose]();
  await redis.stop();
  await origin[Symbol.asyncDispose]();
});

/** Of all workers; a gauge that is a state takes the worst. */
async function redisIs(up: 0 | 1): Promise<void> {
  await eventually(`redis_up is ${up}`, async () => {
    const { body } = await gateway.admin('/metrics');
    return new RegExp(`^spillway_redis_up ${up}$`, 'm').test(String(body));
  });
}

/** How many pass until one is refused. */
async function passing(client: string, path = '/'): Promise<number> {
  for (let passed = 0; ; passed++) {
    const { status } = await ask(gateway.port, { path, headers: { 'x-api-key': `${client}-key` } });
    if (status !== 200) return passed;
  }
}

/** A supervisor that its machine let wait leaves the worker its part, and is charged too: that may cost a unit. */
async function expectShares(filled: boolean, other: boolean): Promise<void> {
  const passed = [await passing('filled', '/few'), await passing('filled'), await passing('other')];
  expect(passed.map((count) => count > 0)).toEqual([filled, filled, other]);
  expect(Math.max(...passed)).toBeLessThanOrEqual(BURST);
}

test('a client that was filled after one outage has its whole share in the next, and nobody else', async () => {
  redis.pause();
  await redisIs(0);
  await expectShares(true, true);
  await expectShares(false, false);
  redis.resume();
  await redisIs(1);
  await eventually('its quota is filled', async () => {
    const { status } = await gateway.admin('/v1/limits/filled', { method: 'DELETE' });
    return status === 200;
  });
  redis.pause();
  await redisIs(0);
  await expectShares(true, false);
});
