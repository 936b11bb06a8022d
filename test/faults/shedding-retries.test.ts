/**
 * A retry storm: callers who try three times, in front of a service of two instances of which one answers every
 * request with 502, so that the gateway has a reason to try again as well.
 *
 * Bounds, stated before (I9): in any ten seconds the gateway's own retries are at most 6 and a fifth of its first
 * attempts, at half of the capacity as at twice; and while half and more of what comes is refused, there are none at all. When the
 * storm is over and the instance well, 95 % of half the capacity is answered in time two seconds later.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';

import { runCallers } from '../harness/callers.ts';
import type { CallersResult } from '../harness/callers.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startOrigin } from '../harness/origin.ts';
import type { Origin } from '../harness/origin.ts';
import {
  figuresOf,
  goodput,
  learn,
  metric,
  NOTHING_OPENS,
  shop,
  told,
  under,
  untilIdle,
} from './shedding-fixture.ts';

/** Of the good instance alone. */
const CAPACITY = 100;
const FLOOR = 6;
const SHARE = 0.2;

let good: Origin;
let bad: Origin;
let gateway: Gateway;

beforeAll(async () => {
  good = await startOrigin({ slots: 5 });
  bad = await startOrigin({ slots: 5 });
  gateway = await startGateway(
    shop([good.url, bad.url], `${NOTHING_OPENS}\n    retry: { max: 2, budget: 20% }`),
  );
  await learn(gateway, CAPACITY, 2);
  await bad.set({ status: 502 });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await good[Symbol.asyncDispose]();
  await bad[Symbol.asyncDispose]();
});

interface Counted {
  readonly first: number;
  readonly retries: number;
}

/** What the instances were asked since `before`; the first attempts and those that came on top. */
async function counted(before?: Counted): Promise<Counted> {
  const attempts = await metric(gateway, 'spillway_upstream_requests_total');
  const retries = await metric(gateway, 'spillway_retries_total', /result="sent"/);
  const first = attempts - retries;
  return before === undefined
    ? { first, retries }
    : { first: first - before.first, retries: retries - before.retries };
}

/** Callers who come back twice, at once, when they are refused or fail: three connections a caller at most. */
async function storm(ratePerSecond: number, seconds: number): Promise<CallersResult> {
  return await runCallers({
    port: gateway.port,
    ratePerSecond,
    seconds,
    tries: 3,
    caller: (index) => ({ path: `/${index}` }),
  });
}

test('below the capacity retries keep to their budget', async () => {
  const before = await counted();
  const result = await storm(0.5 * CAPACITY, 5);
  const { first, retries } = await counted(before);
  told('3 tries at 0.5 C, one of two instances answers 502', { statuses: result.statuses, first, retries });
  expect(retries).toBeGreaterThan(0);
  expect(retries).toBeLessThanOrEqual(FLOOR + SHARE * first);
});

test('in a storm of three tries at twice the capacity retries keep to their budget, and to none while half is refused', async () => {
  const before = await counted();
  let pressed: Counted | undefined;
  const [result] = await Promise.all([
    storm(2 * CAPACITY, 6),
    under(gateway, { phases: [{ seconds: 5, ratePerSecond: 1 }] }, async ({ at }) => {
      // The first second is the way into it.
      await at(2000);
      const from = await counted();
      await at(5000);
      pressed = await counted(from);
    }),
  ]);
  const { first, retries } = await counted(before);
  told('3 tries at 2 C', { statuses: result.statuses, first, retries, pressed });
  expect(retries).toBeLessThanOrEqual(FLOOR + SHARE * first);
  expect(pressed?.first).toBeGreaterThan(0);
  expect(pressed?.retries).toBe(0);
  await untilIdle(gateway);
});

test('when it is over and the instance well, all is well two seconds later', async () => {
  await bad.set({ status: 200 });
  const result = await under(gateway, { phases: [{ seconds: 4, ratePerSecond: 0.5 * CAPACITY }] });
  told('after the storm', { later: goodput(result, 2000, 4000), figures: await figuresOf(gateway) });
  expect(goodput(result, 2000, 4000)).toBeGreaterThanOrEqual(0.95);
});
