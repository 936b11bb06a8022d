/**
 * One of three instances is open, probes of the others hang: which requests try those, and what becomes of them there. The
 * interval is so long that nobody comes back meanwhile.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startListener } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';
import { parseExposition } from './metrics-text.ts';
import { ask, untilIdle, untilState, valueOf, valuesOf } from './path-fixture.ts';
import type { Answer, Asked, Listening } from './path-fixture.ts';

type Behaviour = (request: IncomingMessage, response: ServerResponse) => unknown;

const instances: Listening[] = [];
/** What a silent instance does with a request. */
let behaviour: Behaviour = answered;
/** Requests that reached a silent one, and which one. */
let reached: string[] = [];
let reachedAt: number[] = [];
/** How long the open one takes for `/slow`. */
const SLOW_MS = 1800;
let gateway: Gateway | undefined;

function answered(_: IncomingMessage, response: ServerResponse): void {
  response.writeHead(200, { 'content-length': 0 }).end();
}

beforeAll(async () => {
  for (let index = 0; index < 3; index++) {
    instances.push(
      await startListener((request, response) => {
        const isSilent = index > 0;
        if (request.url === '/ready' && isSilent) return;
        if (request.url !== '/ready') response.setHeader('x-instance', isSilent ? 'silent' : 'open');
        if (isSilent) {
          reached.push(`${request.method} ${request.url}`);
          reachedAt.push(index);
          behaviour(request, response);
        } else setTimeout(answered, request.url === '/slow' ? SLOW_MS : 0, request, response);
      }),
    );
  }
});

beforeEach(() => {
  behaviour = answered;
  reached = [];
  reachedAt = [];
});

afterEach(async () => {
  await gateway?.[Symbol.asyncDispose]();
  gateway = undefined;
});

afterAll(async () => {
  for (const each of instances) await each[Symbol.asyncDispose]();
});

