/**
 * Shadow rules: one tier, one route's limit, a total or the front door in `mode: observe` is charged and counted, and no
 * answer shows it; the rules beside it refuse as ever. A real gateway, with a real Redis and without.
 */
import { expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import { base, startGround, withEachStore } from './limits-admin-fixture.ts';
import { ask, valueOf } from './path-fixture.ts';

const TIERS = `
clients:
  keys:
    - { key: shadow-key, client: sam, tier: shadow }
    - { key: total-key, client: tom, tier: totals }
    - { key: other-key, client: tim, tier: totals }
    - { key: hard-key, client: hal, tier: hard }
    - { key: open-key, client: olga, tier: open }
tiers:
  default: {}
  open: {}
  shadow: { rate: 1/h, burst: 2, mode: observe }
  totals: { total: { rate: 1/h, burst: 3, mode: observe } }
  hard: { rate: 1/h, burst: 2 }
limits: { global: { rate: 1/h, burst: 60, mode: observe } }
routes:
  - { path: /, service: shop }
  - { path: /own, service: shop, limits: { perClient: { rate: 1/h, burst: 2, mode: observe } } }
  - { path: /all, service: shop, limits: { total: { rate: 1/h, burst: 2, mode: observe } } }
  - { path: /hard, service: shop, limits: { perClient: { rate: 1/h, burst: 2 } } }
`;

const ground = startGround();

const start = async (section: string) => await startGateway(base(ground, section, 1) + TIERS);

withEachStore(ground, start, (on) => {
  /** Statuses, and the fields about limits that the answers had. */
  async function send(
    count: number,
    key: string,
    path = '/',
  ): Promise<{ statuses: number[]; fields: string[] }> {
    const statuses: number[] = [];
    const fields: string[] = [];
    for (let sent = 0; sent < count; sent++) {
      const { status, rawHeaders } = await ask(on.gateway.port, { path, headers: { 'x-api-key': key } });
      statuses.push(status);
      for (const name of ['ratelimit', 'ratelimit-policy', 'retry-after']) {
        const value = valueOf(rawHeaders, name);
        if (value !== undefined) fields.push(`${name}: ${value}`);
      }
    }
    return { statuses, fields };
  }

  /** Requests that a level refused, or would have. */
  async function limited(tier: string, level: string, mode: string): Promise<number> {
    const { body } = await on.gateway.admin('/metrics');
    const labels = `tier="${tier}",level="${level}",mode="${mode}"`;
    const line = String(body)
      .split('\n')
      .find((each) => each.startsWith(`spillway_limited_total{${labels}}`));
    return Number(line?.split(' ')[1] ?? 0);
  }

  test.each([
    ['a tier', 'shadow-key', '/', 'shadow', 'client', 2],
    ["a tier's total", 'total-key', '/', 'totals', 'tier', 3],
    ["a route's limit for each client", 'open-key', '/own', 'open', 'route', 2],
    ["a route's total", 'open-key', '/all', 'open', 'route-total', 2],
  ])('%s that observes serves all, counts who it would have refused, and shows nothing', async (...row) => {
    const [, key, path, tier, level, burst] = row;
    await on.exactly(async () => {
      const before = await limited(tier, level, 'observe');
      const { statuses, fields } = await send(6, key, path);
      expect(statuses).toEqual([200, 200, 200, 200, 200, 200]);
      expect(fields).toEqual([]);
      expect((await limited(tier, level, 'observe')) - before).toBe(6 - burst);
      expect(await limited(tier, level, 'enforce')).toBe(0);
    });
  });

  test('it is charged as if it were enforced: the quota shows it used up', async () => {
    await on.exactly(async () => {
      await send(3, 'shadow-key');
      const { body } = await on.gateway.admin('/v1/limits/sam');
      const { limits } = body as {
        limits: { level: string; mode: string; remaining: number; shared: boolean }[];
      };
      expect(limits.find(({ level }) => level === 'client')).toMatchObject({
        mode: 'observe',
        remaining: 0,
      });
      expect(limits.find(({ level }) => level === 'global')).toMatchObject({
        mode: 'observe',
        shared: true,
      });
    });
  });

  test('rules beside it refuse as ever, and charge nobody for a refusal', async () => {
    await on.exactly(async () => {
      const tier = await send(4, 'hard-key');
      expect(tier.statuses).toEqual([200, 200, 429, 429]);
      expect(tier.fields.filter((field) => field.startsWith('ratelimit-policy'))).toEqual(
        Array.from({ length: 4 }, () => 'ratelimit-policy: "client";q=2;w=7200'),
      );
      expect(await limited('hard', 'client', 'enforce')).toBe(2);
      // A shadow rule does not hide a hard one.
      const route = await send(4, 'shadow-key', '/hard');
      expect(route.statuses).toEqual([200, 200, 429, 429]);
      expect(await limited('shadow', 'route', 'enforce')).toBe(2);
    });
  });

  test('the front door that observes refuses nobody either', async () => {
    await on.exactly(async () => {
      const { statuses, fields } = await send(70, 'open-key');
      expect(new Set(statuses)).toEqual(new Set([200]));
      expect(fields).toEqual([]);
      expect(await limited('open', 'global', 'observe')).toBeGreaterThanOrEqual(10);
      expect(await limited('open', 'global', 'enforce')).toBe(0);
    });
  });
});
