/**
 * Two workers of one gateway, real processes, and an instance that may have four requests in flight: whichever of them has the
 * callers has the four, and both together never more than four and one.
 *
 * Bounds, stated before: with all twelve callers at one worker the instance has 0.85 of its four requests in the mean of the
 * second second (with equal parts 0.5: the other worker keeps two); likewise after all callers moved to the other one, whose
 * first answer comes within 500 ms.
 */
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

let origin: Omit<InProcessOrigin, 'requests'>;
let gateway: Gateway;
let inFlight = 0;
let most = 0;

beforeAll(async () => {
  origin = await startListener((request, response) => {
    if (request.url === '/ready') {
      response.end();
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
  readonly #request: Buffer;

  constructor() {
    this.#request = Buffer.from(`GET / HTTP/1.1\r\nhost: shop.test:${gateway.port}\r\n\r\n`);
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
    this.idle = false;
    this.connection.send(this.#request);
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

  for (const caller of there) caller.asks = false;
  await eventually('all are answered', () => Promise.resolve([...here, ...there].every(({ idle }) => idle)));
  for (const { connection } of [...here, ...there]) connection.destroy();
});
