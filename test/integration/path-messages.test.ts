/**
 * What becomes of a message on its way: which fields pass, which are replaced, which end here, in both directions, and
 * that a body is bytes to us. Judged by what the instance received and what the client received.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { startFaultOrigin } from '../harness/fault-origin.ts';
import type { FaultOrigin } from '../harness/fault-origin.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { headerOf, rawExchange } from '../harness/raw.ts';
import { ask, bodyOf, startService, valueOf, valuesOf } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
}

let seen: Seen[] = [];
/** The answer of the next requests; each test sets its own. */
let answer: (request: IncomingMessage, response: ServerResponse) => void;
let origin: Listening;
let scripted: FaultOrigin;
let gateway: Gateway;
/** The same configuration behind a proxy that is believed. */
let trusting: Gateway;

const config = (trust: string): string => `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
${trust}
clients: { keys: [{ key: secret-key, client: "acme", tier: gold }], unknownKeys: defaultTier }
tiers: { gold: { priority: critical } }
services:
  shop:
    instances: [${origin.url}]
    sla: 10s
    readiness: { path: /ready, interval: 600s, timeout: 10s }
  scripted:
    instances: [${scripted.url}]
    sla: 10s
    readiness: { path: /ready, interval: 600s, timeout: 10s }
routes:
  - { path: /, service: shop }
  - { path: /scripted, service: scripted }
  - path: /changed
    service: shop
    timeout: 8s
    headers:
      request: { set: { x-set: "by the route" }, remove: [x-removed] }
      response: { set: { x-answer: "by the route" }, remove: [x-inner] }
`;

