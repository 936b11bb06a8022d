/**
 * Connections to Redis that are cut at random moments, with calls under way: L8 of limits.md, through real gateways. Each reaches
 * Redis by a relay of its own that holds every answer back for a while, so that a cut nearly always meets calls that Redis has
 * charged and nobody has heard of.
 *
 * A call that was cut off is never sent again: it counts once in the store or not at all, and its request is decided by the
 * gateway's own share. Where every caller has a bucket of its own, that shows in each.
 */
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { between, seededRandom } from '../../src/kernel/random.ts';
import { EPOCH_SECONDS, TICKS_PER_SECOND } from '../../src/limits/gcra.ts';
import { RedisServer } from '../harness/redis.ts';
import { asStranger, expectAnswered, expectWithinBound, Fleet, STRANGER_TICKS } from './limits-fleet.ts';

/** The wait of an answer in the relay: well within the deadline, and as long as a question takes to come at this pace. */
const LAG_MS = 12;
const CUTS = 4;
/** Between two cuts of one gateway: long enough to come back for most, too short for some. */
const APART_MS: readonly [number, number] = [300, 1300];
const SEED = 8;

let server: RedisServer;
let redis: Redis;
let fleet: Fleet;
beforeAll(async () => {
  server = await RedisServer.start();
  redis = server.client();
  fleet = await Fleet.start(server.port);
});
afterAll(async () => {
  await fleet[Symbol.asyncDispose]();
  redis.disconnect();
  await server.stop();
});
afterEach(async () => {
  await fleet.end();
});

const pause = async (ms: number): Promise<void> => await new Promise((resolve) => setTimeout(resolve, ms));

/** Each gateway's connection is cut again and again, at moments of its own; resolves when all have the store again. */
async function cutAtRandom(): Promise<void> {
  const random = seededRandom(SEED);
  await Promise.all(
    fleet.members.map(async ({ relay }) => {
      relay?.lag(LAG_MS);
      for (let i = 0; i < CUTS; i++) {
        await pause(between(random, ...APART_MS));
        relay?.cut();
      }
      relay?.lag(0);
    }),
  );
  await fleet.whole();
  await fleet.end();
}

/** Units gone from each bucket that there is. */
async function charges(): Promise<number[]> {
  const keys = await redis.keys('spw:{c.*}:t');
  const [seconds, micros] = await redis.time();
  const now = (Number(seconds) - EPOCH_SECONDS) * TICKS_PER_SECOND + Number(micros) * 10;
  return (await redis.mget(keys)).map((tat) => Math.round((Number(tat) - now) / STRANGER_TICKS));
}

test('a request is charged once at most, and who was admitted by the store is', async () => {
  await fleet.whole();
  fleet.begin(asStranger);
  await cutAtRandom();
  expect(new Set(fleet.asked.map(({ status }) => status))).toEqual(new Set([200]));
  const charged = await charges();
  expect(new Set(charged)).toEqual(new Set([1]));
  const decided = async (path: string): Promise<number> =>
    (await fleet.metric('limit_decisions_total', `"${path}"`)).reduce((all, each) => all + each, 0);
  const byStore = await decided('store');
  expect(byStore + (await decided('fallback'))).toBe(fleet.asked.length);
  // More: the cuts met calls that Redis had charged, else this would show nothing.
  expect(charged.length).toBeGreaterThan(byStore);
  expect(charged.length).toBeLessThanOrEqual(fleet.storeAsked());
});

test('the limit holds within its bound, and is used', async () => {
  await fleet.whole();
  const sinceMs = Date.now();
  fleet.begin();
  await cutAtRandom();
  expectAnswered(fleet);
  expect(fleet.storeTold(sinceMs).losses).toBeGreaterThan(1);
  expectWithinBound(fleet, sinceMs);
});
