/**
 * Two workers of one gateway, real processes, and an instance that may have four requests in flight: whichever of them has the
 * callers has the four, and both together never more than four and one.
 *
 * Bounds, stated before: with all twelve callers at one worker the instance has 0.85 of its four requests in the mean of the
 * second second (with equal parts 0.5: the other worker keeps two); likewise after all callers moved to the other one, whose
 * first answer comes within 500 ms. When one worker sits on all four with answers that do not end, the other has its equal
 * part, two, 1.5 s after it has callers: 0.42 of four in the mean of the next second.
 */
import type { ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { LoadConnection } from '../harness/load-connection.ts';
import { startListener } from '../harness/origin.ts';
import type { InProcessOrigin } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';

const LIMIT = 4;
const CALLERS = 12;
const ANSWER_MS = 80;
const USED_LEAST = 0.85;
const EVEN_LEAST = 0.42;

let origin: Omit<InProcessOrigin, 'requests'>;
let gateway: Gateway;
let inFlight = 0;
let most = 0;
/** Answers that have begun and do not end. */
const held: ServerResponse[] = [];

beforeAll(async () => {
  origin = await startListener((request, response) => {
    if (request.url === '/ready') {
      response.end();
      return;
    }
    if (request.url === '/held') {
      response.setHeader('content-type', request.headers.accept ?? 'text/plain');
      response.write('begun');
      held.push(response);
      return;
    }
    inFlight += 1;
    most = Math.max(most, inFlight);
    setTimeout(() => {
      inFlight -= 1;
      response.end('done');
    }, ANSWER_MS);
  });
  gateway = await startGateway(
    `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 2
services:
  shop:
    instances: [${origin.url}]
    sla: 2s
    readiness: { path: /ready }
    balancing: { maxConcurrencyPerInstance: ${LIMIT} }
routes: [{ path: /, service: shop }]
`,
    { discardStdout: true },
  );
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

/** A caller that asks again as soon as it is answered, while it is told to. */
class Caller {
  readonly connection: LoadConnection;
  asks = false;
  answers = 0;
  idle = false;

  constructor() {
    this.connection = new LoadConnection(gateway.port, '127.0.0.1', {
      answered: () => {
        this.answers += 1;
        this.idle = true;
        if (this.asks) this.send();
      },
      failed: () => undefined,
      gone: () => undefined,
    });
    this.send();
  }

  send(): void {
    this.asks = this.answers > 0;
    this.#get('/');
  }

  /** Asks for what does not end. */
  hold(accept: string): void {
    this.asks = false;
    this.#get('/held', accept);
  }

  #get(path: string, accept = '*/*'): void {
    this.idle = false;
    this.connection.send(
      Buffer.from(`GET ${path} HTTP/1.1\r\nhost: shop.test:${gateway.port}\r\naccept: ${accept}\r\n\r\n`),
    );
  }
}

/** Opens connections until the kernel has given enough to both workers. */
async function callersOfBoth(): Promise<readonly Caller[][]> {
  const all: Caller[] = [];
  const byWorker = (): readonly Caller[][] =>
    [...Map.groupBy(all, ({ connection }) => connection.worker).values()].filter(
      ([first]) => first?.connection.worker !== '',
    );
  await eventually('both workers have callers', async () => {
    for (let count = 0; count < 10; count++) all.push(new Caller());
    await eventually('all are answered', () => Promise.resolve(all.every(({ idle }) => idle)));
    const workers = byWorker();
    return workers.length === 2 && workers.every(({ length }) => length >= CALLERS);
  });
  return byWorker().map((callers) => callers.slice(0, CALLERS));
}

/** How much of its limit the instance has in flight, in the mean of one second. */
async function used(): Promise<number> {
  let looks = 0;
  let seen = 0;
  for (const untilMs = performance.now() + 1000; performance.now() < untilMs; looks++) {
    await pause(5);
    seen += inFlight;
  }
  return seen / looks / LIMIT;
}

test('whichever worker has the callers has the instance, and both together never more than it may have', async () => {
  const [here = [], there = []] = await callersOfBoth();
  most = 0;
  for (const caller of here) caller.send();
  await pause(1000);
  expect(await used()).toBeGreaterThanOrEqual(USED_LEAST);

  const answered = there.reduce((sum, { answers }) => sum + answers, 0);
  for (const caller of here) caller.asks = false;
  for (const caller of there) caller.send();
  await pause(500);
  expect(there.reduce((sum, { answers }) => sum + answers, 0)).toBeGreaterThan(answered);
  await pause(500);
  expect(await used()).toBeGreaterThanOrEqual(USED_LEAST);
  expect(most).toBeLessThanOrEqual(LIMIT + 1);

  await leave([...here, ...there]);
});

test('a worker has its equal part though the other sits on the whole instance', async () => {
  const [here = [], there = []] = await callersOfBoth();
  for (const caller of here.slice(0, LIMIT)) caller.hold('text/plain');
  await eventually('one worker has the whole instance', () => Promise.resolve(held.length === LIMIT));
  await pause(500);
  for (const caller of there) caller.send();
  await pause(1500);
  expect(await used()).toBeGreaterThanOrEqual(EVEN_LEAST);
  expect(held.every(({ writableEnded }) => !writableEnded)).toBe(true);
  for (const response of held.splice(0)) response.end();
  await leave([...here, ...there]);
});

test('streams of one worker have an equal part and no more, and give it back', async () => {
  const [here = [], there = []] = await callersOfBoth();
  const streams = here.slice(0, LIMIT);
  for (let round = 0; round < 3; round++) {
    for (const stream of streams) stream.hold('text/event-stream');
    await eventually('the others are refused', () =>
      Promise.resolve(held.length + streams.filter(({ idle }) => idle).length === LIMIT),
    );
    await pause(200);
    expect(held).toHaveLength(LIMIT / 2);
    for (const response of held.splice(0)) response.end();
    await eventually('all have ended', () => Promise.resolve(streams.every(({ idle }) => idle)));
  }
  await leave([...here, ...there]);
});

async function leave(callers: readonly Caller[]): Promise<void> {
  for (const caller of callers) caller.asks = false;
  await eventually('all are answered', () => Promise.resolve(callers.every(({ idle }) => idle)));
  for (const { connection } of callers) connection.destroy();
}
