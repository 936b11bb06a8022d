/**
 * Whoever leaves is noticed at once: a client that goes away frees the instance it was served by and every place it held
 * in the gateway; an instance that dies in the middle of its answer is never dressed up as a complete one.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { openRaw } from '../harness/raw.ts';
import { ask, serviceOf, startService, untilIdle } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

/** The goal is 50 ms on a machine with nothing else to do. */
const NOTICED_MS = 100;
/** A busy machine may be late at everything; the quickest of several tries is the gateway's own doing. */
const TRIES = 5;
/** All of them are far from the twenty seconds after which a time limit would have closed the connection. */
const AT_ONCE_MS = 5000;

interface Arrival {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Moment at which the instance lost the connection. */
  readonly closed: Promise<number>;
}

let origin: Listening;
let gateway: Gateway;
let arrivals: Arrival[] = [];

beforeAll(async () => {
  origin = await startService((request, response) => {
    const gone = Promise.withResolvers<number>();
    request.socket.once('close', () => gone.resolve(performance.now()));
    request.on('error', () => undefined);
    request.resume();
    if (request.url === '/quick') response.end('ok');
    else arrivals.push({ request, response, closed: gone.promise });
  });
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  shop:
    instances: [${origin.url}]
    sla: 20s
    timeout: { request: 20s, idle: 20s }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
  single:
    instances: [${origin.url}]
    sla: 60s
    timeout: { request: 60s }
    shedding: { limit: 1, queue: 4 }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
routes:
  - { path: /, service: shop }
  - { path: /changed, service: shop, rewrite: / }
  - { path: /single, service: single }
`);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

beforeEach(() => {
  arrivals = [];
});

async function arrival(index: number): Promise<Arrival> {
  await eventually(`request ${index} reached the instance`, () => arrivals.length > index, 30_000, 5);
  const found = arrivals[index];
  if (found === undefined) throw new Error('no arrival');
  return found;
}

const upload = (path: string): string =>
  `POST ${path} HTTP/1.1\r\nhost: a.test\r\ncontent-length: 100000\r\n\r\nhalf of it`;

describe('a client that leaves', () => {
  test.each([
    ['while it waits for the head', '/wait', 'GET /wait HTTP/1.1\r\nhost: a.test\r\n\r\n', false],
    [
      'while it waits, on a rewriting route',
      '/wait',
      'GET /changed/wait HTTP/1.1\r\nhost: a.test\r\n\r\n',
      false,
    ],
    ['in the middle of its upload', '/wait', upload('/wait'), false],
    ['in the middle of its upload on a rewriting route', '/wait', upload('/changed/wait'), false],
    ['in the middle of the answer', '/wait', 'GET /wait HTTP/1.1\r\nhost: a.test\r\n\r\n', true],
  ])('%s closes the connection upstream and frees its places', async (_, path, request, answering) => {
    const tookMs: number[] = [];
    for (let turn = 0; turn < TRIES; turn++) {
      await using client = await openRaw(gateway.port);
      client.write(request);
      const { request: seen, response, closed } = await arrival(turn);
      expect(seen.url).toBe(path);
      if (answering) {
        response.write('the beginning');
        await client.until((text) => text.includes('the beginning'));
      }
      const leftMs = performance.now();
      client.socket.destroy();
      tookMs.push((await closed) - leftMs);
    }
    expect(Math.min(...tookMs)).toBeLessThan(NOTICED_MS);
    expect(Math.max(...tookMs)).toBeLessThan(AT_ONCE_MS);
    await untilIdle(gateway, 'shop');
    expect((await ask(gateway.port, { path: '/quick' })).status).toBe(200);
  });

  test('with a reset is noticed like one that says goodbye', async () => {
    await using client = await openRaw(gateway.port);
    client.write('GET /wait HTTP/1.1\r\nhost: a.test\r\n\r\n');
    const { closed } = await arrival(0);
    client.socket.resetAndDestroy();
    await closed;
    await untilIdle(gateway, 'shop');
  });

  test('gives its permit to whoever waits, and leaves the queue without a trace', async () => {
    await using first = await openRaw(gateway.port);
    first.write('GET /single/1 HTTP/1.1\r\nhost: a.test\r\n\r\n');
    await arrival(0);
    await using second = await openRaw(gateway.port);
    second.write('GET /single/2 HTTP/1.1\r\nhost: a.test\r\n\r\n');
    await eventually('the second waits', async () => {
      const { shedding } = await serviceOf(gateway, 'single');
      return shedding.queueDepth === 1;
    });
    await using third = await openRaw(gateway.port);
    third.write('GET /single/3 HTTP/1.1\r\nhost: a.test\r\n\r\n');
    await eventually('the third waits', async () => {
      const { shedding } = await serviceOf(gateway, 'single');
      return shedding.queueDepth === 2;
    });
    second.socket.destroy();
    await eventually('the second has left the queue', async () => {
      const { shedding } = await serviceOf(gateway, 'single');
      return shedding.queueDepth === 1;
    });
    first.socket.destroy();
    const { request, response } = await arrival(1);
    expect(request.url).toBe('/single/3');
    response.end('done');
    expect((await third.untilAnswers(1)).answers[0]?.body).toBe('done');
    await untilIdle(gateway, 'single');
    expect(arrivals).toHaveLength(2);
  });

  test('is not held against the instance: it stays ready and its breaker closed', async () => {
    for (let turn = 0; turn < 12; turn++) {
      await using client = await openRaw(gateway.port);
      client.write('GET /wait HTTP/1.1\r\nhost: a.test\r\n\r\n');
      const { closed } = await arrival(turn);
      client.socket.destroy();
      await closed;
    }
    await untilIdle(gateway, 'shop');
    const { breaker, instances } = await serviceOf(gateway, 'shop');
    expect([breaker.state, instances.map(({ state }) => state)]).toEqual(['closed', ['ready']]);
    expect((await ask(gateway.port, { path: '/quick' })).status).toBe(200);
  });

  test('is counted as 499 and not as an error of the service', async () => {
    await using client = await openRaw(gateway.port);
    client.write('GET /wait/counted HTTP/1.1\r\nhost: a.test\r\n\r\n');
    const { closed } = await arrival(0);
    client.socket.destroy();
    await closed;
    await gateway.process.waitForLine(/"SPW_CLIENT_CLOSED".*"path":"\/wait\/counted","status":499/);
  });
});

describe('an instance that dies in the middle of its answer', () => {
  test.each([
    ['in chunks', {}],
    ['with a length', { 'content-length': 100_000 }],
  ])('is a cut for its client, never a clean end: %s', async (_, headers) => {
    await using client = await openRaw(gateway.port);
    client.write('GET /dies HTTP/1.1\r\nhost: a.test\r\n\r\n');
    const { response } = await arrival(0);
    response.writeHead(200, headers);
    response.write('the beginning');
    await client.until((text) => text.includes('the beginning'));
    response.socket?.destroy();
    await client.untilClosed();
    const [answer] = (await client.untilAnswers(1)).answers;
    expect(answer).toMatchObject({ status: 200, complete: false });
    expect(client.received()).not.toMatch(/0\r\n\r\n$/);
    await untilIdle(gateway, 'shop');
  });

  test('cuts an HTTP/1.0 client with a reset, since there a close would be a clean end', async () => {
    await using client = await openRaw(gateway.port);
    client.write('GET /dies HTTP/1.0\r\nhost: a.test\r\n\r\n');
    const { response } = await arrival(0);
    response.write('the beginning');
    await client.until((text) => text.includes('the beginning'));
    response.socket?.destroy();
    await client.untilClosed();
    expect(client.ending()).toBe('reset');
  });
});
