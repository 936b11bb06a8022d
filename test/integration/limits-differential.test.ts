/** The script in Redis and the model in TypeScript are one function: same sequences, same figures, same buckets. */
import * as fc from 'fast-check';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CLOCK_LINE, DECIDE, REFUND, SLOTS } from '../../src/io/limit-store/scripts.ts';
import { EPOCH_SECONDS, TICKS_PER_SECOND } from '../../src/limits/gcra.ts';
import { decideLevels, refundedTat } from '../../src/limits/gcra.ts';
import { grantSlots, type SlotHolder } from '../../src/limits/slot-table.ts';
import { eventually } from '../harness/ports.ts';
import { RedisServer } from '../harness/redis.ts';

let server: RedisServer;
let redis: Redis;
beforeAll(async () => {
  server = await RedisServer.start();
  redis = server.client();
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

const EXPIRY = ", 'PX', math.ceil((v - now) / 10000) + 1";
const KEYS = ['a', 'b', 'c', 'd', 'e'];
/** 2053, the last year whose ticks are whole numbers, and a moment of today. */
const MOMENTS = [2 ** 53 - 400 * 86_400 * TICKS_PER_SECOND, 55_000_000 * TICKS_PER_SECOND];

const level = fc.record({
  unit: fc.oneof(fc.integer({ min: 10, max: 5000 }), fc.integer({ min: 10, max: 600_000_000 })),
  burst: fc.integer({ min: 1, max: 1000 }),
  must: fc.integer({ min: 0, max: 20 }),
  extra: fc.constantFrom(0, 0, 0, 7),
  veto: fc.constantFrom(0, 1, 1),
});
const step = fc.record({
  // Mostly forward, now and then back: a clock that was stepped.
  gap: fc.oneof(
    fc.integer({ min: 0, max: 100_000 }),
    fc.integer({ min: 0, max: 10 ** 10 }),
    fc.integer({ min: -(10 ** 9), max: 0 }),
  ),
  levels: fc.array(level, { minLength: 1, maxLength: 5 }),
});

test('whatever is asked, both answer alike and leave alike', async () => {
  // The given clock takes the place of Redis's own, and keys do not expire on a clock that is not theirs.
  expect(DECIDE.split(CLOCK_LINE)).toHaveLength(2);
  expect(DECIDE.split(EXPIRY)).toHaveLength(2);
  const onGivenClock = DECIDE.replace(CLOCK_LINE, 'local now = tonumber(ARGV[#ARGV])').replace(EXPIRY, '');
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...MOMENTS),
      fc.array(step, { minLength: 1, maxLength: 15 }),
      async (start, steps) => {
        await redis.flushall();
        const model = new Map<string, number>();
        let now = start;
        for (const { gap, levels } of steps) {
          now += gap;
          const terms = levels.flatMap(({ unit, burst, must, extra, veto }) => [
            unit,
            burst,
            must,
            must + extra,
            veto,
          ]);
          const keys = KEYS.slice(0, levels.length);
          const tats = keys.map((key) => model.get(key) ?? now);
          const expected: number[] = [];
          decideLevels(tats, terms, 0, levels.length, now, expected);
          store(model, keys, terms, tats, expected, now);
          expect(await redis.eval(onGivenClock, keys.length, ...keys, ...terms, now)).toEqual(expected);
          const stored = await redis.mget(...keys);
          expect(stored).toEqual(keys.map((key) => (model.has(key) ? String(model.get(key)) : null)));
        }
      },
    ),
    { numRuns: 150 },
  );
});

/** What is stored after a decision: what was charged, and what was beyond its depth and is wanted. */
function store(
  model: Map<string, number>,
  keys: readonly string[],
  terms: readonly number[],
  tats: readonly number[],
  reply: readonly number[],
  now: number,
): void {
  keys.forEach((key, i) => {
    const after = tats[i] ?? Number.NaN;
    const cameDown = (terms[5 * i + 3] ?? 0) > 0 && after < (model.get(key) ?? now);
    if ((reply[1 + 4 * i] ?? 0) > 0 || cameDown) model.set(key, after);
  });
}

const refundStep = fc.record({
  gap: fc.oneof(fc.integer({ min: 0, max: 10 ** 8 }), fc.integer({ min: -(10 ** 8), max: 0 })),
  levels: fc.array(level, { minLength: 1, maxLength: 5 }),
  units: fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 5, maxLength: 5 }),
});

test('units given back leave the same buckets in both, to the tick', async () => {
  expect(REFUND.split(CLOCK_LINE)).toHaveLength(2);
  expect(REFUND.split(EXPIRY)).toHaveLength(2);
  const charge = DECIDE.replace(CLOCK_LINE, 'local now = tonumber(ARGV[#ARGV])').replace(EXPIRY, '');
  const giveBack = REFUND.replace(CLOCK_LINE, 'local now = tonumber(ARGV[#ARGV])').replace(EXPIRY, '');
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...MOMENTS),
      fc.array(refundStep, { minLength: 1, maxLength: 10 }),
      async (start, steps) => {
        await redis.flushall();
        const model = new Map<string, number>();
        let now = start;
        for (const { gap, levels, units } of steps) {
          now += gap;
          const keys = KEYS.slice(0, levels.length);
          const terms = levels.flatMap(({ unit, burst, must }) => [unit, burst, must, must, 1]);
          const tats = keys.map((key) => model.get(key) ?? now);
          const expected: number[] = [];
          decideLevels(tats, terms, 0, levels.length, now, expected);
          await redis.eval(charge, keys.length, ...keys, ...terms, now);
          store(model, keys, terms, tats, expected, now);
          const back = levels.flatMap(({ unit }, i) => [units[i] ?? 0, unit]);
          await redis.eval(giveBack, keys.length, ...keys, ...back, now);
          keys.forEach((key, i) => {
            const tat = model.get(key);
            if (tat === undefined) return;
            const refunded = refundedTat(tat, units[i] ?? 0, levels[i]?.unit ?? 0);
            if (refunded <= now) model.delete(key);
            else model.set(key, refunded);
          });
          const stored = await redis.mget(...keys);
          expect(stored).toEqual(keys.map((key) => (model.has(key) ? String(model.get(key)) : null)));
        }
      },
    ),
    { numRuns: 100 },
  );
});

