/**
 * Every request of a service with sessions is counted by what became of its session, and every pick by its reason: who asks
 * why sessions moved finds the answer in the metrics.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startListener } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';
import { parseExposition } from './metrics-text.ts';
import {
  ask,
  begin,
  bodyOf,
  expectProblem,
  untilIdle,
  untilState,
  valueOf,
  valuesOf,
} from './path-fixture.ts';
import type { Answer, Listening } from './path-fixture.ts';
import { sessionYaml } from './session-fixture.ts';

const instances: Listening[] = [];
/** Requests that wait for the test, by instance. */
let held: ServerResponse[] = [];
/** What an instance does instead of answering. */
let faults = new Map<number, (request: IncomingMessage) => void>();
let caching = 'no-cache';
/** The instance whose probes are answered with no. */
let notReady = -1;
let gateway: Gateway;

beforeAll(async () => {
  for (let index = 0; index < 3; index++) {
    instances.push(
      await startListener((request, response) => {
        if (request.url === '/ready') {
          response.writeHead(index === notReady ? 503 : 200, { 'content-length': 0 }).end();
          return;
        }
        const fault = faults.get(index);
        if (fault !== undefined) {
          fault(request);
          return;
        }
        response.setHeader('x-instance', index);
        response.setHeader('cache-control', caching);
        if (request.url === '/hold') held.push(response);
        else response.writeHead(200, { 'content-length': 0 }).end();
      }),
    );
  }
});

const config = (affinity = '', cap = 100): string =>
  sessionYaml(instances, {
    balancing: `, maxConcurrencyPerInstance: ${cap}`,
    drain: 'sessionTimeout: 0s',
    affinity,
  });

beforeEach(async () => {
  held = [];
  faults = new Map();
  caching = 'no-cache';
  notReady = -1;
  gateway = await startGateway(config());
});

async function restartWith(affinity: string, cap?: number): Promise<void> {
  await gateway[Symbol.asyncDispose]();
  gateway = await startGateway(config(affinity, cap));
}

afterEach(async () => {
  for (const response of held) response.destroy();
  await gateway[Symbol.asyncDispose]();
});

afterAll(async () => {
  for (const each of instances) await each[Symbol.asyncDispose]();
});

async function countsOf(family: string, label: string): Promise<Readonly<Record<string, number>>> {
  await untilIdle(gateway, 'shop');
  const page = parseExposition(String((await gateway.admin('/metrics')).body));
  return Object.fromEntries(page.all(family).map(({ labels, value }) => [labels[label] ?? '', value]));
}
const sessionsCounted = async (): Promise<Readonly<Record<string, number>>> =>
  await countsOf('spillway_affinity_total', 'result');
const picksCounted = async (): Promise<Readonly<Record<string, number>>> =>
  await countsOf('spillway_picks_total', 'reason');

function cookieOf({ rawHeaders }: Pick<Answer, 'rawHeaders'>): string | undefined {
  const [set] = valuesOf(rawHeaders, 'set-cookie');
  return set?.slice(0, set.indexOf(';'));
}

async function askWith(cookie: string, path = '/'): Promise<Answer & { instance: number }> {
  const answer = await ask(gateway.port, { path, headers: { cookie } });
  return { ...answer, instance: Number(valueOf(answer.rawHeaders, 'x-instance')) };
}

async function session(): Promise<{ cookie: string; instance: number }> {
  const answer = await askWith('other=1');
  return { cookie: cookieOf(answer) ?? '', instance: answer.instance };
}

async function operate(index: number, command: string, state: string): Promise<void> {
  await gateway.admin(`/v1/services/shop/instances/${idOf(index)}/${command}`, { method: 'POST' });
  await untilState(gateway, 'shop', idOf(index), state);
}

function idOf(index: number): string {
  return `127.0.0.1:${instances[index]?.port ?? 0}`;
}

test('a session that begins is new, one that comes again a hit, and an answer that may carry no cookie is none', async () => {
  const { cookie } = await session();
  await askWith(cookie);
  caching = 'public';
  await askWith('other=1');
  expect(await sessionsCounted()).toEqual({ new: 1, hit: 1, none: 1 });
  expect(await picksCounted()).toEqual({ p2c: 2, pinned: 1 });
});

test('a cookie that does not verify is invalid, and a session begins', async () => {
  expect(cookieOf(await askWith('seat=forged'))).toMatch(/^seat=v1\./);
  expect(await sessionsCounted()).toEqual({ invalid: 1 });
});

test('a full instance spills: another one answers this once, and the session stays', async () => {
  await restartWith('', 1);
  const { cookie, instance } = await session();
  const first = begin(gateway.port, { path: '/hold', headers: { cookie } });
  first.sent.end();
  await eventually('the instance is busy', () => held.length === 1);
  const spilled = await askWith(cookie);
  expect(spilled.instance).not.toBe(instance);
  expect(cookieOf(spilled)).toBeUndefined();
  held[0]?.end();
  await bodyOf((await first.answered).message);
  expect((await askWith(cookie)).instance).toBe(instance);
  expect(await sessionsCounted()).toEqual({ new: 1, hit: 2, spill: 1 });
  expect(await picksCounted()).toEqual({ p2c: 1, pinned: 2, spill: 1 });
});

