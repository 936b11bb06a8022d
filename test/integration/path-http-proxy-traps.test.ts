/**
 * What bare @fastify/http-proxy gets wrong (measured, forwarding.md §5), one test each, on a plain mount and on a rewriting
 * one: the latter goes through that package, so a new version of it must not bring any of this back.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { METHODS } from 'node:http';
import { createServer } from 'node:https';
import type { Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { startFaultOrigin } from '../harness/fault-origin.ts';
import type { FaultOrigin } from '../harness/fault-origin.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { rawExchange } from '../harness/raw.ts';
import { ask, bodyOf, event, expectProblem, startService, valueOf } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

let echo: Listening;
let alone: FaultOrigin;
let refusing: FaultOrigin;
/** Two instances for each test that counts calls: one that has failed is not asked again so soon. */
const pairs = new Map<string, readonly [FaultOrigin, FaultOrigin]>();
let unverified: Server;
let unverifiedHits = 0;
let gateway: Gateway;
let folder = '';
let seen: { method: string; url: string; rawHeaders: readonly string[]; body: Buffer }[] = [];

const BUSY = 'HTTP/1.1 503 Busy\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nbusy';
const BUSY_FOR_LONG = BUSY.replace('content-type', 'Retry-After: 30\r\ncontent-type');

const MOUNTS = [
  ['a plain', '/p'],
  ['a rewriting', '/r'],
] as const;

const PAIRS = [
  {
    kind: 'both',
    sentence: 'one GET answered 503 by both instances is two calls, one each',
    method: 'GET',
    text: BUSY,
    calls: [1, 1],
  },
  {
    kind: 'hinted',
    sentence: 'a GET answered 503 with Retry-After is one call although another instance is there',
    method: 'GET',
    text: BUSY_FOR_LONG,
    calls: [0, 1],
  },
  {
    kind: 'posted',
    sentence: 'a POST answered 503 is one call although another instance is there',
    method: 'POST',
    text: BUSY,
    calls: [0, 1],
  },
] as const;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-traps-'));
  const files = ['-keyout', join(folder, 'a.key'), '-out', join(folder, 'a.pem')];
  const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  execFileSync('openssl', ['req', ...kind, '-subj', '/CN=localhost', ...files], { stdio: 'ignore' });
  unverified = createServer(
    { cert: readFileSync(join(folder, 'a.pem')), key: readFileSync(join(folder, 'a.key')) },
    (_, response) => {
      unverifiedHits++;
      response.end('an answer nobody should trust');
    },
  );
  const listening = event(unverified, 'listening');
  unverified.listen(0, '127.0.0.1');
  await listening;
  echo = await startService((request, response) => {
    bodyOf(request)
      .then((body) => {
        seen.push({
          method: request.method ?? '',
          url: request.url ?? '',
          rawHeaders: request.rawHeaders,
          body,
        });
        const type = valueOf(request.rawHeaders, 'content-type');
        response.writeHead(200, {
          'content-length': body.length,
          ...(type === undefined ? {} : { 'content-type': type }),
        });
        response.end(request.method === 'HEAD' ? undefined : body);
      })
      .catch(() => response.destroy());
  });
  alone = await startFaultOrigin();
  refusing = await startFaultOrigin();
  for (const { kind } of PAIRS) {
    for (const [, prefix] of MOUNTS)
      pairs.set(`${kind}${prefix.slice(1)}`, [await startFaultOrigin(), await startFaultOrigin()]);
  }
  const services: readonly (readonly [name: string, urls: string])[] = [
    ['echo', echo.url],
    ['alone', alone.url],
    ...[...pairs].map(([name, both]) => [name, both.map(({ url }) => url).join(', ')] as const),
    ['unverified', `https://localhost:${(unverified.address() as AddressInfo).port}`],
    ['refused', refusing.url],
  ];
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:${services
    .map(
      ([name, urls]) => `
  ${name}:
    instances: [${urls}]
    sla: 5s
    breaker: { consecutive: 1000, ratio: 100%, minRequests: 1000 }
    outlier: { consecutiveFailures: 1000, minRequests: 1000 }
    readiness: { interval: 600s, timeout: 10s }
    retry: { max: 1, budget: 100% }`,
    )
    .join('')}
