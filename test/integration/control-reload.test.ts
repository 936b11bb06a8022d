/** A reload changes everything or nothing, whoever refuses: the supervisor, one worker, or a socket. */
import { access } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import { startEcho } from '../harness/origin.ts';
import { accepts, eventually, freePorts } from '../harness/ports.ts';
import { openRaw } from '../harness/raw.ts';
import {
  FIRST_READER_FAILS,
  GONE_AFTER_THE_CHECK,
  NOBODY_LISTENS,
  reload,
  sabotage,
  statusOf,
  workersOf,
  yaml,
} from './control-fixture.ts';

const NEW_ROUTE = '{ path: /, service: shop }, { path: /new, service: shop, methods: [POST] }';

describe('a file that cannot be read', () => {
  test('ends neither the supervisor nor the old configuration, by signal or by request', async () => {
    await using origin = await startEcho();
    await using trap = await sabotage(GONE_AFTER_THE_CHECK);
    const [other = 0] = await freePorts(1);
    await using gateway = await startGateway(yaml(origin.url), { env: trap.env });
    const listeners = `{ port: __PORT__, host: 127.0.0.1 }, { port: ${other}, host: 127.0.0.1 }`;
    const shop = `shop: { instances: [${origin.url}], readiness: { path: /ready, interval: 200ms } }`;
    const more = `other: { instances: ['https://127.0.0.1:1'], tls: { ca: ${trap.certificate} } }`;
    const answer = await reload(gateway, yaml(origin.url, { listeners, services: `${shop}, ${more}` }));
    expect(answer).toMatchObject({ status: 409, faults: ['ENOENT: gone since the check'] });
    gateway.process.signal('SIGHUP');
    await gateway.process.waitForLine(/"by":"SIGHUP".*ENOENT/);
    expect(await statusOf(gateway.port)).toBe(200);
    expect(gateway.process.hasExited()).toBe(false);
    await eventually('what a refused reload had bound is free again', async () => !(await accepts(other)));
    expect(await reload(gateway, yaml(origin.url, { listeners }))).toMatchObject({ status: 200 });
    expect(await statusOf(other)).toBe(200);
  });

  test('by one worker of two puts the old configuration back in all, also for those that start later', async () => {
    await using origin = await startEcho();
    await using trap = await sabotage(FIRST_READER_FAILS);
    const old = yaml(origin.url, { workers: 2 });
    await using gateway = await startGateway(old, { env: trap.env });
    await eventually('both workers are ready', async () =>
      (await workersOf(gateway)).every(({ state }) => state === 'ready'),
    );
    const wanted = yaml(origin.url, {
      workers: 2,
      routes: NEW_ROUTE,
      shop: `tls: { ca: ${trap.certificate} }`,
    });
    const answer = await reload(gateway, wanted);
    expect(answer).toMatchObject({ status: 409, faults: ['EACCES: this worker may not'] });
    await access(join(trap.folder, 'marker'));
    for (let times = 0; times < 20; times++) expect(await statusOf(gateway.port, '/new')).toBe(200);
    const config = JSON.stringify((await gateway.admin('/v1/config')).body);
    expect(config).not.toContain('/new');

    const before = await workersOf(gateway);
    for (const { pid } of before) process.kill(pid, 'SIGKILL');
    await eventually('two other workers are ready', async () => {
      const now = await workersOf(gateway);
      return (
        now.length === 2 &&
        now.every(({ pid, state }) => state === 'ready' && !before.some((each) => each.pid === pid))
      );
    });
    for (let times = 0; times < 10; times++) expect(await statusOf(gateway.port, '/new')).toBe(200);
    // The reason is gone: the same configuration is taken now.
    expect(await reload(gateway, wanted)).toMatchObject({ status: 200 });
    for (let times = 0; times < 10; times++) expect(await statusOf(gateway.port, '/new')).toBe(405);
  });
});

test('a service that a refused configuration left out is served on without a gap', async () => {
  await using origin = await startEcho();
  await using trap = await sabotage(FIRST_READER_FAILS);
  await using gateway = await startGateway(yaml(origin.url), { env: trap.env });
  const services = `other: { instances: [${origin.url}], tls: { ca: ${trap.certificate} } }`;
  const answer = await reload(gateway, yaml(origin.url, { services, routes: '{ path: /, service: other }' }));
  expect(answer.status).toBe(409);
  expect(await statusOf(gateway.port)).toBe(200);
  const { body } = await gateway.admin('/v1/services');
  expect(body).toMatchObject({ services: { shop: { state: 'up', instances: [{ state: 'ready' }] } } });
  expect(Object.keys((body as { services: object }).services)).toEqual(['shop']);
});

