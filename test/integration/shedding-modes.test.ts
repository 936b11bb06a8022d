/**
 * `observe` and `off` refuse nobody: the same bytes as without shedding, what would have been shed is counted. And who is
 * refused learns it in order: when to come back, whatever of a body was still on its way.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { startGateway, type Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { headerOf, openRaw, rawExchange } from '../harness/raw.ts';
import { sabotage } from './control-fixture.ts';
import { parseExposition, type Exposition } from './metrics-text.ts';
import { ask, serviceOf, startService, untilIdle, valueOf, type Listening } from './path-fixture.ts';

let origin: Listening;
/** Requests for `/hold` that the origin has not answered. */
let held: { readonly request: IncomingMessage; readonly response: ServerResponse }[] = [];

beforeAll(async () => {
  origin = await startService((request, response) => {
    if (request.url === '/hold') held.push({ request, response });
    else void answer(request, response);
  });
});
afterAll(async () => {
  await origin[Symbol.asyncDispose]();
});
beforeEach(() => {
  held = [];
});

/** An answer made of nothing but the request's own method, target and body. */
async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const hash = { bytes: 0 };
  for await (const chunk of request) hash.bytes += (chunk as Buffer).length;
  await pause(15);
  const url = new URL(request.url ?? '/', 'http://a.test');
  const status = Number(url.searchParams.get('status') ?? 200);
  if (url.searchParams.has('cut')) {
    request.socket.destroy();
    return;
  }
  const body = `${request.method ?? ''} ${url.pathname} ${hash.bytes}`;
  const framing = url.searchParams.has('chunks') ? { 'transfer-encoding': 'chunked' } : {};
  const headers = { date: 'Thu, 01 Jan 2026 00:00:00 GMT', 'x-own': 'Value', etag: '"1"', ...framing };
  if (status === 503) response.writeHead(503, { ...headers, 'retry-after': '77' });
  else response.writeHead(status, headers);
  response.end(status === 204 || status === 304 ? undefined : body);
}

const config = (shedding: string, more = ''): string => `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
log: { access: off }
shedding: { ${shedding} }
clients: { keys: [{ key: free, client: free, tier: free }, { key: idle, client: idle, tier: idle }] }
tiers: { free: { priority: sheddable }, idle: { priority: background } }
services:
  shop:
    instances: [${origin.url}]
    sla: 250ms
    timeout: { request: 20s }
    retry: { max: 0 }
    breaker: { consecutive: 10000, minRequests: 10000 }
    outlier: { consecutiveFailures: 10000, minRequests: 10000 }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
    ${more}
routes: [{ path: /, service: shop, methods: [GET, HEAD, POST, PUT, DELETE, OPTIONS] }, { path: /limited, service: shop, limits: { perClient: { rate: 1/d, burst: 2 } } }]
`;

