import { setTimeout as pause } from 'node:timers/promises';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import {
  CODE,
  FRAME,
  FrameConnection,
  frame,
  pseudo,
  resetFrame,
  section,
  windowUpdate,
} from '../harness/http2-frames.ts';
import type { Field } from '../harness/http2-frames.ts';
import { askStream, startHttp2Gateway } from '../harness/http2-gateway.ts';
import type { Http2Gateway } from '../harness/http2-gateway.ts';
import { startEcho } from '../harness/origin.ts';
import { seededRandom } from '../../src/kernel/random.ts';
import { untilIdle } from '../integration/path-fixture.ts';
import type { InProcessOrigin } from '../harness/origin.ts';

/**
 * Class H2 of the corpus: what a library would not send. A refusal reaches no instance, and the session lives on.
 */

type Changes = Parameters<typeof pseudo>[0];

const RESET = 'reset';

/** Name, verdict, pseudo-fields, other fields. */
const REFUSED: readonly (readonly [string, number | typeof RESET, Changes, ...Field[]])[] = [
  ['host differs from authority', 400, {}, ['host', 'other.test']],
  ['host differs in its port', 400, {}, ['host', 'localhost:80']],
  ['authority with a path', RESET, { ':authority': 'a/b@c' }],
  ['authority with userinfo', RESET, { ':authority': 'a@localhost' }],
  ['authority with a space', RESET, { ':authority': 'local host' }],
  ['authority with a port beyond', 400, { ':authority': 'localhost:99999' }],
  ['empty authority', RESET, { ':authority': '' }],
  ['no authority', RESET, { ':authority': undefined }],
  ['two hosts', RESET, { ':authority': undefined }, ['host', 'localhost'], ['host', 'localhost']],
  ['no method', RESET, { ':method': undefined }],
  ['no path', RESET, { ':path': undefined }],
  ['no scheme', RESET, { ':scheme': undefined }],
  ['path without a slash', RESET, { ':path': 'x' }],
  ['empty path', RESET, { ':path': '' }],
  ['path with a request line', RESET, { ':path': '/ HTTP/1.1' }],
  ['path with a line break', RESET, { ':path': '/\r\nx: y' }],
  ['absolute path', RESET, { ':path': 'http://localhost/' }],
  ['asterisk for GET', RESET, { ':path': '*' }],
  ['fragment', 400, { ':path': '/a#b' }],
  ['dot segments', 400, { ':path': '/a/../b' }],
  ['encoded slash', 400, { ':path': '/a%2fb' }],
  ['octets beyond ASCII', 400, { ':path': '/caf\u00e9' }],
  ['path of 9 KiB', 414, { ':path': `/${'a'.repeat(9000)}` }],
  ['method with spaces', RESET, { ':method': 'GET /x HTTP/1.1' }],
  ['unknown method', 400, { ':method': 'get' }],
  ['CONNECT', 405, { ':method': 'CONNECT', ':path': undefined, ':scheme': undefined }],
  ['extended CONNECT', RESET, { ':method': 'CONNECT' }, [':protocol', 'websocket']],
  ['scheme that is none of HTTP', 400, { ':scheme': 'ftp' }],
  ['unknown pseudo-field', RESET, {}, [':foo', 'x']],
  ['pseudo-field twice', RESET, {}, [':path', '/y']],
  ['pseudo-field behind a field', RESET, {}, ['x-a', 'b'], [':path', '/y']],
  ['name with a capital', RESET, {}, ['X-A', 'b']],
  ['connection', RESET, {}, ['connection', 'x-a']],
  ['keep-alive', RESET, {}, ['keep-alive', 'timeout=5']],
  ['proxy-connection', RESET, {}, ['proxy-connection', 'close']],
  ['transfer-encoding', RESET, { ':method': 'POST' }, ['transfer-encoding', 'chunked']],
  ['upgrade', RESET, {}, ['upgrade', 'websocket']],
  ['te other than trailers', RESET, {}, ['te', 'gzip']],
  ['expectation', 417, {}, ['expect', 'x']],
  ['content-length with a sign', RESET, { ':method': 'POST' }, ['content-length', '+5']],
  ['two content-lengths', RESET, { ':method': 'POST' }, ['content-length', '0'], ['content-length', '0']],
  ['length without a body', RESET, { ':method': 'POST' }, ['content-length', '5']],
  ['content-type twice', 400, {}, ['content-type', 'a/b'], ['content-type', 'a/c']],
  ['authorization twice', 400, {}, ['authorization', 'a'], ['authorization', 'b']],
  ['our own Via thrice', 508, {}, ['via', '1.1 a, 1.1 a, 1.1 a']],
  ['100 fields beside Host', 431, {}, ...Array.from({ length: 100 }, (_, n): Field => [`x-${n}`, 'y'])],
  [
    '17 KiB of fields before our settings are acknowledged',
    431,
    {},
    ['x-a', 'b'.repeat(9000)],
    ['x-b', 'c'.repeat(8000)],
  ],
];

