/**
 * A WebSocket is a tunnel: the handshake walks the same steps as any request, and from the 101 on nothing is read, changed
 * or decided here, in either direction.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { headerOf, openRaw, rawExchange } from '../harness/raw.ts';
import type { RawAnswer } from '../harness/raw.ts';
import { ask, event, serviceOf, startService, untilIdle, untilState, valueOf } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

const TUNNEL_IDLE_MS = 3000;
const FRAME_BYTES = 8 * 1024 * 1024;
const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';

let origin: Listening;
let gateway: Gateway;
const sockets = new WebSocketServer({
  noServer: true,
  maxPayload: 64 * 1024 * 1024,
  perMessageDeflate: { threshold: 0 },
  handleProtocols: (offered) => ([...offered].includes('chat.v2') ? 'chat.v2' : false),
});
/** The handshakes that reached the instance, and its ends of the tunnels. */
let handshakes: IncomingMessage[] = [];
let upgraded: Duplex[] = [];
/** What becomes of a handshake on `/raw`. */
let onRaw: (request: IncomingMessage, socket: Duplex) => void = () => undefined;

beforeAll(async () => {
  origin = await startService((_, response) => {
    response.end('an ordinary answer');
  });
  origin.server.on('upgrade', (request, socket, head) => {
    handshakes.push(request);
    upgraded.push(socket);
    socket.on('error', () => undefined);
    if (request.url?.startsWith('/raw') === true) {
      onRaw(request, socket);
      return;
    }
    sockets.handleUpgrade(request, socket, head, (client) => {
      client.on('message', (message, binary) => client.send(message, { binary }));
      client.on('error', () => undefined);
    });
  });
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  shop:
    instances: [${origin.url}]
    sla: 10s
    timeout: { connect: 10s, request: 20s, idle: 10s }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
  brief:
    instances: [${origin.url}]
    sla: 10s
    timeout: { idle: 500ms, tunnelIdle: ${TUNNEL_IDLE_MS}ms }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
  gone:
    instances: [${origin.url}]
    readiness: { path: /ready, interval: 600s, timeout: 10s }
routes:
  - { path: /, service: shop }
  - { path: /changed, service: shop, rewrite: /echo }
  - { path: /brief, service: brief }
  - { path: /gone, service: gone }
  - path: /raw/headers
    service: shop
    headers: { response: { set: { x-frame: deny, sec-websocket-protocol: ours }, remove: [server, sec-websocket-accept] } }
  - { path: /raw/silent, service: shop, timeout: 700ms }
  - { path: /limited, service: shop, limits: { perClient: { rate: 1/d, burst: 1 } } }
`);
});

afterAll(async () => {
  sockets.close();
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

afterEach(async () => {
  for (const socket of upgraded) socket.destroy();
  handshakes = [];
  upgraded = [];
  await untilIdle(gateway, 'shop');
});

function open(path: string, protocols: string[] = [], headers: Record<string, string> = {}): WebSocket {
  return new WebSocket(`ws://127.0.0.1:${gateway.port}${path}`, protocols, {
    headers,
    perMessageDeflate: { threshold: 0 },
    maxPayload: 64 * 1024 * 1024,
  });
}

function handshake(path: string, more = ''): string {
  return (
    `GET ${path} HTTP/1.1\r\nhost: a.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n` +
    `sec-websocket-key: ${KEY}\r\n${more}\r\n`
  );
}

