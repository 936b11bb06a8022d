/**
 * An instance that leaves keeps no stream for ever: WebSockets hear 1001 and event streams end, one after the other over
 * `drain.streamTimeout`, while finite answers and the streams of everybody else go on. Whoever comes back finds another
 * instance.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { ask, begin, event, serviceOf, startService, untilState, valueOf, valuesOf } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';
import { sessionYaml } from './session-fixture.ts';

const STREAM_TIMEOUT_MS = 1500;

const sockets = new WebSocketServer({ noServer: true });
const instances: Listening[] = [];
/** Answers that are under way, by instance. */
let downloads: ServerResponse[] = [];
let gateway: Gateway;

beforeAll(async () => {
  for (let index = 0; index < 2; index++) {
    const instance = await startService((request, response) => {
      const fields = { 'x-instance': String(index) };
      if (request.url === '/events') {
        response.writeHead(200, { ...fields, 'content-type': 'text/event-stream' });
        response.write('data: begun\n\n');
      } else if (request.url === '/file') {
        response.writeHead(200, { ...fields, 'content-length': 8 });
        response.write('half');
        downloads.push(response);
      } else response.writeHead(200, { ...fields, 'content-length': 0 }).end();
    });
    instance.server.on('upgrade', (request, socket, head) => {
      socket.on('error', () => undefined);
      sockets.handleUpgrade(request, socket, head, (client) => {
        client.send(String(index));
      });
    });
    instances.push(instance);
  }
});

beforeEach(async () => {
  downloads = [];
  gateway = await startGateway(
    sessionYaml(instances, { drain: `sessionTimeout: 600s, streamTimeout: ${STREAM_TIMEOUT_MS}ms` }),
  );
});

afterEach(async () => {
  for (const response of downloads) response.destroy();
  await gateway[Symbol.asyncDispose]();
});

afterAll(async () => {
  sockets.close();
  for (const each of instances) await each[Symbol.asyncDispose]();
});

interface Stream {
  readonly instance: number;
  /** When it ended, and how: a close code of WebSocket, or whether an answer was whole. */
  readonly ended: Promise<{ readonly atMs: number; readonly how: number | 'whole' | 'cut' }>;
}

async function openSocket(cookie?: string): Promise<Stream & { client: WebSocket }> {
  const client = new WebSocket(`ws://127.0.0.1:${gateway.port}/ws`, {
    headers: cookie === undefined ? {} : { cookie },
  });
  const ended = event(client, 'close').then(([code]) => ({ atMs: performance.now(), how: Number(code) }));
  const [first] = (await event(client, 'message')) as [Buffer];
  return { client, instance: Number(String(first)), ended };
}

function endOf(message: IncomingMessage): Stream['ended'] {
  const { promise, resolve } = Promise.withResolvers<Awaited<Stream['ended']>>();
  message.on('error', () => undefined);
  message.resume().once('close', () => {
    resolve({ atMs: performance.now(), how: message.complete ? 'whole' : 'cut' });
  });
  return promise;
}

async function openEvents(
  cookie?: string,
  accept = 'text/event-stream',
): Promise<Stream & { cookie: string | undefined }> {
  const headers = { accept, ...(cookie === undefined ? {} : { cookie }) };
  const { sent, answered } = begin(gateway.port, { path: '/events', headers });
  sent.end();
  const { message, answer } = await answered;
  const [set] = valuesOf(answer.rawHeaders, 'set-cookie');
  return {
    instance: Number(valueOf(answer.rawHeaders, 'x-instance')),
    cookie: set?.slice(0, set.indexOf(';')),
    ended: endOf(message),
  };
}

/** A session that begins at this instance; one that was slow once, as on a busy machine, gets none for seconds. */
async function sessionAt(instance: number): Promise<string> {
  let cookie = '';
  await eventually(`instance ${instance} gets a session`, async () => {
    const { rawHeaders } = await ask(gateway.port);
    const [set = ''] = valuesOf(rawHeaders, 'set-cookie');
    if (Number(valueOf(rawHeaders, 'x-instance')) === instance) cookie = set.slice(0, set.indexOf(';'));
    return cookie !== '';
  });
  return cookie;
}

/** As many as it takes until each instance has so many; callers without a session. */
async function streamsOf(open: () => Promise<Stream>, each: number): Promise<Stream[]> {
  const streams: Stream[] = [];
  const least = (): number =>
    Math.min(...[0, 1].map((index) => streams.filter(({ instance }) => instance === index).length));
  while (least() < each) streams.push(await open());
  return streams;
}

function idOf(index: number): string {
  return `127.0.0.1:${instances[index]?.port ?? 0}`;
}

async function drain(index: number): Promise<number> {
  const startedMs = performance.now();
  await gateway.admin(`/v1/services/shop/instances/${idOf(index)}/drain`, { method: 'POST' });
  await untilState(gateway, 'shop', idOf(index), 'draining');
  return startedMs;
}

async function streamsAt(index: number): Promise<number | undefined> {
  const { instances: rows } = await serviceOf(gateway, 'shop');
  return rows.find(({ id }) => id === idOf(index))?.streams;
}

