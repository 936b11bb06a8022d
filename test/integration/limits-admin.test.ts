/**
 * A client's quota as an operator sees and fills it: a real gateway of two workers, with a real Redis and without.
 */
import { describe, expect, test } from 'vitest';

import { eventually } from '../harness/ports.ts';
import { RedisServer } from '../harness/redis.ts';
import {
  quota,
  quotaNow,
  refusedByBoth,
  servedByBoth,
  spend,
  startGround,
  startLimited,
  withEachStore,
} from './limits-admin-fixture.ts';
import { ask } from './path-fixture.ts';

const HOUR_MS = 3_600_000;

const ground = startGround();

const start = async (section: string) => await startLimited(ground, section);

withEachStore(ground, start, (on) => {
  test('what is spent is seen, a look charges nothing, and a filled quota serves from the next request on', async () => {
    await on.exactly(async () => {
      expect((await spend(on.gateway, 3, 'free-key')).statuses).toEqual({ 200: 3 });
      for (let look = 0; look < 3; look++) {
        const { status, quota: seen } = await quota(on.gateway, 'freddy');
        expect(status).toBe(200);
        expect(seen).toMatchObject({
          client: 'freddy',
          tier: 'free',
          store: on.store,
          workers: { asked: 2, answered: 2 },
        });
        const own = seen.limits.find(({ level }) => level === 'client');
        expect(own).toMatchObject({ name: 'free', mode: 'enforce', shared: false, rate: '1/h', burst: 5 });
        expect(own).toMatchObject({ remaining: 2, leased: 0, retryAfterMs: 0 });
        expect(own?.fullMs).toBeGreaterThan(2.9 * HOUR_MS);
        expect(own?.fullMs).toBeLessThanOrEqual(3 * HOUR_MS);
      }
      expect((await spend(on.gateway, 10, 'free-key')).statuses).toEqual({ 200: 2, 429: 8 });
      const empty = (await quota(on.gateway, 'freddy')).quota.limits[0];
      expect(empty).toMatchObject({ level: 'client', remaining: 0 });
      expect(empty?.retryAfterMs).toBeGreaterThan(0.9 * HOUR_MS);
      expect(empty?.retryAfterMs).toBeLessThanOrEqual(HOUR_MS);

      const filled = await quota(on.gateway, 'freddy', 'DELETE');
      expect(filled.status).toBe(200);
      expect(filled.quota.workers).toEqual({ asked: 2, answered: 2 });
      expect(filled.quota.limits[0]).toMatchObject({ level: 'client', remaining: 5, leased: 0, fullMs: 0 });
      expect((await spend(on.gateway, 12, 'free-key')).statuses).toEqual({ 200: 5, 429: 7 });
    });
  });

  test('no worker goes on refusing by what it remembers, though it would for an hour', async () => {
    await on.exactly(async () => {
      await refusedByBoth(on.gateway);
      expect((await quota(on.gateway, 'wanda', 'DELETE')).quota.workers.answered).toBe(2);
      await servedByBoth(on.gateway);
    });
  });

  test('a shared limit is shown and not filled', async () => {
    await on.exactly(async () => {
      await spend(on.gateway, 1, 'new-key');
      const before = (await quota(on.gateway, 'nadia')).quota.limits.find(({ level }) => level === 'tier');
      expect(before).toMatchObject({ name: 'free', shared: true, rate: '100/h', burst: 100 });
      expect(before?.remaining).toBeLessThan(100);
      const { quota: after } = await quota(on.gateway, 'nadia', 'DELETE');
      expect(after.limits.find(({ level }) => level === 'client')?.remaining).toBe(5);
      expect(after.limits.find(({ level }) => level === 'tier')?.remaining).toBeLessThanOrEqual(
        before?.remaining ?? 0,
      );
    });
  });

  test("a route's limit stands by its name and is filled with the rest", async () => {
    await on.exactly(async () => {
      await spend(on.gateway, 2, 'gold-key', '/login');
      const route = (await quota(on.gateway, 'gina')).quota.limits.find(({ level }) => level === 'route');
      expect(route).toMatchObject({
        name: '/login',
        mode: 'observe',
        shared: false,
        rate: '30/h',
        burst: 2,
      });
      expect(route?.remaining).toBe(0);
      expect(route?.retryAfterMs).toBeGreaterThan(0);
      expect(route?.retryAfterMs).toBeLessThanOrEqual(HOUR_MS / 30);
      const { quota: after } = await quota(on.gateway, 'gina', 'DELETE');
      expect(after.limits.map(({ level, remaining }) => [level, remaining])).toEqual([
        ['client', 1000],
        ['route', 2],
      ]);
    });
  });

  test('units that workers hold count as left, and are gone when the quota is filled', async () => {
    await on.exactly(async () => {
      const load = { running: true };
      const loaded = Promise.all(
        Array.from({ length: 20 }, async () => {
          while (load.running) await ask(on.gateway.port, { headers: { 'x-api-key': 'gold-key' } });
        }),
      );
      try {
        await eventually('a worker holds some', async () => {
          const [own] = (await quota(on.gateway, 'gina')).quota.limits;
          // Nobody leases what is used up.
          if (own?.remaining === 0) await quota(on.gateway, 'gina', 'DELETE');
          if (own === undefined || own.leased === 0) return false;
          expect(own.remaining).toBeGreaterThanOrEqual(own.leased);
          expect(own.remaining).toBeLessThanOrEqual(own.burst);
          return true;
        });
      } finally {
        load.running = false;
        await loaded;
      }
      const [own] = (await quota(on.gateway, 'gina', 'DELETE')).quota.limits;
      expect(own).toMatchObject({ remaining: 1000, leased: 0, fullMs: 0 });
    });
  });

  test('a configured client that never came has its whole quota; who is not limited has none to show', async () => {
    await on.exactly(async () => {
      await quota(on.gateway, 'nadia', 'DELETE');
      expect((await quota(on.gateway, 'nadia')).quota.limits[0]).toMatchObject({ remaining: 5, fullMs: 0 });
      const { status, quota: open } = await quota(on.gateway, 'olga');
      expect(status).toBe(200);
      expect(open.limits.filter(({ level }) => level !== 'route')).toEqual([]);
    });
  });

  test('an address is a client once it is seen, by itself and by the hash that logs show', async () => {
    await on.exactly(async () => {
      await quota(on.gateway, '127.0.0.1', 'DELETE');
      const unseen = await quota(on.gateway, '127.0.0.1');
      expect(unseen.status).toBe(404);
      expect(unseen.detail).toContain('no limit is in use under this name');
      await spend(on.gateway, 1, '');
      const { status, quota: seen, text } = await quota(on.gateway, '127.0.0.1');
      expect(status).toBe(200);
      expect(seen.client).toMatch(/^ip:[\w-]{22}$/);
      expect(seen).toMatchObject({ tier: 'default' });
      expect(seen.limits[0]).toMatchObject({ name: 'default', rate: '2/h', burst: 4, remaining: 3 });
      expect(text).not.toContain('127.0.0.1');
      expect(text).not.toContain('spw:');
      expect((await quota(on.gateway, seen.client)).quota.limits[0]).toMatchObject({ remaining: 3 });
      expect((await quota(on.gateway, seen.client, 'DELETE')).quota.limits[0]).toMatchObject({
        remaining: 4,
      });
    });
  });

  test('nobody by that name is a 404, whatever the name', async () => {
    for (const name of [
      'nobody',
      '__proto__',
      'free-key',
      'spw:{g}:global',
      'ip:short',
      '203.0.113.9',
      'ip:'.padEnd(25, 'A'),
    ]) {
      for (const method of ['GET', 'DELETE']) {
        const { status, detail } = await quota(on.gateway, name, method);
        expect([name, status]).toEqual([name, 404]);
        expect(detail).toContain(`No client ${JSON.stringify(name)} is configured`);
      }
    }
  });

  test('a worker that stands still is missing from the figures, and forgets its refusals when it goes on', async () => {
    await on.exactly(async () => {
      await refusedByBoth(on.gateway);
      const [pid] = on.gateway.workerPids();
      if (pid === undefined) throw new Error('no worker');
      process.kill(pid, 'SIGSTOP');
      try {
        const asked = performance.now();
        const { status, quota: filled } = await quota(on.gateway, 'wanda', 'DELETE', 1);
        expect([status, filled.workers]).toEqual([200, { asked: 2, answered: 1 }]);
        expect(filled.limits[0]).toMatchObject({ remaining: 400 });
        // Two rounds wait for it, 250 ms and the store's deadline each; and a busy machine for itself.
        expect(performance.now() - asked).toBeLessThan(10_000);
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      await quota(on.gateway, 'wanda');
      await servedByBoth(on.gateway);
    });
  });
});

describe('when Redis is lost', () => {
  test('the answer is 503 within the deadline, says so, and nothing is changed; afterwards all is well again', async () => {
    const own = await RedisServer.start();
    await using gateway = await startLimited(
      ground,
      `redis: { url: '${own.url}', timeout: 100ms, keySecret: a-secret-of-the-tests }`,
    );
    try {
      await eventually('two units are spent, and not out of a share', async () => {
        await quota(gateway, 'freddy', 'DELETE');
        await spend(gateway, 2, 'free-key');
        return (await quota(gateway, 'freddy')).quota.limits[0]?.remaining === 3;
      });
      own.pause();
      for (const method of ['GET', 'DELETE']) {
        // The worker's own word, unless the machine stood still for as long as one is waited for.
        await eventually('it is told why', async () => {
          const asked = performance.now();
          const { status, detail } = await quotaNow(gateway, 'freddy', method);
          expect(status).toBe(503);
          expect(performance.now() - asked).toBeLessThan(10_000);
          return /^Redis is unavailable \((slow|silent)\), so the quota is not known; nothing was changed\.$/.test(
            detail,
          );
        });
      }
      own.resume();
      await eventually('Redis is back', async () => (await quotaNow(gateway, 'freddy')).status === 200);
      expect((await quota(gateway, 'freddy')).quota.limits[0]).toMatchObject({ remaining: 3 });
      await own.kill();
      await eventually('its end is noticed', async () => (await quotaNow(gateway, 'freddy')).status === 503);
      expect((await quotaNow(gateway, 'freddy', 'DELETE')).status).toBe(503);
      // Who is configured or not is known all the same.
      expect((await quota(gateway, 'nobody')).status).toBe(404);
    } finally {
      await own.stop();
    }
  });
});
