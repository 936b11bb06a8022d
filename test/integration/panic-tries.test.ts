/**
 * One of three instances is open, probes of the others hang: which requests try those, and what becomes of them there. The
 * interval is so long that nobody comes back meanwhile.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startListener } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';
import { parseExposition } from './metrics-text.ts';
import { ask, untilIdle, untilState, valueOf, valuesOf } from './path-fixture.ts';
import type { Answer, Asked, Listening } from './path-fixture.ts';

type Behaviour = (request: IncomingMessage, response: ServerResponse) => void;

const instances: Listening[] = [];
/** What a silent instance does with a request. */
let behaviour: Behaviour = answered;
/** Requests that reached a silent one. */
let reached: string[] = [];
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
          behaviour(request, response);
        } else answered(request, response);
      }),
    );
  }
});

beforeEach(() => {
  behaviour = answered;
  reached = [];
});

afterEach(async () => {
  await gateway?.[Symbol.asyncDispose]();
  gateway = undefined;
});

afterAll(async () => {
  for (const each of instances) await each[Symbol.asyncDispose]();
});

async function start(more = '', readiness = ''): Promise<Gateway> {
  const started = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
shedding: { mode: observe }
services:
  shop:
    instances: [${instances.map(({ url }) => url).join(', ')}]
    sla: 2s
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
