/**
 * Promises that need many requests of one kind (forwarding.md §1): one path for router, limiter and upstream, one key however
 * many addresses a stranger claims, bodies that arrive octet by octet.
 */
import { createHash } from 'node:crypto';

import * as fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';

import { normalizeTarget } from '../../src/forwarding/target.ts';
import type { Gateway } from '../harness/gateway.ts';
import { openRaw } from '../harness/raw.ts';
import { ask, bodyOf, startService, valueOf } from '../integration/path-fixture.ts';
import type { Listening } from '../integration/path-fixture.ts';
import { startShop } from './shop-gateway.ts';

interface Arrived {
  readonly url: string;
  readonly route: string;
  readonly type: string | undefined;
  readonly hash: string;
  readonly bytes: number;
}

let origin: Listening;
let gateway: Gateway;
let arrived: Arrived[] = [];

beforeAll(async () => {
  origin = await startService((request, response) => {
    bodyOf(request)
      .then((body) => {
        arrived.push({
          url: request.url ?? '',
          route: String(request.headers['x-route']),
          type: request.headers['content-type'],
          hash: createHash('sha256').update(body).digest('hex'),
          bytes: body.length,
        });
        response.end('ok');
      })
      .catch(() => response.destroy());
  });
  const set = (route: string): string => `headers: { request: { set: { x-route: ${route} } } }`;
  gateway = await startShop(
    origin.url,
    `
routes:
  - { path: /, service: shop, ${set('open')} }
  - { path: /admin, service: shop, ${set('admin')} }
  - { path: /changed, service: shop, rewrite: /, ${set('changed')} }
  - { path: /once, service: shop, limits: { perClient: { rate: 5/d, burst: 5 } } }
log: { access: "off" }
`,
  );
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

beforeEach(() => {
  arrived = [];
});

/** What hides a prefix, or comes back to it. */
const spelled = fc
  .array(
    fc.constantFrom(
      '/',
      '//',
      '/./',
      '/../',
      '/..;/',
      '/%2e/',
      '/%2e%2e/',
      '%2f',
      '%5c',
      '\\',
      '%61',
      '%41',
      'a',
      'admin',
      'ADMIN',
      '/admin',
      '/%61dmin',
      '/adm%69n',
      '/admin;x',
      '/admin/',
      '/admin/x',
      '/x',
      '%00',
      '%',
      '%c0%af',
      '.',
      '?/admin',
      '#',
    ),
    { minLength: 1, maxLength: 6 },
  )
  .map((parts) => `/${parts.join('')}`);

test('F10 one path: what the instance reads under /admin/ is what the router took for it, and nothing else', async () => {
  // A hundred thousand and more by the property of `target` without sockets; here the whole way.
  const paths = fc.sample(spelled, { numRuns: 2000, seed: 20_251_121 });
  await using client = await openRaw(gateway.port);
  let connection = client;
  const extra: (typeof client)[] = [];
  for (const path of paths) {
    if (connection.isClosed()) extra.push((connection = await openRaw(gateway.port)));
    const before = connection.received().length;
    connection.write(`GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`);
    await connection.until((text, closed) => closed || /\r\n\r\n(ok|\{.*\})$/s.test(text.slice(before)));
    if (!connection.received().slice(before).startsWith('HTTP/1.1 200')) continue;
    const last = arrived.at(-1);
    const sent = normalizeTarget('GET', path);
    expect([path, last?.url]).toEqual([path, sent.path + sent.query]);
    // As the most generous application would decode it.
    const pathOnly = (last?.url ?? '').split('?')[0] ?? '';
    const generous = decodeURIComponent(pathOnly);
    expect([path, /(^|\/)\.\.?(;[^/]*)?(\/|$)/.test(generous)]).toEqual([path, false]);
    expect([path, last?.route]).toEqual([path, /^\/admin(\/|$)/.test(generous) ? 'admin' : 'open']);
  }
  for (const each of extra) await each[Symbol.asyncDispose]();
  expect(arrived.length).toBeGreaterThan(200);
  expect(new Set(arrived.map(({ route }) => route))).toEqual(new Set(['open', 'admin']));
});

test('F11 however many addresses a stranger claims, he is one client', async () => {
  const spoof = (index: number): Record<string, string> => {
    const address = `198.51.${index >> 8}.${index & 255}`;
    return {
      'x-forwarded-for': `${address}, 10.0.0.1`,
      'x-real-ip': address,
      forwarded: `for=${address}`,
      x_forwarded_for: address,
      'client-ip': address,
    };
  };
  let passed = 0;
  for (let index = 0; index < 1500; index += 1) {
    const { status } = await ask(gateway.port, { path: '/once', headers: spoof(index) });
    if (status === 200) passed += 1;
    else expect(status).toBe(429);
  }
  expect(passed).toBe(5);
});

const ALL_OCTETS = Buffer.from(Array.from({ length: 256 }, (_, octet) => octet));

test('F12 every octet of a body arrives, whatever its type and framing, on both mounts', async () => {
  const types = [
    'text/plain; charset=iso-8859-1',
    'application/json',
    'application/x-www-form-urlencoded',
    'foo',
    undefined,
  ];
  for (const type of types) {
    for (const chunked of [false, true]) {
      for (const path of ['/', '/changed/']) {
        for (const repeat of [1, 300]) {
          const body = Buffer.concat(Array<Buffer>(repeat).fill(ALL_OCTETS));
          const headers = type === undefined ? {} : { 'content-type': type };
          const answer = await ask(gateway.port, { method: 'POST', path, headers, body, chunked });
          expect([type, chunked, path, answer.status]).toEqual([type, chunked, path, 200]);
          expect(valueOf(answer.rawHeaders, 'x-request-id')).toBeDefined();
          const hash = createHash('sha256').update(body).digest('hex');
          expect(arrived.at(-1)).toMatchObject({ type, hash, bytes: body.length });
        }
      }
    }
  }
});
