/**
 * What a listener answers by itself: the health path, and the redirect to https.
 */
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startGateway, type Gateway } from '../harness/gateway.ts';
import { startEcho, type InProcessOrigin } from '../harness/origin.ts';
import { eventually, freePorts } from '../harness/ports.ts';
import { headerOf, openRaw, rawExchange, type RawAnswer } from '../harness/raw.ts';
import { ask, begin, expectProblem, valueOf } from './path-fixture.ts';

let origin: InProcessOrigin;
let gateway: Gateway;
let redirecting = 0;
let mapped = 0;

beforeAll(async () => {
  origin = await startEcho();
  [redirecting = 0, mapped = 0] = await freePorts(2);
  gateway = await startGateway(`
listeners:
  - { port: __PORT__, host: 127.0.0.1, healthPath: /healthz, limits: { bodyBytes: 1MiB } }
  - { port: ${redirecting}, host: 127.0.0.1, healthPath: /healthz, redirectToHttps: true }
  - { port: ${mapped}, host: 127.0.0.1, redirectToHttps: 9443 }
workers: 1
tiers: { default: { rate: 1/h, burst: 1 } }
services: { shop: { instances: [${origin.url}], sla: 5s, readiness: { path: /ready, interval: 600s, timeout: 10s } } }
routes:
  - { path: /, service: shop }
  - { path: /.well-known/acme-challenge, service: shop, cost: 0 }
`);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

async function raw(port: number, bytes: string): Promise<RawAnswer> {
  const { answers } = await rawExchange(port, bytes);
  const [answer] = answers;
  if (answer === undefined) throw new Error('no answer');
  return answer;
}

describe('the health path', () => {
  test('answers as /readyz does, to nobody who asks too often', async () => {
    for (let count = 0; count < 20; count++) {
      const answer = await ask(gateway.port, { path: '/healthz?from=balancer' });
      expect([answer.status, answer.body.toString()]).toEqual([200, '{"ready":true}']);
      expect(valueOf(answer.rawHeaders, 'cache-control')).toBe('no-store');
    }
    expect(origin.requests).toEqual([]);
  });

  test('is answered to HEAD without a body, and to HTTP/1.0 without a host', async () => {
    const head = await ask(gateway.port, { method: 'HEAD', path: '/healthz' });
    expect([head.status, head.body.length, valueOf(head.rawHeaders, 'content-length')]).toEqual([
      200,
      0,
      '14',
    ]);
    const old = await raw(gateway.port, 'GET /healthz HTTP/1.0\r\n\r\n');
    expect([old.status, old.body]).toEqual([200, '{"ready":true}']);
  });

  test('takes no other method', async () => {
    const answer = await ask(gateway.port, { method: 'POST', path: '/healthz', body: 'x' });
    expectProblem(answer, 405, 'SPW_METHOD_NOT_ALLOWED');
    expect(valueOf(answer.rawHeaders, 'allow')).toBe('GET, HEAD');
  });

  test('is one path: what is below it or spelled otherwise is routed or refused as ever', async () => {
    expect((await ask(gateway.port, { path: '/%68ealthz' })).status).toBe(200);
    const below = await ask(gateway.port, { path: '/healthz/x' });
    expect([200, 429]).toContain(below.status);
    expect(below.body.toString()).not.toContain('"ready"');
  });

  test('comes before the redirect', async () => {
    expect((await ask(redirecting, { path: '/healthz' })).status).toBe(200);
  });

  test('answers 503 from the moment the gateway drains', async () => {
    const [port = 0] = await freePorts(1);
    await using draining = await startGateway(`
listeners: [{ port: ${port}, host: 127.0.0.1, healthPath: /healthz }]
workers: 1
shutdown: { delay: 2s, timeout: 10s }
services: { shop: { instances: [${origin.url}], sla: 5s, readiness: { path: /ready, interval: 600s, timeout: 10s } } }
routes: [{ path: /, service: shop }]
`);
    expect((await ask(port, { path: '/healthz' })).status).toBe(200);
    draining.process.signal('SIGTERM');
    await eventually('the health path fails', async () => {
      const answer = await ask(port, { path: '/healthz' });
      if (answer.status === 200) return false;
      expect([answer.status, answer.body.toString()]).toEqual([503, '{"ready":false}']);
      // The listeners are open still: that is what the delay is for.
      expect((await ask(port, { path: '/' })).status).toBe(200);
      return true;
    });
    expect((await draining.process.exited).code).toBe(0);
  });
});

test('the health path says what the gateway says, also on a connection of a worker that is replaced', async () => {
  const [port = 0] = await freePorts(1);
  await using rolling = await startGateway(`
listeners: [{ port: ${port}, host: 127.0.0.1, healthPath: /healthz }]
workers: 1
services: { shop: { instances: [${origin.url}], sla: 5s, readiness: { path: /ready, interval: 600s, timeout: 10s } } }
routes: [{ path: /, service: shop }]
`);
  await using client = await openRaw(port);
  client.write('GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n');
  await client.untilAnswers(1);
  expect((await rolling.admin('/v1/workers/roll', { method: 'POST' })).body).toEqual({
    rolled: 1,
    failed: [],
  });
  client.write('GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n');
  const { answers } = await client.untilAnswers(2);
  expect(answers.map(({ status }) => status)).toEqual([200, 200]);
  expect(answers.map((answer) => headerOf(answer, 'connection'))).toEqual(['keep-alive', 'close']);
  await client.untilClosed();
});

describe('the redirect to https', () => {
  const locationOf = async (path: string, host: string): Promise<readonly unknown[]> => {
    const { status, rawHeaders, body } = await ask(redirecting, { path, headers: { host } });
    return [status, valueOf(rawHeaders, 'location'), body.length];
  };

  test('keeps host, path and query as they came', async () => {
    const before = origin.requests.length;
    expect(await locationOf('/', 'a.test')).toEqual([308, 'https://a.test/', 0]);
    expect(await locationOf('/x//y/%7Ez?q=%2F&r', `a.test:${redirecting}`)).toEqual([
      308,
      'https://a.test/x//y/%7Ez?q=%2F&r',
      0,
    ]);
    expect(await locationOf('/', '[::1]:80')).toEqual([308, 'https://[::1]/', 0]);
    expect(origin.requests).toHaveLength(before);
  });

  test('leads to the port that the configuration names, where callers find another one than ours', async () => {
    for (const host of ['a.test', `a.test:${mapped}`]) {
      const { status, rawHeaders } = await ask(mapped, { path: '/x?y', headers: { host } });
      expect([status, valueOf(rawHeaders, 'location')]).toEqual([308, 'https://a.test:9443/x?y']);
    }
    expect((await ask(mapped, { path: '/.well-known/acme-challenge/token' })).status).toBe(200);
  });

  test('is given to every method, and every time: it costs nobody a limit', async () => {
    for (const method of ['GET', 'HEAD', 'POST', 'DELETE', 'PATCH', 'OPTIONS'])
      expect((await ask(redirecting, { method, body: method === 'POST' ? 'x' : '' })).status).toBe(308);
  });

  test('leaves the connection open behind a small body, and ends it in order before a large one', async () => {
    const small = 'POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\nhi';
    await using connection = await openRaw(redirecting);
    connection.write(small + small);
    const { answers } = await connection.untilAnswers(2);
    expect(answers.map(({ status }) => status)).toEqual([308, 308]);
    const large = begin(redirecting, { method: 'POST', headers: { 'content-length': '900000' } });
    large.sent.write('some of it');
    const { answer } = await large.answered;
    expect([answer.status, valueOf(answer.rawHeaders, 'connection')]).toEqual([308, 'close']);
    large.sent.destroy();
    await once(large.sent, 'close');
  });

  test('is given before an upload is invited', async () => {
    const invited = begin(redirecting, {
      method: 'POST',
      headers: { 'content-length': '5', expect: '100-continue' },
    });
    invited.sent.flushHeaders();
    const { answer } = await invited.answered;
    expect([answer.status, answer.interim]).toEqual([308, []]);
    invited.sent.destroy();
  });

  test('refuses what it cannot read, and where there is no host to send to', async () => {
    const noHost = await raw(redirecting, 'GET / HTTP/1.0\r\n\r\n');
    expect(noHost.status).toBe(400);
    expect(headerOf(noHost, 'location')).toBeUndefined();
    for (const host of ['a b', 'u@a.test', 'a.test/x', 'a.test:99999', 'a.test\tx']) {
      const answer = await raw(redirecting, `GET / HTTP/1.1\r\nhost: ${host}\r\n\r\n`);
      expect([answer.status, headerOf(answer, 'location')], host).toEqual([400, undefined]);
    }
    expect((await raw(redirecting, 'GET /a/../b HTTP/1.1\r\nhost: a.test\r\n\r\n')).status).toBe(400);
  });

  test('takes an absolute target apart', async () => {
    const answer = await raw(
      redirecting,
      'GET http://a.test/p?q HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n',
    );
    expect([answer.status, headerOf(answer, 'location')]).toEqual([308, 'https://a.test/p?q']);
  });

  test('lets a path be served that proves who owns a name, since it has a route of its own', async () => {
    const answer = await ask(redirecting, { path: '/.well-known/acme-challenge/token' });
    expect(answer.status).toBe(200);
    expect(origin.requests.at(-1)?.url).toBe('/.well-known/acme-challenge/token');
    expect((await ask(redirecting, { path: '/.well-known/security.txt' })).status).toBe(308);
  });

  test('turns a WebSocket handshake away too', async () => {
    const upgrade = 'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n';
    const answer = await raw(
      redirecting,
      `GET /ws HTTP/1.1\r\nhost: a.test\r\n${upgrade}sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
    );
    expect([answer.status, headerOf(answer, 'location')]).toEqual([308, 'https://a.test/ws']);
  });
});