describe('a listener that cannot be opened', () => {
  const taken = { status: 409, faults: ['EADDRINUSE: somebody else listens'] };

  test('in the place of the old one leaves the old one open', async () => {
    await using origin = await startEcho();
    await using trap = await sabotage(NOBODY_LISTENS);
    await using gateway = await startGateway(yaml(origin.url), { env: trap.env });
    const listeners = '{ port: __PORT__, host: 127.0.0.1, backlog: 77 }';
    const answer = await reload(gateway, yaml(origin.url, { listeners }));
    expect(answer).toMatchObject(taken);
    expect(await statusOf(gateway.port)).toBe(200);
    await gateway.readyz(200);
  });

  test('takes back the one that could be, and the configuration', async () => {
    await using origin = await startEcho();
    const [good = 0, bad = 0] = await freePorts(2);
    await using trap = await sabotage(NOBODY_LISTENS);
    await using gateway = await startGateway(yaml(origin.url), { env: trap.env });
    const listeners = `{ port: ${good}, host: 127.0.0.1 }, { port: ${bad}, host: 127.0.0.1, backlog: 77 }`;
    const answer = await reload(gateway, yaml(origin.url, { listeners, routes: NEW_ROUTE }));
    expect(answer).toMatchObject(taken);
    expect(await statusOf(gateway.port, '/new')).toBe(200);
    await eventually(
      'the new addresses are closed',
      async () => !(await accepts(good)) && !(await accepts(bad)),
    );
  });
});

test('a listener that leaves ends its connections with their next answer', async () => {
  await using origin = await startEcho();
  const [other = 0] = await freePorts(1);
  const both = `{ port: __PORT__, host: 127.0.0.1 }, { port: ${other}, host: 127.0.0.1 }`;
  await using gateway = await startGateway(yaml(origin.url, { listeners: both }));
  await using idle = await openRaw(other);
  idle.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  await idle.untilAnswers(1);
  expect(await reload(gateway, yaml(origin.url))).toMatchObject({ status: 200 });
  await eventually('the address is closed', async () => !(await accepts(other)));
  idle.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  expect(await idle.untilClosed()).toMatch(/200 OK[^]*200 OK[^]*connection: close/i);
});

test('a worker that starts amid a reload listens on what belongs to its configuration', async () => {
  await using origin = await startEcho();
  const [other = 0] = await freePorts(1);
  await using gateway = await startGateway(yaml(origin.url, { workers: 3 }));
  const allReady = async (): Promise<boolean> => {
    const now = await workersOf(gateway);
    return now.length === 3 && now.every(({ state }) => state === 'ready');
  };
  await eventually('three workers are ready', allReady);
  const before = (await workersOf(gateway)).map(({ pid }) => pid);
  const [first = 0, second = 0] = before;
  for (const pid of [first, second]) process.kill(pid, 'SIGSTOP');
  // The new listener comes first: the old one changes its place in the list, and has other limits than its neighbour.
  const listeners = `{ port: ${other}, host: 127.0.0.1, limits: { bodyBytes: 10B } }, { port: __PORT__, host: 127.0.0.1 }`;
  const reloading = reload(gateway, yaml(origin.url, { workers: 3, listeners, routes: NEW_ROUTE }));
  await eventually('the third worker has taken it', async () => await accepts(other));
  process.kill(first, 'SIGKILL');
  const newcomer = async (): Promise<number> =>
    (await workersOf(gateway)).find(({ pid, state }) => state === 'ready' && !before.includes(pid))?.pid ?? 0;
  await eventually('another worker is ready while the reload waits', async () => (await newcomer()) > 0);
  const amid = await newcomer();
  process.kill(second, 'SIGKILL');
  expect(await reloading).toMatchObject({ status: 200 });
  await eventually('three workers are ready', allReady);
  const others = (await workersOf(gateway)).map(({ pid }) => pid).filter((pid) => pid !== amid);
  for (const pid of others) process.kill(pid, 'SIGKILL');
  const status = async (port: number): Promise<number> => {
    const body = 'a'.repeat(20);
    return (await fetch(`http://127.0.0.1:${port}/new`, { method: 'POST', body })).status;
  };
  expect([await status(gateway.port), await status(other)]).toEqual([200, 413]);
});

test('several reloads at once are done one after the other, each with its own answer', async () => {
  await using origin = await startEcho();
  const [other = 0] = await freePorts(1);
  await using gateway = await startGateway(yaml(origin.url));
  const listeners = `{ port: __PORT__, host: 127.0.0.1 }, { port: ${other}, host: 127.0.0.1 }`;
  await gateway.rewrite(yaml(origin.url, { listeners }));
  const answers = await Promise.all(
    Array.from({ length: 4 }, async () => await gateway.admin('/v1/reload', { method: 'POST' })),
  );
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  expect(answers.filter(({ body }) => JSON.stringify(body).includes('listeners changed'))).toHaveLength(1);
  expect(await statusOf(other)).toBe(200);
});
