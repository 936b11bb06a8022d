/**
 * One client is denied a thousand times by its own limit: what that costs the limits it shares with others. A union of
 * rate-limiter-flexible charges every level before it looks; here a refusal charges none.
 */
import type { Redis } from 'ioredis';
import { RateLimiterRedis, RateLimiterUnion } from 'rate-limiter-flexible';

import { LoadConnection } from '../../test/harness/load-connection.ts';
import { compileRate } from '../../src/limits/gcra.ts';
import { globalKey } from '../../src/limits/keys.ts';
import { requestBytes } from '../cost/paced.ts';
import type { Measured, MeasureContext } from '../measure.ts';
import { startFleet } from './fleet.ts';
import type { Fleet } from './fleet.ts';

const DENIALS = 1000;
const CONNECTIONS = 8;
/** So slow that nothing of it comes back while this runs: whatever is charged is seen. */
const GLOBAL = { ratePerHour: 10, burst: 500 };
const MODES = ['exact', 'auto', 'leased'] as const;

function yaml(enforcement: string): string {
  return `
clients: { keys: [{ key: loud, client: loud, tier: small }] }
tiers: { small: { rate: 1/h, burst: 1 } }
limits: { enforcement: ${enforcement}, global: { rate: ${GLOBAL.ratePerHour}/h, burst: ${GLOBAL.burst} } }
`;
}

/** What the front door's bucket has been charged, in units, from some moment on: only differences say something. */
async function charged(redis: Redis): Promise<number> {
  const { unitTicks } = compileRate(GLOBAL.ratePerHour / 3600, GLOBAL.burst);
  // One was admitted before: without a bucket nothing was looked at, and nothing is kept.
  const tat = Number((await redis.get(globalKey())) ?? Number.NaN);
  return tat / unitTicks;
}

/** Sends until `count` answers were refused; the statuses of all answers. */
async function denials(fleet: Fleet, count: number): Promise<Map<number, number>> {
  const statuses = new Map<number, number>();
  const request = requestBytes({ 'x-api-key': 'loud' });
  const done = Promise.withResolvers<void>();
  const open = new Set<LoadConnection>();
  const send = (port: number, before?: LoadConnection): void => {
    if ((statuses.get(429) ?? 0) >= count) {
      done.resolve();
      return;
    }
    const connection =
      before ??
      new LoadConnection(port, '127.0.0.1', {
        answered: (each, status, _code, reusable) => {
          statuses.set(status, (statuses.get(status) ?? 0) + 1);
          send(port, reusable ? each : undefined);
        },
        failed: (_, failure) => done.reject(new Error(`a connection failed: ${failure}`)),
        gone: () => undefined,
      });
    open.add(connection);
    connection.send(request);
  };
  for (const { port } of fleet.gateways) for (let index = 0; index < CONNECTIONS; index += 1) send(port);
  try {
    await done.promise;
  } finally {
    for (const connection of open) connection.destroy();
  }
  return statuses;
}

/** Units that a union of rate-limiter-flexible takes from the shared level for as many denials. */
async function chargedByUnion(redis: Redis, count: number): Promise<number> {
  const limits = [
    { keyPrefix: 'own', points: 1 },
    { keyPrefix: 'shared', points: 10 * count },
  ];
  const union = new RateLimiterUnion(
    ...limits.map((limit) => new RateLimiterRedis({ storeClient: redis, duration: 3600, ...limit })),
  );
  for (let index = 0; index <= count; index += 1) await union.consume('loud').catch(() => undefined);
  // One was admitted.
  return Number(await redis.get('shared:loud')) - 1;
}

export async function limitsDenied(_context: MeasureContext): Promise<Measured> {
  const cells: string[][] = [];
  const charges: number[] = [];
  let union = Number.NaN;
  await using fleet = await startFleet({ yaml: yaml('exact') });
  const { redis } = fleet;
  for (const mode of MODES) {
    process.stderr.write(`limits-denied: ${mode}\n`);
    await fleet.reconfigure(yaml(mode));
    // The one that is admitted, and whatever a lease takes for it, come before.
    await denials(fleet, 1);
    const before = await charged(redis);
    const statuses = await denials(fleet, DENIALS);
    const units = Math.round((await charged(redis)) - before);
    charges.push(units);
    cells.push([
      mode,
      [...statuses].map(([status, count]) => `${count} × ${status}`).join(', '),
      String(units),
    ]);
    if (Number.isNaN(union)) union = await chargedByUnion(redis, DENIALS);
  }
  cells.push(['union of rate-limiter-flexible', `${DENIALS} denials`, String(union)]);
  return {
    rows: MODES.map((mode, index) => ({
      what: `${mode}: charged to the global level by ${DENIALS} denials of one client`,
      unit: 'count',
      value: charges[index],
      bound: { most: 0 },
    })),
    figures: [
      {
        caption: 'one client over its own limit',
        head: ['', 'answers', 'units of the global level'],
        rows: cells,
      },
    ],
    notes: [],
    data: { charges, union },
  };
}
