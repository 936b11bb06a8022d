/**
 * The limit of a client's requests in flight, over workers and gateways that share a Redis: never more at the instance at
 * any moment, though a worker dies or Redis does.
 */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { RedisServer } from '../harness/redis.ts';
import {
  hammer,
  holdingOrigin,
  room,
  startConcurrent,
  untilRoom,
  type HoldingOrigin,
} from '../integration/limits-concurrency-fixture.ts';
import { begin, valueOf } from '../integration/path-fixture.ts';

const EIGHT = { 'x-api-key': 'eight-key' };

let origin: HoldingOrigin;
let redis: RedisServer;
let gateways: Gateway[] = [];
beforeAll(async () => {
  redis = await RedisServer.start();
  origin = await holdingOrigin();
  const section = `redis: { url: '${redis.url}', timeout: 100ms, gateways: 2, keySecret: a-secret-of-the-tests }`;
  gateways = await Promise.all([0, 1].map(async () => await startConcurrent(origin.url, section)));
});
afterAll(async () => {
  for (const gateway of gateways) await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
  await redis.stop();
});
beforeEach(() => origin.forget());

/** Whether a worker had to let requests in by its own part, since the machine kept Redis from answering in time. */
async function decidedAlone(): Promise<boolean> {
  const pages = await Promise.all(gateways.map(async ({ admin }) => String((await admin('/metrics')).body)));
  return pages.some((page) => /^spillway_limit_store_errors_total\S* [1-9]/m.test(page));
}

test('two gateways of two workers each: never above the limit at the instance, and all of it in use', async () => {
  const ports = gateways.map(({ port }) => port);
  const until = performance.now() + 3000;
  const [eight, many] = await Promise.all([
    hammer(ports, 'eight-key', '/busy/eight?20', 16, until),
    hammer(ports, 'many-key', '/busy/many?40', 80, until),
  ]);
  const most = { eight: origin.most('eight'), many: origin.most('many') };
  if (await decidedAlone()) {
    // Beside Redis's word there are the parts: ceil(8 / 2) and ceil(64 / 2) of each gateway.
    expect(most.eight).toBeLessThanOrEqual(16);
    expect(most.many).toBeLessThanOrEqual(128);
  } else {
    expect(most.eight).toBe(8);
    expect(most.many).toBeLessThanOrEqual(64);
  }
  expect(most.many).toBeGreaterThan(48);
  expect(eight[429]).toBeGreaterThan(0);
  expect(Object.keys(eight)).toEqual(['200', '429']);
  expect(Object.keys(many).filter((status) => status !== '429')).toEqual(['200']);
  // Eight requests of 20 ms at a time, for 3 s, would be 1200.
  expect(eight[200]).toBeGreaterThan(200);
});

test("a killed worker's slots come back within five seconds and a little", { timeout: 60_000 }, async () => {
  await untilRoom(gateways, origin, 'eight-key', 8);
  const [doomed = expect.fail(), other = expect.fail()] = gateways;
  const begun = Array.from({ length: 8 }, () =>
    begin(doomed.port, { path: '/stream/eight', headers: EIGHT }),
  );
  for (const { sent } of begun) sent.end();
  const workers = new Set<string>();
  for (const { answered } of begun) {
    const { answer } = await answered;
    expect(answer.status).toBe(200);
    workers.add((valueOf(answer.rawHeaders, 'x-request-id') ?? '').split('-')[0] ?? '');
  }
  for (const pid of doomed.workerPids()) process.kill(pid, 'SIGKILL');
  const diedMs = performance.now();
  await eventually('the instance has lost them', () => origin.inFlight('eight') === 0);
  expect(await room([other], origin, 'eight-key', 10)).toBe(0);
  await untilRoom([other], origin, 'eight-key', 8);
  const tookMs = performance.now() - diedMs;
  expect(tookMs).toBeGreaterThan(2500);
  expect(tookMs).toBeLessThan(7500);
  await doomed.readyz(200);
});

test(
  'without Redis each gateway keeps to its part, and with it the limit is one again',
  { timeout: 60_000 },
  async () => {
    await untilRoom(gateways, origin, 'eight-key', 8);
    await redis.kill();
    await eventually('both gateways know', async () => {
      const down = await Promise.all(
        gateways.map(async ({ admin }) =>
          /^spillway_redis_up 0/m.test(String((await admin('/metrics')).body)),
        ),
      );
      return down.every(Boolean);
    });
    origin.forget();
    const ports = gateways.map(({ port }) => port);
    const statuses = await hammer(ports, 'eight-key', '/busy/eight?20', 32, performance.now() + 2000);
    // Two gateways of two workers: 8 / 2 / 2 for each worker.
    expect(origin.most('eight')).toBeLessThanOrEqual(8);
    expect(origin.most('eight')).toBeGreaterThan(4);
    expect(Object.keys(statuses)).toEqual(['200', '429']);
    await redis.restart();
    await eventually('both gateways are back', async () => {
      const up = await Promise.all(
        gateways.map(async ({ admin }) =>
          /^spillway_redis_up 1/m.test(String((await admin('/metrics')).body)),
        ),
      );
      return up.every(Boolean);
    });
    await untilRoom(gateways, origin, 'eight-key', 8);
    // Seven in one gateway leave one in the other.
    const [first = expect.fail(), second = expect.fail()] = gateways;
    const held = Array.from({ length: 7 }, () =>
      begin(first.port, { path: '/stream/eight', headers: EIGHT }),
    );
    for (const { sent } of held) sent.end();
    for (const { answered } of held) expect((await answered).answer.status).toBe(200);
    expect(await room([second], origin, 'eight-key', 4)).toBe(1);
    origin.letGo();
  },
);
