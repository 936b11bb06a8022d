/**
 * Bytes flow, they are not collected: whatever the size of a body and however slow its reader, the worker's memory stays
 * where it was, and what was sent is what arrives.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { residentBytes } from '../harness/process.ts';
import { openRaw } from '../harness/raw.ts';
import { ask, begin, bodyOf, event, serviceOf, startService, untilIdle } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

const MIB = 1024 * 1024;
const BIG_BYTES = 100 * MIB;
/** What a worker may grow by while it carries a big body. */
const GROWTH_BYTES = 32 * MIB;

const IDLE_MS = 4000;

/** A megabyte without a period that a lost or doubled chunk could hide in. */
const piece = Buffer.alloc(MIB);
for (let at = 0; at < MIB; at += 4) piece.writeUInt32LE((at * 2654435761) >>> 0, at);
const bigHash = createHash('sha256');
for (let sent = 0; sent < BIG_BYTES; sent += MIB) bigHash.update(piece);
const BIG_SHA = bigHash.digest('hex');

let origin: Listening;
let gateway: Gateway;
/** What the origin has handed over for `/down`. */
let downloaded = 0;
/** What the origin does with `/event-stream` is the test's. */
let streams: ServerResponse[] = [];

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  switch (request.url ?? '') {
    case '/down':
      response.writeHead(200, { 'content-length': BIG_BYTES });
      for (let sent = 0; sent < BIG_BYTES; sent += MIB) {
        if (!response.write(piece)) await event(response, 'drain', 30_000);
        downloaded += MIB;
      }
      response.end();
      return;
    case '/up': {
      const hash = createHash('sha256');
      let bytes = 0;
      for await (const chunk of request) {
        hash.update(chunk as Buffer);
        bytes += (chunk as Buffer).length;
        // A reader that is slower than its sender: without back pressure the difference piles up in the gateway.
        if (bytes % (8 * MIB) < (chunk as Buffer).length) await pause(20);
      }
      response.end(`${bytes} ${hash.digest('hex')}`);
      return;
    }
    case '/events':
    case '/long':
      response.writeHead(200, {
        'content-type': request.url === '/long' ? 'text/plain' : 'text/event-stream',
      });
      response.flushHeaders();
      streams.push(response);
      return;
    default:
      response.writeHead(200, { 'content-length': 2 }).end('ok');
  }
}

beforeAll(async () => {
  origin = await startService((request, response) => {
    serve(request, response).catch(() => response.destroy());
  });
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1, limits: { bodyBytes: 200MiB } }]
workers: 1
services:
  shop:
    instances: [${origin.url}]
    sla: 10s
    timeout: { request: 30s, idle: ${IDLE_MS}ms, tunnelIdle: 20s }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
