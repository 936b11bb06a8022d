/**
 * Looking and asking "what if": no look, peek or explanation changes a key, and what a peek says is what a request gets.
 * One gateway, with a real Redis and without.
 */
import type { Redis } from 'ioredis';
import { expect, test } from 'vitest';

import type { PeekView, QuotaView } from '../../src/io/admin-port.ts';
import { startGateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { base, startGround, withEachStore } from './limits-admin-fixture.ts';
import { ask, begin, valueOf } from './path-fixture.ts';

const TIERS = `
clients:
  keys:
    - { key: gold-key, client: gina, tier: gold }
    - { key: open-key, client: olga, tier: open }
    - { key: busy-key, client: bea, tier: busy }
    - { key: wild-key, client: wim, tier: wild }
tiers:
  default: { rate: 2/h, burst: 8 }
  gold: { rate: 1/h, burst: 20 }
  open: { mode: observe, rate: 1/h, burst: 5 }
  busy: { concurrency: 2 }
  wild: { rate: 1/h, burst: 5, penalty: { refusals: 2, per: 10m, blockFor: 10m } }
limits: { global: { rate: 1/h, burst: 200 } }
routes:
  - { path: /, service: shop }
  - { path: /dear, service: shop, cost: 5, limits: { perClient: { rate: 1/h, burst: 7 } } }
  - { path: /gone, service: shop, guard: { status: [404], failures: 1, per: 10m, blockFor: 10m } }
`;

const ground = startGround();

/** Every key of a limit with its bytes and its end; not the gateways' own signs of life. */
async function dump(client: Redis): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const key of (await client.keys('*')).toSorted()) {
    if (key === 'spw:{gw}:live' || key.endsWith(':secret')) continue;
    const bytes = await client.dumpBuffer(key);
    found[key] = `${bytes?.toString('hex') ?? ''} ${String(await client.call('PEXPIRETIME', key))}`;
  }
  return found;
}

const start = async (section: string) => await startGateway(base(ground, section, 2) + TIERS);