test('an answer of another instance after a failure is a spill too, and the session stays', async () => {
  const { cookie, instance } = await session();
  faults.set(instance, (request) => request.socket.destroy());
  const answer = await askWith(cookie);
  expect([answer.status, answer.instance === instance, cookieOf(answer)]).toEqual([200, false, undefined]);
  faults.clear();
  expect((await askWith(cookie)).instance).toBe(instance);
  expect(await sessionsCounted()).toEqual({ new: 1, spill: 1, hit: 1 });
});

test('a session of an instance that was taken away moves once, and says why', async () => {
  const { cookie, instance } = await session();
  await operate(instance, 'drain', 'draining');
  const moved = await askWith(cookie);
  expect(moved.instance).not.toBe(instance);
  const again = cookieOf(moved) ?? '';
  expect((await askWith(again)).instance).toBe(moved.instance);
  expect(await sessionsCounted()).toEqual({ new: 1, repin_drained: 1, hit: 1 });
  expect(await picksCounted()).toEqual({ p2c: 1, repin: 1, pinned: 1 });
});

test('a move that fails at its first new instance ends at the next, not in the air', async () => {
  const { cookie, instance } = await session();
  await operate(instance, 'disable', 'disabled');
  const [broken = -1, whole = -1] = [0, 1, 2].filter((index) => index !== instance);
  faults.set(broken, (request) => request.socket.destroy());
  const moved = await askWith(cookie);
  expect(moved.instance).toBe(whole);
  expect(cookieOf(moved)).toMatch(/^seat=v1\./);
  expect((await askWith(cookieOf(moved) ?? '')).instance).toBe(whole);
  expect(await sessionsCounted()).toEqual({ new: 1, repin_drained: 1, hit: 1 });
});

test('a hard session waits for its instance with a 503, and moves from one that was taken away alone', async () => {
  await restartWith(', mode: hard', 1);
  const { cookie, instance } = await session();
  const first = begin(gateway.port, { path: '/hold', headers: { cookie } });
  first.sent.end();
  await eventually('the instance is busy', () => held.length === 1);
  expectProblem(await askWith(cookie), 503, 'SPW_SHED_CONCURRENCY');
  expect((await askWith('other=1')).status).toBe(200);
  held[0]?.end();
  await bodyOf((await first.answered).message);

  faults.set(instance, (request) => request.socket.destroy());
  expectProblem(await askWith(cookie), 502, 'SPW_UPSTREAM_RESET');
  faults.clear();
  expect((await askWith(cookie)).instance).toBe(instance);

  notReady = instance;
  await untilState(gateway, 'shop', idOf(instance), 'unready');
  expectProblem(await askWith(cookie), 503, 'SPW_NO_READY_INSTANCE');
  await operate(instance, 'disable', 'disabled');
  const moved = await askWith(cookie);
  expect([moved.status, moved.instance === instance]).toEqual([200, false]);
  expect(cookieOf(moved)).toMatch(/^seat=v1\./);
  expect(await sessionsCounted()).toEqual({ new: 2, hit: 3, refused: 2, repin_drained: 1 });
});

const token = (claims: object): string =>
  `Bearer e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2lnbmVk`;

test.each([
  ['a header', '{ header: x-user }', (user: string) => ({ 'x-user': user })],
  ['a claim', '{ jwt: sub }', (user: string) => ({ authorization: token({ sub: user }) })],
])('callers without a cookie stay by %s, and get no cookie', async (_, fallback, fieldsOf) => {
  await restartWith(`, fallback: ${fallback}`);
  const homes = new Map<string, number>();
  const askAs = async (user: string): Promise<number> => {
    const answer = await ask(gateway.port, { headers: fieldsOf(user) });
    expect([answer.status, cookieOf(answer)]).toEqual([200, undefined]);
    return Number(valueOf(answer.rawHeaders, 'x-instance'));
  };
  const users = Array.from({ length: 24 }, (_each, index) => `user-${index}`);
  for (const user of users) homes.set(user, await askAs(user));
  expect(new Set(homes.values()).size).toBe(3);
  for (const user of users) expect(await askAs(user)).toBe(homes.get(user));
  await operate(0, 'drain', 'draining');
  for (const user of users) {
    const home = homes.get(user) ?? -1;
    if (home === 0) expect(await askAs(user)).not.toBe(0);
    else expect(await askAs(user)).toBe(home);
  }
  // One without a key has a session, as ever.
  expect((await session()).cookie).toMatch(/^seat=v1\./);
  expect(await sessionsCounted()).toEqual({ fallback: 72, new: 1 });
});