/** What was sent two hundred times, by index: several methods, bodies, faults of both sides. */
function requestOf(index: number): { readonly bytes: string; readonly method: string } {
  const method = ['GET', 'POST', 'HEAD', 'PUT', 'DELETE'][index % 5] ?? 'GET';
  const targets = [
    '/a',
    '/b?status=404',
    '/c?status=500',
    '/d?status=503',
    '/e?chunks',
    '/f?status=204',
    '/g?cut',
    '/h?status=304',
    '/i/%7Ej//k',
  ];
  const target = targets[index % targets.length] ?? '/';
  const host = 'host: a.test\r\nconnection: close\r\n';
  const key = ['', 'x-api-key: free\r\n', 'x-api-key: idle\r\n', 'x-api-key: nobody\r\n'][index % 4] ?? '';
  switch (index % 11) {
    case 7:
      return { method: 'PATCH', bytes: `PATCH /a HTTP/1.1\r\n${host}\r\n` };
    case 8:
      return { method: 'GET', bytes: `GET /a HTTP/1.1\r\n${host}bad header\r\n\r\n` };
    case 9:
      return { method, bytes: `${method} ${target} HTTP/1.0\r\nhost: a.test\r\n${key}\r\n` };
    case 10:
      return {
        method: 'POST',
        bytes: `POST ${target} HTTP/1.1\r\n${host}${key}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
      };
    default: {
      const body = method === 'POST' || method === 'PUT' ? 'x'.repeat(1 + ((index * 97) % 3000)) : '';
      const length = body === '' ? '' : `content-length: ${body.length}\r\n`;
      return { method, bytes: `${method} ${target} HTTP/1.1\r\n${host}${key}${length}\r\n${body}` };
    }
  }
}

/** All that came, without what no two answers share. */
async function bytesOf(port: number, index: number): Promise<string> {
  const { bytes, method } = requestOf(index);
  await using connection = await openRaw(port);
  connection.write(bytes);
  const text = await connection.untilClosed(30_000);
  expect(method, text).toMatch(/[A-Z]/);
  return text
    .replaceAll(/x-request-id: \S+/gi, 'x-request-id: ID')
    .replaceAll(/"requestId":"[^"]*"/g, '"requestId":"ID"')
    .replaceAll(/date: [^\r]+ GMT/gi, 'date: NOW');
}

async function metricsOf(gateway: Gateway): Promise<Exposition> {
  return parseExposition(String((await gateway.admin('/metrics')).body));
}

function shedOf(found: Exposition, mode: string): number {
  return found
    .all('spillway_shed_total')
    .filter(({ labels }) => labels['mode'] === mode)
    .reduce((sum, { value }) => sum + value, 0);
}

const REQUESTS = 200;

/** The answers of a gateway to all two hundred, several at a time. */
async function answersOf(gateway: Gateway, atOnce: number): Promise<string[]> {
  const answers: string[] = [];
  let next = 0;
  const caller = async (): Promise<void> => {
    for (let index = next++; index < REQUESTS; index = next++)
      answers[index] = await bytesOf(gateway.port, index);
  };
  await Promise.all(Array.from({ length: atOnce }, caller));
  return answers;
}

describe('observe', () => {
  test('answers with the bytes of `off`, whatever admission would have shed', async () => {
    const seen: string[][] = [];
    for (const mode of ['off', 'observe']) {
      await using gateway = await startGateway(config(`mode: "${mode}", limit: 1, queue: 0`));
      seen.push(await answersOf(gateway, 16));
      await untilIdle(gateway, 'shop');
      const found = await metricsOf(gateway);
      expect(shedOf(found, 'enforce')).toBe(0);
      if (mode === 'observe') expect(shedOf(found, 'observe')).toBeGreaterThan(50);
      else expect(found.all('spillway_shed_total')).toEqual([]);
    }
    expect(new Set(seen[0]?.map((text) => text.slice(9, 12))).size).toBeGreaterThan(6);
    for (let index = 0; index < REQUESTS; index++)
      expect(seen[1]?.[index], `${index}: ${requestOf(index).bytes.slice(0, 200)}`).toBe(seen[0]?.[index]);
  });

  test('answers with the bytes of `off` while the event loop stands still, and counts what the front gate would have shed', async () => {
    // Blocks 130 ms out of 140: the lag stands, the loop is busy, and every arrival may be older than the SLA.
    await using blocked = await sabotage(`
if (isWorker) setTimeout(() => setInterval(() => {
  for (const until = performance.now() + 130; performance.now() < until;);
}, 140), 1000);`);
    const seen: string[][] = [];
    for (const mode of ['off', 'observe']) {
      await using gateway = await startGateway(
        config(`mode: "${mode}"`).replace('sla: 250ms', 'sla: 100ms'),
        {
          env: blocked.env,
        },
      );
      await eventually('the loop stands still', async () => {
        return ((await metricsOf(gateway)).value('spillway_event_loop_lag_seconds', {}) ?? 0) > 0.1;
      });
      seen.push(await answersOf(gateway, 100));
      const found = await metricsOf(gateway);
      expect(shedOf(found, 'enforce')).toBe(0);
      const atTheGate = found
        .all('spillway_shed_total')
        .filter(({ labels }) => labels['mode'] === 'observe')
        .map(({ labels }) => labels['code']);
      if (mode === 'observe') expect(atTheGate).toContain('SPW_SHED_DEADLINE');
      else expect(atTheGate).toEqual([]);
    }
    for (let index = 0; index < REQUESTS; index++) expect(seen[1]?.[index]).toBe(seen[0]?.[index]);
  });

  test('counts a request once, however often it would have been shed', async () => {
    await using gateway = await startGateway(
      config('mode: observe, limit: 5, queue: 0', 'balancing: { maxConcurrencyPerInstance: 2 }'),
    );
    const answers = Array.from({ length: 10 }, async () => await ask(gateway.port, { path: '/hold' }));
    await eventually('all at the origin: neither limit nor cap keeps one back', () => held.length === 10);
    for (const { response } of held) response.end();
    for (const { status } of await Promise.all(answers)) expect(status).toBe(200);
    const found = await metricsOf(gateway);
    expect(shedOf(found, 'observe')).toBe(8);
    const { shedding } = await shown(gateway);
    expect(shedding.total).toMatchObject({ shed: 0, wouldShed: 8, answered: 10 });
  });
});

interface Shown {
  readonly shedding: {
    readonly mode: string;
    readonly modeBy: string;
    readonly total: Readonly<Record<string, number>>;
  };
}

async function shown(gateway: Gateway): Promise<Shown> {
  return (await serviceOf(gateway, 'shop')) as unknown as Shown;
}

describe('a mode', () => {
  test('of a service may differ from the top-level one, which is everybody else’s and the front gate’s', async () => {
    const text = config('mode: off', 'shedding: { mode: enforce, limit: 1, queue: 0 }').replace(
      'services:',
      `services:\n  other: { instances: [${origin.url}], readiness: { path: /ready } }`,
    );
    await using gateway = await startGateway(text);
    expect((await shown(gateway)).shedding).toMatchObject({ mode: 'enforce', modeBy: 'configuration' });
    expect((await serviceOf(gateway, 'other')).shedding.mode).toBe('off');
    const first = ask(gateway.port, { path: '/hold' });
    await eventually('the permit is taken', () => held.length === 1);
    expect((await ask(gateway.port, { path: '/a' })).status).toBe(503);
    held[0]?.response.end();
    expect((await first).status).toBe(200);
  });

  test('forced by an operator holds at once, through a reload, is shown and logged, and ends with auto', async () => {
    await using gateway = await startGateway(config('limit: 1, queue: 0'));
    const force = async (mode: string): Promise<void> => {
      const { status } = await gateway.admin('/v1/services/shop/shedding', {
        method: 'POST',
        body: JSON.stringify({ mode }),
      });
      expect(status).toBe(200);
    };
    const first = ask(gateway.port, { path: '/hold' });
    await eventually('the permit is taken', () => held.length === 1);
    expect((await ask(gateway.port, { path: '/a' })).status).toBe(503);
    await force('off');
    await eventually('the mode is there', async () => (await shown(gateway)).shedding.mode === 'off');
    expect((await ask(gateway.port, { path: '/a' })).status).toBe(200);
    expect((await gateway.admin('/v1/reload', { method: 'POST' })).status).toBe(200);
    expect((await shown(gateway)).shedding).toMatchObject({ mode: 'off', modeBy: 'operator' });
    expect((await ask(gateway.port, { path: '/a' })).status).toBe(200);
    const [line] = await gateway.process.waitForLine(/^.*"msg":"shedding mode is off".*$/m);
    expect(JSON.parse(line)).toMatchObject({ service: 'shop', to: 'off', by: 'operator' });
    await force('auto');
    await eventually(
      'the configuration rules',
      async () => (await shown(gateway)).shedding.mode === 'enforce',
    );
    expect((await shown(gateway)).shedding.modeBy).toBe('configuration');
    expect((await ask(gateway.port, { path: '/a' })).status).toBe(503);
    held[0]?.response.end();
    await first;
  });
});

describe('who is shed', () => {
  let gateway: Gateway;
  let first: Promise<{ status: number }>;

  beforeAll(async () => {
    gateway = await startGateway(config('limit: 1, queue: 0'));
  });
  beforeEach(async () => {
    first = ask(gateway.port, { path: '/hold' });
    await eventually('the permit is taken', () => held.length === 1);
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
  });
  const end = async (): Promise<void> => {
    held[0]?.response.end();
    expect((await first).status).toBe(200);
    await untilIdle(gateway, 'shop');
  };

  test('hears when to come back: a random second of 1 to 3, of 2 to 6 for the least important', async () => {
    const seconds = async (headers: Record<string, string>): Promise<number[]> => {
      const answers = await Promise.all(
        Array.from({ length: 60 }, async () => await ask(gateway.port, { path: '/a', headers })),
      );
      return answers.map(({ status, rawHeaders }) => {
        expect(status).toBe(503);
        return Number(valueOf(rawHeaders, 'retry-after'));
      });
    };
    // All in the first two seconds of the pressure, so b is one second.
    const [plain, low] = await Promise.all([seconds({}), seconds({ 'x-api-key': 'free' })]);
    expect(new Set(plain)).toEqual(new Set([1, 2, 3]));
    expect(Math.min(...low)).toBeGreaterThanOrEqual(2);
    expect(Math.max(...low)).toBeLessThanOrEqual(6);
    expect(new Set(low).size).toBeGreaterThanOrEqual(4);
    await end();
  });

  test("an instance's own 503 passes with its own Retry-After", async () => {
    await end();
    const answer = await ask(gateway.port, { path: '/d?status=503' });
    expect(answer.status).toBe(503);
    expect(valueOf(answer.rawHeaders, 'retry-after')).toBe('77');
    expect(answer.body.toString()).toBe('GET /d 0');
  });

  test('with a small body on its way keeps the connection, and the next request on it is read rightly', async () => {
    await using connection = await openRaw(gateway.port);
    connection.write('POST /a HTTP/1.1\r\nhost: a.test\r\ncontent-length: 30000\r\n\r\n' + 'x'.repeat(100));
    const refused = await connection.untilAnswers(1);
    expect(refused.answers[0]?.status).toBe(503);
    expect(headerOf(refused.answers[0]!, 'connection')).not.toBe('close');
    await end();
    connection.write('x'.repeat(29_900) + 'GET /b HTTP/1.1\r\nhost: a.test\r\n\r\n');
    const both = await connection.untilAnswers(2);
    expect(both.answers[1]?.status).toBe(200);
    expect(both.answers[1]?.body).toBe('GET /b 0');
  });

  test.each([
    ['larger than 64 KiB', 'content-length: 70000', 'x'.repeat(70_000)],
    ['chunked', 'transfer-encoding: chunked', `1000\r\n${'x'.repeat(4096)}\r\n`],
  ])('with a body %s reads the answer whole before the end, which is no reset', async (_, field, body) => {
    await using connection = await openRaw(gateway.port);
    connection.write(`POST /a HTTP/1.1\r\nhost: a.test\r\n${field}\r\n\r\n`);
    const { answers } = await connection.untilAnswers(1);
    expect(answers[0]?.status).toBe(503);
    expect(answers[0]?.complete).toBe(true);
    expect(headerOf(answers[0]!, 'connection')).toBe('close');
    // What was on its way all the same finds a reader.
    connection.write(body.slice(0, 30_000));
    await connection.untilClosed();
    expect(connection.ending()).toBe('fin');
    await end();
  });

  test('and asked before sending his body gets 503 and no 100', async () => {
    const { answers, text } = await rawExchange(
      gateway.port,
      'POST /a HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n',
    );
    expect(answers.map(({ status }) => status)).toEqual([503]);
    expect(text).not.toContain('100 Continue');
    expect(headerOf(answers[0]!, 'retry-after')).toMatch(/^[1-3]$/);
    await end();
  });
});