routes:${services
    .map(
      ([name]) =>
        `\n  - { path: /p/${name}, service: ${name} }\n  - { path: /r/${name}, service: ${name}, rewrite: /p/${name} }`,
    )
    .join('')}
`);
  await refusing.refuse();
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await echo[Symbol.asyncDispose]();
  await alone[Symbol.asyncDispose]();
  for (const each of [...pairs.values()].flat()) await each[Symbol.asyncDispose]();
  const closed = event(unverified, 'close');
  unverified.close();
  unverified.closeAllConnections();
  await closed;
  rmSync(folder, { recursive: true });
});

beforeEach(() => {
  seen = [];
});

describe.each(MOUNTS)('on %s mount', (_, prefix) => {
  test.each(['GET', 'POST'])(
    'one %s answered 503 with Retry-After is one call, passed at once and unchanged',
    async (method) => {
      alone.set({ kind: 'answer', text: BUSY_FOR_LONG });
      const before = alone.requests.length;
      const answer = await ask(gateway.port, { method, path: `${prefix}/alone` });
      expect([answer.status, String(answer.body)]).toEqual([503, 'busy']);
      // 30 seconds, not 30 ms, and not slept through here.
      expect(valueOf(answer.rawHeaders, 'retry-after')).toBe('30');
      expect(alone.requests.length - before).toBe(1);
    },
  );

  test('one GET answered 503 by the only instance is one call, its answer passed unchanged', async () => {
    alone.set({ kind: 'answer', text: BUSY });
    const before = alone.requests.length;
    const answer = await ask(gateway.port, { path: `${prefix}/alone` });
    expect([answer.status, String(answer.body)]).toEqual([503, 'busy']);
    expect(valueOf(answer.rawHeaders, 'retry-after')).toBeUndefined();
    expect(alone.requests.length - before).toBe(1);
  });

  test.each(PAIRS)('$sentence', async ({ kind, method, text, calls }) => {
    const name = `${kind}${prefix.slice(1)}`;
    const pair = pairs.get(name) ?? [];
    for (const each of pair) each.set({ kind: 'answer', text });
    const answer = await ask(gateway.port, { method, path: `${prefix}/${name}` });
    expect([answer.status, String(answer.body)]).toEqual([503, 'busy']);
    expect(pair.map(({ requests }) => requests.length).toSorted((a, b) => a - b)).toEqual(calls);
  });

  test('an instance whose certificate nobody vouches for is never a 200', async () => {
    const answer = await ask(gateway.port, { path: `${prefix}/unverified` });
    expectProblem(answer, 502, 'SPW_CONNECT_FAILED');
    expect(unverifiedHits).toBe(0);
  });

  test.each(['GET', 'POST'])('a reset of a %s is 502, not 500', async (method) => {
    alone.set('resetBeforeByte');
    const answer = await ask(gateway.port, {
      method,
      path: `${prefix}/alone`,
      body: method === 'POST' ? 'x' : '',
    });
    expectProblem(answer, 502, 'SPW_UPSTREAM_RESET');
  });

  test('a refused connect is 502 and names neither host nor port', async () => {
    expectProblem(await ask(gateway.port, { path: `${prefix}/refused` }), 502, 'SPW_CONNECT_FAILED');
  });

  test.each([
    'text/plain',
    'text/plain; charset=iso-8859-1',
    'application/json',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'foo',
    'application/octet-stream',
    undefined,
  ])('a body of type %s is bytes: all 256 of them, with a length and in chunks', async (type) => {
    const body = Buffer.from(Array.from({ length: 4096 }, (__, index) => index % 256));
    for (const chunked of [false, true]) {
      const answer = await ask(gateway.port, {
        method: 'POST',
        path: `${prefix}/echo`,
        body,
        chunked,
        headers: type === undefined ? {} : { 'content-type': type },
      });
      expect(answer.status).toBe(200);
      expect(answer.body.equals(body)).toBe(true);
      expect(valueOf(answer.rawHeaders, 'content-type')).toBe(type);
      const last = seen.at(-1);
      expect(last?.body.equals(body)).toBe(true);
      expect(valueOf(last?.rawHeaders ?? [], 'content-type')).toBe(type);
      expect(valueOf(last?.rawHeaders ?? [], 'content-length')).toBe(chunked ? undefined : '4096');
    }
  });

  test('a text of more than a mebibyte is no bigger a thing than any other', async () => {
    const body = Buffer.alloc(3 * 1024 * 1024, 'ä');
    const answer = await ask(gateway.port, {
      method: 'POST',
      path: `${prefix}/echo`,
      body,
      headers: { 'content-type': 'text/plain' },
    });
    expect(answer.body.equals(body)).toBe(true);
  });

  test('every method that the parser knows arrives, with its body where it may have one', async () => {
    const local = new Set(['CONNECT', 'TRACE', 'GET', 'HEAD']);
    for (const method of METHODS.filter((each) => !local.has(each))) {
      const { answers } = await rawExchange(
        gateway.port,
        `${method} ${prefix}/echo/${method} HTTP/1.1\r\nhost: a.test\r\ncontent-length: 4\r\n\r\nbody`,
      );
      expect([method, answers[0]?.status, answers[0]?.body]).toEqual([method, 200, 'body']);
      expect([seen.at(-1)?.method, String(seen.at(-1)?.body)]).toEqual([method, 'body']);
    }
    for (const method of ['GET', 'HEAD']) {
      expect((await ask(gateway.port, { method, path: `${prefix}/echo/${method}` })).status).toBe(200);
      expect(seen.at(-1)?.method).toBe(method);
    }
  });

  test('a method nobody knows is 400 and reaches nobody', async () => {
    const { answers } = await rawExchange(
      gateway.port,
      `BREW ${prefix}/echo HTTP/1.1\r\nhost: a.test\r\n\r\n`,
    );
    expect([answers[0]?.status, seen]).toEqual([400, []]);
  });

  test('the log has one line a request, without query', async () => {
    await ask(gateway.port, { path: `${prefix}/echo/logged?secret=1` });
    const line = new RegExp(`.*"path":"${prefix}/echo/logged".*`);
    const [found] = await gateway.process.waitForLine(line);
    expect(found).not.toContain('secret');
    expect(gateway.logs().match(new RegExp(line, 'g'))).toHaveLength(1);
    expect(gateway.logs()).not.toMatch(/incoming request|fetching from remote|response received/);
  });
});

test('both mounts send the same bytes', async () => {
  alone.set('none');
  const requests = [
    ['GET', '?q=%20&x=1', ''],
    ['DELETE', '/a%20b/c%2Cd;e=1', 'content-length: 3\r\n\r\nabc'],
    [
      'POST',
      '/%E4%BD%A0',
      'content-type: text/plain; charset=x\r\ncontent-length: 4\r\n\r\n\u00e9\u00ff\u0000a',
    ],
    [
      'PUT',
      '',
      'content-type: foo\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n',
    ],
    ['PATCH', '/a/', 'X-LaTin: caf\u00e9\r\nCookie: a=1\r\ncookie: b=2\r\n\r\n'],
    ['QUERY', '/x', 'content-length: 0\r\n\r\n'],
    ['OPTIONS', '/x', 'origin: https://a.example\r\n\r\n'],
  ] as const;
  for (const [method, tail, rest] of requests) {
    const sent = MOUNTS.map(async ([, prefix]) => {
      const head = `${method} ${prefix}/alone${tail} HTTP/1.1\r\nHost: a.test\r\nX-Api: 1\r\n`;
      const { answers } = await rawExchange(gateway.port, `${head}${rest === '' ? '\r\n' : rest}`);
      expect(answers[0]?.status).toBe(200);
    });
    const before = alone.requests.length;
    await Promise.all(sent);
    await eventually('both arrived', () => alone.requests.length === before + 2);
    const texts = alone.requests.slice(before).map(({ text }) => settled(text));
    expect(texts[0]).toBe(texts[1]);
    expect(texts[0]).toContain(`${method} /p/alone${tail} HTTP/1.1\r\n`);
  }
});

/** A request without what differs from one to the next by its nature. */
function settled(text: string): string {
  return text
    .replace(/x-request-id: \S+/, 'x-request-id: …')
    .replace(/traceparent: \S+/, 'traceparent: …')
    .replace(/x-request-deadline-ms: \d+/, 'x-request-deadline-ms: …');
}
