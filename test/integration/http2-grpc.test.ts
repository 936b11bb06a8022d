import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { CODE, FLAG, FRAME, FrameConnection, pseudo } from '../harness/http2-frames.ts';
import { answerOf, askStream, startHttp2Gateway } from '../harness/http2-gateway.ts';
import type { Http2Gateway } from '../harness/http2-gateway.ts';
import { freePorts } from '../harness/ports.ts';
import { startEcho } from '../harness/origin.ts';
import type { InProcessOrigin } from '../harness/origin.ts';

const GRPC = { ':method': 'POST', 'content-type': 'application/grpc+proto', te: 'trailers' };

describe('the gateway\u2019s own answers to gRPC', () => {
  let origin: InProcessOrigin;
  let edge: Http2Gateway;
  beforeAll(async () => {
    origin = await startEcho();
    const [closed] = await freePorts(1);
    edge = await startHttp2Gateway([origin.url], {
      routes: ['{ path: /only-get, service: shop, methods: [GET] }', '{ path: /gone, service: gone }'],
      more: [
        'tiers: { default: {}, small: { rate: 1/s, burst: 1 } }',
        'clients: { identify: [{ header: x-api-key }, { ip: {} }], keys: [{ key: k1, client: acme, tier: small }] }',
      ].join('\n'),
      gone: `http://127.0.0.1:${closed}`,
    });
  });
  afterAll(async () => {
    await edge?.[Symbol.asyncDispose]();
    await origin?.close();
  });

  it.each([
    ['an unknown key', { 'x-api-key': 'nobody' }, '16', 'SPW_UNKNOWN_KEY'],
    ['a method that the route does not take', { ':path': '/only-get' }, '12', 'SPW_METHOD_NOT_ALLOWED'],
    ['no ready instance', { ':path': '/gone' }, '14', 'SPW_NO_READY_INSTANCE'],
    ['a request that can be read in two ways', { ':path': '/a/../b' }, '13', 'SPW_BAD_REQUEST'],
    ['an authority of somebody else', { ':authority': 'other.test' }, '13', 'SPW_MISDIRECTED'],
  ])('for %s are 200 and a grpc-status', async (_name, headers, status, code) => {
    const session = await edge.session();
    const {
      headers: head,
      body,
      status: http,
    } = await askStream(session, { headers: { ...GRPC, ...headers }, body: 'x' });
    expect([http, head['grpc-status'], body.length]).toEqual([200, status, 0]);
    expect(head['content-type']).toBe('application/grpc+proto');
    expect(head['grpc-message']).toContain(code);
    expect(head['x-request-id']).toMatch(/./);
  });

  it('are trailers only, and close the stream of a caller that goes on talking', async () => {
    await using caller = await FrameConnection.open(edge.port);
    caller.ask(
      1,
      [...pseudo({ ':method': 'POST', ':path': '/gone' }), ['content-type', 'application/grpc']],
      false,
    );
    expect(await caller.status(1)).toBe(200);
    expect(await caller.resetOf(1)).toBe(CODE.NO_ERROR);
    const frames = caller.frames.filter(({ stream, type }) => stream === 1 && type <= FRAME.HEADERS);
    expect(frames.map(({ type, flags }) => [type, flags & FLAG.END_STREAM])).toEqual([
      [FRAME.HEADERS, FLAG.END_STREAM],
    ]);
  });

  it('say when to come back in milliseconds, where others get Retry-After', async () => {
    const session = await edge.session();
    const headers = { ...GRPC, 'x-api-key': 'k1' };
    await askStream(session, { headers, body: 'x' });
    const { headers: head } = await askStream(session, { headers, body: 'x' });
    expect(head['grpc-status']).toBe('8');
    expect(Number(head['grpc-retry-pushback-ms'])).toBeGreaterThanOrEqual(1000);
    expect(head['retry-after']).toBeUndefined();
  });

  it('are counted with the status that any other caller gets', async () => {
    const session = await edge.session();
    await askStream(session, { headers: { ...GRPC, 'x-api-key': 'nobody' }, body: 'x' });
    await expect
      .poll(async () => String((await edge.gateway.admin('/metrics')).body), { timeout: 10_000 })
      .toMatch(/spillway_requests_total\{.*status="401",code="SPW_UNKNOWN_KEY".*\}/);
  });

  it('over HTTP/1.1 are the same, with an empty body', async () => {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    request(
      {
        host: '127.0.0.1',
        port: edge.port,
        servername: 'localhost',
        ca: edge.ca,
        method: 'POST',
        path: '/gone',
        headers: { 'content-type': 'application/grpc-web+proto', host: 'localhost' },
        agent: false,
      },
      resolve,
    )
      .on('error', reject)
      .end('x');
    const response = await promise;
    response.resume();
    expect([response.statusCode, response.headers['grpc-status'], response.headers['content-type']]).toEqual([
      200,
      '14',
      'application/grpc-web+proto',
    ]);
    expect(response.headers['content-length']).toBe('0');
  });

  it('a stream that the caller keeps open is refused all the same', async () => {
    const session = await edge.session();
    const stream = session.request({ ...GRPC, ':path': '/gone' }, { endStream: false });
    const answer = await answerOf(stream);
    expect([answer.headers['grpc-status'], answer.code]).toEqual(['14', CODE.NO_ERROR]);
  });
});