withEachStore(ground, start, (on) => {
  async function look(query: string, client = 'gina'): Promise<{ status: number; quota: QuotaView }> {
    const { status, body } = await on.gateway.admin(`/v1/limits/${client}${query}`);
    return { status, quota: body as QuotaView };
  }

  async function peek(query: string, client = 'gina'): Promise<PeekView | undefined> {
    return (await look(query, client)).quota.peek;
  }

  test('a request gets what was foretold: passed, refused at its route, at its client, and when to come back', async () => {
    await on.exactly(async () => {
      const send = async (path: string) =>
        await ask(on.gateway.port, { path, headers: { 'x-api-key': 'gold-key' } });
      const passes = { ok: true, status: 0, code: '', refusedBy: '', retryAfterMs: 0 };
      expect(await peek('?route=/dear')).toMatchObject({ route: '/dear', cost: 5, ...passes });
      expect((await send('/dear')).status).toBe(200);

      const refused = await peek('?route=/dear');
      expect(refused).toMatchObject({ ok: false, status: 429, code: 'SPW_RATE_ROUTE', refusedBy: 'route' });
      const waitMs = refused?.retryAfterMs ?? 0;
      // Two units are left, three come back at one an hour.
      expect(waitMs).toBeGreaterThan(2.9 * 3_600_000);
      expect(waitMs).toBeLessThanOrEqual(3 * 3_600_000);
      const answer = await send('/dear');
      expect(answer.status).toBe(429);
      expect(Number(valueOf(answer.rawHeaders, 'retry-after'))).toBeGreaterThanOrEqual(
        Math.floor(waitMs / 1000) - 60,
      );

      // The route's own cost is only the default.
      expect(await peek('?route=/dear&cost=2')).toMatchObject({ cost: 2, ...passes });
      expect(await peek('?route=/&cost=15')).toMatchObject(passes);
      expect(await peek('?route=/&cost=16')).toMatchObject({
        code: 'SPW_RATE_CLIENT',
        refusedBy: 'client',
      });
      expect(await peek('?route=/&cost=21')).toMatchObject({ ok: false, retryAfterMs: null });
      expect(await peek('?route=/&cost=0')).toMatchObject(passes);

      for (let sent = 0; sent < 15; sent++) expect((await send('/')).status).toBe(200);
      expect(await peek('?route=/')).toMatchObject({ ok: false, status: 429, refusedBy: 'client' });
      expect((await send('/')).status).toBe(429);
    });
  });

  test('who only observes is told, and refuses nobody', async () => {
    await on.exactly(async () => {
      const send = async (path: string) =>
        await ask(on.gateway.port, { path, headers: { 'x-api-key': 'open-key' } });
      expect((await send('/dear')).status).toBe(200);
      expect(await peek('?route=/', 'olga')).toMatchObject({ ok: true, observed: ['client'] });
      expect((await send('/')).status).toBe(200);
    });
  });

  test('requests in flight are shown, those of all workers, and foretell a refusal', async () => {
    const idle = (await look('?route=/', 'bea')).quota;
    expect(idle.concurrency).toMatchObject({ mode: 'enforce', allowed: 2, inFlight: 0 });
    expect(idle.peek).toMatchObject({ ok: true });
    const slow = [1, 2].map(() =>
      begin(on.gateway.port, {
        method: 'POST',
        headers: { 'x-api-key': 'busy-key', 'content-length': '1' },
      }),
    );
    for (const { sent } of slow) sent.flushHeaders();
    try {
      await eventually('both are in flight', async () => {
        const { concurrency } = (await look('', 'bea')).quota;
        return concurrency?.inFlight === 2 && concurrency.held === 2;
      });
      expect(await peek('?route=/', 'bea')).toMatchObject({
        ok: false,
        status: 429,
        code: 'SPW_CONCURRENCY_CLIENT',
        refusedBy: 'concurrency',
        retryAfterMs: 1000,
      });
      const refused = await ask(on.gateway.port, { headers: { 'x-api-key': 'busy-key' } });
      expect(refused.body.toString()).toContain('SPW_CONCURRENCY_CLIENT');
    } finally {
      for (const { sent } of slow) sent.end('x');
      await Promise.all(slow.map(async ({ answered }) => (await answered).message.resume()));
    }
    await eventually('they have ended', async () => (await peek('?route=/', 'bea'))?.ok === true);
  });

  test('a block is shown for as long as it lasts and foretells a refusal where it holds, until it is lifted', async () => {
    const send = async (path: string, key: string): Promise<number> =>
      (await ask(on.gateway.port, { path, headers: { 'x-api-key': key } })).status;
    await eventually('the guard blocks', async () => (await send('/gone', 'busy-key')) === 429);
    // Whichever worker is asked, it hears of a block a moment after the one that met it.
    await eventually(
      'the block is shown',
      async () => (await look('?route=/gone', 'bea')).quota.blocks.length > 0,
    );
    const { quota } = await look('?route=/gone', 'bea');
    expect(quota.blocks).toEqual([
      { by: 'guard', name: '/gone', mode: 'enforce', retryAfterMs: expect.any(Number) },
    ]);
    const restMs = quota.blocks[0]?.retryAfterMs ?? 0;
    expect(restMs).toBeGreaterThan(500_000);
    expect(restMs).toBeLessThanOrEqual(600_000);
    expect(quota.peek).toMatchObject({ status: 429, code: 'SPW_RATE_ROUTE', refusedBy: 'guard' });
    expect(await peek('?route=/', 'bea')).toMatchObject({ ok: true });
    await eventually('the penalty blocks', async () => {
      await send('/', 'wild-key');
      return (await look('', 'wim')).quota.blocks[0]?.by === 'penalty';
    });
    expect((await look('?route=/', 'wim')).quota).toMatchObject({
      blocks: [{ by: 'penalty', name: 'wild', mode: 'enforce' }],
      peek: { ok: false, code: 'SPW_RATE_CLIENT', refusedBy: 'penalty' },
    });
    for (const client of ['bea', 'wim']) {
      await on.gateway.admin(`/v1/limits/${client}`, { method: 'DELETE' });
      await eventually('nothing blocks', async () => (await look('', client)).quota.blocks.length === 0);
    }
  });

  test('no look, no peek and no explanation writes, moves or makes a key', async () => {
    await on.exactly(async () => {
      const { rawHeaders } = await ask(on.gateway.port, {
        path: '/dear',
        headers: { 'x-api-key': 'gold-key' },
      });
      const id = valueOf(rawHeaders, 'x-request-id') ?? '';
      const asked = async (): Promise<void> => {
        for (const path of [
          '/v1/limits/gina',
          '/v1/limits/gina?route=/dear',
          '/v1/limits/gina?route=/&cost=3',
          '/v1/limits/olga?route=/',
          // Never seen: its buckets are not there, and must not be after.
          '/v1/limits/203.0.113.7?route=/dear',
          '/v1/limits/203.0.113.7',
          `/v1/explain/${id}`,
        ]) {
          expect([200, 404]).toContain((await on.gateway.admin(path)).status);
        }
      };
      if (on.store === 'redis') {
        const client = ground.redis.client();
        try {
          const before = await dump(client);
          expect(Object.keys(before).length).toBeGreaterThanOrEqual(3);
          await asked();
          expect(await dump(client)).toEqual(before);
        } finally {
          client.disconnect();
        }
        return;
      }
      // The embedded store has no dump: all figures are as they were, but for the time that passed.
      const before = (await look('')).quota.limits;
      await asked();
      const after = (await look('')).quota.limits;
      expect(after.map(({ remaining }) => remaining)).toEqual(before.map(({ remaining }) => remaining));
      for (const [i, { fullMs }] of after.entries())
        expect(fullMs).toBeLessThanOrEqual(before[i]?.fullMs ?? 0);
      expect((await look('', '203.0.113.7')).status).toBe(404);
    });
  });

  test.each([
    ['?route=/nowhere', 404, 'There is no such route: known is /, /dear, /gone.'],
    ['?cost=3', 400, 'name it with route='],
    ['?route=/&cost=many', 400, '"cost" must be a whole number'],
    ['?route=/&cost=-1', 400, '"cost" must be a whole number'],
    ['?path=/', 400, 'Unknown parameter "path"'],
  ])('%s is %i', async (query, status, why) => {
    const answer = await on.gateway.admin(`/v1/limits/gina${query}`);
    expect([answer.status, answer.body]).toEqual([
      status,
      expect.objectContaining({ detail: expect.stringContaining(why) }),
    ]);
  });
});
