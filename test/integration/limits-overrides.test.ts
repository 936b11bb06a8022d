/** Another rate for one client, for a time: one gateway of two workers, with a real Redis and without. */
import { hostname } from 'node:os';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import {
  limitedClients,
  logged,
  put,
  quota,
  quotaNow,
  refusedByBoth,
  spend,
  startGround,
  startLimited,
  withEachStore,
} from './limits-admin-fixture.ts';
import { ask, valueOf } from './path-fixture.ts';

const ground = startGround();

const start = async (section: string) => await startLimited(ground, section);

withEachStore(ground, start, (on) => {
  const scope = on.store === 'redis' ? 'all-gateways' : 'gateway';

  test('it holds from its answer on, for every worker, and is seen until it is taken back', async () => {
    await on.exactly(async () => {
      const set = await put(on.gateway, 'gina', { rate: '1/h', burst: 5, ttl: '1h' });
      expect(set.status).toBe(200);
      expect(set.quota).toMatchObject({
        client: 'gina',
        tier: 'gold',
        scope,
        workers: { asked: 2, answered: 2 },
        override: { rate: '1/h', burst: 5, by: hostname() },
      });
      const until = Date.parse(set.quota.override?.until ?? '');
      expect(Math.abs(until - Date.now() - 3_600_000)).toBeLessThan(60_000);
      const { statuses } = await spend(on.gateway, 20, 'gold-key');
      expect(statuses).toEqual({ 200: 5, 429: 15 });
      const { rawHeaders } = await ask(on.gateway.port, { headers: { 'x-api-key': 'gold-key' } });
      expect(valueOf(rawHeaders, 'ratelimit-policy')).toContain('"client";q=5;w=18000');
      const [own] = (await quota(on.gateway, 'gina')).quota.limits;
      expect(own).toMatchObject({
        level: 'client',
        rate: '1/h',
        burst: 5,
        remaining: 0,
        override: { until: set.quota.override?.until, by: hostname() },
      });

      const taken = await quota(on.gateway, 'gina', 'DELETE');
      expect(taken.quota).not.toHaveProperty('override');
      expect(taken.quota.limits[0]).toMatchObject({ rate: '1000/h', burst: 1000, remaining: 1000 });
      expect((await spend(on.gateway, 20, 'gold-key')).statuses).toEqual({ 200: 20 });
    });
  });

  test('who was refused, and would be for an hour, is served at once under a higher one; after its end as before', async () => {
    await on.exactly(async () => {
      await refusedByBoth(on.gateway);
      expect((await put(on.gateway, 'wanda', { rate: '1000/s', burst: 500, ttl: '2s' })).status).toBe(200);
      // The bucket is as empty as it was; from its first request on it fills at the new rate.
      await spend(on.gateway, 1, 'wide-key');
      const workers = new Set<string>();
      await eventually('both workers serve', async () => {
        const seen = await spend(on.gateway, 4, 'wide-key');
        if (seen.statuses[200] === 4) for (const worker of seen.workers) workers.add(worker);
        return workers.size === 2;
      });
      expect((await quotaNow(on.gateway, 'wanda')).quota.override?.rate).toBe('1000/s');
      await eventually('it has ended', async () => {
        const { quota: seen } = await quota(on.gateway, 'wanda');
        return seen.override === undefined && seen.limits[0]?.rate === '1/h';
      });
      // One burst of the old limit at most, and then it refuses again.
      const { statuses } = await spend(on.gateway, 450, 'wide-key');
      expect(statuses[200]).toBeLessThanOrEqual(400);
      expect(statuses[429]).toBeGreaterThanOrEqual(50);
    });
  });

  test('a limit where the tier has none, and an address that never came, can be set', async () => {
    await on.exactly(async () => {
      expect((await put(on.gateway, 'olga', { rate: '2/h', ttl: '1h' })).quota.override?.burst).toBe(1);
      expect((await spend(on.gateway, 5, 'open-key')).statuses).toEqual({ 200: 1, 429: 4 });
      await quota(on.gateway, 'olga', 'DELETE');
      expect((await spend(on.gateway, 5, 'open-key')).statuses).toEqual({ 200: 5 });
      const set = await put(on.gateway, '127.0.0.1', { rate: '1/h', burst: 3, ttl: '30d' });
      expect(set.quota.client).toMatch(/^ip:[\w-]{22}$/);
      expect(set.text).not.toContain('127.0.0.1');
      expect((await spend(on.gateway, 9, '')).statuses).toEqual({ 200: 3, 429: 6 });
      // Strangers behind one address use up what is theirs, and not what a key stands for that no worker has seen yet.
      expect((await spend(on.gateway, 8, 'new-key')).statuses).toEqual({ 200: 5, 429: 3 });
      // By the hash that logs show, too.
      expect((await quota(on.gateway, set.quota.client)).quota.override?.burst).toBe(3);
      await quota(on.gateway, '127.0.0.1', 'DELETE');
    });
  });

  test('a worker that is replaced knows it from its first request on', async () => {
    await on.exactly(async () => {
      await quota(on.gateway, 'gina', 'DELETE');
      await put(on.gateway, 'gina', { rate: '1/h', burst: 2, ttl: '1h' });
      expect((await spend(on.gateway, 4, 'gold-key')).statuses).toEqual({ 200: 2, 429: 2 });
      const before = on.gateway.workerPids();
      for (const pid of before) process.kill(pid, 'SIGKILL');
      await eventually('others listen', async () => {
        const pids = on.gateway.workerPids();
        if (pids.length < 2 || pids.some((pid) => before.includes(pid))) return false;
        const { body } = await on.gateway.admin('/v1/status');
        return (body as { workers: { state: string }[] }).workers.every(({ state }) => state === 'ready');
      });
      expect((await spend(on.gateway, 8, 'gold-key')).statuses).toEqual({ 429: 8 });
      expect((await quota(on.gateway, 'gina')).quota.limits[0]).toMatchObject({ rate: '1/h', burst: 2 });
      await quota(on.gateway, 'gina', 'DELETE');
    });
  });

  test('a reload keeps it', async () => {
    await on.exactly(async () => {
      await put(on.gateway, 'freddy', { rate: '1/h', burst: 2, ttl: '1h' });
      expect((await on.gateway.admin('/v1/reload', { method: 'POST' })).status).toBe(200);
      expect((await spend(on.gateway, 6, 'free-key')).statuses).toEqual({ 200: 2, 429: 4 });
      await quota(on.gateway, 'freddy', 'DELETE');
    });
  });

  test('that it was set, taken back and ended is in the log: who, what, until when, and no address of a client', async () => {
    await put(on.gateway, 'gina', { rate: '90/m', burst: 7, ttl: '100ms' });
    await put(on.gateway, 'freddy', { rate: '2/s', burst: 7, ttl: '1h' });
    await quota(on.gateway, 'freddy', 'DELETE');
    await eventually('the end is told', async () =>
      logged(on.gateway, 'limit override ended').some(({ client }) => client === 'gina'),
    );
    const set = logged(on.gateway, 'limit override set').findLast(({ client }) => client === 'gina');
    expect(set).toMatchObject({ rate: '90/m', burst: 7, ttlMs: 100, scope, gateway: hostname() });
    expect(set?.['by']).toMatch(/^admin (127\.0\.0\.1|::1)/);
    expect(Date.parse(String(set?.['until']))).toBeGreaterThan(0);
    const taken = logged(on.gateway, 'limit override removed').findLast(({ client }) => client === 'freddy');
    expect(taken).toMatchObject({ rate: '2/s', burst: 7, by: expect.stringMatching(/^admin /) });
    for (const line of logged(on.gateway, 'limit override set')) {
      expect(JSON.stringify({ ...line, by: '' })).not.toContain('127.0.0.1');
    }
  });
});

