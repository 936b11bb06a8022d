/**
 * Who goes first when not everybody can: the order of the queue, who may change his place in it (nobody, upwards), what is
 * refused when it is full, and that a gateway which only observes sends the very same bytes.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { rawExchange } from '../harness/raw.ts';
import { ask, expectProblem, serviceOf, startService, untilIdle } from './path-fixture.ts';
import type { Answer, Listening } from './path-fixture.ts';

interface Held {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

let origin: Listening;
let gateway: Gateway;
/** Requests that an instance works on; a test ends them. */
let held: Held[] = [];
/** Paths in the order in which they reached the instance. */
let order: string[] = [];

const shedding = (text: string): string => `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
clients:
  keys:
    - { key: gold-key, client: gold, tier: gold }
    - { key: free-key, client: free, tier: free }
    - { key: idle-key, client: idle, tier: idle }
tiers: { gold: { priority: critical }, free: { priority: sheddable }, idle: { priority: background } }
services:
  shop:
    instances: [${origin.url}]
    sla: 60s
    timeout: { request: 60s }
    shedding: { ${text} }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
routes:
  - { path: /, service: shop }
  - { path: /pay, service: shop, priority: critical }
  - { path: /report, service: shop, priority: background }
`;

beforeAll(async () => {
  origin = await startService((request, response) => {
    order.push(request.url ?? '');
    if (request.url === '/quick') response.writeHead(200, { 'x-a': 'b', 'content-length': 2 }).end('ok');
    else held.push({ request, response });
  });
});

afterAll(async () => {
  await origin[Symbol.asyncDispose]();
});

beforeEach(() => {
  held = [];
  order = [];
});

async function untilHeld(count: number): Promise<void> {
  await eventually(`${count} requests at the instance`, () => held.length >= count, 30_000, 5);
}

async function untilQueued(depth: number): Promise<void> {
  await eventually(`${depth} requests in the queue`, async () => {
    return (await serviceOf(gateway, 'shop')).shedding.queueDepth === depth;
  });
}

/** A request that takes the only permit, then others that wait; each is in the queue before the next is sent. */
async function queueUp(
  waiting: readonly (readonly [path: string, headers: Record<string, string>])[],
): Promise<Promise<Answer>[]> {
  const answers = [ask(gateway.port, { path: '/first' })];
  await untilHeld(1);
  for (const [index, [path, headers]] of waiting.entries()) {
    answers.push(ask(gateway.port, { path, headers }));
    await untilQueued(index + 1);
  }
  return answers;
}

/** Ends one request after the other, each when it has come. */
async function serveAll(count: number): Promise<void> {
  for (let index = 0; index < count; index++) {
    await untilHeld(index + 1);
    held[index]?.response.end();
  }
}

const key = (name: string): Record<string, string> => ({ 'x-api-key': `${name}-key` });

