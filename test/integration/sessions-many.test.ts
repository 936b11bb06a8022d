/**
 * Ten thousand sessions over four workers: none moves while the set of instances is unchanged, also when a worker dies under
 * them; a drain of one of five moves its own alone, late, evenly over the four, and each move is counted with its reason.
 */
import { Agent, request } from 'node:http';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { parseExposition } from './metrics-text.ts';
import { startService, untilState } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';
import { sessionYaml } from './session-fixture.ts';

const SESSIONS = 10_000;
const CALLERS = 48;
const SESSION_TIMEOUT_MS = 5000;

const instances: Listening[] = [];
const agent = new Agent({ keepAlive: true, maxSockets: CALLERS });
let gateway: Gateway;

beforeAll(async () => {
  for (let index = 0; index < 5; index++) {
    instances.push(
      await startService((_, response) => {
        response.writeHead(200, { 'x-instance': index, 'content-length': 0 }).end();
      }),
    );
  }
  gateway = await startGateway(
    sessionYaml(instances, {
      workers: 4,
      probeEvery: '1s',
      shedding: 'off',
      drain: `sessionTimeout: ${SESSION_TIMEOUT_MS}ms`,
    }),
    { discardStdout: true },
  );
});

afterAll(async () => {
  agent.destroy();
  await gateway[Symbol.asyncDispose]();
  for (const each of instances) await each[Symbol.asyncDispose]();
});

interface Session {
  cookie: string;
  instance: number;
}

interface Seen {
  readonly status: number;
  readonly instance: number;
  /** '' when none was set. */
  readonly cookie: string;
}

async function askOnce(cookie: string): Promise<Seen> {
  const { promise, resolve, reject } = Promise.withResolvers<Seen>();
  const sent = request(
    { host: '127.0.0.1', port: gateway.port, agent, headers: cookie === '' ? {} : { cookie } },
    (response) => {
      const [set = ''] = response.headers['set-cookie'] ?? [];
      response.resume().once('end', () => {
        resolve({
          status: response.statusCode ?? 0,
          instance: Number(response.headers['x-instance']),
          cookie: set.slice(0, set.indexOf(';')),
        });
      });
      response.once('error', reject);
    },
  );
  sent.once('error', reject);
  sent.end();
  return await promise;
}

/** As a browser does with a GET whose connection ended under it. */
async function ask(cookie: string): Promise<Seen> {
  for (let tries = 1; ; tries++) {
    try {
      return await askOnce(cookie);
    } catch (error) {
      if (tries === 5) throw error;
    }
  }
}

/** One after the other for each of so many callers at once. */
async function forEach<T>(items: readonly T[], visit: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  await Promise.all(
    Array.from({ length: CALLERS }, async () => {
      for (const item of rest) await visit(item);
    }),
  );
}

async function results(): Promise<Readonly<Record<string, number>>> {
  const page = parseExposition(String((await gateway.admin('/metrics')).body));
  return Object.fromEntries(
    page.all('spillway_affinity_total').map(({ labels, value }) => [labels['result'] ?? '', value]),
  );
}

test('10 000 sessions stay through the death of a worker, and leave one of five in order when it drains', async () => {
  const sessions: Session[] = Array.from({ length: SESSIONS }, () => ({ cookie: '', instance: -1 }));
  await forEach(sessions, async (session) => {
    const { cookie, instance } = await ask('');
    Object.assign(session, { cookie, instance });
  });
  expect(sessions.filter(({ cookie }) => cookie === '')).toEqual([]);
  // The last words of a worker that is killed are up to a second old: what it counted must be told by then.
  await eventually('all are counted as new', async () => (await results())['new'] === SESSIONS);

  let moved = 0;
  let asked = 0;
  const [victim] = gateway.workerPids();
  await forEach(sessions, async (session) => {
    if (asked++ === SESSIONS / 2 && victim !== undefined) process.kill(victim, 'SIGKILL');
    const { status, instance, cookie } = await ask(session.cookie);
    if (status !== 200 || instance !== session.instance || cookie !== '') moved++;
  });
  expect(gateway.workerPids()).not.toContain(victim);
  expect(moved).toBe(0);
  await eventually('another worker takes its place', () => gateway.workerPids().length === 4);

  const id = `127.0.0.1:${instances[0]?.port ?? 0}`;
  const drainedMs = performance.now();
  await gateway.admin(`/v1/services/shop/instances/${id}/drain`, { method: 'POST' });
  await untilState(gateway, 'shop', id, 'draining');
  const own = sessions.filter(({ instance }) => instance === 0);
  const others = sessions.filter(({ instance }) => instance !== 0);
  const receivers = new Map<number, number>();
  let firstMs = Infinity;
  let staying = own;
  while (staying.length > 0) {
    await forEach(staying, async (session) => {
      const { status, instance, cookie } = await ask(session.cookie);
      expect(status).toBe(200);
      if (instance === 0) return;
      firstMs = Math.min(firstMs, performance.now() - drainedMs);
      receivers.set(instance, (receivers.get(instance) ?? 0) + 1);
      Object.assign(session, { cookie, instance });
    });
    staying = staying.filter(({ instance }) => instance === 0);
  }
  expect(performance.now() - drainedMs).toBeGreaterThan(SESSION_TIMEOUT_MS * 0.95);
  expect(firstMs).toBeGreaterThan(SESSION_TIMEOUT_MS * 0.8);
  expect(receivers.size).toBe(4);
  const ratio = Math.max(...receivers.values()) / (own.length / 4);
  expect(ratio).toBeLessThanOrEqual(1.25);

  let strayed = 0;
  await forEach(others, async (session) => {
    if ((await ask(session.cookie)).instance !== session.instance) strayed++;
  });
  expect(strayed).toBe(0);
  // Who moved stays where it went.
  await forEach(own, async (session) => {
    if ((await ask(session.cookie)).instance !== session.instance) strayed++;
  });
  expect(strayed).toBe(0);
  const counted = await results();
  expect(counted).toMatchObject({ new: SESSIONS, repin_drained: own.length });
  expect(Object.keys(counted).toSorted()).toEqual(['hit', 'new', 'repin_drained']);
});
