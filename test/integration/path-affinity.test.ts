/**
 * A session stays where it began, as long as its instance may serve it, and moves once when it may not. The cookie is the
 * only memory: no worker's death loses it, nobody else's cookie is believed, no instance ever sees it.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { ask, serviceOf, startService, untilState, valueOf, valuesOf } from './path-fixture.ts';
import type { Answer, Listening } from './path-fixture.ts';
import { sessionYaml } from './session-fixture.ts';

const SESSION_TIMEOUT_MS = 4000;

let instances: Listening[] = [];
/** `Cookie` of every request that an instance saw. */
let cookiesSeen: (string | undefined)[] = [];
let gateway: Gateway;
/** What the instances say about caching, and with which status they answer. */
let caching: string | undefined;
let status = 200;

const config = (keys = ''): string =>
  sessionYaml(instances, {
    probeEvery: '100ms',
    drain: `sessionTimeout: ${SESSION_TIMEOUT_MS}ms`,
    affinity: keys,
  });

beforeAll(async () => {
  for (let index = 0; index < 3; index++) {
    instances.push(
      await startService((request, response) => {
        cookiesSeen.push(request.headers.cookie);
        response.writeHead(status, {
          'x-instance': String(index),
          'content-length': 0,
          ...(caching === undefined ? {} : { 'cache-control': caching }),
        });
        response.end();
      }),
    );
  }
});

afterAll(async () => {
  for (const each of instances) await each[Symbol.asyncDispose]();
  instances = [];
});

beforeEach(async () => {
  cookiesSeen = [];
  caching = undefined;
  status = 200;
  gateway = await startGateway(config());
});

afterEach(async () => {
  await gateway[Symbol.asyncDispose]();
});

interface Session {
  readonly cookie: string;
  readonly instance: number;
}

function cookieOf(answer: Answer): string | undefined {
  const set = valuesOf(answer.rawHeaders, 'set-cookie').find((value) => value.startsWith('seat='));
  return set?.slice(0, set.indexOf(';'));
}

function instanceOf(answer: Answer): number {
  return Number(valueOf(answer.rawHeaders, 'x-instance'));
}

async function askWith(cookie: string | undefined): Promise<Answer> {
  return await ask(gateway.port, { headers: cookie === undefined ? {} : { cookie } });
}

async function begin(): Promise<Session> {
  const answer = await askWith(undefined);
  const cookie = cookieOf(answer);
  if (cookie === undefined) throw new Error('no session was begun');
  return { cookie, instance: instanceOf(answer) };
}

/** So many sessions that each instance has some. */
async function sessionsEverywhere(): Promise<Session[]> {
  const sessions: Session[] = [];
  for (let turn = 0; turn < 100; turn++) {
    sessions.push(await begin());
    if (turn >= 11 && new Set(sessions.map(({ instance }) => instance)).size === 3) return sessions;
  }
  throw new Error('an instance got no session');
}

function idOf(index: number): string {
  return `127.0.0.1:${instances[index]?.port ?? 0}`;
}

async function operate(index: number, command: 'drain' | 'enable' | 'disable'): Promise<void> {
  const { status: code } = await gateway.admin(`/v1/services/shop/instances/${idOf(index)}/${command}`, {
    method: 'POST',
  });
  expect(code).toBe(200);
}

describe('the cookie', () => {
  test('comes with the first answer, httpOnly, and keeps the session for fifty requests', async () => {
    const first = await askWith(undefined);
    const [set = ''] = valuesOf(first.rawHeaders, 'set-cookie');
    expect(set).toMatch(/^seat=v1\.\w+\.[\w-]+\.[\w-]+; Path=\/; HttpOnly; SameSite=Lax$/);
    expect(set).not.toContain('127');
    expect(valueOf(first.rawHeaders, 'cache-control')).toBe('private');
    const cookie = cookieOf(first);
    for (let turn = 0; turn < 50; turn++) {
      const answer = await askWith(cookie);
      expect(instanceOf(answer)).toBe(instanceOf(first));
      expect(cookieOf(answer)).toBeUndefined();
    }
  });

  test('is never seen by an instance, while the others of the request are', async () => {
    const { cookie } = await begin();
    cookiesSeen = [];
    await askWith(cookie);
    await askWith(`a=1; ${cookie}; b=2`);
    await askWith(`a=1; seat=forged; b=2`);
    expect(cookiesSeen).toEqual([undefined, 'a=1; b=2', 'a=1; b=2']);
  });

  test.each([
    ['forged', 'seat=v1.auto.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA'],
    ['of another gateway', 'seat=v1.k9.bGV0cyBwcmV0ZW5kIHRoaXMgaXMgYSBwYXlsb2Fk.bGV0cyBwcmV0ZW5kIHRo'],
    ['of four kibibytes of junk', `seat=${'x'.repeat(4000)}`],
    ['empty', 'seat='],
  ])('%s is a new pick, not an error', async (_, cookie) => {
    const answer = await askWith(cookie);
    expect(answer.status).toBe(200);
    expect(cookieOf(answer)).toMatch(/^seat=v1\./);
    expect(cookiesSeen).toEqual([undefined]);
  });

  test('changed in one character names nobody', async () => {
    const { cookie } = await begin();
    const at = cookie.length - 30;
    const changed = `${cookie.slice(0, at)}${cookie[at] === 'A' ? 'B' : 'A'}${cookie.slice(at + 1)}`;
    const answer = await askWith(changed);
    expect([answer.status, cookieOf(answer) === undefined]).toEqual([200, false]);
  });

  test.each(['public, max-age=60', 's-maxage=5', 'max-age=60, immutable'])(
    'is not given on an answer that a shared cache keeps: %s',
    async (value) => {
      caching = value;
      const answer = await askWith(undefined);
      expect(cookieOf(answer)).toBeUndefined();
      expect(valueOf(answer.rawHeaders, 'cache-control')).toBe(value);
    },
  );

  test('is not given with a 304', async () => {
    status = 304;
    expect(cookieOf(await askWith(undefined))).toBeUndefined();
  });
});

