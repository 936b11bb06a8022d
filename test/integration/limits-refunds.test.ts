/**
 * Units that come back: whoever the gateway could not serve is not charged for it, and what workers take ahead of use is told
 * in the metrics and given back by those who end.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';

import { compileRate, EPOCH_SECONDS, TICKS_PER_SECOND } from '../../src/limits/gcra.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { RedisServer } from '../harness/redis.ts';
import { ask, expectProblem, startService } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

let origin: Listening;
let isReady = false;
let gateway: Gateway;

beforeAll(async () => {
  origin = await startService((request, response) => {
    response.writeHead(request.url === '/is-ready' && !isReady ? 503 : 200, { 'content-length': 0 }).end();
  });
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  shop: { instances: [${origin.url}], sla: 5s, readiness: { path: /is-ready, interval: 100ms, timeout: 5s, rise: 1 } }
  open: { instances: [${origin.url}], sla: 5s, readiness: { path: /, interval: 600s, timeout: 10s } }
clients:
  keys:
    - { key: small-key, client: small, tier: small }
    - { key: large-key, client: large, tier: large }
tiers:
  small: { rate: 1/h, burst: 3 }
  large: { rate: 5000/s, burst: 10000 }
limits: { global: { rate: 10000/s, burst: 20000 } }
routes:
  - { path: /, service: shop }
  - { path: /open, service: open }
`);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

const small = { headers: { 'x-api-key': 'small-key' } };

test('a client that nobody can serve is not charged: its burst is whole when the service is back', async () => {
  await eventually('the service is unready', async () => (await ask(gateway.port)).status === 503);
  for (let turn = 0; turn < 8; turn++)
    expectProblem(await ask(gateway.port, small), 503, 'SPW_NO_READY_INSTANCE');
  isReady = true;
  await eventually('the service is back', async () => (await ask(gateway.port)).status === 200);
  const seen: number[] = [];
  for (let turn = 0; turn < 4; turn++) seen.push((await ask(gateway.port, small)).status);
  expect(seen).toEqual([200, 200, 200, 429]);
});

/** A figure of one label, by its value; 0 for what has not been counted. */
function figuresOf(page: string, name: string): (label: string) => number {
  return (label) => {
    const line = new RegExp(`^spillway_${name}\\{[a-z]+="${label}"\\} (\\d+)$`, 'm').exec(page);
    return Number(line?.[1] ?? 0);
  };
}

async function tokensOf({ admin }: Gateway): Promise<(event: string) => number> {
  return figuresOf(String((await admin('/metrics')).body), 'limit_lease_tokens_total');
}

test('what workers take ahead of use is told by what became of it', async () => {
  const asked = { path: '/open', headers: { 'x-api-key': 'large-key' } };
  const told = async (event: string): Promise<number> => (await tokensOf(gateway))(event);
  await eventually('leases were used', async () => {
    for (let turn = 0; turn < 10; turn++)
      await Promise.all(Array.from({ length: 30 }, async () => await ask(gateway.port, asked)));
    return (await told('spent')) > 0;
  });
  const granted = await told('granted');
  expect(granted).toBeGreaterThanOrEqual(await told('spent'));
  // Two levels, so units of both.
  await eventually('what nobody used has ended', async () => {
    await ask(gateway.port, asked);
    return (await told('expired')) > 0;
  });
});

/** So slow that nothing comes back while the test runs. */
const HELD = { perHour: 10, burst: 80_000 };

test('workers that end give back what they hold, to the unit', async () => {
  await using stack = new AsyncDisposableStack();
  const server = stack.adopt(await RedisServer.start(), async (each) => await each.stop());
  const redis = stack.adopt(server.client(), (client) => client.disconnect());
  const leasing = stack.use(
    await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 2
redis: { url: '${server.url}', timeout: 1s, keySecret: a-secret-of-the-tests }
shedding: { mode: off }
services: { shop: { instances: [${origin.url}], sla: 5s, readiness: { path: /, interval: 600s, timeout: 10s } } }
clients: { keys: [{ key: held-key, client: held, tier: held }] }
tiers: { held: { rate: ${HELD.perHour}/h, burst: ${HELD.burst} } }
limits: { enforcement: leased }
routes: [{ path: /, service: shop }]
`),
  );
  await eventually('the workers have their store', async () =>
    /^spillway_redis_up 1$/m.test(String((await leasing.admin('/metrics')).body)),
  );
  const caller = { on: true };
  const callers = Array.from({ length: 4 }, async () => {
    while (caller.on) await ask(leasing.port, { headers: { 'x-api-key': 'held-key' } });
  });
  try {
    await eventually('a worker that was replaced has given units back', async () => {
      expect((await leasing.admin('/v1/workers/roll', { method: 'POST' })).status).toBe(200);
      return (await tokensOf(leasing))('refunded') > 0;
    });
  } finally {
    caller.on = false;
    await Promise.all(callers);
  }
  const { unitTicks } = compileRate(HELD.perHour / 3600, HELD.burst);
  const charged = async (): Promise<number> => {
    const [key = ''] = await redis.keys('spw:{c.*}:t');
    const [seconds, micros] = await redis.time();
    const now = (Number(seconds) - EPOCH_SECONDS) * TICKS_PER_SECOND + Number(micros) * 10;
    return Math.round((Number(await redis.get(key)) - now) / unitTicks);
  };
  await eventually('the bucket lacks what was taken and not given back', async () => {
    const page = String((await leasing.admin('/metrics')).body);
    const tokens = figuresOf(page, 'limit_lease_tokens_total');
    const decided = figuresOf(page, 'limit_decisions_total');
    const taken = decided('store') + tokens('granted') - tokens('refunded');
    // Whoever was decided without the store may have been charged by it all the same.
    return Math.abs((await charged()) - taken) <= decided('fallback');
  });
});
