/** What the log and the line in words say when an instance or a breaker changes. */
import { describe, expect, test } from 'vitest';

import { startGateway, type Gateway } from '../harness/gateway.ts';
import { startEcho, startListener } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';
import { statusOf, yaml } from './control-fixture.ts';
import { serviceOf } from './path-fixture.ts';

async function summaryOf(gateway: Gateway): Promise<string> {
  const { body } = await gateway.admin('/v1/status');
  return (body as { summary: string }).summary;
}

/** Fields of the first line with this message; waits for it. */
async function lineOf(gateway: Gateway, message: string): Promise<Record<string, unknown>> {
  const [line] = await gateway.process.waitForLine(new RegExp(`^.*"msg":"${message}".*$`, 'm'));
  return JSON.parse(line) as Record<string, unknown>;
}

const WARN = 40;

describe('an instance', () => {
  test('that is drained, and dies, is in the log with the reason; its start was one line', async () => {
    await using origin = await startEcho();
    await using other = await startEcho();
    await using gateway = await startGateway(
      yaml(origin.url, {
        services: `shop: { instances: [${origin.url}, ${other.url}], readiness: { path: /ready, interval: 200ms } }`,
      }),
    );
    const id = `127.0.0.1:${origin.port}`;
    await gateway.admin(`/v1/services/shop/instances/127.0.0.1:${other.port}/drain`, { method: 'POST' });
    expect(await lineOf(gateway, 'instance is draining')).toMatchObject({
      service: 'shop',
      instance: `127.0.0.1:${other.port}`,
      from: 'ready',
      to: 'draining',
      reason: 'drained by admin 127.0.0.1',
    });
    expect(gateway.logs().match(/"msg":"instance is [^d]/g)).toHaveLength(2);
    await origin.close();
    expect(await lineOf(gateway, 'instance is down')).toMatchObject({
      level: WARN,
      service: 'shop',
      instance: id,
      from: 'ready',
      to: 'down',
      reason: 'connection refused',
    });
  });
});

describe('a breaker', () => {
  test('that opens by itself is in the log and in the line in words', async () => {
    await using origin = await startListener((request, response) => {
      response.writeHead(request.url === '/ready' ? 200 : 500).end();
    });
    const shop = 'breaker: { open: 60s }';
    await using gateway = await startGateway(yaml(origin.url, { shop }));
    for (let times = 0; times < 6; times++) await statusOf(gateway.port);
    expect(await summaryOf(gateway)).toBe('SLA met on 0 of 1 services; the breaker of shop is open.');
    expect(await lineOf(gateway, 'breaker is open')).toMatchObject({
      level: WARN,
      service: 'shop',
      from: 'closed',
      to: 'open',
    });
  });

  test('that an operator forces is named as such, until the order ends', async () => {
    await using origin = await startEcho();
    await using gateway = await startGateway(yaml(origin.url, { workers: 2 }));
    const order = async (state: string, ttl?: string): Promise<void> => {
      await gateway.admin('/v1/services/shop/breaker', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ state, ttl }),
      });
    };
    await order('open');
    expect(await lineOf(gateway, 'breaker is forced-open')).toMatchObject({ level: WARN, from: 'closed' });
    expect(await summaryOf(gateway)).toBe(
      'SLA met on 0 of 1 services; the breaker of shop is forced open by an operator.',
    );
    await order('auto');
    expect(await lineOf(gateway, 'breaker is closed')).toMatchObject({ from: 'forced-open' });
    expect(await summaryOf(gateway)).toBe('SLA met on 1 of 1 services; nothing is shed.');
    await order('closed', '3s');
    // Another order for the same service leaves its end where it is.
    await gateway.admin('/v1/services/shop/shedding', { method: 'POST', body: '{"mode":"observe"}' });
    expect(await lineOf(gateway, 'breaker is forced-closed')).toMatchObject({ from: 'closed' });
    const isClosed = async (): Promise<boolean> =>
      (await serviceOf(gateway, 'shop')).breaker.state === 'closed';
    await eventually('its time is over', isClosed);
    // Nor does a worker that starts later hear of it.
    expect((await gateway.admin('/v1/workers/roll', { method: 'POST' })).status).toBe(200);
    expect(await isClosed()).toBe(true);
  });
});