describe('a session', () => {
  test('survives the death of the worker that began it', async () => {
    const sessions = await sessionsEverywhere();
    const [before] = gateway.workerPids();
    if (before === undefined) throw new Error('no worker');
    process.kill(before, 'SIGKILL');
    await eventually('another worker serves', async () => {
      const [now] = gateway.workerPids();
      if (now === undefined || now === before) return false;
      return await ask(gateway.port).then(
        ({ status: code }) => code === 200,
        () => false,
      );
    });
    for (const { cookie, instance } of sessions) {
      const answer = await askWith(cookie);
      expect([instanceOf(answer), cookieOf(answer)]).toEqual([instance, undefined]);
    }
  });

  test('survives a reload that rotates the keys', async () => {
    await gateway[Symbol.asyncDispose]();
    const key = (id: string): string => `{ id: ${id}, secret: ${id}-0123456789abcdef }`;
    gateway = await startGateway(config(`, keys: [${key('old')}]`));
    const sessions = await sessionsEverywhere();
    await gateway.rewrite(config(`, keys: [${key('new')}, ${key('old')}]`));
    expect((await gateway.admin('/v1/reload', { method: 'POST' })).status).toBe(200);
    for (const { cookie, instance } of sessions) expect(instanceOf(await askWith(cookie))).toBe(instance);
    expect((await begin()).cookie).toContain('v1.new.');
  });

  test('is counted at its instance', async () => {
    const sessions = await sessionsEverywhere();
    await eventually('every session is counted', async () => {
      const rows = (await serviceOf(gateway, 'shop')).instances;
      return rows.every(
        ({ id, sessions: counted }) =>
          counted === sessions.filter(({ instance }) => idOf(instance) === id).length,
      );
    });
  });
});

describe('an instance that leaves', () => {
  test('by draining keeps its sessions for their time, gets no new ones, and then moves only its own', async () => {
    const sessions = await sessionsEverywhere();
    const startedMs = performance.now();
    await operate(0, 'drain');
    await untilState(gateway, 'shop', idOf(0), 'draining');
    for (let turn = 0; turn < 20; turn++) expect((await begin()).instance).not.toBe(0);
    // The first sessions may move after 80 % of the time: what was answered before must not have.
    for (const { cookie, instance } of sessions) {
      const now = instanceOf(await askWith(cookie));
      if (performance.now() - startedMs < SESSION_TIMEOUT_MS * 0.8) expect(now).toBe(instance);
    }
    const moved = new Map<string, Session>();
    const own = sessions.filter(({ instance }) => instance === 0);
    await eventually('all sessions of the instance have moved', async () => {
      for (const { cookie } of own) {
        if (moved.has(cookie)) continue;
        const answer = await askWith(cookie);
        if (instanceOf(answer) === 0) continue;
        moved.set(cookie, { cookie: cookieOf(answer) ?? '', instance: instanceOf(answer) });
      }
      return moved.size === own.length;
    });
    for (const { cookie, instance } of moved.values()) {
      expect(cookie).toMatch(/^seat=v1\./);
      expect(instanceOf(await askWith(cookie))).toBe(instance);
    }
    for (const { cookie, instance } of sessions) {
      if (instance !== 0) expect(instanceOf(await askWith(cookie))).toBe(instance);
    }
  });

  test('by being disabled has its sessions moved at once, for good, and nobody else’s', async () => {
    const sessions = await sessionsEverywhere();
    await operate(1, 'disable');
    await untilState(gateway, 'shop', idOf(1), 'disabled');
    for (const { cookie, instance } of sessions) {
      const answer = await askWith(cookie);
      if (instance !== 1) {
        expect([instanceOf(answer), cookieOf(answer)]).toEqual([instance, undefined]);
        continue;
      }
      expect(instanceOf(answer)).not.toBe(1);
      const again = cookieOf(answer);
      expect(again).toMatch(/^seat=v1\./);
      expect(instanceOf(await askWith(again))).toBe(instanceOf(answer));
    }
    await operate(1, 'enable');
    await untilState(gateway, 'shop', idOf(1), 'ready');
    // By then its slow answers, for which a stalled machine is to blame, are forgotten.
    await eventually('it gets new sessions again', async () => (await begin()).instance === 1, 120_000);
  });
});
