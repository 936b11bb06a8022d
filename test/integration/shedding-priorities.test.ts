/**
 * Priorities claimed by callers who are not trusted to, at ten times the capacity.
 *
 * Bounds, stated before: who claims to be critical gets no more than its class: a default caller with the claim is served
 * as often as one without (within a quarter), one that marks a retry no more often, a sheddable one while default callers want more than all there is next to
 * never (≤ 2 %), and so is a default caller that lowers itself. Nobody critical is refused, whatever the others
 * claim; `/readyz` says 200 throughout: shedding never fails readiness. What a caller says in `x-spillway-…`
 * reaches no instance.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';

import { learn, shop, told, under, untilIdle } from '../faults/shedding-fixture.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startSlotOrigin } from '../harness/slot-origin.ts';
import type { SlotOrigin } from '../harness/slot-origin.ts';

const CAPACITY = 100;
const CLIENTS = `
clients:
  keys:
    - { key: gold-key, client: gold, tier: gold }
    - { key: free-key, client: free, tier: free }
tiers: { gold: { priority: critical }, free: { priority: sheddable } }`;
const FORGED = {
  'x-spillway-tier': 'gold',
  'x-spillway-client': 'gold',
  'x-spillway-priority': 'critical',
  'x-spillway-attempt': '9',
  // "Before my first try": what marks a retry is believed, since it only lowers; nothing else is.
  'x-retry-attempt': '-5',
  'x-envoy-attempt-count': '0',
  'grpc-previous-rpc-attempts': '-1',
};
const CLASSES = [
  { name: 'critical', share: 0.3, headers: { 'x-api-key': 'gold-key' } },
  { name: 'default', share: 2 },
  { name: 'default, retries', share: 1, headers: { 'x-retry-attempt': '2' } },
  { name: 'default, claims', share: 2, headers: { 'x-priority': 'critical', ...FORGED } },
  {
    name: 'sheddable, claims',
    share: 3,
    headers: { 'x-api-key': 'free-key', 'x-priority': 'critical', ...FORGED },
  },
  { name: 'lowered', share: 1.7, headers: { 'x-priority': 'background' } },
];

let origin: SlotOrigin;
let gateway: Gateway;
/** Names and values of `x-spillway-…` that reached the origin. */
const reached = new Set<string>();

beforeAll(async () => {
  origin = await startSlotOrigin({
    slots: 5,
    meanMs: 50,
    other: ({ headers }) => {
      for (const [name, value] of Object.entries(headers))
        if (name.startsWith('x-spillway-')) reached.add(`${name}: ${String(value)}`);
      return false;
    },
  });
  gateway = await startGateway(shop([origin.url], '', CLIENTS));
  await learn(gateway, 0.7 * CAPACITY, 2);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

test('under ten times the capacity a claimed priority gets no more than its class, and a lowered one less', async () => {
  const readiness = new Set<number>();
  const result = await under(
    gateway,
    { phases: [{ seconds: 10, ratePerSecond: 10 * CAPACITY }], classes: CLASSES, measureFromMs: 2000 },
    async ({ at }) => {
      for (let ms = 500; ms < 10_000; ms += 500) {
        await at(ms);
        readiness.add((await gateway.admin('/readyz')).status);
      }
    },
  );
  const served = (name: string): number => {
    const { served: count = 0, offered = 1 } = result.classes[name] ?? {};
    return count / offered;
  };
  told('claims', {
    goodput: result.goodputPerSecond / CAPACITY,
    classes: Object.fromEntries(CLASSES.map(({ name }) => [name, served(name)])),
    criticalRefused: result.classes['critical']?.refused,
    codes: result.codes,
  });
  expect(result.classes['critical']?.refused).toBe(0);
  expect(served('default, claims')).toBeGreaterThan(0.75 * served('default'));
  expect(served('default, claims')).toBeLessThan(1.25 * served('default'));
  expect(served('default, retries')).toBeLessThan(1.25 * served('default'));
  expect(served('sheddable, claims')).toBeLessThanOrEqual(0.02);
  expect(served('lowered')).toBeLessThanOrEqual(0.02);
  expect([...readiness]).toEqual([200]);
  await untilIdle(gateway);
});

test('what a caller says in `x-spillway-…` reaches no instance', () => {
  const values = [...reached].toSorted();
  expect(values).toContain('x-spillway-client: gold');
  expect(values.filter((each) => each.startsWith('x-spillway-priority'))).toEqual([]);
  expect(values.filter((each) => each.endsWith(': 9'))).toEqual([]);
});
