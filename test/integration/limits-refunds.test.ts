/**
 * Units that come back: whoever the gateway could not serve is not charged for it. And what workers take ahead of use is
 * told in the metrics.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
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

test('what workers take ahead of use is told by what became of it', async () => {
  const asked = { path: '/open', headers: { 'x-api-key': 'large-key' } };
  const told = async (event: string): Promise<number> => {
    const { body } = await gateway.admin('/metrics');
    const line = new RegExp(`^spillway_limit_lease_tokens_total\\{event="${event}"\\} (\\d+)$`, 'm').exec(
      String(body),
    );
    return Number(line?.[1] ?? 0);
  };
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
