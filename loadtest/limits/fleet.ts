/**
 * Several gateways that share one real Redis, an origin behind them that answers at once, and callers who wait for nobody
 * and whose every answer is taken down. Nothing is shed here: what a machine cannot carry comes late and is counted.
 */
import { setTimeout as pause } from 'node:timers/promises';

import type { Redis } from 'ioredis';

import { startGateway } from '../../test/harness/gateway.ts';
import type { Gateway } from '../../test/harness/gateway.ts';
import { LoadJournal } from '../../test/harness/load-journal.ts';
import type { Entry } from '../../test/harness/load-journal.ts';
import { runOpenLoop } from '../../test/harness/open-loop.ts';
import type { LoadClass } from '../../test/harness/open-loop.ts';
import { eventually } from '../../test/harness/ports.ts';
import { RedisServer } from '../../test/harness/redis.ts';
import { metric } from '../overload/metrics.ts';
import type { Row } from '../overload/rows.ts';
import { startAnswering } from '../targets.ts';

const GATEWAYS = 2;
/** Of each gateway, so that four workers share every limit. */
const WORKERS = 2;

export interface Fleet extends AsyncDisposable {
  readonly server: RedisServer;
  readonly redis: Redis;
  readonly gateways: readonly Gateway[];
  /** Workers of all gateways. */
  readonly workers: number;
  /** The same gateways under other sections, see `FleetPlan.yaml`: a reload, which buckets survive. */
  readonly reconfigure: (yaml: string) => Promise<void>;
}

export interface FleetPlan {
  /** Sections `clients`, `tiers`, `limits` and whatever else; `routes` too where the one to everything does not do. */
  readonly yaml: string;
  readonly gateways?: number;
  /** `redis.timeout`; left out, long enough that a busy machine is not taken for a lost Redis where things are counted. */
  readonly redisTimeout?: string;
}

function configuration(plan: FleetPlan, redisUrl: string, originUrl: string): string {
  const routes = /^routes:/m.test(plan.yaml) ? '' : 'routes: [{ path: /, service: shop }]';
  return `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
admin: { host: 127.0.0.1, port: __ADMIN__ }
shutdown: { delay: 0s, timeout: 2s }
workers: ${WORKERS}
redis: { url: ${redisUrl}, timeout: ${plan.redisTimeout ?? '250ms'} }
shedding: { mode: off }
services: { shop: { instances: [${originUrl}] } }
${plan.yaml}
${routes}
`;
}

/** Whether this gateway has heard of `gateways` and uses the Redis. */
async function shares(gateway: Gateway): Promise<boolean> {
  const { body } = await gateway.admin('/metrics');
  return metric(String(body), 'spillway_redis_up') >= 1;
}

/** Starts everything; resolves when each gateway uses the Redis and has had time to hear of the others. */
export async function startFleet(plan: FleetPlan): Promise<Fleet> {
  await using stack = new AsyncDisposableStack();
  const server = await RedisServer.start();
  stack.defer(() => server.stop());
  const origin = stack.use(await startAnswering());
  const redis = server.client();
  stack.defer(() => redis.disconnect());
  const whole = (yaml: string): string =>
    configuration({ ...plan, yaml }, server.url, `http://127.0.0.1:${origin.port}`);
  const gateways = await Promise.all(
    Array.from({ length: plan.gateways ?? GATEWAYS }, () =>
      startGateway(whole(plan.yaml), { discardStdout: true }),
    ),
  );
  for (const gateway of gateways) stack.use(gateway);
  for (const gateway of gateways) await eventually('the gateway uses Redis', () => shares(gateway));
  // A heartbeat of each: all have heard of the others.
  await pause(1200);
  const all = stack.move();
  return {
    server,
    redis,
    gateways,
    workers: gateways.length * WORKERS,
    reconfigure: async (yaml) => {
      for (const gateway of gateways) {
        await gateway.rewrite(whole(yaml));
        const { status, body } = await gateway.admin('/v1/reload', { method: 'POST' });
        if (status !== 200) throw new Error(`a reload was answered ${status}: ${JSON.stringify(body)}`);
      }
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** One kind of caller at every gateway. */
export interface FleetLoad {
  readonly name: string;
  readonly path?: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly perGatewayPerSecond: number;
}

/** An answer, on the clock of this process. */
export interface Recorded extends Pick<Entry, 'fate' | 'code'> {
  readonly gateway: number;
  readonly load: number;
  readonly fromMs: number;
  readonly untilMs: number;
}

/** Every caller at every gateway for `seconds`; all answers, in no order. */
export async function record(
  { gateways }: Pick<Fleet, 'gateways'>,
  loads: readonly FleetLoad[],
  seconds: number,
  seed: number,
): Promise<Recorded[]> {
  const runs = gateways.map(async ({ port }, gateway) => {
    const journal = new LoadJournal();
    let startedMs = 0;
    const classes = loads.map(({ name, path, headers, perGatewayPerSecond }): LoadClass => ({
      name,
      share: perGatewayPerSecond,
      path: path ?? '/',
      headers,
    }));
    await runOpenLoop({
      port,
      classes,
      phases: [{ seconds, ratePerSecond: loads.reduce((sum, each) => sum + each.perGatewayPerSecond, 0) }],
      slaMs: 1000,
      seed: seed + 101 * gateway,
      journal,
      spread: true,
      onStart: (look) => {
        startedMs = performance.now() - look().atMs;
      },
    });
    return [...journal.entries()].map(({ atMs, tookMs, classIndex, fate, code }): Recorded => ({
      gateway,
      load: classIndex,
      fate,
      code,
      fromMs: startedMs + atMs,
      untilMs: startedMs + atMs + tookMs,
    }));
  });
  return (await Promise.all(runs)).flat();
}

/** These fleets shed nothing, and all callers are over a limit of their own. */
export function strangeRow(answers: readonly Recorded[]): Row {
  return {
    what: 'answers that were neither served nor 429',
    unit: 'count',
    value: answers.filter(({ fate, code }) => fate !== 'served' && code !== 'SPW_RATE_CLIENT').length,
    bound: { most: 0 },
  };
}

/** Decisions of all gateways so far, by who made them. Reports of the workers reach the supervisor each second. */
export async function decisionPaths({ gateways }: Pick<Fleet, 'gateways'>): Promise<Record<string, number>> {
  await pause(1500);
  const sums: Record<string, number> = {};
  for (const gateway of gateways) {
    const page = String((await gateway.admin('/metrics')).body);
    for (const path of ['lease', 'store', 'hold', 'fallback'])
      sums[path] = (sums[path] ?? 0) + metric(page, 'spillway_limit_decisions_total', { path });
  }
  return sums;
}
