/**
 * Three in ten callers leave, half of them at once and half after 100 ms, in front of a service that notices.
 *
 * Bounds, stated before, at 0.7 of the capacity, where nothing but those who leave could cut anything: of those who stay
 * 95 % are answered in time; the limit has not shrunk; afterwards nothing is held anywhere. There and at three times the capacity the service works at most 1 % of its
 * busy time for callers who have left (I15).
 */
import { afterEach, beforeEach, expect, test } from 'vitest';

import { runCallers } from '../harness/callers.ts';
import type { Caller } from '../harness/callers.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startSlotOrigin } from '../harness/slot-origin.ts';
import type { SlotOrigin } from '../harness/slot-origin.ts';
import { figuresOf, learn, shop, SLA_MS, told, untilIdle } from './shedding-fixture.ts';

const SLOTS = 10;
const CAPACITY = 200;

let origin: SlotOrigin;
let gateway: Gateway;

beforeEach(async () => {
  origin = await startSlotOrigin({ slots: SLOTS, meanMs: 50 });
  gateway = await startGateway(shop([origin.url]));
});

afterEach(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

/** Three in ten: every other of them at once. */
function impatient(index: number): Caller {
  const path = `/${index}`;
  const turn = index % 20;
  if (turn < 3) return { path, leavesAfterMs: 0 };
  return turn < 6 ? { path, leavesAfterMs: 100 } : { path };
}

test('three in ten callers leave at 0.7 of the capacity: the others notice nothing', async () => {
  const before = await learn(gateway, 0.7 * CAPACITY, 2);
  const result = await runCallers({
    port: gateway.port,
    ratePerSecond: 0.7 * CAPACITY,
    seconds: 6,
    caller: impatient,
    onLeave: origin.leaves,
  });
  const inTime = result.servedMs.filter((ms) => ms <= SLA_MS).length;
  await untilIdle(gateway);
  const after = await figuresOf(gateway);
  const { busyMs, wastedMs, held } = origin.counts;
  told('30 % leave at 0.7 C', { ...result, servedMs: inTime, wasted: wastedMs / busyMs, before, after });
  expect(result.left).toBeGreaterThan(0.2 * (result.left + result.stayed));
  expect(inTime / result.stayed).toBeGreaterThanOrEqual(0.95);
  // A single window of noise may cut a twentieth, with leavers or without; whoever leaves early must not drive it down.
  expect(after.limit).toBeGreaterThanOrEqual(0.9 * before.limit);
  expect(wastedMs / busyMs).toBeLessThanOrEqual(0.01);
  expect(held).toBe(0);
});

test('three in ten callers leave at three times the capacity: no permit and no work is left behind', async () => {
  const result = await runCallers({
    port: gateway.port,
    ratePerSecond: 3 * CAPACITY,
    seconds: 5,
    caller: impatient,
    onLeave: origin.leaves,
  });
  await untilIdle(gateway);
  const { busyMs, wastedMs, held } = origin.counts;
  told('30 % leave at 3 C', {
    ...result,
    servedMs: result.servedMs.filter((ms) => ms <= SLA_MS).length,
    wasted: wastedMs / busyMs,
    busy: busyMs / (SLOTS * 5000),
  });
  expect(wastedMs / busyMs).toBeLessThanOrEqual(0.01);
  expect(held).toBe(0);
  // Every place they had is free: the next caller goes straight through.
  const next = await runCallers({
    port: gateway.port,
    ratePerSecond: 0.5 * CAPACITY,
    seconds: 1,
    caller: (index) => ({ path: `/after/${index}` }),
  });
  expect(next.statuses).toEqual({ 200: next.stayed });
});
