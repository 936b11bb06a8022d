/**
 * A connection is one customer: what it asks for ahead is answered one at a time and in order, and nobody may have
 * thousands of requests waiting on one connection.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { headerOf, openRaw } from '../harness/raw.ts';
import { startService, untilIdle } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

let origin: Listening;
let gateway: Gateway;
let seen: string[] = [];
let inFlight = 0;
let most = 0;

beforeAll(async () => {
  origin = await startService((request, response) => {
    seen.push(request.url ?? '');
    inFlight += 1;
    most = Math.max(most, inFlight);
    // Late enough for another one to come, if one were sent.
    setTimeout(() => {
      inFlight -= 1;
      response.end(request.url);
    }, 3);
  });
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
shedding: { mode: off }
services:
  shop: { instances: [${origin.url}], sla: 10s, readiness: { path: /ready, interval: 600s, timeout: 10s } }
routes: [{ path: /, service: shop }]
`);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

beforeEach(() => {
  seen = [];
  most = 0;
});

const requests = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `GET /${index} HTTP/1.1\r\nhost: a.test\r\n\r\n`);
const paths = (count: number): string[] => Array.from({ length: count }, (_, index) => `/${index}`);

test('a hundred requests in one write are asked for one at a time and answered in order', async () => {
  await using client = await openRaw(gateway.port);
  client.write(requests(100).join(''));
  const { answers, rest } = await client.untilAnswers(100);
  expect(answers.map(({ status, body }) => [status, body])).toEqual(paths(100).map((path) => [200, path]));
  expect([rest, most, client.isClosed()]).toEqual(['', 1, false]);
  expect(seen).toEqual(paths(100));
});

test('of a thousand those that may wait are answered, and the connection ends in order', async () => {
  await using client = await openRaw(gateway.port);
  client.write(requests(1000).join(''));
  const text = await client.untilClosed();
  const { answers, rest } = await client.untilAnswers(1);
  expect([rest, text.length > 0, most]).toEqual(['', true, 1]);
  expect(answers.length).toBeLessThan(200);
  expect(answers.map(({ body }) => body)).toEqual(paths(answers.length));
  const last = answers.at(-1);
  expect(last === undefined ? '' : headerOf(last, 'connection')).toBe('close');
  expect(seen).toEqual(paths(answers.length));
});

test('who leaves takes what he asked for ahead with him', async () => {
  const client = await openRaw(gateway.port);
  client.write(requests(50).join(''));
  await client.untilAnswers(1);
  client.socket.destroy();
  await untilIdle(gateway, 'shop');
  expect(seen.length).toBeLessThan(50);
});

test('what comes behind the body of a refused request does not take its answer away with a reset', async () => {
  const socket = connect({ port: gateway.port, host: '127.0.0.1', allowHalfOpen: true });
  let failure: unknown;
  let answer = '';
  socket.on('error', (error) => {
    failure = error;
  });
  socket.on('data', (chunk: Buffer) => {
    answer += chunk.toString('latin1');
  });
  try {
    await once(socket, 'connect');
    socket.write('POST /twice HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1\r\n');
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.write('expect: 100-continue\r\nexpect: 100-continue\r\n\r\nZ');
    for (let turn = 0; turn < 10; turn++) {
      await pause(5);
      socket.write(requests(1)[0] ?? '');
    }
    socket.end();
    await closed;
    expect(failure).toBeUndefined();
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect(seen).toEqual([]);
  } finally {
    socket.destroy();
  }
});
