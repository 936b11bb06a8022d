/**
 * A second attempt is made where it can do no harm, at another instance, and never beyond the budget: what an instance may
 * have acted upon is not repeated, and a service that fails is not asked twice as much as it was.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { startFaultOrigin } from '../harness/fault-origin.ts';
import type { FaultOrigin } from '../harness/fault-origin.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { openRaw } from '../harness/raw.ts';
import { ask, bodyOf, expectProblem, startService, untilIdle, valueOf } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

/** Nothing but the retry policy decides here: no ejection, no breaker, probes that come once. */
const CALM = `
    sla: 5s
    breaker: { consecutive: 10000, minRequests: 100000 }
    outlier: { consecutiveFailures: 10000, minRequests: 100000 }
    readiness: { path: /ready, interval: 600s, timeout: 10s }`;

let gateway: Gateway;
let good: Listening;
let failing: FaultOrigin;
let seen: { message: IncomingMessage; body: Buffer }[] = [];

beforeAll(async () => {
  good = await startService((message, response) => {
    bodyOf(message)
      .then((body) => {
        seen.push({ message, body });
        response.end('good');
      })
      .catch(() => response.destroy());
  });
});

afterAll(async () => {
  await good[Symbol.asyncDispose]();
});

beforeEach(() => {
  seen = [];
});

/** Asks until the failing instance was asked once; what came of that request. */
async function askThroughFailing(asked: Parameters<typeof ask>[1]): Promise<{
  status: number;
  body: Buffer;
  rawHeaders: readonly string[];
  failingCalls: number;
  goodCalls: number;
}> {
  for (let turn = 0; turn < 60; turn++) {
    const before = [failing.requests.length, seen.length] as const;
    const answer = await ask(gateway.port, asked);
    const failingCalls = failing.requests.length - before[0];
    const goodCalls = seen.length - before[1];
    if (failingCalls > 0) return { ...answer, failingCalls, goodCalls };
  }
  throw new Error('the failing instance was never asked');
}

