/**
 * What a shutdown cuts at its end over HTTP/2: who can ask again is told so, and nothing that was cut looks whole. A reset
 * with NO_ERROR in the middle of an answer would: Node's client and others take it for the end.
 */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';

import { expect, test } from 'vitest';

import { CODE, FLAG, FRAME, FrameConnection, pseudo } from '../harness/http2-frames.ts';
import { startHttp2Gateway } from '../harness/http2-gateway.ts';
import { startService } from './path-fixture.ts';

test('a shutdown ends every stream with a word of its own before it closes the connection', async () => {
  const open: ServerResponse[] = [];
  await using origin = await startService((request, response) => {
    request.on('error', () => undefined);
    request.resume();
    if (request.url === '/ready') {
      response.end();
      return;
    }
    if (request.url === '/sized') response.writeHead(200, { 'content-length': 100 });
    if (request.url === '/sized' || request.url === '/begun') response.write('a part');
    open.push(response);
  });
  await using edge = await startHttp2Gateway([origin.url], { more: 'shutdown: { delay: 0s, timeout: 2s }' });
  const caller = await FrameConnection.open(edge.port);
  caller.ask(1, pseudo({ ':path': '/begun' }));
  caller.ask(3, pseudo({ ':path': '/sized' }));
  caller.ask(5, pseudo({ ':path': '/unanswered' }));
  caller.ask(7, pseudo({ ':path': '/order', ':method': 'POST' }), false);
  caller.data(7, 'two of them', true);
  expect(await Promise.all([1, 3].map((stream) => caller.status(stream)))).toEqual([200, 200]);
  await expect.poll(() => open.length, { timeout: 10_000 }).toBe(4);
  const other = await edge.session();
  const download = other.request({ ':path': '/begun' });
  const failed = once(download, 'error');
  await once(download, 'data');
  // Whether a body follows was not told when the end came.
  caller.ask(9, pseudo({ ':path': '/untold' }), false);
  const from = performance.now();
  edge.gateway.process.signal('SIGTERM');
  await caller.untilClosed();
  expect(performance.now() - from).toBeLessThan(4000);
  expect(await edge.gateway.process.exited).toEqual({ code: 0, signal: null });

  // Of half an answer nothing looks like its end.
  expect([await caller.resetOf(1), await caller.resetOf(3)]).toEqual([
    CODE.INTERNAL_ERROR,
    CODE.INTERNAL_ERROR,
  ]);
  const ends = caller.frames.filter(
    ({ flags, type }) => type <= FRAME.HEADERS && (flags & FLAG.END_STREAM) !== 0,
  );
  expect(ends.map(({ stream }) => stream).toSorted((a, b) => a - b)).toEqual([5, 9]);
  expect(String((await failed)[0])).toContain('INTERNAL_ERROR');
  // A GET may be asked again, and what was never begun; an order that was may have been taken.
  expect(await caller.status(5)).toBe(503);
  for (const stream of [5, 9]) {
    const { payload } = await caller.next(
      'why',
      (each) => each.type === FRAME.DATA && each.stream === stream,
    );
    expect(JSON.parse(payload.toString())).toMatchObject({ code: 'SPW_DRAINING', status: 503 });
  }
  expect(await caller.resetOf(7)).toBe(CODE.INTERNAL_ERROR);
  expect(await caller.goAway()).toMatchObject({ code: CODE.NO_ERROR });

  const lines = edge.gateway
    .logs()
    .split('\n')
    .filter((line) => /"path":"\/(?:unanswered|order)"/.test(line))
    .map((line) => JSON.parse(line) as { path: string; code: string; status: number })
    .toSorted((a, b) => a.path.localeCompare(b.path));
  expect(lines.map(({ path, code, status }) => [path, code, status])).toEqual([
    ['/order', 'SPW_DRAINING', 503],
    ['/unanswered', 'SPW_DRAINING', 503],
  ]);
});