describe('with one permit and room to wait', () => {
  beforeAll(async () => {
    gateway = await startGateway(shedding('limit: 1, queue: 10'));
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  test('the most important is served first, whatever came before it', async () => {
    const answers = await queueUp([
      ['/idle', key('idle')],
      ['/free', key('free')],
      ['/plain', {}],
      ['/gold', key('gold')],
    ]);
    await serveAll(5);
    expect(order).toEqual(['/first', '/gold', '/plain', '/free', '/idle']);
    for (const { status } of await Promise.all(answers)) expect(status).toBe(200);
    await untilIdle(gateway, 'shop');
  });

  test('a route can raise a request above its tier, but not lower it', async () => {
    const answers = await queueUp([
      ['/free', key('free')],
      ['/report', {}],
      ['/plain', {}],
      ['/pay', key('idle')],
    ]);
    await serveAll(5);
    expect(order[1]).toBe('/pay');
    expect(order.slice(2, 4).toSorted()).toEqual(['/plain', '/report']);
    expect(order[4]).toBe('/free');
    await Promise.all(answers);
  });

  test('`X-Priority` lowers a request and raises none; an unknown word changes nothing', async () => {
    const answers = await queueUp([
      ['/lowered', { 'x-priority': 'background' }],
      ['/raised', { ...key('free'), 'x-priority': 'critical' }],
      ['/nonsense', { 'x-priority': 'Most-Important' }],
    ]);
    await serveAll(4);
    expect(order).toEqual(['/first', '/nonsense', '/raised', '/lowered']);
    await Promise.all(answers);
  });

  test('the log tells the priority that counted', async () => {
    const answer = ask(gateway.port, {
      path: '/logged',
      headers: { ...key('free'), 'x-priority': 'critical' },
    });
    await serveAll(1);
    await answer;
    await gateway.process.waitForLine(/"priority":"sheddable".*"path":"\/logged"/);
  });

  test('a breaker forced open refuses before anybody waits, and lets go again', async () => {
    const force = async (state: string): Promise<void> => {
      const { status } = await gateway.admin('/v1/services/shop/breaker', {
        method: 'POST',
        body: JSON.stringify({ state }),
        headers: { 'content-type': 'application/json' },
      });
      expect(status).toBe(200);
    };
    await force('open');
    await eventually(
      'the breaker is open',
      async () => (await ask(gateway.port, { path: '/quick' })).status === 503,
    );
    expectProblem(await ask(gateway.port, { path: '/quick' }), 503, 'SPW_CIRCUIT_OPEN');
    await force('auto');
    await eventually(
      'it serves again',
      async () => (await ask(gateway.port, { path: '/quick' })).status === 200,
    );
  });
});

describe('a full house', () => {
  test('without a queue is 503 SPW_SHED_CONCURRENCY at once', async () => {
    gateway = await startGateway(shedding('limit: 1, queue: 0'));
    try {
      const first = ask(gateway.port, { path: '/first' });
      await untilHeld(1);
      const problem = expectProblem(
        await ask(gateway.port, { path: '/second' }),
        503,
        'SPW_SHED_CONCURRENCY',
      );
      expect(problem.type).toBe('https://iana.org/assignments/http-problem-types#temporary-reduced-capacity');
      held[0]?.response.end();
      expect((await first).status).toBe(200);
      expect(order).toEqual(['/first']);
    } finally {
      await gateway[Symbol.asyncDispose]();
    }
  });

  test('with a full queue refuses the least important, be it one that waits already', async () => {
    gateway = await startGateway(shedding('limit: 1, queue: 2'));
    try {
      const [first, idle, plain] = await queueUp([
        ['/idle', key('idle')],
        ['/plain', {}],
      ]);
      expectProblem(
        await ask(gateway.port, { path: '/late', headers: key('idle') }),
        503,
        'SPW_SHED_QUEUE_FULL',
      );
      const gold = ask(gateway.port, { path: '/gold', headers: key('gold') });
      const evicted = await idle;
      if (evicted === undefined) throw new Error('no answer');
      expectProblem(evicted, 503, 'SPW_SHED_QUEUE_FULL');
      await serveAll(3);
      expect(order).toEqual(['/first', '/gold', '/plain']);
      for (const each of [first, plain, gold]) expect((await each)?.status).toBe(200);
      await untilIdle(gateway, 'shop');
    } finally {
      await gateway[Symbol.asyncDispose]();
    }
  });
});

describe('a gateway that refuses nobody', () => {
  test.each([
    ['observe', true],
    ['off', false],
  ])('under `mode: %s` passes what it would have shed, and counts it: %s', async (mode, counted) => {
    gateway = await startGateway(shedding(`limit: 1, queue: 0, mode: "${mode}"`));
    try {
      const answers = Array.from(
        { length: 20 },
        async (_, index) => await ask(gateway.port, { path: `/${index}` }),
      );
      await untilHeld(20);
      for (const { response } of held) response.end();
      for (const { status } of await Promise.all(answers)) expect(status).toBe(200);
      const metric = /spillway_shed_total\{[^}]*service="shop"[^}]*mode="observe"[^}]*\} 19\b/;
      await eventually('the metrics are in', async () => {
        const text = String((await gateway.admin('/metrics')).body);
        return (
          /spillway_requests_total\{[^}]*service="shop"[^}]*\} 20\b/.test(text) &&
          metric.test(text) === counted
        );
      });
      await untilIdle(gateway, 'shop');
    } finally {
      await gateway[Symbol.asyncDispose]();
    }
  });

  test('sends the same bytes as one that enforces, request and answer', async () => {
    const seen = new Map<string, string>();
    for (const mode of ['enforce', 'observe', 'off']) {
      gateway = await startGateway(shedding(`mode: "${mode}"`));
      try {
        const { text } = await rawExchange(
          gateway.port,
          'GET /quick HTTP/1.1\r\nhost: a.test\r\nx-api-key: gold-key\r\nX-Priority: sheddable\r\n\r\n',
        );
        seen.set(mode, text.replace(/x-request-id: \S+/, '').replace(/Date: [^\r]+/, ''));
      } finally {
        await gateway[Symbol.asyncDispose]();
      }
    }
    expect(seen.get('enforce')).toMatch(/^HTTP\/1\.1 200 /);
    expect(seen.get('observe')).toBe(seen.get('enforce'));
    expect(seen.get('off')).toBe(seen.get('enforce'));
  });

  test('can be told so while it runs', async () => {
    gateway = await startGateway(shedding('limit: 1, queue: 0'));
    try {
      const first = ask(gateway.port, { path: '/first' });
      await untilHeld(1);
      expect((await ask(gateway.port, { path: '/refused' })).status).toBe(503);
      const { status } = await gateway.admin('/v1/services/shop/shedding', {
        method: 'POST',
        body: '{"mode":"observe"}',
        headers: { 'content-type': 'application/json' },
      });
      expect(status).toBe(200);
      await eventually(
        'the mode has arrived',
        async () => (await serviceOf(gateway, 'shop')).shedding.mode === 'observe',
      );
      const second = ask(gateway.port, { path: '/passed' });
      await untilHeld(2);
      for (const { response } of held) response.end();
      expect([(await first).status, (await second).status]).toEqual([200, 200]);
    } finally {
      await gateway[Symbol.asyncDispose]();
    }
  });
});
