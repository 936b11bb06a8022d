/**
 * Callers of HTTP/1.1 and instances that speak HTTP/2: in clear text with prior knowledge, over TLS by ALPN
 * (forwarding.md §4 "To instances", §8 U24, U26, U27, U31, U37, U39).
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { issueCertificate, makeAuthority } from '../harness/certificates.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { echoStream, startH2Origin } from '../harness/h2-origin.ts';
import type { EchoedStream, H2Origin, SeenStream } from '../harness/h2-origin.ts';
import { eventually } from '../harness/ports.ts';
import { rawExchange } from '../harness/raw.ts';
import { ask, begin, bodyOf, event, untilIdle, valueOf, valuesOf } from './path-fixture.ts';

/** Of 64 KiB, by the last answer to `/much`. */
let madeChunks = 0;

function answer(seen: SeenStream): void {
  const { stream, headers } = seen;
  switch (headers[':path'] ?? '') {
    case '/early':
      stream.additionalHeaders({ ':status': 103, link: '</a.css>; rel=preload' });
      stream.respond({ ':status': 200 });
      stream.end('late');
      return;
    case '/nothing':
      stream.respond({ ':status': 204 }, { endStream: true });
      return;
    case '/unchanged':
      stream.respond({ ':status': 304, etag: '"1"' }, { endStream: true });
      return;
    case '/trailers':
      stream.respond({ ':status': 200, 'content-type': 'text/plain' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '9' }));
      stream.end('body');
      return;
    case '/cookies':
      stream.respond({ ':status': 200, 'set-cookie': ['a=1', 'b=2'], 'x-name': 'caf\u00e9' });
      stream.end('x');
      return;
    case '/much': {
      stream.respond({ ':status': 200 });
      const chunk = Buffer.alloc(64 * 1024, 'm');
      const more = (): void => {
        while (madeChunks < 1600) {
          madeChunks++;
          if (!stream.write(chunk)) return void stream.once('drain', more);
        }
        stream.end();
      };
      madeChunks = 0;
      more();
      return;
    }
    default:
      echoStream(seen);
  }
}

function echoed(body: Buffer): EchoedStream {
  return JSON.parse(body.toString('utf8')) as EchoedStream;
}

describe.each(['http', 'https'] as const)('over %s', (scheme) => {
  let folder: string;
  let origin: H2Origin;
  let gateway: Gateway;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'spillway-h2-'));
    let tls = '';
    if (scheme === 'https') {
      const authority = makeAuthority(folder);
      const files = issueCertificate(folder, authority, 'shop', ['shop.test']);
      origin = await startH2Origin(answer, { tls: files });
      tls = `tls: { ca: ${authority.cert}, serverName: shop.test }`;
    } else {
      origin = await startH2Origin(answer);
      tls = 'protocol: h2';
    }
    gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services: { shop: { instances: ['${origin.url}'], readiness: { path: /ready }, ${tls} } }