beforeAll(async () => {
  scripted = await startFaultOrigin('none');
  origin = await startService((request, response) => {
    bodyOf(request)
      .then((body) => {
        const { method = '', url = '', rawHeaders } = request;
        seen.push({ method, url, rawHeaders, body });
        answer(request, response);
      })
      .catch(() => response.destroy());
  });
  gateway = await startGateway(config(''));
  trusting = await startGateway(config('trust: { proxies: [127.0.0.0/8] }'));
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await trusting[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
  await scripted[Symbol.asyncDispose]();
});

beforeEach(() => {
  seen = [];
  answer = (_, response) => {
    response.writeHead(200, { 'content-length': 2 }).end('ok');
  };
});

function lastSeen(): Seen {
  const last = seen.at(-1);
  if (last === undefined) throw new Error('the instance saw nothing');
  return last;
}

/** What the instance saw of a request with these header lines. */
async function seenFor(
  lines: readonly string[],
  to: Gateway = gateway,
  path = '/',
): Promise<readonly string[]> {
  const text = `GET ${path} HTTP/1.1\r\n${['host: shop.example:8443', ...lines].join('\r\n')}\r\n\r\n`;
  const { answers } = await rawExchange(to.port, text);
  expect(answers.at(-1)?.status).toBe(200);
  return lastSeen().rawHeaders;
}

describe('on the way to the instance', () => {
  test('there is one Host, as it was received', async () => {
    expect(valuesOf(await seenFor([]), 'host')).toEqual(['shop.example:8443']);
  });

  test('what the gateway knows is told, each once', async () => {
    const headers = await seenFor([]);
    expect(valueOf(headers, 'x-forwarded-for')).toBe('127.0.0.1');
    expect(valueOf(headers, 'x-forwarded-proto')).toBe('http');
    expect(valueOf(headers, 'x-forwarded-host')).toBe('shop.example:8443');
    expect(valueOf(headers, 'x-real-ip')).toBe('127.0.0.1');
    expect(valueOf(headers, 'forwarded')).toBe('for=127.0.0.1;host="shop.example:8443";proto=http');
    expect(valueOf(headers, 'via')).toMatch(/^1\.1 spillway-[0-9a-f]{8}$/);
    expect(valueOf(headers, 'traceparent')).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/);
    expect(valueOf(headers, 'x-request-id')).toMatch(/^[A-Za-z0-9._-]{8,64}$/);
    expect(valueOf(headers, 'x-spillway-tier')).toBe('default');
    expect(valueOf(headers, 'x-spillway-attempt')).toBeUndefined();
  });

  test('the request id of the instance is the one of the answer', async () => {
    const { rawHeaders } = await ask(gateway.port);
    expect(valueOf(rawHeaders, 'x-request-id')).toBe(valueOf(lastSeen().rawHeaders, 'x-request-id'));
  });

  test('a client that is known by its key is named with its tier, and its key passes as it came', async () => {
    const headers = await seenFor(['X-API-Key: secret-key']);
    expect(valueOf(headers, 'x-spillway-client')).toBe('acme');
    expect(valueOf(headers, 'x-spillway-tier')).toBe('gold');
    expect(valueOf(headers, 'x-api-key')).toBe('secret-key');
  });

  test('the time left is told in whole milliseconds: of the service, or of the route', async () => {
    for (const [path, mostMs] of [
      ['/', 10_000],
      ['/changed', 8000],
    ] as const) {
      const left = Number(valueOf(await seenFor([], gateway, path), 'x-request-deadline-ms'));
      expect(Number.isInteger(left)).toBe(true);
      expect(left).toBeLessThanOrEqual(mostMs);
      expect(left).toBeGreaterThan(mostMs / 2);
    }
  });

  test("a stranger's word about himself is replaced, in whatever spelling", async () => {
    const headers = await seenFor([
      'X-Forwarded-For: 6.6.6.6',
      'x-forwarded-proto: https',
      'X-FORWARDED-HOST: evil.example',
      'X-Forwarded-Port: 1',
      'X-Real-IP: 6.6.6.6',
      'Forwarded: for=6.6.6.6',
      'X_Forwarded_For: 6.6.6.6',
      'X-Request-Id: chosen-by-the-caller',
      'X-Request-Deadline-Ms: 1',
      'X-Spillway-Client: root',
      'x-spillway-tier: gold',
      'X-Spillway-Attempt: 9',
      'x-spillway-anything: 1',
    ]);
    expect(headers.join('\n')).not.toMatch(/6\.6\.6\.6|evil|chosen|root|gold|anything/);
    expect(valueOf(headers, 'x-forwarded-for')).toBe('127.0.0.1');
    expect(valueOf(headers, 'x-forwarded-proto')).toBe('http');
    expect(valueOf(headers, 'x-forwarded-port')).toBeUndefined();
    expect(valueOf(headers, 'x-spillway-attempt')).toBeUndefined();
    expect(Number(valueOf(headers, 'x-request-deadline-ms'))).toBeGreaterThan(1000);
  });

  test("a trusted proxy's word is continued", async () => {
    const headers = await seenFor(
      [
        'x-forwarded-for: 203.0.113.7',
        'x-forwarded-proto: https',
        'x-forwarded-host: www.example',
        'forwarded: for=203.0.113.7;proto=https',
        'x-request-id: from-the-proxy-1',
        'x-request-deadline-ms: 6000',
        'via: 1.1 edge',
      ],
      trusting,
    );
    expect(valueOf(headers, 'x-forwarded-for')).toBe('203.0.113.7, 127.0.0.1');
    expect(valueOf(headers, 'x-forwarded-proto')).toBe('https');
    expect(valueOf(headers, 'x-forwarded-host')).toBe('www.example');
    expect(valueOf(headers, 'x-real-ip')).toBe('203.0.113.7');
    expect(valueOf(headers, 'forwarded')).toBe(
      'for=203.0.113.7;proto=https, for=127.0.0.1;host="shop.example:8443";proto=http',
    );
    expect(valueOf(headers, 'x-request-id')).toBe('from-the-proxy-1');
    expect(valueOf(headers, 'via')).toMatch(/^1\.1 edge, 1\.1 spillway-/);
    const left = Number(valueOf(headers, 'x-request-deadline-ms'));
    expect(left).toBeGreaterThan(2000);
    expect(left).toBeLessThanOrEqual(6000);
  });

  test('a trace goes on, a broken one is replaced', async () => {
    const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const kept = await seenFor([`traceparent: ${trace}`, 'tracestate: a=1']);
    expect(valueOf(kept, 'traceparent')).toBe(trace);
    expect(valueOf(kept, 'tracestate')).toBe('a=1');
    const replaced = await seenFor(['traceparent: 00-xyz', 'tracestate: a=1']);
    expect(valueOf(replaced, 'traceparent')).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/);
    expect(valueOf(replaced, 'tracestate')).toBeUndefined();
  });

  test("what belongs to the client's connection ends here, and what it nominates too", async () => {
    const headers = await seenFor([
      'connection: keep-alive, X-Mine',
      'x-mine: 1',
      'keep-alive: timeout=5',
      'proxy-connection: keep-alive',
      'proxy-authorization: Basic abc',
      'te: gzip',
      'trailer: x-later',
      'upgrade: h2c',
      'http2-settings: AAMAAABkAAQAAP__',
      'x-kept: 1',
    ]);
    for (const gone of [
      'x-mine',
      'keep-alive',
      'proxy-connection',
      'proxy-authorization',
      'te',
      'trailer',
      'upgrade',
      'http2-settings',
    ])
      expect([gone, valueOf(headers, gone)]).toEqual([gone, undefined]);
    expect(valueOf(headers, 'x-kept')).toBe('1');
    expect(valueOf(headers, 'connection') ?? 'keep-alive').toBe('keep-alive');
  });

  test('nominating a field of ours removes the caller’s copy, not ours', async () => {
    const headers = await seenFor(['connection: x-forwarded-for', 'x-forwarded-for: 6.6.6.6']);
    expect(valuesOf(headers, 'x-forwarded-for')).toEqual(['127.0.0.1']);
  });

  test('octets above 127 pass as octets, and names keep their spelling', async () => {
    const headers = await seenFor(['X-LaTin: caf\u00e9 \u00ff']);
    expect(headers).toContain('X-LaTin');
    expect(valueOf(headers, 'x-latin')).toBe('caf\u00e9 \u00ff');
  });

  test('repeated fields stay repeated, in order', async () => {
    const headers = await seenFor(['x-many: 1', 'accept: a/b', 'x-many: 2', 'accept: c/d']);
    expect(valuesOf(headers, 'x-many')).toEqual(['1', '2']);
    expect(valuesOf(headers, 'accept')).toEqual(['a/b', 'c/d']);
  });

  test('a route sets and removes fields both ways', async () => {
    answer = (_, response) => {
      response
        .writeHead(200, { 'x-inner': '1', 'x-answer': 'by the service', 'content-length': 2 })
        .end('ok');
    };
    const { rawHeaders } = await ask(gateway.port, {
      path: '/changed',
      headers: { 'x-set': 'by the caller', 'x-removed': '1' },
    });
    expect(valuesOf(lastSeen().rawHeaders, 'x-set')).toEqual(['by the route']);
    expect(valueOf(lastSeen().rawHeaders, 'x-removed')).toBeUndefined();
    expect(valuesOf(rawHeaders, 'x-answer')).toEqual(['by the route']);
    expect(valueOf(rawHeaders, 'x-inner')).toBeUndefined();
  });
});

