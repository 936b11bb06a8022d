/**
 * `spillway drain --wait` at a running gateway: it says how many sessions and how much time are left, and returns when the
 * last session must have gone, also the sessions of callers that never come again.
 */
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';

import { PROJECT_ROOT, startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { startProcess } from '../harness/process.ts';
import type { RunningProcess } from '../harness/process.ts';
import { ask, serviceOf, startService, untilState, valueOf, valuesOf } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';
import { sessionYaml } from './session-fixture.ts';

const SESSION_TIMEOUT_MS = 3000;
const SESSIONS = 120;
/** Two sessions share a bit now and then and are one (session-count.ts). */
const COLLISIONS = 4;

const instances: Listening[] = [];
let gateway: Gateway;

beforeAll(async () => {
  for (let index = 0; index < 3; index++) {
    instances.push(
      await startService((_, response) => {
        response.writeHead(200, { 'x-instance': String(index), 'content-length': 0 }).end();
      }),
    );
  }
});

afterAll(async () => {
  for (const each of instances) await each[Symbol.asyncDispose]();
});

beforeEach(async () => {
  gateway = await startGateway(
    sessionYaml(instances, { workers: 2, drain: `sessionTimeout: ${SESSION_TIMEOUT_MS}ms` }),
  );
});

afterEach(async () => {
  await gateway[Symbol.asyncDispose]();
});

async function begin(): Promise<{ cookie: string; instance: number }> {
  const { rawHeaders } = await ask(gateway.port);
  const [set = ''] = valuesOf(rawHeaders, 'set-cookie');
  return { cookie: set.slice(0, set.indexOf(';')), instance: Number(valueOf(rawHeaders, 'x-instance')) };
}

async function spillway(...argv: readonly string[]): Promise<RunningProcess> {
  return await startProcess(process.execPath, [
    join(PROJECT_ROOT, 'src', 'main.ts'),
    ...argv,
    '--admin',
    gateway.adminUrl,
  ]);
}

function idOf(index: number): string {
  return `127.0.0.1:${instances[index]?.port ?? 0}`;
}

test('a drain that is waited for ends with the session timeout, and tells sessions and time left until then', async () => {
  const sessions: { cookie: string; instance: number }[] = [];
  for (let index = 0; index < SESSIONS; index++) sessions.push(await begin());
  const own = sessions.filter(({ instance }) => instance === 0);
  expect(own.length).toBeGreaterThan(SESSIONS / 6);
  await eventually('all sessions are counted', async () => {
    const { instances: rows } = await serviceOf(gateway, 'shop');
    return Math.abs(rows.reduce((sum, row) => sum + row.sessions, 0) - SESSIONS) <= COLLISIONS;
  });
  const waiting = await spillway('drain', `shop/${idOf(0)}`, '--wait');
  await untilState(gateway, 'shop', idOf(0), 'draining');
  const startedMs = performance.now();
  // Half of them go on, the others never come again: both are counted until their turn, and neither after it.
  const active = own.slice(0, own.length >> 1);
  let moved = 0;
  while (!waiting.hasExited()) {
    moved = 0;
    for (const session of active) {
      const { rawHeaders } = await ask(gateway.port, { headers: { cookie: session.cookie } });
      if (valueOf(rawHeaders, 'x-instance') !== '0') moved++;
    }
    await pause(50);
  }
  const tookMs = performance.now() - startedMs;
  expect(await waiting.exited).toEqual({ code: 0, signal: null });
  expect(moved).toBe(active.length);
  expect(tookMs).toBeGreaterThan(SESSION_TIMEOUT_MS * 0.8);
  const told = [...waiting.output().matchAll(/: \d+ in flight, (\d+) sessions?, (\d+)s left at most/g)];
  const counts = told.map(([, count]) => Number(count));
  expect(Math.abs((counts[0] ?? 0) - own.length)).toBeLessThanOrEqual(COLLISIONS);
  expect(counts).toEqual(counts.toSorted((a, b) => b - a));
  expect(counts.at(-1)).toBe(0);
  expect(told.map(([, , seconds]) => Number(seconds))).toContain(2);
  expect(waiting.output()).toContain(`shop/${idOf(0)}: drained`);
  await waiting[Symbol.asyncDispose]();
});

test('`status` has a row for each instance, with what is left on the one that drains', async () => {
  await gateway.admin(`/v1/services/shop/instances/${idOf(1)}/drain`, { method: 'POST' });
  const status = await spillway('status');
  await status.exited;
  const rows = status.output().split('\n');
  expect(rows.find((row) => row.includes(idOf(0)))).toMatch(/^shop +\S+ +\S* +ready +0 +0 +0$/);
  expect(rows.find((row) => row.includes(idOf(1)))).toMatch(/ draining +0 +0 +0 +[1-3]s +drained by /);
  await status[Symbol.asyncDispose]();
});

test('a drain that is called off says so', async () => {
  const waiting = await spillway('drain', `shop/${idOf(2)}`, '--wait');
  // Without a session it would end after three looks: this one is in flight until the end.
  await waiting.waitForLine(/in flight/);
  const undrained = await spillway('undrain', `shop/${idOf(2)}`);
  expect((await undrained.exited).code).toBe(0);
  expect((await waiting.exited).code).toBe(1);
  expect(waiting.output()).toContain('was enabled again');
  await undrained[Symbol.asyncDispose]();
  await waiting[Symbol.asyncDispose]();
});
