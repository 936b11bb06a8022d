/**
 * gRPC from end to end: callers on HTTP/2 over TLS, instances on HTTP/2 in clear text (forwarding.md §6 "gRPC").
 */
import type { ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { reset, startH2Origin } from '../harness/h2-origin.ts';
import type { H2Origin, SeenStream } from '../harness/h2-origin.ts';
import { answerOf, startHttp2Gateway } from '../harness/http2-gateway.ts';
import type { Http2Gateway } from '../harness/http2-gateway.ts';
import { event, untilIdle } from './path-fixture.ts';

/** One message with its prefix: not compressed, length, bytes. */
function message(text: string): Buffer {
  const frame = Buffer.alloc(5 + text.length);
  frame.writeUInt32BE(text.length, 1);
  frame.write(text, 5, 'latin1');
  return frame;
}

/** The texts of all whole messages. */
function messagesOf(bytes: Buffer): string[] {
  const texts: string[] = [];
  let at = 0;
  while (at + 5 <= bytes.length) {
    const length = bytes.readUInt32BE(at + 1);
    texts.push(bytes.toString('latin1', at + 5, at + 5 + length));
    at += 5 + length;
  }
  return texts;
}

const OK = { 'grpc-status': '0' };
const HEAD = { ':status': 200, 'content-type': 'application/grpc+proto' };

function serve({ stream, headers }: SeenStream): void {
  const finish = (status: Readonly<Record<string, string>>): void => {
    stream.on('wantTrailers', () => stream.sendTrailers(status));
  };
  switch (headers[':path'] ?? '') {
    case '/s/Unary': {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        stream.respond(HEAD, { waitForTrailers: true });
        finish({
          ...OK,
          'x-timeout': String(headers['grpc-timeout'] ?? ''),
          'x-te': String(headers.te ?? ''),
        });
        stream.end(message(`heard ${messagesOf(Buffer.concat(chunks)).join(',')}`));
      });
      return;
    }
    case '/s/ServerStream':
      stream.respond(HEAD, { waitForTrailers: true });
      finish(OK);
      stream.write(message('1'));
      stream.write(message('2'));
      stream.end(message('3'));
      return;
    case '/s/Bidi':
      stream.respond(HEAD, { waitForTrailers: true });
      finish(OK);
      stream.pipe(stream);
      return;
    case '/s/NotFound':
      stream.respond({ ...HEAD, 'grpc-status': '5', 'grpc-message': 'no such thing' }, { endStream: true });
      return;
    case '/s/Cancelled':
      stream.respond(HEAD);
      stream.write(message('half'));
      stream.once('data', () => reset(stream, 8));
      return;
    case '/s/Exhausted':
      stream.respond(HEAD);
      stream.write(message('half'));
      stream.once('data', () => reset(stream, 11));
      return;
    case '/s/Refused':
      reset(stream, 2);
      return;
    default:
    // Silent.
  }
}

