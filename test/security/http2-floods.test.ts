import { readdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import {
  FLAG,
  FRAME,
  FrameConnection,
  frame,
  headerBlock,
  pseudo,
  resetFrame,
  section,
  windowUpdate,
} from '../harness/http2-frames.ts';
import { askStream, startHttp2Gateway } from '../harness/http2-gateway.ts';
import type { Http2Gateway } from '../harness/http2-gateway.ts';
import { startEcho } from '../harness/origin.ts';
import type { InProcessOrigin } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';
import { untilIdle } from '../integration/path-fixture.ts';

/** F20: what one caller may send at most, while the others notice nothing. */

const MIB = 1024 * 1024;
const ENDS = FLAG.END_HEADERS | FLAG.END_STREAM;

function heads(stream: number, changes?: Parameters<typeof pseudo>[0], flags: number = ENDS): Buffer {
  return frame(FRAME.HEADERS, flags, stream, headerBlock(pseudo(changes)));
}

function* times(count: number, make: (index: number) => Buffer): Generator<Buffer> {
  for (let index = 0; index < count; index += 1) yield make(index);
}

const FLOODS: readonly (readonly [name: string, frames: () => Iterable<Buffer>])[] = [
  ['2 000 resets', () => times(2000, (n) => Buffer.concat([heads(1 + 2 * n), resetFrame(1 + 2 * n, 8)]))],
  [
    '2 000 streams that make the gateway reset them',
    () =>
      times(2000, (n) =>
        Buffer.concat([
          heads(1 + 2 * n, { ':method': 'POST' }, FLAG.END_HEADERS),
          windowUpdate(1 + 2 * n, 0),
        ]),
      ),
  ],
  ['1 000 pings', () => times(1000, () => frame(FRAME.PING, 0, 0, Buffer.alloc(8)))],
  [
    '1 000 answers to pings nobody sent',
    () => times(1000, () => frame(FRAME.PING, FLAG.ACK, 0, Buffer.alloc(8))),
  ],
  ['1 000 settings', () => times(1000, () => frame(FRAME.SETTINGS, 0, 0, Buffer.from([0, 4, 0, 1, 0, 0])))],
  [
    '10 000 empty DATA',
    () =>
      times(10_001, (n) =>
        n === 0 ? heads(1, { ':method': 'POST' }, FLAG.END_HEADERS) : frame(FRAME.DATA, 0, 1),
      ),
  ],
  [
    '10 000 fields',
    () => section(1, [...pseudo(), ...Array.from({ length: 10_000 }, () => ['a', 'b'] as const)], true),
  ],
  [
    '10 000 fields of one octet',
    // `accept-encoding: gzip, deflate` is entry 16 of the table.
    () => [frame(FRAME.HEADERS, ENDS, 1, Buffer.concat([headerBlock(pseudo()), Buffer.alloc(10_000, 0x90)]))],
  ],
  [
    'endless CONTINUATION',
    () =>
      times(50_000, (n) =>
        n === 0
          ? heads(1, {}, FLAG.END_STREAM)
          : frame(FRAME.CONTINUATION, 0, 1, headerBlock([[`x-${n}`, 'y']])),
      ),
  ],
  [
    'endless empty CONTINUATION',
    () => times(50_000, (n) => (n === 0 ? heads(1, {}, FLAG.END_STREAM) : frame(FRAME.CONTINUATION, 0, 1))),
  ],
  ['a connection window that overflows', () => times(2, () => windowUpdate(0, 0x7fff_ffff))],
  [
    'a stream window that overflows',
    () =>
      times(3, (n) =>
        n === 0 ? heads(1, { ':method': 'POST' }, FLAG.END_HEADERS) : windowUpdate(1, 0x7fff_ffff),
      ),
  ],
  ['a frame over its size', () => [frame(FRAME.DATA, 0, 1, Buffer.alloc(20_000))]],
  ['four MiB of window updates', () => times(330_000, () => windowUpdate(0, 1))],
  ['four MiB of frames nobody knows', () => times(256, () => frame(99, 0, 0, Buffer.alloc(16_384)))],
  ['100 000 priorities', () => times(100_000, () => frame(FRAME.PRIORITY, 0, 3, Buffer.alloc(5)))],
  ['something else than HTTP/2', () => [Buffer.from('GET / HTTP/1.1\r\nhost: localhost\r\n\r\n')]],
];

describe('a flood of', () => {
  let origin: InProcessOrigin;
  let edge: Http2Gateway;
  let pid = 0;
  beforeAll(async () => {
    origin = await startEcho();
    edge = await startHttp2Gateway([origin.url], { more: 'shedding: { mode: off }' });
    ({ pid } = edge.worker());
  });
  afterAll(async () => {
    await edge?.[Symbol.asyncDispose]();
    await origin?.close();
  });

  it.each(FLOODS)('%s ends its session, and no other', async (_name, frames) => {
    const other = await edge.session();
    const caller = await FrameConnection.open(edge.port);
    const over = new AbortController();
    const served = (async () => {
      let count = 0;
      for (; !over.signal.aborted || count < 20; count += 1) {
        const { status, body } = await askStream(other);
        expect(status, body.toString()).toBe(200);
      }
      return count;
    })();
    const flood = (async () => {
      try {
        await caller.pour(frames());
        await caller.untilClosed(10_000);
      } finally {
        over.abort();
      }
    })();
    const [count] = await Promise.all([served, flood]);
    expect(count).toBeGreaterThanOrEqual(20);
    expect(edge.worker().pid).toBe(pid);
  });

  it('anything leaves nothing behind', async () => {
    await untilIdle(edge.gateway, 'shop');
    const { residentBytes } = edge.worker();
    for (const [, frames] of FLOODS) {
      const caller = await FrameConnection.open(edge.port);
      await caller.pour(frames());
      await caller.untilClosed(10_000);
    }
    await untilIdle(edge.gateway, 'shop');
    await eventually(
      'the memory is back',
      () => edge.worker().residentBytes - residentBytes < 24 * MIB,
      20_000,
    );
    expect(edge.worker().pid).toBe(pid);
    expect(edge.gateway.logs()).not.toContain('"level":60');
  });

  it('callers who read nothing are let go all the same', async () => {
    const descriptors = (): number => readdirSync(`/proc/${pid}/fd`).length;
    const before = descriptors();
    const caller = await FrameConnection.open(edge.port, { deaf: true });
    expect(descriptors()).toBe(before + 1);
    // Answers to them fill what the kernel takes, so that not even the end of the session can be told.
    await Promise.race([
      caller.pour(times(500_000, () => frame(FRAME.PING, 0, 0, Buffer.alloc(8)))),
      pause(5000),
    ]);
    await eventually('its descriptor is given back', () => descriptors() === before, 10_000);
    caller.socket.destroy();
  });
});