routes: [{ path: /, service: shop }]
`);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

function workerPid(): number {
  const [pid] = gateway.workerPids();
  if (pid === undefined) throw new Error('no worker');
  return pid;
}

/** The most memory the worker had while `work` ran, in bytes. */
async function peakDuring(work: () => Promise<void>): Promise<number> {
  const pid = workerPid();
  let most = residentBytes(pid);
  const timer = setInterval(() => {
    most = Math.max(most, residentBytes(pid));
  }, 20);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return most;
}

async function download(slowly: boolean): Promise<string> {
  const { sent, answered } = begin(gateway.port, { path: '/down' });
  sent.end();
  const hash = createHash('sha256');
  let bytes = 0;
  const { message } = await answered;
  for await (const chunk of message) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
    if (slowly && bytes % (8 * MIB) < (chunk as Buffer).length) await pause(20);
  }
  return `${bytes} ${hash.digest('hex')}`;
}

async function upload(chunked: boolean): Promise<string> {
  const headers = chunked ? {} : { 'content-length': String(BIG_BYTES) };
  const { sent, answered } = begin(gateway.port, { method: 'POST', path: '/up', headers: { ...headers } });
  for (let at = 0; at < BIG_BYTES; at += MIB) {
    if (!sent.write(piece)) await event(sent, 'drain', 30_000);
  }
  sent.end();
  const { message } = await answered;
  return String(await bodyOf(message));
}

describe('a body of 100 MiB', () => {
  /**
   * Read buffers are garbage as soon as they are written, but the engine lets some 60 MiB of such garbage lie before it
   * collects for the first time. That is taken once, whatever the bodies' sizes; a body that is held comes on top.
   */
  let plateau = 0;

  beforeAll(async () => {
    for (let turn = 0; turn < 50; turn++) await ask(gateway.port);
    plateau = await peakDuring(async () => {
      await download(false);
      await upload(false);
      await download(false);
    });
  });

  test('goes down to a slow reader byte for byte, and the worker does not collect it', async () => {
    const peak = await peakDuring(async () => {
      expect(await download(true)).toBe(`${BIG_BYTES} ${BIG_SHA}`);
    });
    expect(peak - plateau).toBeLessThanOrEqual(GROWTH_BYTES);
  });

  test.each([
    ['with a length', false],
    ['in chunks', true],
  ])(
    'goes up to a slow service byte for byte, %s, and the worker does not collect it',
    async (_, chunked) => {
      const peak = await peakDuring(async () => {
        expect(await upload(chunked)).toBe(`${BIG_BYTES} ${BIG_SHA}`);
      });
      expect(peak - plateau).toBeLessThanOrEqual(GROWTH_BYTES);
    },
  );

  test('that nobody reads pauses the service instead of filling the worker', async () => {
    await using client = await openRaw(gateway.port);
    const before = residentBytes(workerPid());
    downloaded = 0;
    const peak = await peakDuring(async () => {
      client.socket.pause();
      client.write('GET /down HTTP/1.1\r\nhost: a.test\r\n\r\n');
      // The service has stopped when it could write nothing more for a while.
      for (let last = -1; last !== downloaded;) {
        last = downloaded;
        await pause(300);
      }
    });
    expect(downloaded).toBeLessThan(BIG_BYTES / 2);
    expect(peak - before).toBeLessThanOrEqual(GROWTH_BYTES);
    client.socket.destroy();
    await untilIdle(gateway, 'shop');
  });
});

describe('an event stream', () => {
  test('has its head delivered before its first event, and each event by itself', async () => {
    streams = [];
    await using client = await openRaw(gateway.port);
    client.write('GET /events HTTP/1.1\r\nhost: a.test\r\n\r\n');
    const head = await client.until((text) => text.endsWith('\r\n\r\n'));
    expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(head.toLowerCase()).toContain('content-type: text/event-stream');
    expect(head).not.toContain('data:');
    const [stream] = streams;
    // The next event is written only after the one before has arrived: an answer that waits for more would never end.
    for (const word of ['one', 'two', 'three']) {
      stream?.write(`data: ${word}\n\n`);
      await client.until((text) => text.includes(`data: ${word}\n\n`));
    }
    stream?.end('data: last\n\n');
    const text = await client.until((all) => all.endsWith('0\r\n\r\n'));
    expect(text.match(/data: \w+/g)).toEqual(['data: one', 'data: two', 'data: three', 'data: last']);
  });

  test('outlives `timeout.idle` in silence and then goes on', async () => {
    streams = [];
    await using client = await openRaw(gateway.port);
    client.write('GET /events HTTP/1.1\r\nhost: a.test\r\n\r\n');
    await client.until((text) => text.endsWith('\r\n\r\n'));
    await pause(IDLE_MS + 500);
    expect(client.isClosed()).toBe(false);
    streams[0]?.end('data: late\n\n');
    const text = await client.until((all) => all.endsWith('0\r\n\r\n'));
    expect(text).toContain('data: late');
  });

  test('holds no permit: it is a stream, not a request in flight', async () => {
    streams = [];
    await using client = await openRaw(gateway.port);
    client.write('GET /events HTTP/1.1\r\nhost: a.test\r\n\r\n');
    await client.until((text) => text.endsWith('\r\n\r\n'));
    await eventually('the permit is given back', async () => {
      return (await serviceOf(gateway, 'shop')).shedding.inFlight === 0;
    });
    expect(client.isClosed()).toBe(false);
  });
});

test('a body that still flows after ten seconds holds no permit any more', async () => {
  streams = [];
  await using client = await openRaw(gateway.port);
  client.write('GET /long HTTP/1.1\r\nhost: a.test\r\n\r\n');
  await client.until((text) => text.endsWith('\r\n\r\n'));
  const startedMs = performance.now();
  const inFlight = async (): Promise<number> => (await serviceOf(gateway, 'shop')).shedding.inFlight;
  await eventually('the permit is held', async () => (await inFlight()) === 1);
  await eventually(
    'the permit is given back',
    async () => {
      streams[0]?.write('x');
      return (await inFlight()) === 0;
    },
    60_000,
    200,
  );
  expect(performance.now() - startedMs).toBeGreaterThan(9000);
  streams[0]?.end();
  await client.until((text) => text.endsWith('0\r\n\r\n'));
});
