/**
 * Where the head of a stream is not its end: whether a body follows, how long it is, and what the answer is counted as.
 * RFC 9113 §8.1, §8.1.1; callers who do so are curl, Go and Node with a body of unknown length.
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import {
  CODE,
  FLAG,
  FRAME,
  FrameConnection,
  frame,
  pseudo,
  resetFrame,
  section,
  windowUpdate,
} from '../harness/http2-frames.ts';
import type { Field } from '../harness/http2-frames.ts';
import { answerOf, askStream, problemOf, startHttp2Gateway } from '../harness/http2-gateway.ts';
import type { Http2Gateway } from '../harness/http2-gateway.ts';
import { startService, untilIdle } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

interface Seen {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly coding: string | undefined;
  readonly length: string | undefined;
  readonly body: string;
}

let origin: Listening;
let edge: Http2Gateway;
let listener: RequestListener;
let seen: Seen[] = [];

async function echo(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = (await buffer(request)).toString();
  const { method, url, headers } = request;
  seen.push({ method, url, coding: headers['transfer-encoding'], length: headers['content-length'], body });
  response.end(`got ${body.length}`);
}

beforeAll(async () => {
  origin = await startService((request, response) => listener(request, response));
  edge = await startHttp2Gateway([origin.url], {
    limits: 'headersTimeout: 1s, requestTimeout: 5s, minBytesPerSecond: 0',
    routes: ['{ path: /search, service: shop, allowBody: true }'],
    more: 'shedding: { mode: off }',
  });
});
afterAll(async () => {
  await edge?.[Symbol.asyncDispose]();
  await origin?.close();
});
beforeEach(() => {
  seen = [];
  listener = (request, response) => {
    echo(request, response).catch(() => undefined);
  };
});

/** The status that was logged for a path. */
async function loggedAs(path: string): Promise<number | undefined> {
  let status: number | undefined;
  await expect
    .poll(
      () => {
        const line = edge.gateway
          .logs()
          .split('\n')
          .find((each) => each.includes(`"path":"${path}"`));
        status = line === undefined ? undefined : (JSON.parse(line) as { status: number }).status;
        return status;
      },
      { timeout: 10_000 },
    )
    .toBeDefined();
  return status;
}

function end(stream: number): Buffer {
  return frame(FRAME.DATA, FLAG.END_STREAM, stream);
}

