/** Signals: draining, reloading and the second SIGTERM, each while requests are in flight. */
import type { ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

import { describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import { runOpenLoop } from '../harness/open-loop.ts';
import { startListener, startOrigin } from '../harness/origin.ts';
import { accepts, eventually } from '../harness/ports.ts';
import { startFaultOrigin } from '../harness/fault-origin.ts';
import { openRaw } from '../harness/raw.ts';

function config(originUrl: string, shutdown: string, routes = '{ path: /, service: shop }'): string {
  return `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 2
log: { access: off }
# A machine that is busy elsewhere may look like overload; that is another test's subject.
shedding: { mode: observe }
shutdown: ${shutdown}
services:
  shop:
    instances: [${originUrl}]
    sla: 500ms
    timeout: { request: 60s }
    readiness: { path: /ready, interval: 200ms }
routes: [${routes}]
`;
}

describe('SIGTERM', () => {
  test('readiness fails first, and whoever stops sending then loses no request', async () => {
    await using origin = await startOrigin({ slots: 200, meanMs: 20 });
    await using gateway = await startGateway(config(origin.url, '{ delay: 6s, timeout: 30s }'));
    const balancer = new AbortController();
    const running = runOpenLoop({
      port: gateway.port,
      classes: [{ name: 'all', share: 1 }],
      phases: [{ seconds: 20, ratePerSecond: 300 }],
      slaMs: 500,
      signal: balancer.signal,
    });
    await pause(1000);
    gateway.process.signal('SIGTERM');
    await gateway.readyz(503);
    // The listeners are still open, and a load balancer takes its time.
    expect(await accepts(gateway.port)).toBe(true);
    await pause(700);
    balancer.abort();
    const result = await running;
    expect(result.failed + result.refused, JSON.stringify({ ...result, bins: [] })).toBe(0);
    expect(result.offered).toBeGreaterThan(300);
    expect(await gateway.process.exited).toEqual({ code: 0, signal: null });
    expect(await accepts(gateway.port)).toBe(false);
  });

  test('a request in flight is answered before the end', async () => {
    const held: ServerResponse[] = [];
    await using origin = await startListener((request, response) => {
      if (request.url === '/ready') response.end();
      else held.push(response);
    });
    await using gateway = await startGateway(config(origin.url, '{ delay: 0s, timeout: 60s }'));
    await using client = await openRaw(gateway.port);
    client.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
    await eventually('the request is at the origin', () => held.length === 1);
    gateway.process.signal('SIGTERM');
    await gateway.readyz(503);
    expect(client.received()).toBe('');
    held[0]?.end('ok');
    const { answers } = await client.untilAnswers(1);
    expect(answers[0]).toMatchObject({ status: 200, complete: true });
    expect(await gateway.process.exited).toEqual({ code: 0, signal: null });
  });

  test('what is left at the timeout is cut', async () => {
    await using origin = await startFaultOrigin('silent');
    await using gateway = await startGateway(config(origin.url, '{ delay: 0s, timeout: 1s }'));
    await using client = await openRaw(gateway.port);
    client.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
    await eventually('the request is at the origin', () => origin.requests.length === 1);
    const startedAt = performance.now();
    gateway.process.signal('SIGTERM');
    await gateway.process.exited;
    expect(performance.now() - startedAt).toBeGreaterThan(900);
    // The request itself might have taken a minute.
    expect(performance.now() - startedAt).toBeLessThan(20_000);
    await client.untilClosed();
  });

  test('a second one within half a second is the same keystroke; later it ends at once', async () => {
    await using origin = await startFaultOrigin('silent');
    await using gateway = await startGateway(config(origin.url, '{ delay: 0s, timeout: 60s }'));
    await using client = await openRaw(gateway.port);
    client.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
    await eventually('the request is at the origin', () => origin.requests.length === 1);
    const startedAt = performance.now();
    // Two kinds, since two of one kind that are both under way are one; sent together, so that no stall is between them.
    gateway.process.signal('SIGTERM');
    gateway.process.signal('SIGINT');
    await gateway.process.waitForLine(/"draining"/);
    // Half a second counts from when the first one was heard, which the line shows.
    await pause(700);
    expect(gateway.process.hasExited()).toBe(false);
    gateway.process.signal('SIGTERM');
    await gateway.process.exited;
    expect(performance.now() - startedAt).toBeLessThan(30_000);
  });
});

describe('a reload under load', () => {
  const shutdown = '{ delay: 0s, timeout: 10s }';
  const more = '{ path: /, service: shop }, { path: /new, service: shop, methods: [POST] }';

  // By POST /v1/reload: a hundred of them, in rolling.test.ts.
  test('by SIGHUP swaps without a failed request', async () => {
    await using origin = await startOrigin({ slots: 200, meanMs: 5 });
    await using gateway = await startGateway(config(origin.url, shutdown));
    const statusOfNew = async (): Promise<number> => (await fetch(`${gateway.publicUrl}/new`)).status;
    expect(await statusOfNew()).toBe(200);
    const running = runOpenLoop({
      port: gateway.port,
      classes: [{ name: 'all', share: 1 }],
      phases: [{ seconds: 4, ratePerSecond: 400 }],
      slaMs: 500,
    });
    for (const [routes, status] of [
      [more, 405],
      [undefined, 200],
      [more, 405],
    ] as const) {
      await pause(500);
      await gateway.rewrite(config(origin.url, shutdown, routes));
      gateway.process.signal('SIGHUP');
      await eventually(`GET /new is ${status}`, async () => (await statusOfNew()) === status);
    }
    const result = await running;
    expect(result.failed + result.refused, JSON.stringify({ ...result, bins: [] })).toBe(0);
    expect(result.staleRetries).toBe(0);
    expect(result.offered).toBeGreaterThan(1200);
  });

  test('with a broken file changes nothing and says what is wrong', async () => {
    await using origin = await startOrigin({ slots: 200, meanMs: 5 });
    await using gateway = await startGateway(config(origin.url, shutdown));
    await gateway.rewrite(config(origin.url, shutdown, '{ path: /, service: shoop }'));
    const answer = await gateway.admin('/v1/reload', { method: 'POST' });
    expect(answer.status).toBe(409);
    expect(JSON.stringify(answer.body)).toContain('shoop');
    expect((await fetch(gateway.publicUrl)).status).toBe(200);
    gateway.process.signal('SIGHUP');
    await gateway.process.waitForLine(/shoop/);
    expect((await fetch(gateway.publicUrl)).status).toBe(200);
    await gateway.readyz(200);
  });
});
