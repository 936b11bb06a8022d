/**
 * What is left when the time of a shutdown is over is cut, and told as the gateway's doing: a caller who was cut off has
 * not left. The worker stays long enough to tell it.
 */
import type { ServerResponse } from 'node:http';

import { expect, test } from 'vitest';

import { FrameConnection, pseudo } from '../harness/http2-frames.ts';
import { startHttp2Gateway } from '../harness/http2-gateway.ts';
import { startService } from './path-fixture.ts';

test('a request that a shutdown cuts is logged as cut by the gateway, not as left by its caller', async () => {
  const open: ServerResponse[] = [];
  await using origin = await startService((request, response) => {
    if (request.url === '/begun') response.write('a part');
    if (request.url !== '/ready') open.push(response);
    else response.end();
  });
  await using edge = await startHttp2Gateway([origin.url], { more: 'shutdown: { delay: 0s, timeout: 2s }' });
  const caller = await FrameConnection.open(edge.port);
  caller.ask(1, pseudo({ ':path': '/begun' }));
  caller.ask(3, pseudo({ ':path': '/unanswered' }));
  expect(await caller.status(1)).toBe(200);
  await expect.poll(() => open.length, { timeout: 10_000 }).toBe(2);
  edge.gateway.process.signal('SIGTERM');
  await caller.untilClosed();
  expect(await edge.gateway.process.exited).toEqual({ code: 0, signal: null });
  const lines = edge.gateway
    .logs()
    .split('\n')
    .filter((line) => line.includes('"path":"/begun"') || line.includes('"path":"/unanswered"'))
    .map((line) => JSON.parse(line) as { path: string; code: string; status: number });
  expect(
    lines
      .map(({ path, code, status }) => ({ path, code, status }))
      .toSorted((a, b) => a.path.localeCompare(b.path)),
  ).toEqual([
    { path: '/begun', code: '', status: 200 },
    { path: '/unanswered', code: 'SPW_DRAINING', status: 503 },
  ]);
});
