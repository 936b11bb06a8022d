/**
 * Faults of the way to an instance: connections that nobody answers, names that nobody knows, and what TCP does on a bad
 * day, made by a relay. Each has its answer, gives its permit back, and never turns a cut answer into a whole one.
 */
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';

import { startFaultRelay } from '../harness/fault-relay.ts';
import type { FaultRelay } from '../harness/fault-relay.ts';
import { startFullBacklog } from '../harness/full-backlog.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { openRaw, rawExchange } from '../harness/raw.ts';
import { ask, bodyOf, expectProblem, startService, untilIdle } from '../integration/path-fixture.ts';
import type { Listening } from '../integration/path-fixture.ts';

const PAGE_BYTES = 200_000;
const PAGE = Buffer.alloc(PAGE_BYTES, 'all of it ');
const DEADLINE_MS = 1500;
const IDLE_MS = 1000;

/** Only the traffic tells, and nothing is ejected for it. */
const CALM = `
    sla: 20s
    breaker: { consecutive: 10000, minRequests: 100000 }
    outlier: { consecutiveFailures: 10000, minRequests: 100000 }
    readiness: { path: /ready, interval: 600s, timeout: 10s }`;

let good: Listening;

beforeAll(async () => {
  good = await startService((request, response) => {
    bodyOf(request)
      .then((body) => {
        const hash = createHash('sha256').update(body).digest('hex');
        if (request.url?.endsWith('/page') === true) response.end(PAGE);
        else response.end(`${body.length} ${hash}`);
      })
      .catch(() => response.destroy());
  });
});

afterAll(async () => {
  await good[Symbol.asyncDispose]();
});

