/**
 * The rest of limits.md, section 6: a Redis that is not there when the gateway starts, what `onUnavailable` says, a supervisor
 * that stands still, and stores that move: a failover by sentinels, slots that wander through a cluster.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keySlot } from '../../src/io/limit-store/key-slot.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { freePort } from '../harness/redis.ts';
import { RedisCluster, RedisSentinel } from '../harness/redis-fleet.ts';
import { ask, expectProblem, startService, valueOf } from '../integration/path-fixture.ts';
import type { Answer, Listening } from '../integration/path-fixture.ts';
import {
  BURST,
  configurationOf,
  expectAnswered,
  expectWithinBound,
  Fleet,
  GATEWAYS,
  RATE,
} from './limits-fleet.ts';

const as = { headers: { 'x-api-key': 'the-key' } };
/** Of the limit, on the one gateway of two that it has. */
const SHARES = 2;

let origin: Listening;
beforeAll(async () => {
  origin = await startService(
    (_, response) => void response.writeHead(200, { 'content-length': 2 }).end('ok'),
  );
});
afterAll(async () => await origin[Symbol.asyncDispose]());

async function start(redis: string, workers = 1): Promise<Gateway> {
  return await startGateway(configurationOf(origin.url, redis, workers));
}

/** Asks so often in turn; what came, and how long it took in all. */
async function asked(gateway: Gateway, times: number): Promise<{ answers: Answer[]; seconds: number }> {
  const startMs = performance.now();
  const answers: Answer[] = [];
  for (let i = 0; i < times; i++) answers.push(await ask(gateway.port, as));
  return { answers, seconds: (performance.now() - startMs) / 1000 };
}

const admitted = (answers: readonly Answer[]): number =>
  answers.filter(({ status }) => status === 200).length;

describe('Redis is not there when the gateway starts', () => {
  const more = `keySecret: a-secret-of-tests, gateways: ${SHARES}`;

  test.each([
    ['refused', async () => `{ url: 'redis://127.0.0.1:${await freePort()}', ${more} }`],
    ['a name that does not resolve', () => `{ url: 'redis://no-such-host.invalid:6379', ${more} }`],
  ])('%s: it is ready, answers by its share, and says so', async (_, redis) => {
    await using gateway = await start(await redis());
    const { answers, seconds } = await asked(gateway, 60);
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 429]));
    expect(answers[0]?.status).toBe(200);
    expect(admitted(answers)).toBeLessThanOrEqual(Math.ceil(BURST / SHARES) + (RATE / SHARES) * seconds + 1);
    const metrics = String((await gateway.admin('/metrics')).body);
    expect(metrics).toMatch(/^spillway_limit_fallback 1$/m);
    expect(metrics).toMatch(/^spillway_redis_up 0$/m);
    // Without the store none was asked of it, so none waited for it.
    expect(metrics).not.toMatch(/^spillway_limit_decisions_total\{path="(store|lease)"\}/m);
    expect(gateway.logs().split('Redis is down')).toHaveLength(2);
  });

  test('`onUnavailable: allow` lets everybody pass and counts it; `deny` tells when to come again', async () => {
    const nowhere = `url: 'redis://127.0.0.1:${await freePort()}', keySecret: a-secret-of-tests`;
    const [allow, deny] = await Promise.all([
      start(`{ ${nowhere}, onUnavailable: allow }`),
      start(`{ ${nowhere}, onUnavailable: deny }`),
    ]);
    await using _allow = allow;
    await using _deny = deny;
    expect(admitted((await asked(allow, 60)).answers)).toBe(60);
    await eventually('they are counted', async () =>
      /^spillway_limit_decisions_total\{path="fallback"\} 60$/m.test(
        String((await allow.admin('/metrics')).body),
      ),
    );
    const { answers } = await asked(deny, 10);
    for (const answer of answers) {
      expectProblem(answer, 503, 'SPW_RATE_STORE_DOWN');
      const seconds = Number(valueOf(answer.rawHeaders, 'retry-after'));
      expect(seconds).toBeGreaterThanOrEqual(1);
      expect(seconds).toBeLessThanOrEqual(1 + 1 + 2 + 1);
    }
  });
});