routes: [{ path: /, service: shop }]
shedding: { mode: off }
`);
  });
  afterAll(async () => {
    await gateway?.[Symbol.asyncDispose]();
    await origin?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  it('a request is what it was, and its Host is the authority', async () => {
    const { status, body } = await ask(gateway.port, {
      path: '/a/%C3%A9?q=1&&',
      headers: { host: 'Shop.Example:81', 'X-Twice': ['1', '2'], 'user-agent': 'us', te: 'trailers' },
    });
    expect(status).toBe(200);
    const seen = echoed(body);
    expect(seen).toMatchObject({
      method: 'GET',
      path: '/a/%C3%A9?q=1&&',
      authority: 'Shop.Example:81',
      scheme,
      body: '',
    });
    expect(valuesOf(seen.rawHeaders, 'x-twice')).toEqual(['1', '2']);
    expect(valuesOf(seen.rawHeaders, 'host')).toEqual([]);
    expect(valueOf(seen.rawHeaders, 'te')).toBe('trailers');
    expect(valueOf(seen.rawHeaders, 'via')).toMatch(/^1\.1 /);
    expect(
      seen.rawHeaders.filter((text) => /^(connection|keep-alive|transfer-encoding)$/i.test(text)),
    ).toEqual([]);
  });

  it('many requests at once share few connections', async () => {
    const before = origin.sessions.size;
    const answers = await Promise.all(Array.from({ length: 60 }, () => ask(gateway.port, { path: '/x' })));
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 60 }, () => 200));
    expect(origin.sessions.size - before).toBeLessThanOrEqual(1);
  });

  it.each([false, true])('a body arrives whole, chunked: %s', async (chunked) => {
    const body = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7) % 256));
    const sent = await ask(gateway.port, { method: 'POST', body, chunked });
    expect(sent.status).toBe(200);
    const seen = echoed(sent.body);
    expect(createHash('sha1').update(Buffer.from(seen.body, 'latin1')).digest('hex')).toBe(
      createHash('sha1').update(body).digest('hex'),
    );
    expect(valuesOf(seen.rawHeaders, 'content-length')).toEqual(chunked ? [] : ['300000']);
  });

  it('HEAD keeps its length and has no body; 204 and 304 have none', async () => {
    const head = await ask(gateway.port, { method: 'HEAD' });
    expect([head.status, head.body.length]).toEqual([200, 0]);
    expect(Number(valueOf(head.rawHeaders, 'content-length'))).toBeGreaterThan(100);
    const nothing = await ask(gateway.port, { path: '/nothing' });
    expect([nothing.status, valuesOf(nothing.rawHeaders, 'content-length')]).toEqual([204, []]);
    const unchanged = await ask(gateway.port, { path: '/unchanged' });
    expect([unchanged.status, valueOf(unchanged.rawHeaders, 'etag')]).toEqual([304, '"1"']);
  });

  it('U24: an interim answer passes before the final one', async () => {
    const { status, interim, body } = await ask(gateway.port, { path: '/early' });
    expect([status, interim, body.toString()]).toEqual([200, [103], 'late']);
  });

  it('U31: trailers go to a caller that asked for them, and to no other', async () => {
    const { promise, resolve } = Promise.withResolvers<NodeJS.Dict<string>>();
    const { sent, answered } = begin(gateway.port, {
      path: '/trailers',
      headers: { te: 'trailers', connection: 'te' },
    });
    sent.end();
    const { message } = await answered;
    message.once('end', () => resolve(message.trailers));
    expect((await bodyOf(message)).toString()).toBe('body');
    expect(await promise).toEqual({ 'x-sum': '9' });
    const plain = begin(gateway.port, { path: '/trailers' });
    plain.sent.end();
    const { message: second } = await plain.answered;
    await bodyOf(second);
    expect(second.trailers).toEqual({});
  });

  it('U37: two cookies stay two, and octets beyond ASCII are kept', async () => {
    const text = await rawExchange(
      gateway.port,
      'GET /cookies HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n',
    );
    const [only] = text.answers;
    expect(only?.headers.filter(([name]) => name === 'set-cookie')).toEqual([
      ['set-cookie', 'a=1'],
      ['set-cookie', 'b=2'],
    ]);
    expect(only?.headers.find(([name]) => name === 'x-name')?.[1]).toBe('caf\u00e9');
    expect(only?.chunked).toBe(true);
  });

  it('U39: what a slow reader does not take stays at the instance', async () => {
    const { sent, answered } = begin(gateway.port, { path: '/much' });
    sent.end();
    const { message } = await answered;
    message.pause();
    let before = -1;
    await eventually(
      'the instance is held up',
      () => {
        const still = madeChunks === before;
        before = madeChunks;
        return still;
      },
      30_000,
      200,
    );
    // Sockets of both sides and one window a stream: a few MiB, and not a hundred.
    expect(madeChunks).toBeLessThan(256);
    let bytes = 0;
    message.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    message.resume();
    await event(message, 'end').catch(async (error: unknown) => {
      const { body } = await gateway.admin(`/v1/explain/${String(message.headers['x-request-id'])}`);
      throw new Error(`cut at ${bytes}: ${JSON.stringify(body)}`, { cause: error });
    });
    expect(bytes).toBe(100 * 1024 * 1024);
  });

  it('a caller that leaves ends the stream, and nothing else of the connection', async () => {
    const before = origin.seen.length;
    const { sent, answered } = begin(gateway.port, { path: '/much' });
    sent.end();
    const { message } = await answered;
    message.on('error', () => undefined);
    const stream = origin.seen[before]?.stream;
    const closed = event(stream as NodeJS.EventEmitter, 'close');
    message.destroy();
    await closed;
    expect(stream?.rstCode).toBe(8);
    expect((await ask(gateway.port)).status).toBe(200);
    await untilIdle(gateway, 'shop');
  });
});

describe('an instance with few streams', () => {
  it('gets more connections and no queue', async () => {
    const held: SeenStream[] = [];
    await using origin = await startH2Origin((seen) => held.push(seen), {
      settings: { maxConcurrentStreams: 4 },
    });
    await using gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services: { shop: { instances: ['${origin.url}'], readiness: { path: /ready }, protocol: h2 } }
routes: [{ path: /, service: shop }]
shedding: { mode: off }
`);
    const answers = Array.from({ length: 10 }, () => ask(gateway.port));
    await eventually('all ten are at the instance', () => held.length === 10);
    expect(origin.sessions.size).toBe(3);
    for (const { stream } of held) {
      stream.respond({ ':status': 200 });
      stream.end('x');
    }
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual(
      Array.from({ length: 10 }, () => 200),
    );
    await untilIdle(gateway, 'shop');
  });
});
