/**
 * How many requests a client may have in flight: a slot is taken before the instance is asked, and goes back with the last
 * byte, exactly once, whatever ended the request.
 */
import { createHash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { RedisServer } from '../harness/redis.ts';
import {
  holdingOrigin,
  room,
  startConcurrent,
  untilRoom,
  type HoldingOrigin,
} from './limits-concurrency-fixture.ts';
import { parseExposition } from './metrics-text.ts';
import { ask, begin, bodyOf, expectProblem, valueOf } from './path-fixture.ts';

const TWO = { 'x-api-key': 'two-key' };

let origin: HoldingOrigin;
let redis: RedisServer;
beforeAll(async () => {
  redis = await RedisServer.start();
  origin = await holdingOrigin();
  origin.server.on('upgrade', (request, socket) => {
    const key = request.headers['sec-websocket-key'] ?? '';
    const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    socket.on('error', () => undefined);
    socket.on('end', () => socket.end());
    socket.resume();
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
    );
  });
});
afterAll(async () => {
  await origin[Symbol.asyncDispose]();
  await redis.stop();
});
afterEach(() => origin.letGo());

describe.each([
  ['embedded', (): string => ''],
  ['redis', (): string => `redis: { url: '${redis.url}', timeout: 500ms, keySecret: a-secret-of-the-tests }`],
] as const)('with the store %s', (_, section) => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startConcurrent(origin.url, section());
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  /** Two requests of the client at the instance, with their heads on the way. */
  async function fill(path = '/stream/two'): Promise<ReturnType<typeof begin>[]> {
    const begun = [0, 1].map(() => {
      const each = begin(gateway.port, { path, headers: TWO });
      each.sent.end();
      return each;
    });
    await Promise.all(begun.map(async ({ answered }) => await answered));
    return begun;
  }

  async function left(): Promise<void> {
    await untilRoom([gateway], origin, 'two-key', 2);
  }

  test('the third of two is told so, with what the limit is and when to come back', async () => {
    const begun = await fill();
    const answer = await ask(gateway.port, { path: '/plain/two', headers: TWO });
    const problem = expectProblem(answer, 429, 'SPW_CONCURRENCY_CLIENT');
    expect(problem).toMatchObject({
      type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
      'violated-policies': ['concurrency'],
    });
    expect(valueOf(answer.rawHeaders, 'retry-after')).toMatch(/^[12]$/);
    expect(valueOf(answer.rawHeaders, 'ratelimit')).toBe('"concurrency";r=0');
    expect(valueOf(answer.rawHeaders, 'ratelimit-policy')).toBe(
      '"client";q=1000;w=1, "concurrency";q=2;qu="concurrent-requests"',
    );
    expect(origin.inFlight('two')).toBe(2);
    origin.letGo();
    for (const { answered } of begun) await bodyOf((await answered).message);
    await left();
  });

  test('an answer says the limit beside the others, and a free request needs a slot too', async () => {
    const served = await ask(gateway.port, { path: '/free/two', headers: TWO });
    expect(served.status).toBe(200);
    expect(valueOf(served.rawHeaders, 'ratelimit-policy')).toContain(
      '"concurrency";q=2;qu="concurrent-requests"',
    );
    expect(valueOf(served.rawHeaders, 'ratelimit')).toBeUndefined();
    await fill();
    expect((await ask(gateway.port, { path: '/free/two', headers: TWO })).status).toBe(429);
    origin.letGo();
    await left();
  });

  test('clients do not share slots, and who has no such limit has none', async () => {
    await fill();
    expect(
      (await ask(gateway.port, { path: '/plain/eight', headers: { 'x-api-key': 'eight-key' } })).status,
    ).toBe(200);
    expect((await ask(gateway.port, { path: '/plain/none' })).status).toBe(200);
    origin.letGo();
    await left();
  });

  test('callers who leave in the middle of an answer give their slots back', async () => {
    for (const { sent } of await fill()) sent.destroy();
    await left();
  });

  test('callers who leave before an answer give their slots back', async () => {
    const begun = [0, 1].map(() => begin(gateway.port, { path: '/hold/two', headers: TWO }));
    for (const { sent } of begun) sent.end();
    await eventually('both are at the instance', () => origin.inFlight('two') === 2);
    for (const { sent } of begun) sent.destroy();
    await left();
  });

  test('requests that find no answer in time give their slots back', async () => {
    // Slots that have just been left may still be on their way to the store: then one of the two is refused.
    await eventually('two wait for an answer until it is too late', async () => {
      const asked = [0, 1].map(async () => await ask(gateway.port, { path: '/late/two', headers: TWO }));
      const statuses = (await Promise.all(asked)).map(({ status }) => status);
      expect(statuses).toContain(504);
      return statuses.every((status) => status === 504);
    });
    await left();
    const hanging = begin(gateway.port, {
      path: '/hold/two',
      method: 'POST',
      headers: { ...TWO, 'content-length': '5' },
    });
    hanging.sent.write('a');
    await eventually('it is at the instance', () => origin.inFlight('two') === 1);
    hanging.sent.destroy();
    await left();
  });

  test('refusals further on give the slot back: a rate, a method, an instance that cuts', async () => {
    for (let i = 0; i < 5; i++) await ask(gateway.port, { path: '/rare/two', headers: TWO });
    expect((await ask(gateway.port, { path: '/rare/two', headers: TWO })).status).toBe(429);
    await left();
    // Not repeated at another instance.
    const cut = [0, 1].map(
      async () => await ask(gateway.port, { method: 'POST', path: '/hold/two', headers: TWO, body: 'x' }),
    );
    await eventually('both are at the instance', () => origin.inFlight('two') === 2);
    for (const response of origin.held) response.socket?.destroy();
    expect((await Promise.all(cut)).map(({ status }) => status)).toEqual([502, 502]);
    await left();
  });

  test('a tunnel holds its slot until it ends', async () => {
    const open = [0, 1].map(() => {
      const socket = new WebSocket(`ws://127.0.0.1:${gateway.port}/tunnel/two`, { headers: TWO });
      socket.on('error', () => undefined);
      return socket;
    });
    await eventually('both are open', () => open.every(({ readyState }) => readyState === WebSocket.OPEN));
    expect((await ask(gateway.port, { path: '/plain/two', headers: TWO })).status).toBe(429);
    for (const socket of open) socket.terminate();
    await left();
  });

  test('under observe nobody is refused, and who would have been is counted', async () => {
    const held = Array.from({ length: 5 }, () =>
      begin(gateway.port, { path: '/stream/seen', headers: { 'x-api-key': 'seen-key' } }),
    );
    for (const { sent } of held) sent.end();
    const heads = await Promise.all(held.map(async ({ answered }) => await answered));
    expect(heads.map(({ answer }) => answer.status)).toEqual([200, 200, 200, 200, 200]);
    expect(valueOf(heads[0]?.answer.rawHeaders ?? [], 'ratelimit-policy')).toBeUndefined();
    await eventually('three are counted', async () => {
      const page = parseExposition(String((await gateway.admin('/metrics')).body));
      return (
        page.value('spillway_limited_total', { tier: 'seen', level: 'concurrency', mode: 'observe' }) === 3
      );
    });
  });

  test('refusals are counted, and explained with the limit and what is in flight', async () => {
    await fill();
    const answer = await ask(gateway.port, { path: '/plain/two', headers: TWO });
    expect(answer.status).toBe(429);
    const { body } = await gateway.admin(`/v1/explain/${valueOf(answer.rawHeaders, 'x-request-id')}`);
    expect(JSON.stringify(body)).toContain('"refusedBy":"concurrency"');
    expect(JSON.stringify(body)).toContain('"concurrency":{"limit":2,"inFlightHere":0}');
    await eventually('it is counted', async () => {
      const page = parseExposition(String((await gateway.admin('/metrics')).body));
      return (
        (page.value('spillway_limited_total', { tier: 'two', level: 'concurrency', mode: 'enforce' }) ?? 0) >
        0
      );
    });
    origin.letGo();
    await left();
  });

  test('every slot can be used, whichever worker the requests meet', async () => {
    for (let round = 0; round < 10; round++) expect(await room([gateway], origin, 'eight-key', 12)).toBe(8);
    await untilRoom([gateway], origin, 'many-key', 64);
  });
});