async function start(more = '', readiness = '', sla = '2s'): Promise<Gateway> {
  const started = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
shedding: { mode: observe }
services:
  shop:
    instances: [${instances.map(({ url }) => `{ url: ${url}, version: v1 }`).join(', ')}]
    sla: ${sla}
    readiness: { path: /ready, interval: 60s, timeout: 200ms${readiness} }
    ${more}
routes: [{ path: /, service: shop }]
`);
  gateway = started;
  for (const { port } of instances.slice(1)) await untilState(started, 'shop', `127.0.0.1:${port}`, 'down');
  return started;
}

const whereOf = ({ rawHeaders }: Pick<Answer, 'rawHeaders'>): string | undefined =>
  valueOf(rawHeaders, 'x-instance');

async function picks({ admin }: Gateway): Promise<Readonly<Record<string, number>>> {
  const page = parseExposition(String((await admin('/metrics')).body));
  return Object.fromEntries(
    page.all('spillway_picks_total').map(({ labels, value }) => [labels['reason'] ?? '', value]),
  );
}

test('only what may be repeated tries: no POST, no body, no stream', async () => {
  const { port } = await start();
  const others: Asked[] = [
    { method: 'POST' },
    { method: 'PUT', body: 'x' },
    { method: 'DELETE' },
    { body: 'x', method: 'OPTIONS' },
    { headers: { accept: 'text/event-stream' } },
  ];
  for (const asked of others) {
    const answer = await ask(port, asked);
    expect([asked, answer.status, whereOf(answer)]).toEqual([asked, 200, 'open']);
  }
  expect(whereOf(await ask(port, { method: 'HEAD', path: '/a' }))).toBe('silent');
  expect(reached).toEqual(['HEAD /a']);
});

test('who has a session does not try, and from a try comes none', async () => {
  const { port } = await start('affinity: { cookie: seat }');
  const tried = await ask(port);
  expect([whereOf(tried), valuesOf(tried.rawHeaders, 'set-cookie')]).toEqual(['silent', []]);
  const other = await ask(port);
  expect(whereOf(other)).toBe('open');
  const [cookie = ''] = valuesOf(other.rawHeaders, 'set-cookie');
  const headers = { cookie: cookie.slice(0, cookie.indexOf(';')) };
  // More than pays for a try.
  for (let n = 0; n < 30; n++) expect(whereOf(await ask(port, { headers }))).toBe('open');
  expect(reached).toHaveLength(1);
});

const FAILURES: readonly (readonly [what: string, Behaviour])[] = Object.entries<Behaviour>({
  'answers 429': (_, response) => response.writeHead(429, { 'content-length': 0 }).end(),
  'answers 500': (_, response) => response.writeHead(500, { 'content-length': 0 }).end(),
  'answers 503 with Retry-After': (_, response) =>
    response.writeHead(503, { 'content-length': 0, 'retry-after': '9' }).end(),
  'resets the connection': ({ socket }) => socket.resetAndDestroy(),
  'does not speak HTTP': ({ socket }) => socket.end('what?\r\n\r\n'),
  'says nothing': () => undefined,
});

test('whatever a silent one does with it, an open one answers a try, more often than retries are allowed', async () => {
  const started = await start('retry: { max: 1, budget: 0% }');
  // The budget's floor is six.
  for (const [what, failure] of [...FAILURES, ...FAILURES].slice(0, 8)) {
    behaviour = failure;
    const before = reached.length;
    await eventually(`a try that ${what}`, async () => {
      const answer = await ask(started.port);
      expect([what, answer.status, whereOf(answer)]).toEqual([what, 200, 'open']);
      return reached.length > before;
    });
  }
  expect((await picks(started))['panic']).toBe(reached.length);
  await untilIdle(started, 'shop');
});

test.each([
  ['nothing may be repeated', 'retry: { max: 0 }', ''],
  ['instances must say who they are', '', ', identity: shop'],
])('nobody tries where %s', async (_, more, readiness) => {
  const open = instances[0]?.server;
  const named: Behaviour = (_request, response) => response.setHeader('x-service', 'shop');
  open?.prependListener('request', named);
  try {
    const { port } = await start(more, readiness);
    for (let n = 0; n < 30; n++) expect(whereOf(await ask(port))).toBe('open');
    expect(reached).toEqual([]);
  } finally {
    open?.removeListener('request', named);
  }
});

test('with versions no navigation tries, and from a try comes no version cookie', async () => {
  const { port } = await start('versions: { cookie: edition }');
  expect(whereOf(await ask(port, { headers: { 'sec-fetch-mode': 'navigate' } }))).toBe('open');
  const tried = await ask(port);
  expect([whereOf(tried), valuesOf(tried.rawHeaders, 'set-cookie')]).toEqual(['silent', []]);
  const other = await ask(port);
  expect([whereOf(other), valuesOf(other.rawHeaders, 'set-cookie')]).toEqual(['open', [expect.any(String)]]);
});

test('a try takes half of what its queue has left of the SLA', async () => {
  const waits: number[] = [];
  behaviour = (request) => {
    const from = performance.now();
    request.once('close', () => waits.push(performance.now() - from));
  };
  const { port } = await start('shedding: { mode: enforce, limit: 1, queue: 4 }', '', '6s');
  const first = ask(port, { method: 'POST', path: '/slow' });
  await pause(100);
  const second = ask(port);
  expect([(await first).status, whereOf(await second)]).toEqual([200, 'open']);
  await eventually('the try is over', () => waits.length === 1);
  // Half of all of it would be 3 s.
  expect(waits[0]).toBeLessThan(2500);
});

/** Where the first two tries go, of which the first ends as `behaviour` says. */
async function firstTwo({ port }: Gateway): Promise<readonly number[]> {
  await ask(port).catch(() => undefined);
  expect(reachedAt).toHaveLength(1);
  behaviour = answered;
  // One is not asked twice within half a second.
  await pause(600);
  await eventually('a second try', async () => {
    await ask(port);
    return reachedAt.length > 1;
  });
  return reachedAt;
}

test('a body that breaks off is no try that came to nothing', async () => {
  behaviour = ({ socket }, response) => {
    response.writeHead(200, { 'content-length': 10 }).write('x', () => socket.destroySoon());
  };
  const [first, second] = await firstTwo(await start());
  expect(second).toBe(first);
});

test('a head that nobody may be passed is one', async () => {
  behaviour = (_, response) => response.writeHead(407, { 'content-length': 0 }).end();
  const [first, second] = await firstTwo(await start());
  expect(second).not.toBe(first);
});

test('of a try that nobody else can answer comes no session either', async () => {
  const started = await start('affinity: { cookie: seat }');
  behaviour = async (request, response) => {
    for (const { port } of instances) {
      if (port === request.socket.localPort) continue;
      await started.admin(`/v1/services/shop/instances/127.0.0.1:${port}/disable`, { method: 'POST' });
    }
    // Until the worker knows it, too.
    await pause(200);
    response.writeHead(500, { 'content-length': 0 }).end();
  };
  const { status, rawHeaders } = await ask(started.port);
  expect([status, whereOf({ rawHeaders }), valuesOf(rawHeaders, 'set-cookie')]).toEqual([500, 'silent', []]);
});

describe('attempts after a try, where the open ones have just closed their ports', () => {
  /** What is picked for one request, by reason; `v2` are the open ones but the first, all others `v1`. */
  async function picksOf(max: number, status: number, path: string): Promise<unknown> {
    await using stack = new AsyncDisposableStack();
    const all: Listening[] = [];
    for (let index = 0; index < 9; index++) {
      const listener = await startListener((request, response) => {
        if (index < 4) answered(request, response);
        else if (request.url !== '/ready') response.writeHead(status, { 'content-length': 0 }).end();
      });
      all.push(stack.use(listener));
    }
    const list = all.map(
      ({ url }, index) => `{ url: ${url}, version: ${index > 0 && index < 4 ? 'v2' : 'v1'} }`,
    );
    const started = stack.use(
      await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
shedding: { mode: off }
services:
  shop:
    instances: [${list.join(', ')}]
    sla: 5s
    readiness: { path: /ready, interval: 60s, timeout: 200ms }
    retry: { max: ${max}, budget: 100% }
    versions: { assets: ["/assets/*"] }
routes: [{ path: /, service: shop }]
`),
    );
    for (const { port } of all.slice(4)) await untilState(started, 'shop', `127.0.0.1:${port}`, 'down');
    for (const { close } of all.slice(0, 4)) await close();
    await ask(started.port, { path });
    return await picks(started);
  }

  test('three in all, whatever is allowed', async () => {
    expect(await picksOf(2, 500, '/')).toEqual({ panic: 1, retry: 2 });
  });

  test('one that found no such part is no failed one', async () => {
    expect(await picksOf(1, 404, '/assets/part.js')).toEqual({ panic: 1, rescue: 1, retry: 1 });
  });
});