const slotStep = fc.record({
  gap: fc.oneof(
    fc.integer({ min: 0, max: 3 * TICKS_PER_SECOND }),
    fc.integer({ min: 0, max: 12 * TICKS_PER_SECOND }),
    fc.integer({ min: -20 * TICKS_PER_SECOND, max: 0 }),
  ),
  worker: fc.constantFrom('a', 'b', 'c'),
  need: fc.integer({ min: 0, max: 40 }),
  kept: fc.double({ min: 0, max: 1, noNaN: true }),
  most: fc.constantFrom(1, 4, 10, 31, 32, 100),
});

test('slots are granted alike and held alike, whatever the clock does', async () => {
  expect(SLOTS.split(CLOCK_LINE)).toHaveLength(2);
  const onGivenClock = SLOTS.replace(CLOCK_LINE, 'local now = tonumber(ARGV[#ARGV])');
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...MOMENTS),
      fc.array(slotStep, { minLength: 1, maxLength: 20 }),
      async (start, steps) => {
        await redis.flushall();
        const model: SlotHolder[] = [];
        let now = start;
        for (const { gap, worker, need, kept, most } of steps) {
          now += gap;
          const keep = Math.floor(kept * need);
          const expected = grantSlots(model, worker, need, keep, most, now);
          expect(await redis.eval(onGivenClock, 1, 'n', worker, need, keep, most, now)).toEqual([expected]);
          const stored = await redis.hgetall('n');
          expect(stored).toEqual(
            Object.fromEntries(model.map((holder) => [holder.worker, `${holder.count}:${holder.expires}`])),
          );
        }
      },
    ),
    { numRuns: 150 },
  );
});

test('a hash of slots goes with the last of them, and holds nothing but counts and moments', async () => {
  await redis.flushall();
  await redis.eval(SLOTS, 1, 'n', 'w1', 2, 0, 5);
  const pttl = await redis.pttl('n');
  expect(pttl).toBeGreaterThan(4000);
  expect(pttl).toBeLessThanOrEqual(5000);
  expect((await redis.hgetall('n'))['w1']).toMatch(/^2:\d+$/);
  await redis.eval(SLOTS, 1, 'n', 'w1', 0, 0, 5);
  expect(await redis.exists('n')).toBe(0);
});

test("production asks Redis's own clock, counts from 2025 and lets a key go when its bucket is full", async () => {
  await redis.flushall();
  const [before] = await redis.time();
  await redis.eval(DECIDE, 1, 'k', 10_000_000, 60, 30, 30, 1);
  const [after] = await redis.time();
  const tat = Number(await redis.get('k'));
  const now = tat - 30 * TICKS_PER_SECOND;
  expect(now).toBeGreaterThanOrEqual((Number(before) - EPOCH_SECONDS) * TICKS_PER_SECOND);
  expect(now).toBeLessThan((Number(after) + 1 - EPOCH_SECONDS) * TICKS_PER_SECOND);
  const pttl = await redis.pttl('k');
  expect(pttl).toBeGreaterThan(20_000);
  expect(pttl).toBeLessThanOrEqual(30_001);
});

test('a clock that was stepped back waits no longer than the bucket takes to fill; a bucket of the past is full', async () => {
  await redis.flushall();
  const rate = [1_000_000, 10, 1, 1, 1];
  await redis.eval(DECIDE, 1, 'k', ...rate);
  const tat = Number(await redis.get('k'));
  await redis.set('k', String(tat + 3600 * TICKS_PER_SECOND));
  // A look says so and leaves it; a request brings the bucket back to its depth, so that who waits is admitted.
  expect(await redis.eval(DECIDE, 1, 'k', 1_000_000, 10, 0, 0, 1)).toEqual([1, 0, 0, 0, 10_000_000]);
  expect(await redis.get('k')).toBe(String(tat + 3600 * TICKS_PER_SECOND));
  expect(await redis.eval(DECIDE, 1, 'k', ...rate)).toEqual([0, 0, 0, 1_000_000, 10_000_000]);
  expect(Number(await redis.get('k'))).toBeLessThan(tat + 60 * TICKS_PER_SECOND);
  expect(await redis.pttl('k')).toBeLessThanOrEqual(1001);
  await eventually('its wait is over', async () => {
    const [ok] = (await redis.eval(DECIDE, 1, 'k', ...rate)) as number[];
    return ok === 1;
  });
  await redis.set('k', String(tat - 3600 * TICKS_PER_SECOND));
  expect(await redis.eval(DECIDE, 1, 'k', ...rate)).toEqual([1, 1, 9, 0, 1_000_000]);
});

test('a value that is no number is an absent bucket, not an error', async () => {
  await redis.flushall();
  await redis.set('k', 'garbage');
  await redis.lpush('l', 'x');
  expect(await redis.eval(DECIDE, 2, 'k', 'l', 1000, 5, 1, 1, 1, 1000, 5, 1, 1, 1)).toEqual([
    1, 1, 4, 0, 1000, 1, 4, 0, 1000,
  ]);
});
