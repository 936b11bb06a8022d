import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import {
  CODE,
  FLAG,
  FRAME,
  FrameConnection,
  frame,
  pseudo,
  resetFrame,
  windowUpdate,
} from '../harness/http2-frames.ts';
import { answerOf, askStream, problemOf, startHttp2Gateway } from '../harness/http2-gateway.ts';
import type { Http2Gateway } from '../harness/http2-gateway.ts';
import { serviceOf, startService, untilIdle } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

const MIB = 1024 * 1024;
const BIG = Buffer.alloc(10 * MIB, 'spillway-');

function hashOf(...chunks: readonly Buffer[]): string {
  const hash = createHash('sha256');
  for (const chunk of chunks) hash.update(chunk);
  return hash.digest('hex');
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

describe('a stream', () => {
  let origin: Listening;
  let edge: Http2Gateway;
  let listener: RequestListener;
  beforeAll(async () => {
    origin = await startService((request, response) => listener(request, response));
    edge = await startHttp2Gateway([origin.url], {
      limits: 'bodyBytes: 64MiB, headersTimeout: 1s, requestTimeout: 1s, minBytesPerSecond: 0',
      more: 'shedding: { mode: off }',
    });
  });
  afterAll(async () => {
    await edge?.[Symbol.asyncDispose]();
    await origin?.close();
  });
  beforeEach(() => {
    listener = (_request, response) => response.end('ok');
  });

  /** The next request that the instance gets, unanswered. */
  function nextRequest(): Promise<{ request: IncomingMessage; response: ServerResponse }> {
    const { promise, resolve } = Promise.withResolvers<{
      request: IncomingMessage;
      response: ServerResponse;
    }>();
    listener = (request, response) => resolve({ request, response });
    return promise;
  }

  it('carries ten megabytes up and down, byte for byte', async () => {
    listener = (request, response) => {
      void bodyOf(request).then((body) => response.end(body));
    };
    const session = await edge.session();
    const sent = session.request({ ':method': 'POST', ':path': '/' });
    sent.end(BIG);
    const answer = await answerOf(sent);
    expect([answer.status, answer.code]).toEqual([200, CODE.NO_ERROR]);
    expect(hashOf(answer.body)).toBe(hashOf(BIG));
  });

  it('waits for nobody: a later one is answered while an earlier one is not', async () => {
    const first = nextRequest();
    const session = await edge.session();
    const slow = session.request({ ':path': '/slow' });
    const { response } = await first;
    listener = (_request, answer) => answer.end('quick');
    expect((await askStream(session)).body.toString()).toBe('quick');
    response.end('slow');
    expect((await answerOf(slow)).body.toString()).toBe('slow');
  });

  it('given up by its caller is given up at the instance within 50 ms, and is nobody\u2019s failure', async () => {
    const reached = nextRequest();
    const session = await edge.session();
    const stream = session.request({ ':path': '/left' });
    stream.on('error', () => undefined);
    const { response } = await reached;
    const gone = once(response, 'close');
    const from = performance.now();
    stream.close(CODE.CANCEL);
    await gone;
    expect(performance.now() - from).toBeLessThan(50);
    await untilIdle(edge.gateway, 'shop');
    await expect
      .poll(() => edge.gateway.logs(), { timeout: 10_000 })
      .toMatch(/"code":"SPW_CLIENT_CLOSED".*"path":"\/left","status":499/);
    expect((await serviceOf(edge.gateway, 'shop')).breaker.state).toBe('closed');
  });

  it.each([
    ['CANCEL', CODE.CANCEL],
    ['NO_ERROR', CODE.NO_ERROR],
  ])('reset with %s in the middle of its body never looks whole to the instance', async (_name, code) => {
    const reached = nextRequest();
    await using caller = await FrameConnection.open(edge.port);
    caller.ask(1, pseudo({ ':method': 'POST' }), false);
    caller.data(1, 'half a b');
    const { request } = await reached;
    let ended = false;
    request.on('end', () => {
      ended = true;
    });
    request.on('error', () => undefined);
    await once(request, 'data');
    caller.write(resetFrame(1, code));
    await expect.poll(() => request.destroyed, { timeout: 10_000 }).toBe(true);
    expect([ended, request.complete]).toEqual([false, false]);
    await untilIdle(edge.gateway, 'shop');
  });

  it('whose answer is cut upstream is reset with INTERNAL_ERROR, never ended', async () => {
    listener = (_request, response) => {
      response.write('the first half');
      setImmediate(() => response.destroy());
    };
    await using caller = await FrameConnection.open(edge.port);
    caller.ask(1, pseudo());
    expect(await caller.resetOf(1)).toBe(CODE.INTERNAL_ERROR);
    const ends = caller.frames.filter(
      ({ stream, flags, type }) => stream === 1 && type <= 1 && (flags & FLAG.END_STREAM) !== 0,
    );
    expect(ends).toEqual([]);
  });

  it('answered before its upload is over gets the whole answer, then RST_STREAM NO_ERROR', async () => {
    const page = Buffer.alloc(200_000, 'p');
    listener = (_request, response) => {
      response.writeHead(413, { 'content-length': page.length });
      response.end(page);
    };
    await using caller = await FrameConnection.open(edge.port);
    // Room for all of it.
    caller.write(frame(FRAME.SETTINGS, 0, 0, Buffer.from([0, 4, 0, 15, 66, 64])), windowUpdate(0, MIB));
    caller.ask(1, pseudo({ ':method': 'POST' }), false);
    caller.data(1, Buffer.alloc(1000));
    expect(await caller.status(1)).toBe(413);
    expect(await caller.resetOf(1)).toBe(CODE.NO_ERROR);
    expect(caller.bytesOf(1)).toBe(page.length);
  });

  it('that was cut short leaves the window of its session whole', async () => {
    listener = (request, response) => {
      if (request.url === '/early') {
        response.writeHead(400, { 'content-length': 2 }).end('no');
        return;
      }
      void bodyOf(request).then((body) => response.end(String(body.length)));
    };
    const session = await edge.session();
    for (let count = 0; count < 30; count += 1) {
      const early = session.request({ ':method': 'POST', ':path': '/early' });
      early.write(Buffer.alloc(200_000));
      expect((await answerOf(early)).status).toBe(400);
    }
    expect((await askStream(session, { body: BIG })).body.toString()).toBe(String(BIG.length));
  });

  it('passes trailers of the answer, also to who did not ask', async () => {
    listener = (_request, response) => {
      response.writeHead(200, { trailer: 'x-sum, x-two' });
      response.write('body');
      response.addTrailers([
        ['X-Sum', 'abc'],
        ['x-two', '1'],
        ['x-two', '2'],
        ['content-length', '9'],
      ]);
      response.end();
    };
    const { body, trailers, code } = await askStream(await edge.session());
    expect([body.toString(), code]).toEqual(['body', CODE.NO_ERROR]);
    expect({ ...trailers }).toMatchObject({ 'x-sum': 'abc', 'x-two': '1, 2' });
    expect(trailers['content-length']).toBeUndefined();
  });

  it('passes early hints, and says 100 once the body is wanted', async () => {
    listener = (request, response) => {
      expect(request.headers.expect).toBeUndefined();
      response.writeEarlyHints({ link: '</a.css>; rel=preload' });
      void bodyOf(request).then((body) => response.end(String(body.length)));
    };
    const session = await edge.session();
    const stream = session.request(
      { ':method': 'POST', ':path': '/', expect: '100-continue' },
      { endStream: false },
    );
    const answer = answerOf(stream);
    await once(stream, 'continue');
    stream.end('hello');
    expect(await answer).toMatchObject({ status: 200, interim: [100, 103] });
  });

  it('HEAD, 204 and 304 end with their head, and keep or lose their length', async () => {
    listener = (request, response) => {
      const status = Number(request.url?.slice(1));
      response.writeHead(status, status === 204 ? {} : { 'content-length': 42, etag: '"a"' }).end();
    };
    await using caller = await FrameConnection.open(edge.port);
    caller.ask(1, pseudo({ ':method': 'HEAD', ':path': '/200' }));
    caller.ask(3, pseudo({ ':path': '/204' }));
    caller.ask(5, pseudo({ ':path': '/304' }));
    expect(await Promise.all([1, 3, 5].map((stream) => caller.status(stream)))).toEqual([200, 204, 304]);
    for (const stream of [1, 3, 5]) {
      const frames = caller.frames.filter((each) => each.stream === stream);
      expect(frames.map(({ type, flags }) => [type, flags & FLAG.END_STREAM])).toEqual([[FRAME.HEADERS, 1]]);
    }
    const session = await edge.session();
    const head = await askStream(session, { headers: { ':method': 'HEAD', ':path': '/200' } });
    expect(head.headers['content-length']).toBe('42');
  });

  it('of events has its head before its first event', async () => {
    const reached = nextRequest();
    const session = await edge.session();
    const stream = session.request({ ':path': '/events' });
    const { response } = await reached;
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
    await once(stream, 'response');
    response.write('data: 1\n\n');
    const [event] = await once(stream, 'data');
    expect(String(event)).toBe('data: 1\n\n');
    stream.close(CODE.CANCEL);
    if (!response.closed) await once(response, 'close');
  });

  it('read by nobody stops its instance, and its session holds little', async () => {
    let written = 0;
    listener = (_request, response) => {
      const more = (): void => {
        while (!response.destroyed) {
          written += 65_536;
          if (!response.write(BIG.subarray(0, 65_536))) {
            response.once('drain', more);
            return;
          }
        }
      };
      more();
    };
    const before = edge.worker().residentBytes;
    await using caller = await FrameConnection.open(edge.port);
    for (let stream = 1; stream <= 19; stream += 2) caller.ask(stream, pseudo());
    await caller.status(1);
    let last = -1;
    while (written !== last) {
      last = written;
      await pause(200);
    }
    expect(edge.worker().residentBytes - before).toBeLessThan(24 * MIB);
    // The window of the connection alone: nothing was acknowledged.
    const got = caller.frames.reduce(
      (sum, { type, payload }) => sum + (type === FRAME.DATA ? payload.length : 0),
      0,
    );
    expect(got).toBe(65_535);
  });

  it('that keeps its body back is refused with 408 after requestTimeout', async () => {
    listener = (request, response) => {
      request.on('error', () => undefined);
      request.resume().on('end', () => response.end());
    };
    const session = await edge.session();
    const stream = session.request({ ':method': 'POST', ':path': '/' });
    stream.write('a');
    const from = performance.now();
    const answer = await answerOf(stream);
    expect([answer.status, problemOf(answer).code]).toEqual([408, 'SPW_REQUEST_TIMEOUT']);
    expect(performance.now() - from).toBeGreaterThan(900);
    expect(performance.now() - from).toBeLessThan(2500);
    expect((await askStream(session)).status).toBe(200);
  });

  it('over 100 at once is refused by the protocol, the others are served', async () => {
    const waiting: ServerResponse[] = [];
    listener = (_request, response) => waiting.push(response);
    await using caller = await FrameConnection.open(edge.port);
    for (let stream = 1; stream <= 201; stream += 2) caller.ask(stream, pseudo());
    expect(await caller.resetOf(201)).toBe(CODE.REFUSED_STREAM);
    await expect.poll(() => waiting.length, { timeout: 10_000 }).toBe(100);
    for (const response of waiting) response.end();
    expect(await caller.status(199)).toBe(200);
  });
});

describe('the end of a session', () => {
  it('comes after headersTimeout without a request, and after idleTimeout behind the last', async () => {
    await using origin = await startService((_request, response) => response.end('ok'));
    await using edge = await startHttp2Gateway([origin.url], {
      limits: 'headersTimeout: 1s, idleTimeout: 2s',
    });
    const silent = await FrameConnection.open(edge.port);
    const mute = await FrameConnection.open(edge.port, { silent: true });
    const used = await FrameConnection.open(edge.port);
    used.ask(1, pseudo());
    expect(await used.status(1)).toBe(200);
    const [first, second, third] = await Promise.all([
      silent.untilClosed(10_000),
      mute.untilClosed(10_000),
      used.untilClosed(10_000),
    ]);
    expect(Math.max(first, second)).toBeLessThan(2500);
    expect(third).toBeGreaterThan(1800);
    expect(third).toBeLessThan(4000);
    expect((await silent.goAway()).code).toBe(CODE.NO_ERROR);
    expect(await used.goAway()).toEqual({ code: CODE.NO_ERROR, lastStream: 1 });
  });

  it('at a shutdown is GOAWAY; streams under way finish, none is lost', async () => {
    const waiting: ServerResponse[] = [];
    await using origin = await startService((request, response) => {
      if (request.url === '/wait') waiting.push(response);
      else response.end('ok');
    });
    await using edge = await startHttp2Gateway([origin.url], {
      more: 'shutdown: { delay: 1s, timeout: 10s }',
    });
    const caller = await FrameConnection.open(edge.port);
    const idle = await FrameConnection.open(edge.port);
    idle.ask(1, pseudo());
    await idle.status(1);
    caller.ask(1, pseudo({ ':path': '/wait' }));
    await expect.poll(() => waiting.length, { timeout: 10_000 }).toBe(1);
    process.kill(edge.gateway.pid, 'SIGTERM');
    await edge.gateway.readyz(503);
    // Still served while readiness fails; its answer brings the notice along.
    caller.ask(3, pseudo());
    expect(await caller.goAway()).toEqual({ code: CODE.NO_ERROR, lastStream: 3 });
    expect(await caller.status(3)).toBe(200);
    for (const response of waiting) response.end('done');
    expect(await caller.status(1)).toBe(200);
    await Promise.all([caller.untilClosed(), idle.untilClosed()]);
    expect((await idle.goAway()).code).toBe(CODE.NO_ERROR);
    expect(await edge.gateway.process.exited).toMatchObject({ code: 0 });
  });
});
