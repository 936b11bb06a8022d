/**
 * What a pool of HTTP/1.1 connections never does with one that is ending: give a request to it, believe that only it was
 * dead, or wait for it for ever. Real sockets, and no clock: each moment is an event.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, expect, it } from 'vitest';

import { upstreamFault } from '../../src/forwarding/fault.ts';
import { H1Pool } from '../../src/io/h1-pool.ts';
import { eventually } from '../harness/ports.ts';

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';

let server: Server;
let pool: H1Pool;
const served: Socket[] = [];
/** Paths as they came, by connection. */
let asked: string[][];
let answer: (socket: Socket, request: string, connection: number) => void;

beforeEach(async () => {
  asked = [];
  server = createServer((socket) => {
    const mine: string[] = [];
    const connection = asked.push(mine) - 1;
    served.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      const request = chunk.toString('latin1');
      const path = /^[A-Z]+ (\S+) HTTP/.exec(request)?.[1];
      if (path === undefined) return;
      mine.push(path);
      answer(socket, request, connection);
    });
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  pool = new H1Pool(`http://127.0.0.1:${port}`, {
    protocol: 'h1',
    connectTimeoutMs: 5000,
    tls: { rejectUnauthorized: true },
  });
});

afterEach(async () => {
  await pool.destroy();
  for (const socket of served.splice(0)) socket.destroy();
  await new Promise<void>((resolve) => void server.close(() => resolve()));
});

/** Resolves with the body, or with `failed`. */
async function ask(
  path: string,
  method = 'GET',
  body: Readable | null = null,
  bodyBytes = -1,
): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let text = '';
  pool.dispatch(
    { path, method, headers: ['host', 'a.test'], body, bodyBytes },
    {
      onRequestStart: () => undefined,
      onResponseStart: () => undefined,
      onResponseData: (_controller, chunk) => void (text += chunk.toString('latin1')),
      onResponseText: (_controller, piece) => void (text += piece),
      onResponseEnd: () => resolve(text),
      onResponseError: () => resolve('failed'),
    },
  );
  return promise;
}

it('a connection that has ended takes no request, though its close was not told yet', async () => {
  answer = (socket) => void socket.write(OK);
  const clients: Socket[] = [];
  const note = (message: unknown): void => void clients.push((message as { socket: Socket }).socket);
  subscribe('net.client.socket', note);
  try {
    expect(await ask('/first')).toBe('ok');
    const { promise, resolve } = Promise.withResolvers<string>();
    // Behind the pool's own look at the end, and before the socket's close.
    clients[0]?.on('end', () => process.nextTick(() => void ask('/second', 'POST').then(resolve)));
    served[0]?.end();
    expect(await promise).toBe('ok');
    expect(asked).toEqual([['/first'], ['/second']]);
  } finally {
    unsubscribe('net.client.socket', note);
  }
});

it.each(['fin', 'reset'])(
  'once one breaks by %s under a request the other free ones are given up too',
  async (how) => {
    const held: (() => void)[] = [];
    answer = (socket, _request, connection) => {
      if ((asked[connection]?.length ?? 0) === 1) held.push(() => void socket.write(OK));
      else if (how === 'fin') socket.end();
      else socket.resetAndDestroy();
    };
    const first = [ask('/a'), ask('/b'), ask('/c')];
    await eventually('three requests are there', () => held.length === 3);
    for (const release of held) release();
    expect(await Promise.all(first)).toEqual(['ok', 'ok', 'ok']);
    expect(await ask('/broken')).toBe('failed');
    answer = (socket) => void socket.write(OK);
    expect(await ask('/again')).toBe('ok');
    expect(asked).toHaveLength(4);
    expect(asked[3]).toEqual(['/again']);
  },
);

it('whoever waited for a pool to close is told, though it was destroyed meanwhile', async () => {
  const there = Promise.withResolvers<void>();
  answer = () => there.resolve();
  const request = ask('/never');
  await there.promise;
  const closed = pool.close();
  await pool.destroy();
  await closed;
  expect(await request).toBe('failed');
});

it('a connection whose instance answered before it read the upload takes no other request', async () => {
  // More than the buffers of both sides hold, handed over at once: all of it is written, and does not leave.
  const upload = Buffer.alloc(32 * 1024 * 1024);
  answer = (socket, _request, connection) => {
    if (connection === 0) socket.pause();
    socket.write(OK);
  };
  const { length } = upload;
  expect(await ask('/upload', 'PUT', Readable.from([upload], { objectMode: false }), length)).toBe('ok');
  expect(await ask('/next')).toBe('ok');
  expect(asked).toEqual([['/upload'], ['/next']]);
});

it('a pool that closed says so, which speaks against no instance and lets another one take the request', async () => {
  answer = (socket) => socket.write(OK);
  await pool.close();
  const { promise, resolve } = Promise.withResolvers<Error>();
  const untold = (): never => {
    throw new Error('nothing was to be asked');
  };
  pool.dispatch(
    { path: '/late', method: 'GET', headers: ['host', 'a'], body: null, bodyBytes: 0 },
    {
      onRequestStart: untold,
      onResponseStart: untold,
      onResponseData: untold,
      onResponseText: untold,
      onResponseEnd: untold,
      onResponseError: (_, error) => resolve(error),
    },
  );
  expect(upstreamFault(await promise, 'connect')).toEqual({
    code: 'SPW_CONNECT_FAILED',
    kind: 'own',
    evidence: 'none',
    reason: 'pool closed',
  });
  expect(asked).toEqual([]);
});