describe('a GET whose stream is open behind its head', () => {
  it.each([
    ['an empty frame', end(1)],
    ['trailers', Buffer.concat(section(1, [['x-sum', 'a']], true))],
  ])('and ends with %s is one without a body', async (_name, last) => {
    await using caller = await FrameConnection.open(edge.port);
    caller.ask(1, pseudo({ ':path': '/bare' }), false);
    caller.write(last);
    expect(await caller.status(1)).toBe(200);
    expect(seen).toEqual([{ method: 'GET', url: '/bare', coding: undefined, length: undefined, body: '' }]);
  });

  it('is not begun before it is told whether a body comes, and others are served meanwhile', async () => {
    await using caller = await FrameConnection.open(edge.port);
    caller.ask(1, pseudo({ ':path': '/first' }), false);
    // An empty frame that does not end it tells nothing.
    caller.data(1, '');
    caller.ask(3, pseudo({ ':path': '/second' }));
    expect(await caller.status(3)).toBe(200);
    expect(seen.map(({ url }) => url)).toEqual(['/second']);
    caller.write(end(1));
    expect(await caller.status(1)).toBe(200);
    expect(seen.map(({ url }) => url)).toEqual(['/second', '/first']);
  });

  it('and a HEAD likewise, is answered with its head alone', async () => {
    await using caller = await FrameConnection.open(edge.port);
    caller.ask(1, pseudo({ ':method': 'HEAD' }), false);
    caller.write(end(1));
    const head = await caller.next('answer', ({ type }) => type === FRAME.HEADERS);
    expect(head.flags & FLAG.END_STREAM).toBe(FLAG.END_STREAM);
    expect(await caller.status(1)).toBe(200);
  });

  it('of curl and of Node is served', async () => {
    const target = `https://localhost:${edge.port}/curl`;
    const asked = [
      '-sS',
      '-k',
      '--http2',
      '-X',
      'GET',
      '-T',
      '-',
      '-w',
      ' %{http_version} %{http_code}',
      target,
    ];
    const { promise, resolve } = Promise.withResolvers<string>();
    const curl = execFile('curl', asked, { timeout: 20_000 }, (_error, out, problem) =>
      resolve(out + problem),
    );
    curl.stdin?.end();
    expect(await promise).toBe('got 0 2 200');
    const stream = (await edge.session()).request({ ':path': '/node' }, { endStream: false });
    const answer = answerOf(stream);
    stream.end();
    expect(await answer).toMatchObject({ status: 200, code: CODE.NO_ERROR });
    expect(seen.map(({ url, coding }) => [url, coding])).toEqual([
      ['/curl', undefined],
      ['/node', undefined],
    ]);
    expect(await loggedAs('/curl')).toBe(200);
    expect(await loggedAs('/node')).toBe(200);
  });

  it('with a byte in it has a body, which is refused as over HTTP/1.1', async () => {
    await using caller = await FrameConnection.open(edge.port);
    caller.ask(1, pseudo(), false);
    caller.data(1, 'x');
    expect(await caller.status(1)).toBe(400);
    expect(await caller.resetOf(1)).toBe(CODE.NO_ERROR);
    expect(seen).toEqual([]);
  });

  it('has its body passed on where the route allows it, from the first byte', async () => {
    await using caller = await FrameConnection.open(edge.port);
    caller.ask(1, pseudo({ ':path': '/search' }), false);
    caller.data(1, 'abc');
    caller.data(1, 'def', true);
    expect(await caller.status(1)).toBe(200);
    expect(seen).toMatchObject([{ method: 'GET', coding: 'chunked', body: 'abcdef' }]);
  });

  it('and says nothing more is refused with 408 when a head would be', async () => {
    const session = await edge.session();
    const stream = session.request({ ':path': '/silent' }, { endStream: false });
    const from = performance.now();
    const answer = await answerOf(stream);
    expect([answer.status, problemOf(answer).code]).toEqual([408, 'SPW_REQUEST_TIMEOUT']);
    expect(performance.now() - from).toBeGreaterThan(900);
    expect(performance.now() - from).toBeLessThan(2500);
    expect(seen).toEqual([]);
    expect((await askStream(session)).status).toBe(200);
  });

  it('and is given up is over, with its session as it was', async () => {
    await using caller = await FrameConnection.open(edge.port);
    for (const [stream, code] of [
      [1, CODE.NO_ERROR],
      [3, CODE.CANCEL],
    ] as const) {
      caller.ask(stream, pseudo({ ':path': '/left' }), false);
      caller.write(resetFrame(stream, code));
    }
    caller.ask(5, pseudo({ ':path': '/on' }));
    expect(await caller.status(5)).toBe(200);
    expect(seen.map(({ url }) => url)).toEqual(['/on']);
  });

  it('holds no more than 256 KiB of heads on a connection: the others are told to come again', async () => {
    await using caller = await FrameConnection.open(edge.port);
    const long: Field = ['x-long', 'a'.repeat(8000)];
    const streams = Array.from({ length: 40 }, (_, index) => index * 2 + 1);
    for (const stream of streams) caller.ask(stream, [...pseudo(), long], false);
    expect(await caller.resetOf(79)).toBe(CODE.REFUSED_STREAM);
    const refused = caller.frames.filter(({ type }) => type === FRAME.RST_STREAM).length;
    expect(refused).toBeGreaterThan(5);
    expect(refused).toBeLessThan(12);
    for (const stream of streams) caller.write(end(stream));
    expect(await caller.status(1)).toBe(200);
    // What waited is given back.
    caller.ask(81, [...pseudo(), long], false);
    caller.write(end(81));
    expect(await caller.status(81)).toBe(200);
  });

  it('counts as an open stream: the hundred-and-first is refused by the protocol', async () => {
    await using caller = await FrameConnection.open(edge.port);
    for (let stream = 1; stream <= 201; stream += 2) caller.ask(stream, pseudo(), false);
    expect(await caller.resetOf(201)).toBe(CODE.REFUSED_STREAM);
    caller.write(end(1));
    expect(await caller.status(1)).toBe(200);
  });
});

describe('an upload', () => {
  it('that ended empty before anybody looked at it has an end all the same', async () => {
    // Nothing is kept open to the instance yet, so that the request waits for a connection.
    await using quiet = await startService((request, response) => void echo(request, response));
    await using fresh = await startHttp2Gateway([quiet.url]);
    await using caller = await FrameConnection.open(fresh.port);
    caller.write(...section(1, pseudo({ ':method': 'POST' }), false), end(1));
    expect(await caller.status(1)).toBe(200);
    expect(seen).toMatchObject([{ method: 'POST', coding: 'chunked', body: '' }]);
  });

  it.each([
    ['in one frame', [['content-length', '5']], ['hello']],
    ['of unknown length', [], ['hel', 'lo']],
    ['of none', [['content-length', '0']], ['']],
  ] as const)(
    '%s that got its whole answer is logged with its status, not as left',
    async (name, fields, parts) => {
      const path = `/${name.replaceAll(' ', '-')}`;
      await using caller = await FrameConnection.open(edge.port);
      caller.ask(1, [...pseudo({ ':method': 'POST', ':path': path }), ...fields], false);
      for (const [index, part] of parts.entries()) caller.data(1, part, index === parts.length - 1);
      expect(await caller.status(1)).toBe(200);
      await caller.next(
        'its end',
        ({ stream, flags, type }) => stream === 1 && type === FRAME.DATA && flags === 1,
      );
      expect(await loggedAs(path)).toBe(200);
    },
  );

  it('whose caller leaves in the middle of the answer is logged as left', async () => {
    listener = (request, response) => {
      request.resume();
      response.write('half');
    };
    await using caller = await FrameConnection.open(edge.port);
    caller.ask(1, pseudo({ ':method': 'POST', ':path': '/left-early' }), false);
    caller.data(1, 'all', true);
    expect(await caller.status(1)).toBe(200);
    caller.write(resetFrame(1, CODE.NO_ERROR));
    expect(await loggedAs('/left-early')).toBe(499);
  });
});

