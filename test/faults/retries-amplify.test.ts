/**
 * What a service that fails is asked: each request once where retrying cannot help, and 1 + budget at most where it may.
 * Counted at the instances, and not at the gateway that is judged.
 */
import { afterEach, beforeEach, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startListener } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';
import { ask, untilIdle } from '../integration/path-fixture.ts';
import type { Listening } from '../integration/path-fixture.ts';

const REQUESTS = 2000;
const CALLERS = 8;
const BUDGET = 0.2;
/** What every 10 s have of their own. */
const FLOOR = 6;

type Reply = 'good' | 'unavailable' | 'retryAfter' | 'reset';

interface Instance extends Listening {
  reply: (hit: number) => Reply;
  hits: number;
}

async function startInstance(): Promise<Instance> {
  const origin = await startListener((request, response) => {
    if (request.url === '/ready') {
      response.writeHead(200, { 'content-length': 0 }).end();
      return;
    }
    const reply = instance.reply(instance.hits++);
    if (reply === 'reset') request.socket.resetAndDestroy();
    else if (reply === 'good') response.writeHead(200, { 'content-length': 2 }).end('ok');
    else {
      const later = reply === 'retryAfter' ? { 'retry-after': '1' } : {};
      response.writeHead(503, { 'content-length': 2, ...later }).end('no');
    }
  });
  const instance: Instance = { ...origin, reply: () => 'good', hits: 0 };
  return instance;
}

let instances: Instance[] = [];
let gateway: Gateway;

beforeEach(async () => {
  instances = await Promise.all(Array.from({ length: 4 }, startInstance));
  // Admission is not what is judged: a service that says 503 would have its limit lowered, and its callers refused.
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 2
shedding: { mode: off }
services:
  shop:
    instances: [${instances.map(({ url }) => url).join(', ')}]
    sla: 5s
    breaker: { consecutive: 10000, minRequests: 100000 }
    outlier: { consecutiveFailures: 10000, minRequests: 100000 }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
    retry: { max: 1, budget: ${BUDGET * 100}% }
routes: [{ path: /, service: shop }]
`);
});

afterEach(async () => {
  await gateway[Symbol.asyncDispose]();
  for (const instance of instances) await instance[Symbol.asyncDispose]();
});

interface Outcome {
  readonly statuses: ReadonlyMap<number, number>;
  /** Requests that reached an instance. */
  readonly hits: number;
  /** Those and the connections that none accepted. */
  readonly calls: number;
  readonly seconds: number;
}

async function askAll(): Promise<Outcome> {
  const statuses = new Map<number, number>();
  const from = performance.now();
  let asked = 0;
  const caller = async (): Promise<void> => {
    while (asked < REQUESTS) {
      asked++;
      const { status } = await ask(gateway.port);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
  const seconds = (performance.now() - from) / 1000;
  await untilIdle(gateway, 'shop');
  const hits = instances.reduce((sum, instance) => sum + instance.hits, 0);
  let calls = 0;
  await eventually('every request is in the metrics', async () => {
    const text = String((await gateway.admin('/metrics')).body);
    const sum = (pattern: RegExp): number =>
      [...text.matchAll(pattern)].reduce((total, [, value]) => total + Number(value), 0);
    calls = sum(/^spillway_upstream_requests_total\{[^}]*\} (\d+)$/gm);
    return sum(/^spillway_requests_total\{[^}]*service="shop"[^}]*\} (\d+)$/gm) === REQUESTS;
  });
  return { statuses, hits, calls, seconds };
}

/** Most calls that the budgets of two workers allow within that time. */
function mostCalls(seconds: number): number {
  return REQUESTS * (1 + BUDGET) + 2 * FLOOR * Math.ceil(seconds / 10 + 1);
}

test('all answer 503 with `Retry-After`: 1.00 calls a request', async () => {
  for (const instance of instances) instance.reply = () => 'retryAfter';
  const { statuses, hits, calls } = await askAll();
  expect([...statuses]).toEqual([[503, REQUESTS]]);
  expect([hits, calls]).toEqual([REQUESTS, REQUESTS]);
});

test.each([
  ['every fifth answer is 503 without it', (hit: number): Reply => (hit % 5 === 4 ? 'unavailable' : 'good')],
  ['every answer is 503 without it', (): Reply => 'unavailable'],
  ['every fifth call is reset', (hit: number): Reply => (hit % 5 === 4 ? 'reset' : 'good')],
  ['every call is reset', (): Reply => 'reset'],
])('%s: at most 1 + budget calls a request', async (_, reply) => {
  for (const instance of instances) instance.reply = reply;
  const { hits, calls, seconds } = await askAll();
  expect(calls).toBe(hits);
  expect(hits).toBeGreaterThan(REQUESTS);
  expect(hits).toBeLessThanOrEqual(mostCalls(seconds));
});

test('half of the instances refuse connections: at most 1 + budget calls a request, and hardly anybody notices', async () => {
  for (const instance of instances.slice(0, 2)) await instance.close();
  const { statuses, hits, calls, seconds } = await askAll();
  expect(calls).toBeGreaterThan(REQUESTS);
  expect(calls).toBeLessThanOrEqual(mostCalls(seconds));
  // A few meet both of those that are gone.
  expect(statuses.get(200) ?? 0).toBeGreaterThan(REQUESTS * 0.98);
  expect((statuses.get(200) ?? 0) + (statuses.get(502) ?? 0)).toBe(REQUESTS);
  expect(hits).toBe(statuses.get(200));
});