describe('connections that nobody answers', () => {
  test('U02 U03 alone: 504 after the connect limit; beside another: that one answers', async () => {
    await using full = await startFullBacklog();
    await using gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  alone:
    instances: [${full.url}]${CALM}
    timeout: { connect: 500ms, request: 20s }
  both:
    instances: [${full.url}, ${good.url}]${CALM}
    timeout: { connect: 500ms, request: 20s }
    retry: { max: 1, budget: 100% }
routes: [{ path: /alone, service: alone }, { path: /both, service: both }]
`);
    await full.block();
    const startedAt = performance.now();
    expectProblem(await ask(gateway.port, { path: '/alone' }), 504, 'SPW_UPSTREAM_TIMEOUT');
    const tookMs = performance.now() - startedAt;
    expect(tookMs).toBeGreaterThan(450);
    expect(tookMs).toBeLessThan(10_000);
    await untilIdle(gateway, 'alone');
    for (let turn = 0; turn < 6; turn += 1) {
      // Nothing of a body was read, so any method may go elsewhere.
      const answer = await ask(gateway.port, { path: '/both', method: turn % 2 === 0 ? 'GET' : 'POST' });
      expect([turn, answer.status]).toEqual([turn, 200]);
    }
    await untilIdle(gateway, 'both');
  });
});

test('U04 a name that nobody knows is refused, never waited for', async () => {
  await using gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  lost:
    instances: ['http://no-such-host.invalid:80']
    sla: 20s
    readiness: { path: /ready, interval: 200ms, timeout: 10s }
routes: [{ path: /, service: lost }]
`);
  const startedAt = performance.now();
  const answer = await ask(gateway.port);
  expect([502, 503]).toContain(answer.status);
  expectProblem(
    answer,
    answer.status,
    answer.status === 503 ? 'SPW_NO_READY_INSTANCE' : 'SPW_CONNECT_FAILED',
  );
  expect(performance.now() - startedAt).toBeLessThan(8000);
  await untilIdle(gateway, 'lost');
});

test('U05 a resolver that takes five seconds is waited for by no request: the last good address stands', async () => {
  // Nobody may keep a connection, so each request needs a new one, and with it the address.
  await using closing = await startService((_, response) => {
    response.setHeader('connection', 'close').end('ok');
  });
  const preload = fileURLToPath(new URL('../harness/slow-names.mjs', import.meta.url));
  await using gateway = await startGateway(
    `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  named:
    instances: ['http://localhost:${closing.port}']${CALM}
    timeout: { connect: 1s, request: 4s }
routes: [{ path: /, service: named }]
`,
    { env: { NODE_OPTIONS: `--import=${preload}` } },
  );
  for (let turn = 0; turn < 10; turn += 1) {
    const startedAt = performance.now();
    expect([turn, (await ask(gateway.port)).status]).toEqual([turn, 200]);
    expect(performance.now() - startedAt).toBeLessThan(900);
  }
  await untilIdle(gateway, 'named');
});

describe('through a relay', () => {
  let relay: FaultRelay;
  let gateway: Gateway;

  beforeAll(async () => {
    relay = await startFaultRelay(good.port);
    gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  shop:
    instances: [${relay.url}]${CALM}
    timeout: { connect: 5s, request: ${DEADLINE_MS}ms, idle: ${IDLE_MS}ms }
    retry: { max: 1, budget: 100% }
routes:
  - { path: /, service: shop }
  - { path: /changed, service: shop, rewrite: / }
`);
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
    await relay[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    relay.set({ kind: 'none' });
    await untilIdle(gateway, 'shop');
    // Whatever was wrong is over with it: the next request is served.
    expect((await ask(gateway.port)).status).toBe(200);
  });

  test('U02 latency within the deadline is only latency', async () => {
    relay.set({ kind: 'latency', ms: 100 });
    const answer = await ask(gateway.port, { path: '/page' });
    expect([answer.status, answer.body.equals(PAGE)]).toEqual([200, true]);
  });

  test('U06 latency beyond the deadline is 504, once', async () => {
    relay.set({ kind: 'latency', ms: DEADLINE_MS * 2 });
    const before = relay.connections();
    expectProblem(await ask(gateway.port), 504, 'SPW_UPSTREAM_TIMEOUT');
    expect(relay.connections() - before).toBe(1);
    await eventually('the connection is given up', () => relay.openConnections() === 0);
  });

  test('U07 down: closed as it is accepted, a GET tries once more and a POST does not', async () => {
    relay.set({ kind: 'down' });
    const before = relay.connections();
    const answer = await ask(gateway.port);
    expectProblem(answer, 502, 'SPW_UPSTREAM_RESET');
    expect(relay.connections() - before).toBe(2);
    expectProblem(await ask(gateway.port, { method: 'POST', body: 'x' }), 502, 'SPW_UPSTREAM_RESET');
    expect(relay.connections() - before).toBe(3);
  });

  test('U06 timeout: taken and never answered, 504 at the deadline', async () => {
    relay.set({ kind: 'timeout' });
    const startedAt = performance.now();
    expectProblem(await ask(gateway.port), 504, 'SPW_UPSTREAM_TIMEOUT');
    expect(performance.now() - startedAt).toBeGreaterThan(DEADLINE_MS - 50);
    await eventually('the connection is given up', () => relay.openConnections() === 0);
  });

  test('U39 bandwidth: a slow instance is waited for as long as it moves', async () => {
    // Half as long again as the deadline and the silence limit together.
    relay.set({ kind: 'bandwidth', bytesPerSecond: PAGE_BYTES / 4 });
    const answer = await ask(gateway.port, { path: '/page' });
    expect([answer.status, answer.body.equals(PAGE)]).toEqual([200, true]);
  });

  test('U28 slow close: an answer of known length does not wait for the end of its connection', async () => {
    relay.set({ kind: 'slowClose', ms: 60_000 });
    const startedAt = performance.now();
    const answer = await ask(gateway.port, { path: '/page', headers: { connection: 'close' } });
    expect([answer.status, answer.body.equals(PAGE)]).toEqual([200, true]);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
  });

  test.each(['/', '/changed/'])('U14 reset and limit in mid-answer are cuts, on %s', async (path) => {
    for (const kind of ['reset', 'limit'] as const) {
      relay.set({ kind, afterBytes: 100_000 });
      await using client = await openRaw(gateway.port);
      client.write(`GET ${path}page HTTP/1.1\r\nhost: a\r\n\r\n`);
      const { answers } = await client.untilAnswers(1);
      expect([kind, answers[0]?.status, answers[0]?.complete]).toEqual([kind, 200, false]);
    }
  });

  test('U08 reset and limit inside the head are 502', async () => {
    for (const kind of ['reset', 'limit'] as const) {
      relay.set({ kind, afterBytes: 30 });
      expectProblem(await ask(gateway.port, { method: 'POST', body: 'x' }), 502, 'SPW_UPSTREAM_RESET');
    }
  });

  test.each([1, 2, 7, 31])('slicer: an answer in pieces of %i bytes is the same answer', async (bytes) => {
    relay.set({ kind: 'slicer', bytes });
    const body = 'some body';
    const { answers, rest } = await rawExchange(
      gateway.port,
      `POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    const hash = createHash('sha256').update(body).digest('hex');
    expect([rest, answers.map(({ status }) => status), answers[0]?.body]).toEqual(['', [200], `9 ${hash}`]);
  });
});