test('all streams of an instance that drains end in order within the time, one after the other; others go on', async () => {
  const [webSockets, eventStreams] = [await streamsOf(openSocket, 4), await streamsOf(openEvents, 4)];
  const own = [...webSockets, ...eventStreams].filter(({ instance }) => instance === 0);
  const others = [...webSockets, ...eventStreams].filter(({ instance }) => instance === 1);
  await eventually('they are counted', async () => (await streamsAt(0)) === own.length);
  const startedMs = await drain(0);
  let othersEnded = 0;
  for (const other of others) void other.ended.then(() => othersEnded++);
  const ends = await Promise.all(own.map(async ({ ended }) => await ended));
  expect(new Set(ends.map(({ how }) => how))).toEqual(new Set([1001, 'whole']));
  const after = ends.map(({ atMs }) => atMs - startedMs).toSorted((a, b) => a - b);
  // Not all at once: the first and the last of more than four are far apart, whatever the machine does.
  expect((after.at(-1) ?? 0) - (after[0] ?? 0)).toBeGreaterThan(STREAM_TIMEOUT_MS / 8);
  expect(othersEnded).toBe(0);
  await eventually('none is left', async () => (await streamsAt(0)) === 0);
  expect(await streamsAt(1)).toBe(others.length);
});

test('a download is finite and is not cut', async () => {
  const session = await sessionAt(0);
  const { sent, answered } = begin(gateway.port, { path: '/file', headers: { cookie: session } });
  sent.end();
  const { message, answer } = await answered;
  expect(valueOf(answer.rawHeaders, 'x-instance')).toBe('0');
  const ended = endOf(message);
  const stream = await openEvents(session);
  await drain(0);
  expect((await stream.ended).how).toBe('whole');
  // Its time is over with that of the last stream.
  await eventually('the time for streams is over', async () => (await openEvents(session)).instance === 1);
  downloads[0]?.end('done');
  expect((await ended).how).toBe('whole');
});

test('a session whose stream was ended finds another instance for the next, and stays there', async () => {
  const session = await sessionAt(0);
  const stream = await openEvents(session);
  const socket = await openSocket(session);
  expect([stream.instance, socket.instance]).toEqual([0, 0]);
  await drain(0);
  // Both end at the session's moment: pages stay until the session timeout, streams come back at once.
  expect((await stream.ended).how).toBe('whole');
  expect((await socket.ended).how).toBe(1001);
  const page = await ask(gateway.port, { headers: { cookie: session } });
  expect(valueOf(page.rawHeaders, 'x-instance')).toBe('0');
  const again = await openSocket(session);
  expect(again.instance).toBe(1);
  const next = await openEvents(session);
  expect(next.instance).toBe(1);
  expect(next.cookie).toMatch(/^seat=v1\./);
  const moved = await ask(gateway.port, { headers: { cookie: next.cookie ?? '' } });
  expect(valueOf(moved.rawHeaders, 'x-instance')).toBe('1');
  again.client.terminate();
});

test('a caller that asks for an event stream without saying so is not cut at every beat', async () => {
  const session = await sessionAt(0);
  const stream = await openEvents(session);
  await drain(0);
  expect((await stream.ended).how).toBe('whole');
  const startedMs = performance.now();
  const next = await openEvents(session, '*/*');
  expect(next.instance).toBe(0);
  const { atMs, how } = await next.ended;
  expect(how).toBe('whole');
  expect(atMs - startedMs).toBeGreaterThan(STREAM_TIMEOUT_MS * 0.9);
});

test.each([
  ['with its sessions still there', '600s'],
  ['and is gone before', '300ms'],
])('streams of an instance that left the list are given the same time: %s', async (_, sessionTimeout) => {
  const [events, other] = [await openEvents(await sessionAt(0)), await openEvents(await sessionAt(0))];
  const streams: Stream[] = [events, other, await openSocket(await sessionAt(0))];
  expect(streams.map(({ instance }) => instance)).toEqual([0, 0, 0]);
  await gateway.rewrite(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  shop:
    instances: [${instances[1]?.url ?? ''}]
    sla: 5s
    readiness: { path: /ready, interval: 200ms, timeout: 10s, rise: 1 }
    drain: { sessionTimeout: ${sessionTimeout}, streamTimeout: ${STREAM_TIMEOUT_MS}ms }
    affinity: null
routes: [{ path: /, service: shop }]
`);
  expect((await gateway.admin('/v1/reload', { method: 'POST' })).status).toBe(200);
  const ends = await Promise.all(streams.map(async ({ ended }) => await ended));
  expect(ends.map(({ how }) => how)).toEqual(['whole', 'whole', 1001]);
  // With nothing left there it is gone, long before the session timeout.
  await untilState(gateway, 'shop', idOf(0), 'gone');
});

test('a gateway that stops ends event streams in order, and does not wait for its time to be over', async () => {
  const stream = await openEvents();
  const startedMs = performance.now();
  gateway.process.signal('SIGTERM');
  expect((await stream.ended).how).toBe('whole');
  expect(await gateway.process.exited).toEqual({ code: 0, signal: null });
  // Of ten seconds.
  expect(performance.now() - startedMs).toBeLessThan(8000);
});