/** Accepts by hand, so that the test owns every byte behind the 101. */
function accept(socket: Duplex, more = '', first = ''): void {
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ${ACCEPT}\r\n` +
      `${more}\r\n${first}`,
  );
}

const problemCode = (answer: RawAnswer | undefined): string =>
  (JSON.parse(answer?.body ?? '{}') as { code?: string }).code ?? '';

describe('a WebSocket', () => {
  test('has its subprotocols, extensions, origin and cookies agreed with the instance, not with us', async () => {
    const client = open('/echo?q=1', ['chat.v1', 'chat.v2'], { origin: 'https://a.example', cookie: 'a=1' });
    await event(client, 'open');
    expect([client.protocol, client.extensions]).toEqual(['chat.v2', 'permessage-deflate']);
    const [seen] = handshakes;
    expect(seen?.url).toBe('/echo?q=1');
    expect(seen?.headers['sec-websocket-protocol']).toBe('chat.v1,chat.v2');
    expect([seen?.headers.origin, seen?.headers.cookie]).toEqual(['https://a.example', 'a=1']);
    expect(valueOf(seen?.rawHeaders ?? [], 'x-forwarded-for')).toBe('127.0.0.1');
    expect(valueOf(seen?.rawHeaders ?? [], 'connection')).toBe('Upgrade');
    client.close(4321, 'enough');
    expect(await event(client, 'close')).toEqual([4321, Buffer.from('enough')]);
  });

  test('passes a rewriting route', async () => {
    const client = open('/changed/room?q=1');
    await event(client, 'open');
    expect(handshakes[0]?.url).toBe('/echo/room?q=1');
    client.terminate();
  });

  test('carries two frames of 8 MiB there and back unchanged', async () => {
    const client = open('/echo');
    await event(client, 'open');
    const frames = [randomBytes(FRAME_BYTES), randomBytes(FRAME_BYTES)];
    const digests = frames.map((frame) => createHash('sha256').update(frame).digest('hex'));
    const received: string[] = [];
    const both = Promise.withResolvers<void>();
    client.on('message', (message: Buffer) => {
      received.push(createHash('sha256').update(message).digest('hex'));
      if (received.length === 2) both.resolve();
    });
    client.once('close', (code: number) => both.reject(new Error(`closed with ${code}`)));
    for (const frame of frames) client.send(frame);
    await both.promise;
    expect(received).toEqual(digests);
    client.close();
    await event(client, 'close');
  });

  test.each([1000, 1001, 1011])("passes the instance's close code %i", async (code) => {
    const client = open('/echo');
    await event(client, 'open');
    const [server] = sockets.clients;
    server?.close(code, 'bye');
    expect(await event(client, 'close')).toEqual([code, Buffer.from('bye')]);
  });

  test('holds a stream permit, no place among the requests in flight', async () => {
    const client = open('/echo');
    await event(client, 'open');
    const { shedding } = await serviceOf(gateway, 'shop');
    expect(shedding.inFlight).toBe(0);
    client.terminate();
  });

  test('that vanishes closes the connection upstream, and the other way round', async () => {
    const leaving = open('/echo');
    await event(leaving, 'open');
    const [instance] = upgraded;
    if (instance === undefined) throw new Error('no tunnel');
    leaving.terminate();
    if (!instance.closed) await event(instance, 'close');

    const left = open('/echo');
    await event(left, 'open');
    upgraded.at(-1)?.destroy();
    expect((await event(left, 'close'))[0]).toBe(1006);
  });

  test('is ended after `timeout.tunnelIdle` of silence, and not before', async () => {
    const client = open('/brief');
    await event(client, 'open');
    // Longer than `timeout.idle` in all, never longer than `tunnelIdle` without a byte.
    for (let turn = 0; turn < 3; turn++) {
      await pause(TUNNEL_IDLE_MS / 2);
      client.send('still here');
      await event(client, 'message');
    }
    const silentMs = performance.now();
    expect((await event(client, 'close'))[0]).toBe(1006);
    // Its clock began when the last byte passed the gateway, a little before it came here.
    expect(performance.now() - silentMs).toBeGreaterThan(TUNNEL_IDLE_MS / 2);
  });
});

describe('the tunnel', () => {
  test('says 101 only after the instance has, and loses no early byte of either side', async () => {
    const taken = Promise.withResolvers<Duplex>();
    onRaw = (_, socket) => taken.resolve(socket);
    await using client = await openRaw(gateway.port);
    client.write(`${handshake('/raw')}early from the client`);
    const socket = await taken.promise;
    let read = '';
    socket.on('data', (chunk: Buffer) => {
      read += chunk.toString('latin1');
    });
    expect(client.received()).toBe('');
    accept(socket, 'x-inner: caf\u00e9\r\nkeep-alive: timeout=5\r\n', 'early from the instance');
    const text = await client.until((all) => all.includes('early from the instance'));
    expect(text).toMatch(/^HTTP\/1\.1 101 Switching Protocols\r\n/);
    expect(text.toLowerCase()).toContain(`sec-websocket-accept: ${ACCEPT.toLowerCase()}\r\n`);
    expect(text.toLowerCase()).not.toContain('keep-alive');
    expect(text).toMatch(/x-request-id: [A-Za-z0-9._-]{8,64}\r\n/);
    await eventually('the early bytes arrived', () => read === 'early from the client');
  });

  test("begins with a 101 that the route's changes were made to, but for the handshake's own fields", async () => {
    onRaw = (_, socket) => {
      accept(socket, 'server: inner\r\nx-frame: theirs\r\nsec-websocket-protocol: chat\r\n', 'first');
    };
    await using client = await openRaw(gateway.port);
    client.write(handshake('/raw/headers', 'sec-websocket-protocol: chat\r\n'));
    const text = await client.until((all) => all.endsWith('first'));
    const lines = text.slice(0, text.indexOf('\r\n\r\n')).split('\r\n');
    expect(lines[0]).toBe('HTTP/1.1 101 Switching Protocols');
    const fields = lines.slice(1).filter((line) => !line.startsWith('x-request-id: '));
    expect(fields.map((line) => line.toLowerCase()).sort()).toEqual([
      'connection: upgrade',
      `sec-websocket-accept: ${ACCEPT.toLowerCase()}`,
      'sec-websocket-protocol: chat',
      'upgrade: websocket',
      'x-frame: deny',
    ]);
  });

  test.each(['client', 'instance'])('lets a half-close of the %s be one', async (side) => {
    const taken = Promise.withResolvers<Duplex>();
    onRaw = (_, socket) => {
      accept(socket);
      taken.resolve(socket);
    };
    await using client = await openRaw(gateway.port);
    client.write(handshake('/raw'));
    await client.until((all) => all.includes('\r\n\r\n'));
    const socket = await taken.promise;
    let read = '';
    socket.on('data', (chunk: Buffer) => {
      read += chunk.toString('latin1');
    });
    if (side === 'client') {
      const ended = event(socket, 'end');
      client.write('the last word');
      client.halfClose();
      await ended;
      expect(read).toBe('the last word');
      socket.end('an answer behind the end');
      expect(await client.untilClosed()).toMatch(/an answer behind the end$/);
    } else {
      socket.end('the last word');
      expect(await client.untilClosed()).toMatch(/the last word$/);
      client.write('an answer behind the end');
      await eventually('the instance reads on', () => read === 'an answer behind the end');
      client.halfClose();
      await event(socket, 'end');
    }
  });

  test('pauses a side whose other side does not read', async () => {
    const taken = Promise.withResolvers<Duplex>();
    onRaw = (_, socket) => {
      accept(socket);
      taken.resolve(socket);
    };
    await using client = await openRaw(gateway.port);
    client.write(handshake('/raw'));
    await client.until((all) => all.includes('\r\n\r\n'));
    const socket = await taken.promise;
    client.socket.pause();
    const piece = Buffer.alloc(1024 * 1024, 'x');
    let written = 0;
    let stalled = false;
    while (!stalled && written < 100) {
      written++;
      if (socket.write(piece)) continue;
      const drained = event(socket, 'drain', 500);
      stalled = await drained.then(
        () => false,
        () => true,
      );
    }
    expect(stalled).toBe(true);
  });
});

describe('a refusal', () => {
  test.each([403, 503, 200])('%i by the instance is relayed as the answer it is', async (status) => {
    onRaw = (_, socket) => {
      socket.end(
        `HTTP/1.1 ${status} Word\r\nx-reason: mine\r\ncontent-length: 5\r\nconnection: close\r\n\r\nnever`,
      );
    };
    const { answers } = await rawExchange(gateway.port, handshake('/raw'));
    const [answer] = answers;
    expect([answer?.status, answer?.body]).toEqual([status, 'never']);
    expect(answer === undefined ? '' : headerOf(answer, 'x-reason')).toBe('mine');
    expect(answer === undefined ? '' : headerOf(answer, 'connection')).toBe('close');
    expect(handshakes).toHaveLength(1);
    await untilIdle(gateway, 'shop');
  });

  test('by a limit is our problem, on a connection that closes', async () => {
    // From the first refusal on the worker knows by itself; before, a late store may leave it to its own share.
    await eventually('the limit is used up', async () => {
      return (await ask(gateway.port, { path: '/limited' })).status === 429;
    });
    await using client = await openRaw(gateway.port);
    client.write(handshake('/limited'));
    await client.untilClosed();
    const { answers, rest } = await client.untilAnswers(1);
    expect([answers[0]?.status, problemCode(answers[0]), rest]).toEqual([429, 'SPW_RATE_ROUTE', '']);
    expect(answers[0] === undefined ? '' : headerOf(answers[0], 'retry-after')).toMatch(/^\d+$/);
    expect(handshakes).toEqual([]);
  });

  test('for want of a ready instance is our problem too', async () => {
    const id = `127.0.0.1:${origin.port}`;
    await gateway.admin(`/v1/services/gone/instances/${id}/disable`, { method: 'POST' });
    await untilState(gateway, 'gone', id, 'disabled');
    const { answers } = await rawExchange(gateway.port, handshake('/gone'));
    expect([answers[0]?.status, problemCode(answers[0])]).toEqual([503, 'SPW_NO_READY_INSTANCE']);
  });

  test('by silence is 504 at the deadline', async () => {
    onRaw = (_, socket) => {
      socket.resume();
    };
    const { answers } = await rawExchange(gateway.port, handshake('/raw/silent'));
    expect([answers[0]?.status, problemCode(answers[0])]).toEqual([504, 'SPW_UPSTREAM_TIMEOUT']);
    const [instance] = upgraded;
    if (instance !== undefined && !instance.readableEnded && !instance.closed) await event(instance, 'end');
  });

  test('by a reset is 502 SPW_UPSTREAM_RESET, asked once', async () => {
    onRaw = (_, socket) => {
      (socket as IncomingMessage['socket']).resetAndDestroy();
    };
    const { answers } = await rawExchange(gateway.port, handshake('/raw'));
    expect([answers[0]?.status, problemCode(answers[0])]).toEqual([502, 'SPW_UPSTREAM_RESET']);
    expect(handshakes).toHaveLength(1);
  });

  test('frees every place it held', async () => {
    onRaw = (_, socket) => {
      socket.end('HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n');
    };
    for (let turn = 0; turn < 20; turn++) await rawExchange(gateway.port, handshake('/raw'));
    await untilIdle(gateway, 'shop');
    await gateway.process.waitForLine(/"path":"\/raw","status":403/);
  });
});

test('another upgrade is an ordinary request', async () => {
  const { answers } = await rawExchange(gateway.port, handshake('/').replace('websocket', 'h2c'));
  expect([answers[0]?.status, answers[0]?.body]).toEqual([200, 'an ordinary answer']);
});
