/**
 * Callers who take their time: with a head, with a body, with reading. Each holds its place for as long as the limits
 * say and no longer, whoever is slow for another's sake keeps his, and nobody else notices.
 *
 * All of them begin together when the file does, and each test waits for its own: the limits are seconds long.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { begin, bodyOf, startService, untilIdle, ask } from '../integration/path-fixture.ts';
import type { Listening } from '../integration/path-fixture.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { openRaw, readAnswers } from '../harness/raw.ts';
import type { RawConnection } from '../harness/raw.ts';

const HEAD_LIMIT_MS = 3000;
/** Of `limits.minBytesPerSecond`. */
const GRACE_MS = 5000;
/** What the promise allows on top: looks at the clock, and the end of the connection in order. */
const SLACK_MS = 2000;
const RATE = 240;
const MIB = 1024 * 1024;

let origin: Listening;
let gateway: Gateway;
let quietStreams: ServerResponse[] = [];
const releases: (() => void)[] = [];

/** A body of this size, as fast as it is taken. */
function giveMuch(response: ServerResponse, size: number): void {
  const piece = Buffer.alloc(256 * 1024, 'x');
  let given = 0;
  response.writeHead(200, { 'content-length': String(size) });
  const more = (): void => {
    while (given < size && !response.destroyed) {
      given += piece.length;
      if (!response.write(piece)) return;
    }
    if (given >= size) response.end();
  };
  response.on('drain', more);
  more();
}

beforeAll(async () => {
  origin = await startService((request: IncomingMessage, response) => {
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    switch (request.url ?? '') {
      case '/much/0':
      case '/much/50':
        giveMuch(response, 1024 * MIB);
        return;
      case '/some':
        giveMuch(response, 24 * MIB);
        return;
      case '/events':
        response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
        quietStreams.push(response);
        return;
      case '/poll':
        setTimeout(() => response.end('news'), GRACE_MS + SLACK_MS);
        return;
      case '/deaf':
        // Takes nothing of the body for longer than any caller may be slow.
        setTimeout(() => {
          request.resume();
          request.once('end', () => response.end('all of it'));
        }, GRACE_MS + SLACK_MS);
        return;
      default:
        // `/up` and `/limited`
        request.resume();
        request.once('end', () => response.end('done'));
    }
  });
  gateway = await startGateway(`
listeners:
  - port: __PORT__
    host: 127.0.0.1
    limits: { headersTimeout: ${HEAD_LIMIT_MS}ms, bodyBytes: 200MiB, minBytesPerSecond: ${RATE} }
workers: 1
shedding: { mode: off }
services:
  shop:
    instances: [${origin.url}]
    sla: 60s
    timeout: { request: 60s, idle: 60s }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
routes:
  - { path: /, service: shop }
  - { path: /limited, service: shop, limits: { perClient: { rate: 1/d, burst: 1 } } }
`);
});

