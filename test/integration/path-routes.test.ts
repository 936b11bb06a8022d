/**
 * Which route takes a request, what a rewrite makes of its path, and what ends at the gateway whatever the routes say.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startEcho } from '../harness/origin.ts';
import type { InProcessOrigin } from '../harness/origin.ts';
import { headerOf, openRaw, rawExchange } from '../harness/raw.ts';
import { ask, expectProblem, startService, valueOf } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

const NAMES = ['root', 'api', 'inner', 'beta', 'host', 'wild', 'posts'] as const;

let gateway: Gateway;
const services = new Map<string, Listening>();
let echo: InProcessOrigin;
let redirecting: Listening;
let location = '';

beforeAll(async () => {
  for (const name of NAMES) {
    services.set(
      name,
      await startService((request, response) => {
        response.end(request.method === 'HEAD' ? undefined : `${name} ${request.url ?? ''}`);
      }),
    );
  }
  echo = await startEcho();
  redirecting = await startService((_, response) => {
    response.writeHead(302, { location, 'content-length': 0 }).end();
  });
  const all = [...services, ['echo', echo], ['redirecting', redirecting]] as const;
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:${all
    .map(
      ([name, { url }]) => `
  ${name}: { instances: [${url}], sla: 5s, readiness: { path: /ready, interval: 600s, timeout: 10s } }`,
    )
    .join('')}
routes:
  - { path: /, service: root }
  - { path: /api, service: api }
  - { path: /api/inner, service: inner }
  - { path: /api, service: beta, match: { headers: { x-beta: "1" } } }
  - { path: /api, service: host, host: Shop.Example }
  - { path: /api, service: wild, host: "*.wild.example" }
  - { path: /posts, service: posts, methods: [POST, PUT] }
  - { path: /reads, service: posts, methods: [GET] }
  - { path: /split, service: api, methods: [GET] }
  - { path: /split, service: posts, methods: [POST] }
  - { path: /old, service: echo, rewrite: /new }
  - { path: /strip, service: echo, rewrite: / }
  - { path: /trailing/, service: echo, rewrite: /v3/ }
  - { path: /deep/er, service: echo, rewrite: /a }
  - { path: /hidden, service: echo, rewrite: /api }
  - { path: /, service: echo, host: moved.example, rewrite: /v2 }
  - { path: /gone, service: redirecting, rewrite: /inner }
`);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  for (const each of services.values()) await each[Symbol.asyncDispose]();
  await echo[Symbol.asyncDispose]();
  await redirecting[Symbol.asyncDispose]();
});

beforeEach(() => {
  location = '';
});

async function served(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<string> {
  const answer = await ask(gateway.port, { path, headers, method });
  expect([path, answer.status]).toEqual([path, 200]);
  return String(answer.body);
}

describe('the route of a request', () => {
  test.each([
    ['/', 'root /'],
    ['/apix', 'root /apix'],
    ['/api', 'api /api'],
    ['/api?x=/api/inner', 'api /api?x=/api/inner'],
    ['/api/', 'api /api/'],
    ['/api/innermost', 'api /api/innermost'],
    ['/api/inner', 'inner /api/inner'],
    ['/api/inner/most', 'inner /api/inner/most'],
    ['/API/inner', 'root /API/inner'],
  ])('is that of the longest prefix, on segment boundaries: %s', async (path, wanted) => {
    expect(await served(path)).toBe(wanted);
  });

  test.each([
    ['/x/../api', 400],
    ['/api/%2e%2e/secret', 400],
    ['/api%2finner', 400],
    ['/api\\inner', 400],
  ])('is never reached by a detour: %s', async (path, status) => {
    const { answers } = await rawExchange(gateway.port, `GET ${path} HTTP/1.1\r\nhost: a.test\r\n\r\n`);
    expect(answers[0]?.status).toBe(status);
  });

  test.each([
    ['//api', 'api /api'],
    ['/./api/.', 'api /api/'],
    ['/%61pi/%69nner', 'inner /api/inner'],
    ['/api/%e4%bd%a0', 'api /api/%E4%BD%A0'],
  ])('is found by the normal form, and that is what is asked for: %s', async (path, wanted) => {
    const { answers } = await rawExchange(gateway.port, `GET ${path} HTTP/1.1\r\nhost: a.test\r\n\r\n`);
    expect(answers[0]?.body).toBe(wanted);
  });

  test('is chosen by a header field, of which the first value counts', async () => {
    expect(await served('/api', { 'x-beta': '1' })).toBe('beta /api');
    expect(await served('/api', { 'x-beta': '2' })).toBe('api /api');
    expect(await served('/api/inner', { 'x-beta': '1' })).toBe('inner /api/inner');
  });

  test.each([
    ['shop.example', 'host /api'],
    ['SHOP.example:8443', 'host /api'],
    ['a.wild.example', 'wild /api'],
    ['a.b.wild.example', 'api /api'],
    ['wild.example', 'api /api'],
    ['other.example', 'api /api'],
  ])('is chosen by host %s', async (host, wanted) => {
    expect(await served('/api', { host })).toBe(wanted);
  });

  test('takes HEAD where it takes GET', async () => {
    expect((await ask(gateway.port, { method: 'HEAD', path: '/reads' })).status).toBe(200);
  });

  test('of another method is 405 with what is allowed', async () => {
    const answer = await ask(gateway.port, { path: '/posts' });
    expectProblem(answer, 405, 'SPW_METHOD_NOT_ALLOWED');
    expect(valueOf(answer.rawHeaders, 'allow')).toBe('POST, PUT');
    const split = await ask(gateway.port, { path: '/split', method: 'DELETE' });
    expect(split.status).toBe(405);
    expect(valueOf(split.rawHeaders, 'allow')?.split(', ').toSorted()).toEqual(['GET', 'HEAD', 'POST']);
  });

  test('of the right method among several is taken', async () => {
    expect(await served('/split')).toBe('api /split');
    expect(await served('/split', {}, 'POST')).toBe('posts /split');
  });
});

describe('no route', () => {
  test('is 404, and the admin paths are no exception', async () => {
    await using bare = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services: { shop: { instances: [${echo.url}] } }
routes: [{ path: /only, service: shop }]
`);
    for (const path of ['/', '/onlyx', '/metrics', '/v1/status', '/readyz'])
      expectProblem(await ask(bare.port, { path }), 404, 'SPW_NO_ROUTE');
    expect((await ask(bare.port, { path: '/only' })).status).toBe(200);
  });

  test('is told a browser as a page and a simple caller as text', async () => {
    const page = await ask(gateway.port, {
      path: '/posts',
      headers: { accept: 'text/html,application/xhtml+xml', 'sec-fetch-mode': 'navigate' },
    });
    expect(valueOf(page.rawHeaders, 'content-type')).toMatch(/^text\/html/);
    expect(String(page.body)).toContain('SPW_METHOD_NOT_ALLOWED');
    const text = await ask(gateway.port, { path: '/posts', headers: { accept: 'image/png' } });
    expect(valueOf(text.rawHeaders, 'content-type')).toMatch(/^text\/plain/);
  });
});

describe('a rewrite', () => {
  const bare = { host: 'a.test' };
  test.each([
    ['/old', bare, '/new'],
    ['/old/', bare, '/new/'],
    ['/old/a/b?q=1&r=%20', bare, '/new/a/b?q=1&r=%20'],
    ['/old?only=query', bare, '/new?only=query'],
    ['/old/old/x', bare, '/new/old/x'],
    ['/old/%E4%BD%A0/%25/a%20b', bare, '/new/%E4%BD%A0/%25/a%20b'],
    ['/old/a;b=c/@:!$&()*+,=', bare, '/new/a;b=c/@:!$&()*+,='],
    ['/strip', bare, '/'],
    ['/strip/', bare, '/'],
    ['/strip/a', bare, '/a'],
    ['/trailing/', bare, '/v3/'],
    ['/trailing/a', bare, '/v3/a'],
    ['/deep/er/x', bare, '/a/x'],
    ['/hidden/inner', bare, '/api/inner'],
    ['/', { host: 'moved.example' }, '/v2/'],
    ['/a/b', { host: 'moved.example' }, '/v2/a/b'],
    ['/v2/x?y', { host: 'moved.example' }, '/v2/v2/x?y'],
  ])('of %s (%o) asks for %s', async (path, headers, wanted) => {
    const { url } = JSON.parse(await served(path, headers)) as { url: string };
    expect(url).toBe(wanted);
  });

  test('leaves the host alone', async () => {
    const { rawHeaders } = JSON.parse(await served('/old', { host: 'shop.test:99' })) as {
      rawHeaders: string[];
    };
    expect(valueOf(rawHeaders, 'host')).toBe('shop.test:99');
  });

  test.each([
    ['/inner/next?q=1', '/inner/next?q=1'],
    ['/elsewhere', '/elsewhere'],
    ['https://other.example/inner/x', 'https://other.example/inner/x'],
    ['next', 'next'],
  ])('of a Location %s is %s', async (inside, outside) => {
    location = inside;
    const answer = await ask(gateway.port, { path: '/gone/here' });
    expect([answer.status, valueOf(answer.rawHeaders, 'location')]).toEqual([302, outside]);
  });

  test('of a Location that names the instance gives its address away to nobody', async () => {
    location = `${redirecting.url}/inner/next`;
    const answer = await ask(gateway.port, { path: '/gone/here' });
    expect(valueOf(answer.rawHeaders, 'location')).toBe('/gone/next');
  });
});

describe('what ends here whatever the routes say', () => {
  test('OPTIONS * is 204 with what is allowed', async () => {
    const { answers } = await rawExchange(gateway.port, 'OPTIONS * HTTP/1.1\r\nhost: a.test\r\n\r\n');
    expect(answers[0]?.status).toBe(204);
    expect(answers[0] === undefined ? '' : headerOf(answers[0], 'allow')).toMatch(/\bGET\b/);
  });

  test('OPTIONS of a path is the service’s own affair', async () => {
    expect(await served('/api', {}, 'OPTIONS')).toBe('api /api');
  });

  test('TRACE is 405', async () => {
    const { answers } = await rawExchange(gateway.port, 'TRACE /api HTTP/1.1\r\nhost: a.test\r\n\r\n');
    expect(answers[0]?.status).toBe(405);
    expect(answers[0] === undefined ? '' : headerOf(answers[0], 'allow')).not.toContain('TRACE');
  });

  test('CONNECT is 405 and the end of its connection', async () => {
    await using client = await openRaw(gateway.port);
    client.write('CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\n\r\n');
    await client.untilClosed();
    const { answers, rest } = await client.untilAnswers(1);
    expect([answers[0]?.status, rest]).toEqual([405, '']);
    expect(answers[0]?.body).toContain('"SPW_METHOD_NOT_ALLOWED"');
  });

  test('an absolute target is the route of its path when it names the same host, else 400', async () => {
    const same = await rawExchange(gateway.port, 'GET http://a.test/api HTTP/1.1\r\nhost: a.test\r\n\r\n');
    expect(same.answers[0]?.body).toBe('api /api');
    const other = await rawExchange(gateway.port, 'GET http://b.test/api HTTP/1.1\r\nhost: a.test\r\n\r\n');
    expect(other.answers[0]?.status).toBe(400);
  });
});