test('the supervisor stands still: each worker goes on with its part, and nobody waits for it for long', async () => {
  await using gateway = await start('', 2);
  expect((await ask(gateway.port, as)).status).toBe(200);
  process.kill(gateway.pid, 'SIGSTOP');
  try {
    const { answers, seconds } = await asked(gateway, 120);
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 429]));
    // Two workers, each with half of the limit and half of the burst.
    expect(admitted(answers)).toBeLessThanOrEqual(RATE * seconds + BURST + 2);
  } finally {
    process.kill(gateway.pid, 'SIGCONT');
  }
  await eventually('the supervisor is asked again', async () =>
    /^spillway_limit_fallback 0$/m.test(String((await gateway.admin('/metrics')).body)),
  );
});

describe('the store moves under load', () => {
  /**
   * What the replica had not heard of when its primary died adds nothing: by the time it is asked, all of it has come back.
   * Nor is the limit a wall while somebody has the store and somebody has not: L3's 98 %, where it could be used.
   */
  function expectHeld(fleet: Fleet, sinceMs: number): void {
    expectAnswered(fleet);
    expectWithinBound(fleet, sinceMs);
    const [first, last] = fleet.span;
    expect(fleet.admitted()).toBeGreaterThanOrEqual((0.98 * RATE * fleet.usableMs(first, last)) / 1000);
  }

  test('sentinels name another primary: all gateways follow', async () => {
    await using sentinel = await RedisSentinel.start();
    const redis = `{ sentinels: ['127.0.0.1:${sentinel.port}'], sentinelName: ${RedisSentinel.primaryName}, keySecret: a-secret-of-tests, gateways: ${GATEWAYS} }`;
    await using fleet = await Fleet.start(0, redis);
    await fleet.whole();
    const sinceMs = Date.now();
    fleet.begin();
    await new Promise((resolve) => setTimeout(resolve, 300));
    await sentinel.servers[0].kill();
    await sentinel.promoted();
    await fleet.whole();
    const client = sentinel.servers[1].client();
    await eventually(
      'all are seen at the new primary',
      async () => (await client.hlen('spw:{gw}:live')) === GATEWAYS,
    );
    client.disconnect();
    await fleet.end();
    expectHeld(fleet, sinceMs);
  });

  test('a cluster moves the slot of a client, loses the primary, and promotes its replica', async () => {
    await using cluster = await RedisCluster.start();
    const redis = `{ cluster: [${cluster.addresses.map((address) => `'${address}'`).join(', ')}], keySecret: a-secret-of-tests, gateways: ${GATEWAYS} }`;
    await using fleet = await Fleet.start(0, redis);
    await fleet.whole();
    const sinceMs = Date.now();
    fleet.begin();
    let key = '';
    await eventually('there is a bucket', async () => {
      for (const node of [0, 1, 2]) key ||= (await cluster.client(node).keys('spw:{c.*}:t'))[0] ?? '';
      return key !== '';
    });
    const from = await cluster.ownerOf(key);
    if (from !== 0) await cluster.moveSlot(keySlot(key), from, 0);
    await eventually(
      'it is charged where it went',
      async () => (await cluster.client(0).keys('spw:{c.*}:t')).length === 1,
    );
    await cluster.nodes[0]?.kill();
    await fleet.lost();
    await cluster.promoted(3);
    await fleet.whole();
    await eventually('it is charged at the replica', async () => {
      await cluster.client(3).readonly();
      return (await cluster.client(3).keys('spw:{c.*}:t')).length === 1;
    });
    await fleet.end();
    expectHeld(fleet, sinceMs);
  });
});