describe('gRPC', () => {
  let origin: H2Origin;
  let edge: Http2Gateway;
  beforeAll(async () => {
    origin = await startH2Origin(serve);
    edge = await startHttp2Gateway([origin.url], {
      service:
        'protocol: h2, timeout: { idle: 500ms, request: 5s }, retry: { max: 0 }, breaker: { consecutive: 1000 }',
    });
  });
  afterAll(async () => {
    await edge?.[Symbol.asyncDispose]();
    await origin?.[Symbol.asyncDispose]();
  });

  async function call(path: string, more: Readonly<Record<string, string>> = {}): Promise<ClientHttp2Stream> {
    const session = await edge.session();
    return session.request(
      { ':method': 'POST', ':path': path, te: 'trailers', 'content-type': 'application/grpc+proto', ...more },
      { endStream: false },
    );
  }

  async function head(stream: ClientHttp2Stream): Promise<IncomingHttpHeaders> {
    const [headers] = await event(stream, 'response');
    return headers as IncomingHttpHeaders;
  }

  it('a unary call has its answer, and its status in the trailers', async () => {
    const stream = await call('/s/Unary', { 'grpc-timeout': '2S' });
    stream.end(message('hello'));
    const { status, headers, body, trailers, code } = await answerOf(stream);
    expect([status, headers['content-type'], code]).toEqual([200, 'application/grpc+proto', 0]);
    expect(messagesOf(body)).toEqual(['heard hello']);
    expect(trailers).toMatchObject({ 'grpc-status': '0', 'x-te': 'trailers', 'x-timeout': '2S' });
  });

  it('a stream of answers and a stream of questions pass', async () => {
    const answers = await call('/s/ServerStream');
    answers.end(message('go'));
    const down = await answerOf(answers);
    expect([messagesOf(down.body), down.trailers['grpc-status']]).toEqual([['1', '2', '3'], '0']);
    const questions = await call('/s/Unary');
    for (const text of ['a', 'b', 'c']) questions.write(message(text));
    questions.end();
    const up = await answerOf(questions);
    expect(messagesOf(up.body)).toEqual(['heard a,b,c']);
  });

  it('both sides talk at once: each question has its answer before the next', async () => {
    const stream = await call('/s/Bidi');
    for (const text of ['one', 'two', 'three']) {
      stream.write(message(text));
      const [chunk] = await event(stream, 'data');
      expect(messagesOf(chunk as Buffer)).toEqual([text]);
    }
    stream.resume();
    const status = event(stream, 'trailers');
    stream.end();
    expect((await status)[0]).toMatchObject(OK);
  });

  it('a quiet conversation outlives timeout.idle', async () => {
    const stream = await call('/s/Bidi');
    stream.write(message('a'));
    await event(stream, 'data');
    const silence = Promise.withResolvers<void>();
    setTimeout(silence.resolve, 1200);
    await silence.promise;
    stream.write(message('b'));
    const [chunk] = await event(stream, 'data');
    expect(messagesOf(chunk as Buffer)).toEqual(['b']);
    stream.close(8);
  });

  it('an answer of trailers only ends with its head', async () => {
    const stream = await call('/s/NotFound');
    stream.end(message('x'));
    let flags = 0;
    stream.once('response', (_headers, given: number) => {
      flags = given;
    });
    const { headers } = await answerOf(stream);
    expect(headers).toMatchObject({ 'grpc-status': '5', 'grpc-message': 'no such thing' });
    expect(flags & 1).toBe(1);
  });

  it.each([
    ['/s/Cancelled', 8],
    ['/s/Exhausted', 2],
  ])('a call that the instance resets is reset: %s', async (path, code) => {
    const stream = await call(path);
    stream.write(message('x'));
    await head(stream);
    stream.write(message('y'));
    const answer = answerOf(stream);
    await answer.catch(() => undefined);
    expect(stream.rstCode).toBe(code);
  });

  it('a call that is reset before an answer has a status', async () => {
    const stream = await call('/s/Refused');
    stream.end(message('x'));
    const { headers } = await answerOf(stream);
    expect([headers[':status'], headers['grpc-status']]).toEqual([200, '14']);
  });

  it.each([8, 2])('a caller who resets with %i resets the call at the instance', async (code) => {
    const before = origin.seen.length;
    const stream = await call('/s/Bidi');
    stream.on('error', () => undefined);
    stream.write(message('a'));
    await event(stream, 'data');
    const upstream = origin.seen[before]?.stream;
    const { promise, resolve } = Promise.withResolvers<void>();
    upstream?.once('close', resolve);
    reset(stream, code);
    await promise;
    expect(upstream?.rstCode).toBe(code);
  });

  it('a deadline of the caller ends a call without an answer, as DEADLINE_EXCEEDED', async () => {
    const startedAt = performance.now();
    const stream = await call('/s/Silent', { 'grpc-timeout': '300m' });
    stream.end(message('x'));
    const { headers } = await answerOf(stream);
    expect([headers[':status'], headers['grpc-status']]).toEqual([200, '4']);
    expect(performance.now() - startedAt).toBeLessThan(4000);
  });

  it('and one whose questions are still coming, or whose answers are', async () => {
    const asking = await call('/s/Silent', { 'grpc-timeout': '300m' });
    asking.write(message('x'));
    expect((await answerOf(asking)).headers['grpc-status']).toBe('4');
    const before = origin.seen.length;
    const streaming = await call('/s/Bidi', { 'grpc-timeout': '300m' });
    streaming.write(message('x'));
    await head(streaming);
    await answerOf(streaming).catch(() => undefined);
    expect(streaming.rstCode).not.toBe(0);
    const upstream = origin.seen[before]?.stream;
    if (upstream?.closed === false) await event(upstream, 'close');
    expect(upstream?.rstCode).toBe(8);
    await untilIdle(edge.gateway, 'shop');
  });
});
