/**
 * A worker that stood still for as long as the SLA knows how old the requests are that it finds (I12), and refuses the
 * unimportant ones before anything is spent on them (trap 15: *a shed reads no body and asks no store*).
 *
 * Bounds, stated before, for an SLA of 480 ms: after a pause of 500 ms the first requests count as 480 ms old and more, so every
 * sheddable one is `SPW_SHED_DEADLINE`; no rate limit is asked for them, none is told to send its body, nothing
 * reaches the service, and a critical one among them is served. After a pause of 300 ms none is refused.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { disturb, disturbable } from '../harness/disturbance.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startEcho } from '../harness/origin.ts';
import type { InProcessOrigin } from '../harness/origin.ts';
import { openRaw } from '../harness/raw.ts';
import type { RawAnswer, RawConnection } from '../harness/raw.ts';
import { metric } from './shedding-fixture.ts';

const CALLERS = 12;

let folder: string;
let origin: InProcessOrigin;
let gateway: Gateway;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-test-'));
  origin = await startEcho();
  gateway = await startGateway(
    `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
clients:
  keys:
    - { key: gold-key, client: gold, tier: gold }
    - { key: free-key, client: free, tier: free }
tiers:
  gold: { priority: critical }
  free: { priority: sheddable, rate: 1000/s, burst: 1000 }
services:
  shop:
    instances: [${origin.url}]
    sla: 480ms
    readiness: { path: /ready }
routes: [{ path: /, service: shop }]
`,
    { env: disturbable(folder) },
  );
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

/** Callers whose requests come while the worker stands still: the sheddable ones want to send a body, the last is critical. */
async function duringPause(blockMs: number): Promise<{
  readonly free: readonly RawAnswer[];
  readonly gold: readonly RawAnswer[];
}> {
  const opened: RawConnection[] = [];
  for (let index = 0; index <= CALLERS; index += 1) opened.push(await openRaw(gateway.port));
  disturb(folder, gateway.workerPids(), { blockMs });
  // It stands still by now; what is written is read only when that is over.
  await pause(50);
  for (const [index, connection] of opened.entries()) {
    connection.write(
      index < CALLERS
        ? 'POST /free HTTP/1.1\r\nhost: a.test\r\nx-api-key: free-key\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n'
        : 'GET /gold HTTP/1.1\r\nhost: a.test\r\nx-api-key: gold-key\r\n\r\n',
    );
  }
  const answers: RawAnswer[][] = [];
  for (const [index, connection] of opened.entries()) {
    if (index < CALLERS) await connection.until((text) => text.includes('\r\n\r\n'));
    if (connection.received().startsWith('HTTP/1.1 100 ')) connection.write('body');
    answers.push([...(await connection.untilAnswers(1)).answers]);
  }
  for (const connection of opened) await connection[Symbol.asyncDispose]();
  return { free: answers.slice(0, CALLERS).flat(), gold: answers.slice(CALLERS).flat() };
}

test('after 300 ms nobody is refused', async () => {
  const { free, gold } = await duringPause(300);
  expect(free.map(({ status }) => status)).toEqual(Array.from({ length: CALLERS }, () => [100, 200]).flat());
  expect(gold.map(({ status }) => status)).toEqual([200]);
});

test('after 500 ms the sheddable are refused by their age: no body read, no store asked, nothing sent on', async () => {
  const asked = await metric(gateway, 'spillway_limit_decisions_total');
  const reached = origin.requests.length;
  expect(asked).toBeGreaterThan(0);
  const { free, gold } = await duringPause(500);
  expect(free.map(({ status }) => status)).toEqual(Array.from({ length: CALLERS }, () => 503));
  for (const { body } of free) expect(body).toContain('SPW_SHED_DEADLINE');
  expect(gold.map(({ status }) => status)).toEqual([200]);
  expect(origin.requests.slice(reached).map(({ url }) => url)).toEqual(['/gold']);
  expect(await metric(gateway, 'spillway_limit_decisions_total')).toBe(asked);
});
