/**
 * Streams that last: event streams, WebSockets, and bodies that drip.
 *
 * Bounds, stated before: 200 open streams (100 event streams, 100 WebSockets) at one instance hold no request's permit, and the
 * goodput of 0.8 of the capacity beside them is what it is without them: ≥ 95 % in time, nobody refused for their
 * sake. Bodies that drip hold a permit each for ten seconds, all that the limit had: it grows round them, so that
 * from the third second on 95 % of 0.8 of the capacity is in time, and after ten seconds they are streams as well. Each is
 * given back once: at the end nothing is held.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { goodput, figuresOf, learn, shop, told, under, untilIdle } from '../faults/shedding-fixture.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { openRaw } from '../harness/raw.ts';
import type { RawConnection } from '../harness/raw.ts';
import { startSlotOrigin } from '../harness/slot-origin.ts';
import type { SlotOrigin } from '../harness/slot-origin.ts';

const CAPACITY = 200;
const RATE = 0.8 * CAPACITY;
const DRIP_MS = 500;
/** After so long a body that still flows is a stream. */
const STREAM_AFTER_MS = 10_000;

let origin: SlotOrigin;
let gateway: Gateway;
const tunnels = new Set<Duplex>();

function flows(request: IncomingMessage, response: ServerResponse): boolean {
  const path = request.url ?? '';
  if (!path.startsWith('/events') && !path.startsWith('/drip')) return false;
  const type = path.startsWith('/events') ? 'text/event-stream' : 'text/plain';
  response.writeHead(200, { 'content-type': type });
  response.write('data: one\n\n');
  const timer = setInterval(() => response.write('data: more\n\n'), DRIP_MS);
  response.once('close', () => clearInterval(timer));
  return true;
}

beforeAll(async () => {
  origin = await startSlotOrigin({ slots: 10, meanMs: 50, other: flows });
  origin.server.on('upgrade', (_request, socket: Duplex) => {
    tunnels.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => tunnels.delete(socket));
    // A half-close stays one on the way through; a WebSocket server answers it.
    socket.once('end', () => socket.end());
    socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n');
    socket.resume();
  });
  gateway = await startGateway(shop([origin.url]));
  await learn(gateway, RATE, 2);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  for (const socket of tunnels) socket.destroy();
  await origin[Symbol.asyncDispose]();
});

async function open(count: number, head: (index: number) => string): Promise<RawConnection[]> {
  const connections: RawConnection[] = [];
  for (let index = 0; index < count; index += 1) {
    const connection = await openRaw(gateway.port);
    connection.write(head(index));
    connections.push(connection);
  }
  return connections;
}

async function close(connections: readonly RawConnection[]): Promise<void> {
  for (const connection of connections) await connection[Symbol.asyncDispose]();
}

test('200 open streams take no request’s permit, and each is given back once', async () => {
  const handshake =
    'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n';
  const events: RawConnection[] = [];
  const sockets: RawConnection[] = [];
  try {
    // A few at a time: how a burst of them is queued is not the question here.
    for (let batch = 0; batch < 20; batch += 1) {
      const [five, fiveSockets] = [
        await open(5, (index) => `GET /events/${batch}-${index} HTTP/1.1\r\nhost: a.test\r\n\r\n`),
        await open(5, (index) => `GET /ws/${batch}-${index} HTTP/1.1\r\nhost: a.test\r\n${handshake}\r\n`),
      ];
      events.push(...five);
      sockets.push(...fiveSockets);
      for (const each of five) await each.until((text) => text.includes('data: one'));
      for (const each of fiveSockets) await each.until((text) => text.startsWith('HTTP/1.1 101 '));
    }
    expect(await figuresOf(gateway)).toMatchObject({ inFlight: 0, atInstances: 200 });
    const result = await under(gateway, { phases: [{ seconds: 4, ratePerSecond: RATE }] });
    const after = await figuresOf(gateway);
    told('200 streams', { goodput: result.goodputRatio, codes: result.codes, after });
    expect(result.goodputRatio).toBeGreaterThanOrEqual(0.95);
    expect([result.refused, result.failed]).toEqual([0, 0]);
    await eventually('only the streams are left', async () => {
      const { inFlight, atInstances } = await figuresOf(gateway);
      return inFlight === 0 && atInstances === 200;
    });
    for (const each of [...events, ...sockets]) expect(each.isClosed()).toBe(false);
    for (const each of events) expect(each.received()).toContain('data: more');
  } finally {
    await close([...events, ...sockets]);
  }
  await untilIdle(gateway);
});

test('bodies that drip are requests for ten seconds and streams after, and the limit grows round them', async () => {
  const before = await figuresOf(gateway);
  const all = await open(40, (index) => `GET /drip/${index} HTTP/1.1\r\nhost: a.test\r\n\r\n`);
  try {
    for (const each of all) await each.until((text) => text.includes('\r\n\r\n'));
    // Those beyond the limit have waited in vain.
    const drips = all.filter((each) => each.received().startsWith('HTTP/1.1 200 '));
    expect(drips.length).toBeGreaterThanOrEqual(Math.min(before.limit, all.length));
    const seen: unknown[] = [];
    const seconds = STREAM_AFTER_MS / 1000 + 1;
    const result = await under(gateway, { phases: [{ seconds, ratePerSecond: RATE }] }, async ({ at }) => {
      for (const ms of [1000, 4000, 9000]) {
        await at(ms);
        seen.push(await figuresOf(gateway));
      }
    });
    const after = await figuresOf(gateway);
    told(`${drips.length} drips`, {
      before,
      firstSecond: goodput(result, 0, 1000),
      secondSecond: goodput(result, 1000, 2000),
      later: goodput(result, 2000, seconds * 1000),
      codes: result.codes,
      seen,
      after,
    });
    expect((seen[1] as { inFlight: number }).inFlight).toBeGreaterThanOrEqual(drips.length);
    expect(goodput(result, 2000, seconds * 1000)).toBeGreaterThanOrEqual(0.95);
    await eventually('they are streams', async () => {
      const { inFlight, atInstances } = await figuresOf(gateway);
      return inFlight === 0 && atInstances === drips.length;
    });
    for (const each of drips) expect(each.isClosed()).toBe(false);
  } finally {
    await close(all);
  }
  await untilIdle(gateway);
});
