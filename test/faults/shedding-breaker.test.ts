/**
 * Timeouts that all look alike, with the breaker that everybody has: whose business they end as, and how long the way
 * back is.
 *
 * Bounds, stated before, for requests limited to 1 s at 0.7 of the capacity: the breaker is open 500 ms after the first
 * time limit, and from then on nobody waits for an answer that does not come: refusals have p99 ≤ the SLA. The shedding
 * limit has not grown. When answers return, the way back is the breaker's: the rest of its pause (2 s, doubled a failed
 * trial, ± 25 %), then its ramp of 5 s; while it ramps everything it lets through is answered in time (≥ 95 %), and
 * after it 95 % of what is offered.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startOrigin } from '../harness/origin.ts';
import type { Origin } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';
import { figuresOf, goodput, learn, shop, SLA_MS, sum, told, under, untilIdle } from './shedding-fixture.ts';
import type { Figures } from './shedding-fixture.ts';

const RATE = 280;
const REQUEST_MS = 1000;
const STOP_MS = 500;
const BACK_MS = 2500;
/** The pause that began at the first time limits is at most 2.5 s. */
const PAUSE_OVER_MS = STOP_MS + REQUEST_MS + 500 + 2500;
const RAMP_MS = 5000;
const END_MS = PAUSE_OVER_MS + RAMP_MS + 2000;

let origin: Origin;
let gateway: Gateway;

beforeAll(async () => {
  origin = await startOrigin();
  gateway = await startGateway(
    shop([origin.url], '\n    timeout: { request: 1s }\n    balancing: { slowStart: 0s }'),
  );
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

test('timeouts that are all alike end as the breaker’s business, and its ramp is the way back', async () => {
  const before = await learn(gateway, RATE, 1.5);
  let atOpen: Figures | undefined;
  let openedAtMs = 0;
  let trialAtMs = 0;
  const result = await under(
    gateway,
    { phases: [{ seconds: END_MS / 1000, ratePerSecond: RATE }], timeoutMs: REQUEST_MS + 500 },
    async ({ at, nowMs }) => {
      await at(STOP_MS);
      // Every answer would come 100 ms after its request was given up, and takes no slot from the others.
      await origin.set({ meanMs: REQUEST_MS + 100, sigma: 0, slots: 100_000 });
      await eventually('the breaker opens', async () => {
        atOpen = await figuresOf(gateway);
        return atOpen.breaker === 'open';
      });
      openedAtMs = nowMs();
      await at(BACK_MS);
      await origin.set({ meanMs: 50, sigma: 0.5, slots: 20 });
      await eventually('the trial went well', async () => {
        return (await figuresOf(gateway)).breaker === 'ramping';
      });
      trialAtMs = nowMs();
    },
  );
  const rampEndsMs = Math.ceil((trialAtMs + RAMP_MS) / 100) * 100;
  const inRamp = { from: Math.ceil(trialAtMs / 100) * 100 + 500, to: rampEndsMs };
  const served = sum(result, 'served', inRamp.from, inRamp.to);
  told('timeouts alike, default breaker', {
    before,
    atOpen,
    openedAfterMs: openedAtMs - STOP_MS,
    trialAfterReturnMs: trialAtMs - BACK_MS,
    goodputInRamp: goodput(result, inRamp.from, inRamp.to),
    inTimeOfServedInRamp: sum(result, 'goodput', inRamp.from, inRamp.to) / served,
    goodputAfterRamp: goodput(result, rampEndsMs + 100, END_MS),
    refusalP99Ms: result.refusalP99Ms,
    codes: result.codes,
  });
  expect(openedAtMs - STOP_MS).toBeLessThanOrEqual(REQUEST_MS + 500);
  expect(atOpen?.limit).toBeLessThanOrEqual(before.limit);
  expect(result.failures).toEqual({});
  expect(result.codes['SPW_CIRCUIT_OPEN']).toBeGreaterThan(0);
  expect(Object.keys(result.statuses).toSorted()).toEqual(['200', '503', '504']);
  expect(result.refusalP99Ms).toBeLessThanOrEqual(SLA_MS);
  expect(trialAtMs).toBeLessThanOrEqual(PAUSE_OVER_MS);
  expect(sum(result, 'goodput', inRamp.from, inRamp.to) / served).toBeGreaterThanOrEqual(0.95);
  expect(goodput(result, rampEndsMs + 100, END_MS)).toBeGreaterThanOrEqual(0.95);
  await untilIdle(gateway);
});