describe('who may set one, and what', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    const section = 'admin: { host: 127.0.0.1, port: __ADMIN__, token: a-token-of-the-tests }';
    gateway = await startGateway(limitedClients(ground, section));
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  const ORDER = { rate: '5/s', burst: 8, ttl: '1h' };
  const TOKEN = { authorization: 'Bearer a-token-of-the-tests' };
  const send = async (client: string, body: unknown, headers: Record<string, string>) =>
    await gateway.admin(`/v1/limits/${client}`, {
      method: 'PUT',
      headers,
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });

  test.each([
    ['without a token', {}, 401],
    ['with a wrong one', { authorization: 'Bearer another' }, 401],
    ['from a page of another site', { ...TOKEN, 'sec-fetch-site': 'cross-site' }, 403],
    ['from another origin', { ...TOKEN, origin: 'https://evil.test' }, 403],
  ] as const)('%s it is refused, and nothing is set', async (_who, headers, status) => {
    expect((await send('gina', ORDER, headers)).status).toBe(status);
    const { body } = await gateway.admin('/v1/limits/gina', { headers: TOKEN });
    expect(body).toMatchObject({ client: 'gina' });
    expect(body).not.toHaveProperty('override');
    expect(logged(gateway, 'limit override set')).toEqual([]);
  });

  test.each([
    ['{"rate":"5/s","burst":8}', 400, '"ttl" is required'],
    ['{"burst":8,"ttl":"1h"}', 400, '"rate" must be a rate such as "10/s"'],
    ['{"rate":5,"burst":8,"ttl":"1h"}', 400, '"rate" must be a rate'],
    ['{"rate":"0/s","burst":8,"ttl":"1h"}', 400, 'A rate is more than 0'],
    ['{"rate":"5/s","burst":0,"ttl":"1h"}', 400, '"burst" must be a whole number'],
    ['{"rate":"5/s","burst":1.5,"ttl":"1h"}', 400, '"burst" must be a whole number'],
    ['{"rate":"5/s","burst":"8","ttl":"1h"}', 400, '"burst" must be a whole number, at least 1, not "8".'],
    ['{"rate":"5/s","burst":8,"ttl":"31d"}', 400, 'at most 30d'],
    ['{"rate":"5/s","burst":8,"ttl":"0s"}', 400, '"ttl" must be a duration'],
    ['{"rate":"5/s","burst":8,"ttl":60}', 400, 'at most 30d, not 60.'],
    ['{"rate":"5/s","bursts":8,"ttl":"1h"}', 400, 'Unknown key "bursts"'],
    ['{"rate":"5/s"', 400, 'not valid JSON'],
    ['{"rate":"1/h","burst":100000,"ttl":"1h"}', 400, 'A bucket fills within a year'],
  ])('%s is %i and says why', async (body, status, why) => {
    const answer = await send('gina', body, TOKEN);
    expect([answer.status, answer.body]).toEqual([
      status,
      expect.objectContaining({ detail: expect.stringContaining(why) }),
    ]);
  });

  test('nobody by that name is a 404', async () => {
    for (const name of ['nobody', 'free-key', 'ip:short', '__proto__', 'spw:%7Bg%7D:global']) {
      const { status } = await send(name, ORDER, TOKEN);
      expect([name, status]).toEqual([name, 404]);
    }
    expect(logged(gateway, 'limit override set')).toEqual([]);
  });
});