describe('with one failing and one good instance', () => {
  beforeAll(async () => {
    failing = await startFaultOrigin();
  });
  afterAll(async () => {
    await failing[Symbol.asyncDispose]();
  });
  // A service of its own for each: what an instance was once blamed for keeps requests from it for a while.
  beforeEach(async () => {
    failing.set('none');
    gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  shop:
    instances: [${failing.url}, ${good.url}]${CALM}
    retry: { max: 1, budget: 100% }
routes: [{ path: /, service: shop }]
`);
    return async () => {
      await gateway[Symbol.asyncDispose]();
    };
  });

  test.each(['GET', 'HEAD', 'OPTIONS'])(
    'a %s that is reset goes to the other, told that it is the second try',
    async (method) => {
      failing.set('resetBeforeByte');
      const answer = await askThroughFailing({ method });
      expect([answer.status, answer.failingCalls, answer.goodCalls]).toEqual([200, 1, 1]);
      expect(failing.requests.at(-1)?.text.toLowerCase()).not.toContain('x-spillway-attempt');
      expect(valueOf(seen.at(-1)?.message.rawHeaders ?? [], 'x-spillway-attempt')).toBe('2');
      await untilIdle(gateway, 'shop');
    },
  );

  test.each(['POST', 'PUT', 'DELETE', 'PATCH'])(
    'a %s whose head was written is not repeated',
    async (method) => {
      failing.set('resetBeforeByte');
      const answer = await askThroughFailing({ method, body: 'once' });
      expectProblem({ ...answer, reason: '', interim: [] }, 502, 'SPW_UPSTREAM_RESET');
      expect([answer.failingCalls, answer.goodCalls]).toEqual([1, 0]);
      await untilIdle(gateway, 'shop');
    },
  );

  test.each([
    [502, 200, 1],
    [504, 200, 1],
    [503, 200, 1],
    [500, 500, 0],
    [501, 501, 0],
    [429, 429, 0],
  ])('a GET answered %i is %i after %i more calls', async (status, final, goodCalls) => {
    failing.set({ kind: 'answer', text: `HTTP/1.1 ${status} X\r\ncontent-length: 2\r\n\r\nno` });
    const answer = await askThroughFailing({});
    expect([answer.status, answer.failingCalls, answer.goodCalls]).toEqual([final, 1, goodCalls]);
  });

  test('an answer that has begun is never repeated', async () => {
    failing.set('diesMidLength');
    const before = failing.requests.length;
    await using client = await openRaw(gateway.port);
    for (let turn = 0; turn < 60 && failing.requests.length === before; turn++) {
      client.write('GET / HTTP/1.1\r\nhost: a.test\r\n\r\n');
      await client.untilAnswers(turn + 1);
    }
    const last = (await client.untilAnswers(100)).answers.at(-1);
    expect(last).toMatchObject({ status: 200, complete: false, body: 'half of it' });
    expect(failing.requests.length - before).toBe(1);
  });
});

describe('with one instance that refuses connections', () => {
  beforeAll(async () => {
    failing = await startFaultOrigin();
    gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  shop:
    instances: [${failing.url}, ${good.url}]${CALM}
    retry: { max: 1, budget: 20% }
  strict:
    instances: [${failing.url}, ${good.url}]${CALM}
    retry: { max: 0 }
routes:
  - { path: /, service: shop }
  - { path: /strict, service: strict }
  - { path: /changed, service: shop, rewrite: / }
`);
    await failing.refuse();
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  test.each(['/', '/changed'])(
    'a POST with a large body arrives whole at the other one, on %s',
    async (path) => {
      const body = Buffer.alloc(1024 * 1024, 'whole');
      const digest = createHash('sha256').update(body).digest('hex');
      for (const chunked of [false, true]) {
        for (let turn = 0; turn < 4; turn++) {
          const answer = await ask(gateway.port, { method: 'POST', path, body, chunked });
          expect(answer.status).toBe(200);
        }
      }
      expect(seen).toHaveLength(8);
      for (const each of seen) expect(createHash('sha256').update(each.body).digest('hex')).toBe(digest);
      await untilIdle(gateway, 'shop');
    },
  );

  test('`retry.max: 0` means none', async () => {
    const statuses = new Set<number>();
    for (let turn = 0; turn < 60 && !statuses.has(502); turn++) {
      const answer = await ask(gateway.port, { method: 'POST', path: '/strict' });
      statuses.add(answer.status);
      expect(valueOf(seen.at(-1)?.message.rawHeaders ?? [], 'x-spillway-attempt')).toBeUndefined();
    }
    expect(statuses).toContain(502);
  });
});

describe('with half of its instances failing', () => {
  const ASKED = 400;

  test.each([
    ['reset what they are asked', 'resetBeforeByte'],
    ['refuse connections', 'none'],
  ] as const)(
    'that %s, a service is asked at most 6 + 20 %% more than its callers asked',
    async (_, fault) => {
      const instances: FaultOrigin[] = [];
      for (let index = 0; index < 4; index++)
        instances.push(await startFaultOrigin(index < 2 ? fault : 'none'));
      gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  shop:
    instances: [${instances.map(({ url }) => url).join(', ')}]${CALM}
    retry: { max: 1, budget: 20% }
routes: [{ path: /, service: shop }]
`);
      if (fault === 'none') for (const each of instances.slice(0, 2)) await each.refuse();
      try {
        let next = 0;
        const startedMs = performance.now();
        const statuses = new Map<number, number>();
        const caller = async (): Promise<void> => {
          while (next < ASKED) {
            next++;
            const { status } = await ask(gateway.port);
            statuses.set(status, (statuses.get(status) ?? 0) + 1);
          }
        };
        await Promise.all(Array.from({ length: 8 }, caller));
        expect((statuses.get(200) ?? 0) + (statuses.get(502) ?? 0)).toBe(ASKED);
        // The six are for every ten seconds; a slow machine may need more than those.
        const most = 6 * Math.ceil((performance.now() - startedMs) / 10_000) + ASKED * 0.2;
        const calls = instances.reduce((sum, { requests }) => sum + requests.length, 0);
        expect(calls - ASKED).toBeLessThanOrEqual(most);
        const retries = await retriesSent();
        expect(retries).toBeGreaterThan(0);
        expect(retries).toBeLessThanOrEqual(most);
        // The balancer learns who fails: most callers are served.
        expect(statuses.get(200) ?? 0).toBeGreaterThan(ASKED * 0.6);
        await untilIdle(gateway, 'shop');
      } finally {
        await gateway[Symbol.asyncDispose]();
        for (const each of instances) await each[Symbol.asyncDispose]();
      }
    },
  );
});

/** Second attempts that the gateway has counted. */
async function retriesSent(): Promise<number> {
  let sent = 0;
  await eventually('every request is in the metrics', async () => {
    const text = String((await gateway.admin('/metrics')).body);
    const count = (pattern: RegExp): number =>
      [...text.matchAll(pattern)].reduce((sum, [, value]) => sum + Number(value), 0);
    sent = count(/^spillway_retries_total\{[^}]*result="sent"[^}]*\} (\d+)$/gm);
    return count(/^spillway_requests_total\{[^}]*service="shop"[^}]*\} (\d+)$/gm) === 400;
  });
  return sent;
}
