/**
 * Answers that must not be taken for the service's speed: timeouts that all look alike, and fast 500s. The breaker is
 * configured out, so that what is seen is the limiter's own judgement (with it: shedding-breaker.test.ts).
 *
 * Bounds, stated before, at 0.7 of the capacity: the limit is no higher after the fault than before, the baseline no
 * lower (5 % for the noise of a median); nobody is shed for fast 500s; two seconds after the answers are back 95 % of
 * what is offered is answered in time.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startOrigin } from '../harness/origin.ts';
import type { Origin } from '../harness/origin.ts';
import {
  figuresOf,
  goodput,
  learn,
  NOTHING_OPENS,
  shop,
  sum,
  told,
  under,
  untilIdle,
  wholeAfter,
} from './shedding-fixture.ts';
import type { Figures } from './shedding-fixture.ts';

const RATE = 280;

let origin: Origin;
let gateway: Gateway;

beforeAll(async () => {
  origin = await startOrigin();
  gateway = await startGateway(shop([origin.url], `\n    timeout: { request: 1s }${NOTHING_OPENS}`));
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

test('fast 500s for five seconds raise no limit, lower no baseline and get nobody shed', async () => {
  const before = await learn(gateway, RATE, 1.5);
  let after: Figures | undefined;
  const result = await under(gateway, { phases: [{ seconds: 8.5, ratePerSecond: RATE }] }, async ({ at }) => {
    await at(500);
    await origin.set({ status: 500, meanMs: 0 });
    await at(5500);
    after = await figuresOf(gateway);
    await origin.set({ status: 200, meanMs: 50 });
  });
  told('fast 500s', {
    before,
    after,
    refused: result.refused,
    failed: result.failed,
    goodputAfter2s: goodput(result, 7500, 8500),
    wholeAfterMs: wholeAfter(result, 5500, 8500),
  });
  expect(sum(result, 'failed', 600, 5400)).toBe(sum(result, 'offered', 600, 5400));
  expect(after?.limit).toBeLessThanOrEqual(before.limit);
  expect(after?.baselineMs).toBeGreaterThanOrEqual(0.95 * before.baselineMs);
  expect(result.refused).toBe(0);
  expect(goodput(result, 7500, 8500)).toBeGreaterThanOrEqual(0.95);
  await untilIdle(gateway);
});

test('timeouts that all look alike are drops: no limit grows on them, and the service is whole again in 2 s', async () => {
  const before = await figuresOf(gateway);
  let after: Figures | undefined;
  const result = await under(
    gateway,
    { phases: [{ seconds: 7.5, ratePerSecond: RATE }], timeoutMs: 1500 },
    async ({ at }) => {
      await at(500);
      await origin.set({ meanMs: 1100, sigma: 0, slots: 100_000 });
      await at(4500);
      after = await figuresOf(gateway);
      await origin.set({ meanMs: 50, sigma: 0.5, slots: 20 });
    },
  );
  told('timeouts alike, no breaker', {
    before,
    after,
    codes: result.codes,
    goodputAfter2s: goodput(result, 6500, 7500),
    wholeAfterMs: wholeAfter(result, 4500, 7500),
  });
  expect(result.codes['SPW_UPSTREAM_TIMEOUT']).toBeGreaterThan(0);
  // Nobody hung beyond the time limit and the clockwork's slack.
  expect(result.failures).toEqual({});
  expect(after?.limit).toBeLessThanOrEqual(before.limit);
  expect(goodput(result, 6500, 7500)).toBeGreaterThanOrEqual(0.95);
  await untilIdle(gateway);
});
