/** The supervisor's own life: a start that cannot succeed, a reload during the end, and the operators' token. */
import { describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import { startEcho } from '../harness/origin.ts';
import type { InProcessOrigin } from '../harness/origin.ts';
import { openRaw } from '../harness/raw.ts';
import { eventually } from '../harness/ports.ts';
import { reload, sabotage, statusOf, yaml } from './control-fixture.ts';

/** An echo that answers `/hold` when it is told to. */
async function startHolding(): Promise<InProcessOrigin & { readonly held: (() => void)[] }> {
  const origin = await startEcho();
  const held: (() => void)[] = [];
  const [answer] = origin.server.listeners('request') as ((...all: unknown[]) => void)[];
  origin.server.removeAllListeners('request');
  origin.server.on('request', (request, response) => {
    if (request.url === '/hold') held.push(() => response.end('held'));
    else answer?.(request, response);
  });
  return { ...origin, held };
}

describe('a reload during the shutdown', () => {
  test.each(['SIGHUP', 'request'])('by %s is refused and undoes nothing', async (how) => {
    await using origin = await startHolding();
    const shutdown = 'shutdown: { delay: 1s, timeout: 60s }';
    await using gateway = await startGateway(yaml(origin.url, { workers: 2, more: shutdown }));
    // A request in flight keeps the shutdown from being over before the reload is asked for.
    await using client = await openRaw(gateway.port);
    client.write('GET /hold HTTP/1.1\r\nhost: a\r\n\r\n');
    await eventually('the request is at the origin', () => origin.held.length === 1);
    gateway.process.signal('SIGTERM');
    await gateway.readyz(503);
    if (how === 'SIGHUP') {
      gateway.process.signal('SIGHUP');
      await gateway.process.waitForLine(/"by":"SIGHUP".*shutting down/);
    } else {
      const wanted = yaml(origin.url, { workers: 4, more: shutdown });
      expect(await reload(gateway, wanted)).toMatchObject({
        status: 409,
        faults: ['the gateway is shutting down'],
      });
    }
    for (const release of origin.held) release();
    expect((await client.untilAnswers(1)).answers[0]).toMatchObject({ status: 200, complete: true });
    const startedAt = performance.now();
    expect(await gateway.process.exited).toEqual({ code: 0, signal: null });
    // It ended since nothing was left, not at the timeout.
    expect(performance.now() - startedAt).toBeLessThan(30_000);
    expect(gateway.logs()).not.toMatch(/worker died|configuration reloaded/);
  });
});

test('a request on a listener that a reload changed is finished by the shutdown that follows', async () => {
  await using origin = await startHolding();
  const { held } = origin;
  await using gateway = await startGateway(
    yaml(origin.url, { more: 'shutdown: { delay: 0s, timeout: 60s }' }),
  );
  await using client = await openRaw(gateway.port);
  client.write('GET /hold HTTP/1.1\r\nhost: a\r\n\r\n');
  await eventually('the request is at the origin', () => held.length === 1);
  const listeners = '{ port: __PORT__, host: 127.0.0.1, backlog: 100 }';
  expect(await reload(gateway, yaml(origin.url, { listeners }))).toMatchObject({ status: 200 });
  gateway.process.signal('SIGTERM');
  await gateway.readyz(503);
  // Longer than the worker's beat: an exit that did not count this connection would come now.
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(client.isClosed()).toBe(false);
  for (const release of held) release();
  const { answers } = await client.untilAnswers(1);
  expect(answers[0]).toMatchObject({ status: 200, complete: true });
  expect(await gateway.process.exited).toEqual({ code: 0, signal: null });
});

describe('the access to the admin address', () => {
  const admin = (more: string): string => `admin: { host: 127.0.0.1, port: __ADMIN__${more} }`;
  const bearer = (token: string): RequestInit => ({ headers: { authorization: `Bearer ${token}` } });

  test('follows a reload: another token, open metrics, and none', async () => {
    await using origin = await startEcho();
    const first = 'the-first-token-123456';
    const second = 'the-second-token-12345';
    await using gateway = await startGateway(yaml(origin.url, { more: admin(`, token: ${first}`) }));
    const status = async (path: string, init?: RequestInit): Promise<number> =>
      (await gateway.admin(path, init)).status;
    expect(await status('/v1/status', bearer(first))).toBe(200);
    expect(await status('/metrics')).toBe(401);

    await gateway.rewrite(yaml(origin.url, { more: admin(`, token: ${second}, openMetrics: true`) }));
    expect(await status('/v1/reload', { method: 'POST', ...bearer(first) })).toBe(200);
    expect(await status('/v1/status', bearer(first))).toBe(401);
    expect(await status('/v1/status', bearer(second))).toBe(200);
    expect(await status('/metrics')).toBe(200);

    await gateway.rewrite(yaml(origin.url, { more: admin('') }));
    expect(await status('/v1/reload', { method: 'POST', ...bearer(second) })).toBe(200);
    expect(await status('/v1/status')).toBe(200);
  });

  test('is not given away by taking the token out where the network reaches it', async () => {
    await using origin = await startEcho();
    const token = 'the-only-token-1234567';
    const open = `admin: { host: 0.0.0.0, port: __ADMIN__, token: ${token} }`;
    await using gateway = await startGateway(yaml(origin.url, { more: open }));
    await gateway.rewrite(yaml(origin.url, { more: admin('') }));
    const answer = await gateway.admin('/v1/reload', { method: 'POST', ...bearer(token) });
    expect(answer).toMatchObject({ status: 409, body: { faults: [expect.stringContaining('0.0.0.0')] } });
    expect((await gateway.admin('/v1/status')).status).toBe(401);
  });
});

describe('workers', () => {
  test('that die before they listen, again and again, end the start', async () => {
    await using origin = await startEcho();
    await using trap = await sabotage('if (isWorker) process.exit(7);');
    await expect(startGateway(yaml(origin.url), { env: trap.env })).rejects.toThrow(
      /workers do not start: 5 died, the last with exit code 7/,
    );
  });

  test('that die once while they start are replaced', async () => {
    await using origin = await startEcho();
    await using trap = await sabotage(
      "let first = isWorker; if (isWorker) try { fs.writeFileSync(marker, '', { flag: 'wx' }); } catch { first = false; } if (first && isWorker) process.exit(7);",
    );
    await using gateway = await startGateway(yaml(origin.url), { env: trap.env });
    expect(await statusOf(gateway.port)).toBe(200);
  });
});
