/**
 * A wall clock that steps, and a machine that is suspended.
 *
 * Bounds, stated before, at 0.7 of the capacity: steps of an hour forward and back, in every process of the gateway at
 * once, refuse nobody and fail nobody, and leave limit and baseline where they were (10 % for noise; the limit may grow);
 * a client's rate goes on as before, since what it is owed is not counted by the wall. After a suspension of three seconds (SIGSTOP of all
 * processes) 95 % of what is offered is answered in time two seconds later, and every caller has had an answer.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';

import { disturb } from '../harness/disturbance.ts';
import type { Gateway } from '../harness/gateway.ts';
import { headerOf, rawExchange } from '../harness/raw.ts';
import {
  figuresOf,
  goodput,
  startDisturbed,
  told,
  under,
  untilIdle,
  wholeAfter,
} from './shedding-fixture.ts';
import type { Disturbed } from './shedding-fixture.ts';

const RATE = 280;
const HOUR_MS = 3_600_000;
/** A client that asks a hundred times a second and may ask fifty times. */
const LIMITED = `
clients: { keys: [{ key: thin-key, client: thin, tier: thin }] }
tiers: { thin: { rate: 50/s, burst: 10 } }`;

let disturbed: Disturbed;
let folder: string;
let gateway: Gateway;

beforeAll(async () => {
  disturbed = await startDisturbed(LIMITED, RATE);
  ({ folder, gateway } = disturbed);
});

afterAll(() => disturbed[Symbol.asyncDispose]());

const family = (): readonly number[] => [gateway.pid, ...gateway.workerPids()];

test('a wall clock that steps by an hour, forward and back, refuses nobody', async () => {
  const before = await figuresOf(gateway);
  const classes = [
    { name: 'all', share: 180 },
    { name: 'thin', share: 100, headers: { 'x-api-key': 'thin-key' } },
  ];
  const wall = async (): Promise<number> => {
    // What the parser refuses is answered by hand, date included.
    const { answers } = await rawExchange(gateway.port, 'no HTTP here\r\n\r\n');
    return Date.parse(answers[0] === undefined ? '' : (headerOf(answers[0], 'date') ?? ''));
  };
  const result = await under(
    gateway,
    { phases: [{ seconds: 5, ratePerSecond: RATE }], classes, measureFromMs: 1000 },
    async ({ at }) => {
      await at(2000);
      disturb(folder, family(), { stepMs: HOUR_MS });
      await at(3000);
      // The step is real: the gateway's own answers tell another hour.
      expect((await wall()) - Date.now()).toBeGreaterThan(HOUR_MS / 2);
      await at(3500);
      disturb(folder, family(), { stepMs: -2 * HOUR_MS });
      await at(4500);
      expect((await wall()) - Date.now()).toBeLessThan(-HOUR_MS / 2);
    },
  );
  const after = await figuresOf(gateway);
  const { all, thin } = result.classes;
  told('clock steps', { before, after, statuses: result.statuses, codes: result.codes, thin });
  expect([all?.refused, all?.failed, result.failed]).toEqual([0, 0, 0]);
  expect(Object.keys(result.statuses).filter((status) => status >= '500')).toEqual([]);
  // 50/s and no more than the burst on top, over four seconds.
  expect(thin?.served).toBeGreaterThan(0.9 * 200);
  expect(thin?.served).toBeLessThan(1.1 * 210);
  expect(after.limit).toBeGreaterThanOrEqual(0.9 * before.limit);
  expect(Math.abs(after.baselineMs / before.baselineMs - 1)).toBeLessThan(0.1);
  await untilIdle(gateway);
});

test('a gateway suspended for three seconds is itself again two seconds later', async () => {
  const result = await under(
    gateway,
    { phases: [{ seconds: 7, ratePerSecond: RATE }], timeoutMs: 10_000 },
    async ({ at }) => {
      await at(500);
      const pids = family();
      for (const pid of pids) process.kill(pid, 'SIGSTOP');
      await at(3500);
      for (const pid of pids) process.kill(pid, 'SIGCONT');
    },
  );
  told('suspended for 3 s', {
    codes: result.codes,
    statuses: result.statuses,
    failures: result.failures,
    wholeAfterMs: wholeAfter(result, 3500, 7000),
    after: await figuresOf(gateway),
  });
  expect(result.failed).toBe(0);
  expect(goodput(result, 5500, 7000)).toBeGreaterThanOrEqual(0.95);
  expect((await gateway.admin('/readyz')).status).toBe(200);
  await untilIdle(gateway);
});