afterAll(async () => {
  for (const release of releases) release();
  for (const stream of quietStreams) stream.destroy();
  quietStreams = [];
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

/** Writes `bytes` each `everyMs` until the connection ends. */
function drip(connection: RawConnection, bytes: string, everyMs: number): void {
  const timer = setInterval(() => {
    if (connection.isClosed()) clearInterval(timer);
    else connection.write(bytes);
  }, everyMs);
  releases.push(() => clearInterval(timer));
}

/** How long until the gateway ends the connection, ms. */
async function endOf(connection: RawConnection, startedMs: number): Promise<number> {
  await connection.untilClosed(60_000);
  return performance.now() - startedMs;
}

function problemOf(connection: RawConnection): unknown {
  const [answer] = readAnswers(connection.received(), true).answers;
  return [answer?.status, (JSON.parse(answer?.body ?? '{}') as { code?: string }).code];
}

const UPLOAD = 'POST /up HTTP/1.1\r\nhost: a.test\r\ncontent-length: 100000\r\n\r\n';
const CHUNKED = 'POST /up HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n';

describe.concurrent('a head', () => {
  test.for([
    ['of one byte a second', 'x'],
    ['of one field a second', 'x-a: b\r\n'],
  ] as const)('%s has `headersTimeout`, and a drip does not extend it', async ([, bytes]) => {
    await using connection = await openRaw(gateway.port);
    const startedMs = performance.now();
    connection.write('GET / HTTP/1.1\r\nhost: a.test\r\n');
    if (bytes === 'x') connection.write('x-a: ');
    drip(connection, bytes, 1000);
    const took = await endOf(connection, startedMs);
    expect(problemOf(connection)).toEqual([408, 'SPW_REQUEST_TIMEOUT']);
    expect(took).toBeGreaterThanOrEqual(HEAD_LIMIT_MS - 50);
    expect(took).toBeLessThan(HEAD_LIMIT_MS + SLACK_MS);
  });

  test('that never begins has the same time', async () => {
    await using connection = await openRaw(gateway.port);
    const took = await endOf(connection, performance.now());
    expect(took).toBeLessThan(HEAD_LIMIT_MS + SLACK_MS);
  });
});

describe.concurrent('a body', () => {
  test.for([
    ['with a length', UPLOAD, 'x'],
    ['in chunks', CHUNKED, '1\r\nx\r\n'],
    ['just below the rate', UPLOAD, 'x'.repeat(Math.floor((RATE * 0.9) / 5))],
  ] as const)('that drips, %s, is 408 and its instance is let go', async ([, head, bytes]) => {
    await using connection = await openRaw(gateway.port);
    const startedMs = performance.now();
    connection.write(head);
    drip(connection, bytes, 200);
    const took = await endOf(connection, startedMs);
    expect(problemOf(connection)).toEqual([408, 'SPW_REQUEST_TIMEOUT']);
    expect(took).toBeGreaterThanOrEqual(GRACE_MS);
    expect(took).toBeLessThan(GRACE_MS + SLACK_MS);
  });

  test('above the rate is waited for', async () => {
    const size = RATE * 2 * 9;
    const { sent, answered } = begin(gateway.port, {
      method: 'POST',
      path: '/up',
      headers: { 'content-length': String(size) },
    });
    for (let turn = 0; turn < 18; turn++) {
      sent.write('x'.repeat(RATE));
      await pause(500);
    }
    sent.end();
    const { message } = await answered;
    expect([message.statusCode, String(await bodyOf(message))]).toEqual([200, 'done']);
  });

  test('that an instance does not take is not its caller’s slowness', async () => {
    const body = Buffer.alloc(16 * MIB);
    const { sent, answered } = begin(gateway.port, {
      method: 'POST',
      path: '/deaf',
      headers: { 'content-length': String(body.length) },
    });
    sent.end(body);
    const { message } = await answered;
    expect([message.statusCode, String(await bodyOf(message))]).toEqual([200, 'all of it']);
  });

  test('that was refused and never ends holds its connection no longer either', async () => {
    await ask(gateway.port, { path: '/limited' });
    await using connection = await openRaw(gateway.port);
    const startedMs = performance.now();
    connection.write('POST /limited HTTP/1.1\r\nhost: a.test\r\ncontent-length: 60000\r\n\r\n');
    drip(connection, 'x', 200);
    expect(await endOf(connection, startedMs)).toBeLessThan(GRACE_MS + SLACK_MS);
    expect(readAnswers(connection.received(), true).answers.map(({ status }) => status)).toEqual([429]);
  });
});

describe.concurrent('an answer', () => {
  test.for([
    ['not at all', 0],
    ['a few bytes a second', 50],
  ] as const)(
    'of 1 GiB that is read %s is cut with a reset, and the worker held none of it',
    async ([, bytes]) => {
      await using connection = await openRaw(gateway.port);
      connection.socket.pause();
      const startedMs = performance.now();
      connection.write(`GET /much/${bytes} HTTP/1.1\r\nhost: a.test\r\n\r\n`);
      const reader = setInterval(() => connection.socket.read(bytes), 1000);
      releases.push(() => clearInterval(reader));
      const line = await gateway.process.waitForLine(new RegExp(`"path":"/much/${bytes}".*`));
      const took = performance.now() - startedMs;
      expect(took).toBeGreaterThanOrEqual(GRACE_MS);
      expect(took).toBeLessThan(GRACE_MS + SLACK_MS);
      // What the kernel took, and one buffer of ours.
      expect(Number(/"bytesOut":(\d+)/.exec(line[0])?.[1])).toBeLessThan(16 * MIB);
      // Node looks at a paused socket no more; it finds the reset when it reads again, in the place of what was in flight.
      connection.socket.resume();
      await connection.untilClosed();
      expect(connection.ending()).toBe('reset');
    },
  );

  test('that is read slowly, but read, reaches its end', async () => {
    await using connection = await openRaw(gateway.port);
    let read = 0;
    connection.socket.on('data', (chunk: Buffer) => {
      read += chunk.length;
      // Some 2 MiB a second: the kernel's buffers alone hold several seconds of it.
      connection.socket.pause();
      setTimeout(() => connection.socket.resume(), chunk.length / 2000);
    });
    connection.write('GET /some HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n');
    await connection.untilClosed(60_000);
    expect(read).toBeGreaterThan(24 * MIB);
  });

  test('that nobody has written yet is owed by nobody: event streams and long polls live', async () => {
    await using stream = await openRaw(gateway.port);
    stream.write('GET /events HTTP/1.1\r\nhost: a.test\r\n\r\n');
    await stream.until((text) => text.endsWith('\r\n\r\n'));
    const polled = await ask(gateway.port, { path: '/poll' });
    expect(String(polled.body)).toBe('news');
    expect(stream.isClosed()).toBe(false);
    quietStreams[0]?.end('data: late\n\n');
    await stream.until((text) => text.includes('data: late'));
  });
});

test('who was cut is told by the metrics, and nothing is left of them', async () => {
  await untilIdle(gateway, 'shop');
  const page = String((await gateway.admin('/metrics')).body);
  expect(page).toMatch(/spillway_aborted_total\{service="shop",by="gateway",reason="rate"\} 2\n/);
  expect(page).toMatch(/spillway_requests_total\{[^}]*status="408",code="SPW_REQUEST_TIMEOUT"\} 3\n/);
});
