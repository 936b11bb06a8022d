/** Under load: rolls of instances, of a gateway's workers, of one of two gateways; faults; and a hundred reloads. */
import { describe, expect, test } from 'vitest';

import type { MeasureContext, Measured } from '../../loadtest/measure.ts';
import { outcomeOf } from '../../loadtest/overload/rows.ts';
import { chaos } from '../../loadtest/rolling/chaos.ts';
import { gatewayRoll } from '../../loadtest/rolling/gateway-roll.ts';
import { rollingDeploy } from '../../loadtest/rolling/rolling-deploy.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { runOpenLoop } from '../harness/open-loop.ts';
import { startOrigin } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';

const ONCE: MeasureContext = {
  rounds: 1,
  seconds: undefined,
  seed: 1,
  quick: true,
  peers: new Set(),
  before: undefined,
};

function expectSound({ rows, notes }: Measured, count: number): void {
  const missed = rows.filter((row) => outcomeOf(row) === 'missed');
  expect({ missed, notes: missed.length === 0 ? [] : notes }).toEqual({ missed: [], notes: [] });
  expect(rows).toHaveLength(count);
}

test('five instances that announce their end are replaced one after the other, and no request fails', async () => {
  expectSound(await rollingDeploy(ONCE), 4);
});

test('workers roll, and one of two gateways ends and comes back, and no request fails', async () => {
  expectSound(await gatewayRoll(ONCE), 4);
});

test('an instance is another service all at once, and the supervisor stands still, and both is as chaos expects', async () => {
  expectSound(await chaos(ONCE), 2);
});

interface Shop {
  readonly shedding: {
    readonly limit: number;
    readonly baselineMs: number;
    readonly total: { readonly answered: number };
  };
  readonly breaker: { readonly state: string };
  readonly instances: readonly { readonly id: string; readonly state: string; readonly sessions: number }[];
}

async function shopOf(gateway: Gateway): Promise<Shop> {
  const { body } = await gateway.admin('/v1/services');
  return (body as { services: { shop: Shop } }).services.shop;
}

describe('a hundred reloads under load', () => {
  test('fail no request, and what was learned and ordered stays', async () => {
    await using near = await startOrigin({ slots: 50, meanMs: 20 });
    await using far = await startOrigin({ slots: 50, meanMs: 20 });
    const config = (route: string): string => `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 2
log: { access: errors }
services:
  shop:
    instances: [${near.url}, ${far.url}]
    sla: 500ms
    readiness: { path: /ready, interval: 500ms }
    affinity: { cookie: sticky, keys: [{ id: k1, secret: a-secret-of-this-test-only-0000000 }] }
  spare: { instances: [${far.url}] }
routes: [{ path: /, service: shop }, { path: /${route}, service: spare }]
`;
    await using gateway = await startGateway(config('a'));
    const ended = new AbortController();
    const running = runOpenLoop({
      port: gateway.port,
      classes: [{ name: 'all', share: 1 }],
      phases: [{ seconds: 120, ratePerSecond: 200 }],
      slaMs: 500,
      signal: ended.signal,
    });
    await gateway.admin('/v1/services/spare/breaker', { method: 'POST', body: '{"state":"open"}' });
    const first = await fetch(gateway.publicUrl);
    const cookie = (first.headers.get('set-cookie') ?? '').split(';', 1)[0] ?? '';
    await eventually('a limit and a baseline are learned', async () => {
      const { shedding } = await shopOf(gateway);
      return shedding.baselineMs > 0 && shedding.total.answered > 500;
    });
    const before = await shopOf(gateway);
    const pids = gateway.workerPids();
    for (let reload = 1; reload <= 100; reload += 1) {
      await gateway.rewrite(config(reload % 2 === 0 ? 'a' : 'b'));
      const { status, body } = await gateway.admin('/v1/reload', { method: 'POST' });
      expect([status, body]).toMatchObject([200, { ok: true, warnings: [] }]);
      // Put in force, not only read.
      expect((await fetch(`${gateway.publicUrl}/${reload % 2 === 0 ? 'a' : 'b'}`)).status).toBe(503);
    }
    const after = await shopOf(gateway);
    ended.abort();
    const result = await running;
    expect(result.failed + result.refused, JSON.stringify({ ...result, bins: [] })).toBe(0);
    expect(result.staleRetries).toBe(0);
    expect(result.offered).toBeGreaterThan(500);
    expect(gateway.workerPids()).toEqual(pids);
    // Not begun anew: a fresh worker has no baseline, and has answered nothing.
    expect(after.shedding.baselineMs).toBeGreaterThan(before.shedding.baselineMs / 2);
    expect(after.shedding.limit).toBeGreaterThan(before.shedding.limit / 2);
    expect(after.shedding.total.answered).toBeGreaterThan(before.shedding.total.answered);
    expect(after.instances.map(({ state }) => state)).toEqual(before.instances.map(({ state }) => state));
    const again = await fetch(gateway.publicUrl, { headers: { cookie } });
    expect(again.status).toBe(200);
    // The session is known, on its instance: no new cookie.
    expect(again.headers.get('set-cookie')).toBeNull();
  });
});
