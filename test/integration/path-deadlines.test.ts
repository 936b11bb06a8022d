/**
 * Time is bounded and told honestly: the deadline counts from the request's last byte in to the head of the answer, queue
 * and retries included; inside a body only silence counts.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { startFaultOrigin } from '../harness/fault-origin.ts';
import type { FaultOrigin } from '../harness/fault-origin.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { openRaw } from '../harness/raw.ts';
import {
  ask,
  begin,
  bodyOf,
  expectProblem,
  serviceOf,
  startService,
  untilIdle,
  valueOf,
} from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

const REQUEST_MS = 800;
const IDLE_MS = 2000;
/** Where another limit is tested: far above what a busy machine takes. */
const FAR_MS = 30_000;
const AT_ONCE_MS = 10_000;

const MIB = 1024 * 1024;
/** Less than the slow reader needs for all, more than for what may still lie in buffers after the caller's last byte. */
const SLOW_READ_MS = 5000;

let origin: Listening;
let drip: FaultOrigin;
let deaf: FaultOrigin;
let gateway: Gateway;
let waiting: { request: IncomingMessage; response: ServerResponse }[] = [];

beforeAll(async () => {
  drip = await startFaultOrigin({
    kind: 'drip',
    pieces: () => `HTTP/1.1 200 OK\r\nx-drip: ${'d'.repeat(500)}\r\n\r\n`,
    gapMs: 50,
  });
  deaf = await startFaultOrigin();
  origin = await startService((request, response) => {
    request.on('error', () => undefined);
    if (request.url === '/patient/slowly') {
      readSlowly(request).then(
        (bytes) => response.end(String(bytes)),
        () => response.destroy(),
      );
      return;
    }
    if (request.url === '/upload') {
      bodyOf(request).then(
        (body) => response.end(String(body.length)),
        () => response.destroy(),
      );
    } else if (request.url?.startsWith('/hold') === true) {
      request.resume();
      waiting.push({ request, response });
    } else response.end(String(valueOf(request.rawHeaders, 'x-request-deadline-ms')));
  });
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1, limits: { bodyBytes: 32MiB } }]
workers: 1
trust: { proxies: [127.0.0.1] }
services:
  shop:
    instances: [${origin.url}]
    sla: 10s
    timeout: { connect: 10s, request: ${REQUEST_MS}ms, idle: ${IDLE_MS}ms }
    breaker: { consecutive: 1000, minRequests: 1000 }
    outlier: { consecutiveFailures: 1000, minRequests: 1000 }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
  far:
    instances: [${origin.url}]
    sla: 10s
    timeout: { request: ${FAR_MS}ms }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
  drip:
    instances: [${drip.url}]
    sla: 10s
    timeout: { request: ${REQUEST_MS}ms }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
  deaf:
    instances: [${deaf.url}]
    sla: 10s
    timeout: { request: ${REQUEST_MS}ms, idle: ${IDLE_MS}ms }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
  patient:
    instances: [${origin.url}]
    sla: 10s
    timeout: { request: ${SLOW_READ_MS}ms, idle: ${IDLE_MS}ms }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
  single:
    instances: [${origin.url}]
    sla: ${FAR_MS}ms
    timeout: { request: ${FAR_MS}ms }
    shedding: { limit: 1, queue: 10 }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
routes:
  - { path: /, service: shop }
  - { path: /hold/short, service: far, timeout: 300ms }
  - { path: /hold/far, service: far }
  - { path: /told, service: far }
  - { path: /drip, service: drip }
  - { path: /deaf, service: deaf }
  - { path: /patient, service: patient }
  - { path: /hold/single, service: single }