describe('a stream that says', () => {
  let origin: InProcessOrigin;
  let edge: Http2Gateway;
  beforeAll(async () => {
    origin = await startEcho();
    edge = await startHttp2Gateway([origin.url]);
  });
  afterAll(async () => {
    await edge?.[Symbol.asyncDispose]();
    await origin?.close();
  });

  async function seenOf(fields: readonly Field[]): Promise<readonly string[]> {
    await using caller = await FrameConnection.open(edge.port);
    caller.ask(1, fields);
    expect(await caller.status(1)).toBe(200);
    return origin.requests.at(-1)?.rawHeaders ?? [];
  }

  for (const [name, verdict, changes, ...fields] of REFUSED) {
    it(`${name} is refused: ${verdict}`, async () => {
      const before = origin.requests.length;
      await using caller = await FrameConnection.open(edge.port);
      caller.ask(1, [...pseudo(changes), ...fields]);
      if (verdict === RESET) expect(await caller.resetOf(1)).toBe(CODE.PROTOCOL_ERROR);
      else expect(await caller.status(1)).toBe(verdict);
      expect(origin.requests.length).toBe(before);
      caller.ask(3, pseudo());
      expect(await caller.status(3)).toBe(200);
    });
  }

  it('the same host twice over is served, with one Host', async () => {
    const seen = await seenOf([...pseudo(), ['host', 'localhost']]);
    expect(seen.filter((text) => text.toLowerCase() === 'host').length).toBe(1);
  });

  it('te: trailers passes it on for gRPC alone', async () => {
    expect(await seenOf([...pseudo(), ['te', 'trailers']])).not.toContain('te');
    expect(await seenOf([...pseudo(), ['te', 'trailers'], ['content-type', 'application/grpc']])).toContain(
      'te',
    );
  });

  it('fields for one hop, forged or unreadable ones reach nobody', async () => {
    const seen = await seenOf([
      ...pseudo(),
      ['http2-settings', 'AAAA'],
      ['trailer', 'x'],
      ['proxy-authorization', 'x'],
      ['x_forwarded_for', '1.2.3.4'],
      ['x-forwarded-for', '1.2.3.4'],
      ['x-spillway-tier', 'gold'],
      ['x-lines', 'a\r\nx-injected: b'],
      ['x-nul', 'a\0b'],
      ['x name', 'b'],
      ['x-end', '1'],
    ]);
    const names = seen.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
    for (const name of [
      'http2-settings',
      'trailer',
      'proxy-authorization',
      'x_forwarded_for',
      'x-lines',
      'x-nul',
      'x name',
    ])
      expect(names).not.toContain(name);
    expect(seen[seen.indexOf('x-forwarded-for') + 1]).toBe('127.0.0.1');
    expect(names).toContain('x-end');
    expect(seen.join('\n')).not.toContain('injected');
  });

  it('OPTIONS * is answered here', async () => {
    await using caller = await FrameConnection.open(edge.port);
    caller.ask(1, pseudo({ ':method': 'OPTIONS', ':path': '*' }));
    expect(await caller.status(1)).toBe(204);
  });

  it('trailers of its own is served without them', async () => {
    await using caller = await FrameConnection.open(edge.port);
    caller.ask(1, pseudo({ ':method': 'POST' }), false);
    caller.data(1, 'body');
    caller.write(...section(1, [['x-sum', 'abc']], true));
    expect(await caller.status(1)).toBe(200);
    expect(origin.requests.at(-1)).toMatchObject({ bodyText: 'body' });
    expect(origin.requests.at(-1)?.rawHeaders.join()).not.toContain('x-sum');
  });
});

describe('frames by chance', () => {
  /** Mostly frames that some caller might send, now and then a few octets that none would. */
  function* chance(random: () => number): Generator<Buffer> {
    const below = (most: number): number => Math.floor(random() * most);
    const methods = ['GET', 'POST', 'HEAD', 'OPTIONS', 'DELETE'];
    let opened = 0;
    for (let left = 5 + below(40); left > 0; left -= 1) {
      const stream = 1 + 2 * below(Math.max(1, opened));
      const made = [
        () =>
          section(
            1 + 2 * opened++,
            pseudo({ ':method': methods[below(5)], ':path': `/${below(99)}` }),
            below(2) === 0,
          ),
        () => [frame(FRAME.DATA, below(2), stream, Buffer.alloc(below(3000)))],
        () => [resetFrame(stream, below(14))],
        () => [windowUpdate(below(2) * stream, 1 + below(100_000))],
        () => [frame(FRAME.PING, 0, 0, Buffer.alloc(8))],
        () => [frame(FRAME.PRIORITY, 0, stream, Buffer.alloc(5))],
        () => [frame(FRAME.SETTINGS, 0, 0, Buffer.from([0, 4, 0, 0, below(256), below(256)]))],
        () => section(stream, [['x-sum', 'abc']], true),
      ];
      const bytes = Buffer.concat(made[opened === 0 ? 0 : below(made.length + 4) % made.length]?.() ?? []);
      if (random() < 0.02) bytes[below(bytes.length)] = below(256);
      yield bytes;
      if (random() < 0.02)
        yield frame(
          below(12),
          below(256),
          below(40),
          Buffer.from(Array.from({ length: below(60) }, () => below(256))),
        );
    }
  }

  it('end no worker, and leave nothing in flight', async () => {
    await using origin = await startEcho();
    await using edge = await startHttp2Gateway([origin.url], { more: 'shedding: { mode: off }' });
    const { pid } = edge.worker();
    for (let seed = 1; seed <= 150; seed += 1) {
      await using caller = await FrameConnection.open(edge.port);
      await caller.pour(chance(seededRandom(seed)));
      // Some are answered, some end their session; either is fine.
      await Promise.race([caller.untilClosed(), pause(10)]);
    }
    expect(origin.requests.length).toBeGreaterThan(30);
    await untilIdle(edge.gateway, 'shop');
    expect(edge.worker().pid).toBe(pid);
    expect(edge.gateway.logs()).not.toContain('a step failed');
    const session = await edge.session();
    expect((await askStream(session)).status).toBe(200);
  });
});
