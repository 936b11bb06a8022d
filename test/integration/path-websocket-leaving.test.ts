/**
 * A gateway that stops says so to the callers of its tunnels: 1001 between two frames, never inside one. Whoever closes
 * then in order is not waited for any longer.
 */
import type { Duplex } from 'node:stream';

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { openRaw } from '../harness/raw.ts';
import type { RawConnection } from '../harness/raw.ts';
import { event, startService } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

const GOING_AWAY = '\x88\x02\x03\xe9';
const sockets = new WebSocketServer({ noServer: true });

let origin: Listening;
let gateway: Gateway;
let upgraded: Duplex[] = [];
let taken = Promise.withResolvers<Duplex>();

beforeAll(async () => {
  origin = await startService((_, response) => {
    response.end();
  });
  origin.server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => undefined);
    upgraded.push(socket);
    if (request.url === '/ws') {
      sockets.handleUpgrade(request, socket, head, (client) => sockets.emit('connection', client));
      return;
    }
    socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n');
    taken.resolve(socket);
  });
});

beforeEach(async () => {
  taken = Promise.withResolvers<Duplex>();
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
shutdown: { delay: 0s, timeout: 20s }
services:
  shop: { instances: [${origin.url}], sla: 10s, readiness: { path: /ready, interval: 600s, timeout: 10s } }
routes: [{ path: /, service: shop }]
`);
});

afterEach(async () => {
  await gateway[Symbol.asyncDispose]();
  for (const socket of upgraded) socket.destroy();
  upgraded = [];
});

afterAll(async () => {
  sockets.close();
  await origin[Symbol.asyncDispose]();
});

/** A tunnel with the test on both ends. */
async function openTunnel(): Promise<{ client: RawConnection; instance: Duplex; received: () => string }> {
  const client = await openRaw(gateway.port);
  client.write(
    'GET /raw HTTP/1.1\r\nhost: a.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n' +
      'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  );
  const head = await client.until((text) => text.includes('\r\n\r\n'));
  const instance = await taken.promise;
  return { client, instance, received: () => client.received().slice(head.indexOf('\r\n\r\n') + 4) };
}

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');

test('a quiet tunnel: both sides learn 1001 and close in order, and the gateway ends at once', async () => {
  const opened = event(sockets, 'connection');
  const client = new WebSocket(`ws://127.0.0.1:${gateway.port}/ws`);
  const closed = event(client, 'close');
  await event(client, 'open');
  const [instance] = (await opened) as [WebSocket];
  const left = event(instance, 'close');
  const startedMs = performance.now();
  gateway.process.signal('SIGTERM');
  expect((await closed)[0]).toBe(1001);
  expect((await left)[0]).toBe(1001);
  expect(await gateway.process.exited).toEqual({ code: 0, signal: null });
  // Nothing waited for the end of `shutdown.timeout`.
  expect(performance.now() - startedMs).toBeLessThan(15_000);
});

test('in the middle of a frame: 1001 stands behind its last byte, and nothing behind that', async () => {
  const { client, instance, received } = await openTunnel();
  await using _ = client;
  const whole = '\x82\x02ab';
  const frame = `\x82\x7e\x01\x00${'x'.repeat(256)}`;
  instance.write(latin1(whole + frame.slice(0, 2)));
  await client.until(() => received().length === 6);
  gateway.process.signal('SIGTERM');
  await gateway.readyz(503);
  // What follows comes in two pieces, the second with the beginning of a frame that is nobody's any more.
  instance.write(latin1(frame.slice(2, 100)));
  await client.until(() => received().length === 104);
  instance.write(latin1(`${frame.slice(100)}\x82\x01`));
  instance.write(latin1('z'));
  await client.until(() => received().endsWith(GOING_AWAY));
  expect(received()).toBe(whole + frame + GOING_AWAY);
  const reply = '\x88\x82\x00\x00\x00\x00\x03\xe9';
  const seen = event(instance, 'data');
  client.write(reply);
  expect(String((await seen)[0] as Buffer)).toBe(String(latin1(reply)));
  instance.end();
  await client.untilClosed();
  expect(received()).toBe(whole + frame + GOING_AWAY);
});

test('a frame that does not end is not cut in two: the connection ends without a word', async () => {
  const { client, instance, received } = await openTunnel();
  await using _ = client;
  instance.write(latin1('\x82\x7e\x01\x00half of it'));
  await client.until(() => received().length === 14);
  const startedMs = performance.now();
  gateway.process.signal('SIGTERM');
  await client.untilClosed();
  expect(client.ending()).toBe('fin');
  expect(performance.now() - startedMs).toBeGreaterThan(900);
  expect(received()).toBe('\x82\x7e\x01\x00half of it');
  // What the caller still says reaches the instance: a half-close is one.
  const seen = event(instance, 'data');
  client.write('bye');
  expect(String((await seen)[0] as Buffer)).toBe('bye');
});