`);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
  await drip[Symbol.asyncDispose]();
  await deaf[Symbol.asyncDispose]();
});

beforeEach(() => {
  waiting = [];
});

/** Reads a mebibyte at a time and thinks about each. */
async function readSlowly(request: IncomingMessage): Promise<number> {
  let bytes = 0;
  for await (const chunk of request) {
    const before = Math.floor(bytes / MIB);
    bytes += (chunk as Buffer).length;
    if (Math.floor(bytes / MIB) > before) await pause(300);
  }
  return bytes;
}

async function timed<Result>(work: Promise<Result>): Promise<readonly [result: Result, tookMs: number]> {
  const startedMs = performance.now();
  const result = await work;
  return [result, performance.now() - startedMs];
}

describe('the head of an answer', () => {
  test('that does not come is 504 at the deadline, and the instance is let go', async () => {
    const [answer, tookMs] = await timed(ask(gateway.port, { path: '/hold' }));
    expectProblem(answer, 504, 'SPW_UPSTREAM_TIMEOUT');
    expect(tookMs).toBeGreaterThan(REQUEST_MS - 30);
    await eventually('the instance lost the connection', () => waiting[0]?.request.socket.closed === true);
    expect(waiting).toHaveLength(1);
    await untilIdle(gateway, 'shop');
  });

  test('has the time of its route where the route has one', async () => {
    const [answer, tookMs] = await timed(ask(gateway.port, { path: '/hold/short' }));
    expectProblem(answer, 504, 'SPW_UPSTREAM_TIMEOUT');
    expect(tookMs).toBeGreaterThan(270);
    expect(tookMs).toBeLessThan(AT_ONCE_MS);
  });

  test('that drips byte by byte has no longer: a drip extends no deadline', async () => {
    const [answer, tookMs] = await timed(ask(gateway.port, { path: '/drip' }));
    expectProblem(answer, 504, 'SPW_UPSTREAM_TIMEOUT');
    expect(tookMs).toBeGreaterThan(REQUEST_MS - 30);
    // The whole head would have taken 25 s.
    expect(tookMs).toBeLessThan(AT_ONCE_MS);
    expect(drip.requests).toHaveLength(1);
  });

  test('has no time left when a trusted caller gave none: nobody is asked', async () => {
    const answer = await ask(gateway.port, { path: '/hold', headers: { 'x-request-deadline-ms': '2' } });
    expectProblem(answer, 504, 'SPW_DEADLINE_EXCEEDED');
    expect(waiting).toEqual([]);
  });

  test("has a trusted caller's time where that is shorter, and what is left is told on", async () => {
    const [answer, tookMs] = await timed(
      ask(gateway.port, { path: '/hold/far', headers: { 'x-request-deadline-ms': '200' } }),
    );
    expectProblem(answer, 504, 'SPW_UPSTREAM_TIMEOUT');
    expect(tookMs).toBeGreaterThan(170);
    expect(tookMs).toBeLessThan(AT_ONCE_MS);
    const told = await ask(gateway.port, { path: '/told', headers: { 'x-request-deadline-ms': '20000' } });
    expect(Number(String(told.body))).toBeLessThanOrEqual(20_000);
    const capped = await ask(gateway.port, { path: '/told', headers: { 'x-request-deadline-ms': '99999' } });
    expect(Number(String(capped.body))).toBeLessThanOrEqual(FAR_MS);
  });

  test('counts from the last byte of an upload, not from its first', async () => {
    const { sent, answered } = begin(gateway.port, { method: 'POST', path: '/upload', chunked: true });
    const pieces = 6;
    for (let turn = 0; turn < pieces; turn++) {
      sent.write('x'.repeat(1000));
      await pause(REQUEST_MS / 3);
    }
    sent.end();
    const { answer, message } = await answered;
    expect([answer.status, String(await bodyOf(message))]).toEqual([200, String(pieces * 1000)]);
  });

  test('comes late for an upload that an instance has read and not answered', async () => {
    const { sent, answered } = begin(gateway.port, { method: 'POST', path: '/hold', chunked: true });
    for (let turn = 0; turn < 3; turn++) {
      sent.write('x');
      await pause(REQUEST_MS / 3);
    }
    const endedMs = performance.now();
    sent.end();
    const { answer, message } = await answered;
    expectProblem({ ...answer, body: await bodyOf(message) }, 504, 'SPW_UPSTREAM_TIMEOUT');
    expect(performance.now() - endedMs).toBeGreaterThan(REQUEST_MS - 30);
  });
});

describe('a large upload', () => {
  test('to an instance that reads slowly but reads may take longer than the deadline', async () => {
    const body = Buffer.alloc(20 * MIB);
    const [answer, tookMs] = await timed(
      ask(gateway.port, { method: 'POST', path: '/patient/slowly', body }),
    );
    expect([answer.status, String(answer.body)]).toEqual([200, String(body.length)]);
    expect(tookMs).toBeGreaterThan(SLOW_READ_MS);
  });

  test('to an instance that stops reading is 504 after `timeout.idle`, not a 408 for its caller', async () => {
    deaf.set('stopReading');
    await using client = await openRaw(gateway.port);
    client.write(`POST /deaf HTTP/1.1\r\nhost: a.test\r\ncontent-length: ${30 * MIB}\r\n\r\n`);
    client.write(Buffer.alloc(30 * MIB));
    const { answers } = await client.untilAnswers(1);
    expect(answers[0]?.status).toBe(504);
    expect(answers[0]?.body).toContain('"SPW_UPSTREAM_TIMEOUT"');
    await untilIdle(gateway, 'deaf');
  });
});

describe('the queue', () => {
  test('is part of the time: what was waited there is gone from what the instance is told', async () => {
    const first = begin(gateway.port, { path: '/hold/single/1' });
    first.sent.end();
    await eventually('the first is served', () => waiting.length === 1);
    const second = begin(gateway.port, { path: '/hold/single/2' });
    second.sent.end();
    await eventually('the second waits', async () => {
      const { shedding } = await serviceOf(gateway, 'single');
      return shedding.queueDepth === 1;
    });
    await pause(300);
    waiting[0]?.response.end();
    await eventually('the second is served', () => waiting.length === 2);
    const told = Number(valueOf(waiting[1]?.request.rawHeaders ?? [], 'x-request-deadline-ms'));
    expect(told).toBeLessThanOrEqual(FAR_MS - 300);
    waiting[1]?.response.end();
    await second.answered;
    await untilIdle(gateway, 'single');
    // 300 ms and more were spent in the queue, and the log says so.
    const [line] = await gateway.process.waitForLine(/.*"path":"\/hold\/single\/2".*/);
    expect((JSON.parse(line) as { queueMs: number }).queueMs).toBeGreaterThanOrEqual(300);
  });

  test('counts for a request with a body as well', async () => {
    const first = begin(gateway.port, { path: '/hold/single/1' });
    first.sent.end();
    await eventually('the first is served', () => waiting.length === 1);
    const startedMs = performance.now();
    const second = begin(gateway.port, {
      method: 'POST',
      path: '/hold/single/posted',
      body: 'x',
      headers: { 'x-request-deadline-ms': '6000' },
    });
    second.sent.end('x');
    await pause(3000);
    waiting[0]?.response.end();
    await eventually('the second is served', () => waiting.length === 2);
    const told = Number(valueOf(waiting[1]?.request.rawHeaders ?? [], 'x-request-deadline-ms'));
    expect(told).toBeLessThanOrEqual(6000 - 2900);
    const { answer, message } = await second.answered;
    expectProblem({ ...answer, body: await bodyOf(message) }, 504, 'SPW_UPSTREAM_TIMEOUT');
    expect(performance.now() - startedMs).toBeGreaterThan(5950);
    // Were its time counted from its turn, it would be 9 s.
    expect(performance.now() - startedMs).toBeLessThan(8800);
    await untilIdle(gateway, 'single');
  });

  test('that took too long is 503, with the time that was waited in the log', async () => {
    const first = begin(gateway.port, { path: '/hold/single/1' });
    first.sent.end();
    await eventually('the first is served', () => waiting.length === 1);
    const answer = await ask(gateway.port, {
      path: '/hold/single/late',
      headers: { 'x-request-deadline-ms': '400' },
    });
    expect(answer.status).toBe(503);
    expect(String(answer.body)).toMatch(/SPW_SHED_(DEADLINE|QUEUE_TIMEOUT)/);
    waiting[0]?.response.end();
    await first.answered;
    const [line] = await gateway.process.waitForLine(/.*"path":"\/hold\/single\/late".*/);
    const { queueMs, durationMs } = JSON.parse(line) as { queueMs: number; durationMs: number };
    expect(queueMs).toBeLessThanOrEqual(durationMs);
  });
});

describe('silence inside an answer', () => {
  test('is cut after `timeout.idle`, counted from the last byte', async () => {
    await using client = await openRaw(gateway.port);
    client.write('GET /hold HTTP/1.1\r\nhost: a.test\r\n\r\n');
    await eventually('the instance was asked', () => waiting.length === 1);
    const { response } = waiting[0] ?? {};
    response?.writeHead(200, { 'content-length': 1000 });
    // Longer than `idle` and than the deadline altogether, never silent for `idle`.
    for (let turn = 0; turn < 3; turn++) {
      response?.write('x'.repeat(10));
      await pause(IDLE_MS / 2);
    }
    expect(client.isClosed()).toBe(false);
    response?.write('the last word');
    const silentMs = performance.now();
    await client.untilClosed();
    expect(performance.now() - silentMs).toBeGreaterThan(IDLE_MS - 30);
    expect((await client.untilAnswers(1)).answers[0]?.complete).toBe(false);
    await eventually('the instance lost the connection', () => waiting[0]?.request.socket.closed === true);
    await untilIdle(gateway, 'shop');
  });
});