describe('on the way back', () => {
  test('two cookies stay two, octets stay octets, spelling stays', async () => {
    scripted.set({
      kind: 'answer',
      text: 'HTTP/1.1 200 Fine\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-LaTin: caf\u00e9 \u00ff\r\ncontent-length: 2\r\n\r\nok',
    });
    const { rawHeaders } = await ask(gateway.port, { path: '/scripted' });
    expect(valuesOf(rawHeaders, 'set-cookie')).toEqual(['a=1', 'b=2']);
    expect(rawHeaders).toContain('X-LaTin');
    expect(valueOf(rawHeaders, 'x-latin')).toBe('caf\u00e9 \u00ff');
  });

  test("the instance's connection is its own business, and its x-spillway fields are nobody's", async () => {
    scripted.set({
      kind: 'answer',
      text:
        'HTTP/1.1 200 OK\r\nconnection: close, x-mine\r\nx-mine: 1\r\nkeep-alive: timeout=1\r\nproxy-connection: close\r\n' +
        'proxy-authenticate: Basic\r\nx-spillway-client: root\r\nx-kept: 1\r\ncontent-length: 2\r\n\r\nok',
      ending: 'fin',
    });
    const request = 'GET /scripted HTTP/1.1\r\nhost: a.test\r\n\r\n';
    const { answers } = await rawExchange(gateway.port, request.repeat(2), { count: 2 });
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    for (const each of answers) {
      for (const gone of ['x-mine', 'proxy-connection', 'proxy-authenticate', 'x-spillway-client'])
        expect([gone, headerOf(each, gone)]).toEqual([gone, undefined]);
      expect(headerOf(each, 'x-kept')).toBe('1');
      expect(headerOf(each, 'connection') ?? 'keep-alive').toBe('keep-alive');
      expect(headerOf(each, 'keep-alive') ?? '').not.toContain('timeout=1,');
    }
  });

  test.each([
    [204, 'GET', undefined],
    [304, 'GET', '5'],
    [200, 'HEAD', '5'],
  ])('a %i to %s has no body, and the connection serves on', async (status, method, length) => {
    const lengthLine = length === undefined ? '' : `content-length: ${length}\r\n`;
    scripted.set({ kind: 'answer', text: `HTTP/1.1 ${status} X\r\n${lengthLine}etag: "a"\r\n\r\n` });
    const request = `${method} /scripted HTTP/1.1\r\nhost: a.test\r\n\r\n`;
    const { answers, rest } = await rawExchange(gateway.port, request.repeat(2), {
      count: 2,
      methods: [method, method],
    });
    expect(rest).toBe('');
    expect(answers.map((each) => each.status)).toEqual([status, status]);
    for (const each of answers) {
      expect([headerOf(each, 'content-length'), headerOf(each, 'etag')]).toEqual([length, '"a"']);
      expect(headerOf(each, 'transfer-encoding')).toBeUndefined();
    }
  });

  test('early hints pass with all their fields, then the answer', async () => {
    const link = '</a.css>; rel="preload stylesheet"; as=style; title="a, b"';
    scripted.set({
      kind: 'answer',
      text:
        `HTTP/1.1 103 Early Hints\r\nlink: ${link}\r\nx-more: 1\r\n\r\n` +
        'HTTP/1.1 103 Early Hints\r\nlink: </b.css>; rel=preload\r\n\r\n' +
        'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok',
    });
    const { answers } = await rawExchange(gateway.port, 'GET /scripted HTTP/1.1\r\nhost: a.test\r\n\r\n');
    expect(answers.map(({ status }) => status)).toEqual([103, 103, 200]);
    const [first] = answers;
    expect(first === undefined ? '' : headerOf(first, 'link')).toBe(link);
    expect(first === undefined ? '' : headerOf(first, 'x-more')).toBe('1');
  });

  test('a 102 passes as well, and nothing interim is sent to an HTTP/1.0 client', async () => {
    scripted.set({
      kind: 'answer',
      text: 'HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok',
    });
    const modern = await rawExchange(gateway.port, 'GET /scripted HTTP/1.1\r\nhost: a.test\r\n\r\n');
    expect(modern.answers.map(({ status }) => status)).toEqual([102, 200]);
    const old = await rawExchange(gateway.port, 'GET /scripted HTTP/1.0\r\nhost: a.test\r\n\r\n');
    expect(old.answers.map(({ status }) => status)).toEqual([200]);
  });

  test('an answer without a length is chunked to HTTP/1.1 and ended by the close to HTTP/1.0', async () => {
    answer = (_, response) => {
      response.write('one,');
      response.end('two');
    };
    const modern = await rawExchange(gateway.port, 'GET / HTTP/1.1\r\nhost: a.test\r\n\r\n');
    expect(modern.answers[0]).toMatchObject({ body: 'one,two', chunked: true, complete: true });
    const old = await rawExchange(gateway.port, 'GET / HTTP/1.0\r\nhost: a.test\r\n\r\n');
    expect(old.answers[0]).toMatchObject({ body: 'one,two', chunked: false, complete: true });
    expect(old.closed).toBe(true);
  });

  test('trailers pass to whoever says that he reads them, and to nobody else', async () => {
    scripted.set({
      kind: 'answer',
      text:
        'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\n' +
        'x-sum: 42\r\nset-cookie: late=1\r\n\r\n',
    });
    const request = (te: string): string => `GET /scripted HTTP/1.1\r\nhost: a.test\r\n${te}\r\n`;
    const wanted = await rawExchange(gateway.port, request('te: trailers\r\nconnection: te\r\n'));
    expect(wanted.text).toMatch(/\r\n0\r\nx-sum: 42\r\n\r\n$/);
    expect(wanted.answers[0]).toMatchObject({ status: 200, body: 'ok', complete: true });
    const unwanted = await rawExchange(gateway.port, request(''));
    expect(unwanted.text).toMatch(/\r\n0\r\n\r\n$/);
  });

  test('`Server-Timing` is told only where it was asked for', async () => {
    expect(valueOf((await ask(gateway.port)).rawHeaders, 'server-timing')).toBeUndefined();
  });
});