describe('a body that is not as long as was said', () => {
  const TEN: readonly Field[] = [...pseudo({ ':method': 'POST', ':path': '/ten' }), ['content-length', '10']];

  it.each([
    ['shorter', ['abc'], true, 0],
    ['longer', ['abcdefghijkl'], true, 0],
    ['longer and not over', ['abcdefghijkl'], false, 0],
    // What it was told of has come when the frame comes that was not: that one reaches nobody.
    ['longer by a second frame', ['abcdefghij', 'kl'], true, 1],
  ])(
    '%s breaks off its stream alone, and nothing beyond its length reaches the instance',
    async (_name, parts, ends, whole) => {
      let began: ServerResponse | undefined;
      let [complete, bytes] = [0, 0];
      listener = (request, response) => {
        if (request.url === '/slow') {
          response.write('the first half, ');
          began = response;
          return;
        }
        request.on('error', () => undefined);
        request.on('end', () => {
          complete += 1;
        });
        request.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
        });
      };
      await using caller = await FrameConnection.open(edge.port);
      caller.ask(1, pseudo({ ':path': '/slow' }));
      await caller.next('half an answer', ({ type }) => type === FRAME.DATA);
      caller.ask(3, TEN, false);
      for (const [index, part] of parts.entries()) caller.data(3, part, ends && index === parts.length - 1);
      expect(await caller.resetOf(3)).toBe(CODE.PROTOCOL_ERROR);
      expect(caller.frames.some(({ type, stream }) => type === FRAME.HEADERS && stream === 3)).toBe(false);
      // The others go on, and so do new ones.
      began?.end('the second');
      await caller.next(
        'the end of the other',
        ({ stream, flags, type }) => stream === 1 && type === 0 && flags === 1,
      );
      listener = (_request, response) => response.end('ok');
      caller.ask(5, pseudo());
      expect(await caller.status(5)).toBe(200);
      expect(caller.frames.some(({ type }) => type === FRAME.GOAWAY)).toBe(false);
      await untilIdle(edge.gateway, 'shop');
      expect(complete).toBeLessThanOrEqual(whole);
      expect(bytes).toBeLessThanOrEqual(10);
    },
  );

  it('longer in the packet of its head is broken off before anybody is asked', async () => {
    await using caller = await FrameConnection.open(edge.port);
    caller.write(...section(1, TEN, false), frame(FRAME.DATA, 1, 1, Buffer.alloc(12)));
    expect(await caller.resetOf(1)).toBe(CODE.PROTOCOL_ERROR);
    caller.ask(3, pseudo());
    expect(await caller.status(3)).toBe(200);
    expect(seen.map(({ url }) => url)).toEqual(['/']);
  });

  it('again and again is a flood', async () => {
    await using caller = await FrameConnection.open(edge.port);
    const parts = function* parts(): Generator<Buffer> {
      for (let stream = 1; stream < 3000; stream += 2)
        yield Buffer.concat([
          ...section(stream, TEN, false),
          frame(FRAME.DATA, FLAG.END_STREAM, stream, Buffer.alloc(12)),
        ]);
    };
    await caller.pour(parts());
    await caller.untilClosed();
  });

  it.each([
    ['beside a window update of zero', windowUpdate(0, 0)],
    ['beside a stream of an even number', Buffer.concat(section(8, pseudo(), true))],
  ])('saves no session that is broken itself, %s', async (_name, broken) => {
    await using caller = await FrameConnection.open(edge.port);
    for (const stream of [1, 3, 5, 7]) caller.ask(stream, TEN, false);
    await expect.poll(async () => caller.frames.length, { timeout: 10_000 }).toBeGreaterThan(1);
    // Four streams that look as if nghttp2 had broken them off, and a breach that ends the session.
    const resets = [1, 3, 5, 7].map((stream) => resetFrame(stream, CODE.PROTOCOL_ERROR));
    caller.write(...resets, broken);
    expect((await caller.goAway()).code).toBe(CODE.PROTOCOL_ERROR);
    expect(await caller.untilClosed(5000)).toBeLessThan(3000);
    await untilIdle(edge.gateway, 'shop');
  });
});

it('a connection that is lost leaves nothing of a GET that waits', async () => {
  const caller = await FrameConnection.open(edge.port);
  caller.ask(1, pseudo(), false);
  caller.ask(3, pseudo());
  expect(await caller.status(3)).toBe(200);
  const closed = once(caller.socket, 'close');
  caller.socket.destroy();
  await closed;
  await untilIdle(edge.gateway, 'shop');
  expect(edge.gateway.logs()).not.toContain('a step failed');
});
