/**
 * What the tests of the limits' admin addresses share: a service and a Redis, gateways with that and without, one with
 * clients in several tiers, quotas as an operator sees them, and callers.
 */
import { afterAll, beforeAll, describe, expect } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { RedisServer } from '../harness/redis.ts';
import type { QuotaView } from '../../src/io/admin-port.ts';
import { ask, startService, valueOf } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

/** What all tests of a file stand on. */
export interface Ground {
  /** The service's address. */
  readonly origin: string;
  readonly redis: RedisServer;
}

/** A service that answers when it has the whole request and a Redis, from the first test of the file to the last. */
export function startGround(): Ground {
  let origin: Listening;
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await RedisServer.start();
    origin = await startService((request, response) => {
      const status = request.url === '/gone' ? 404 : 200;
      request.resume().on('end', () => response.writeHead(status, { 'content-length': 2 }).end('ok'));
    });
  });
  afterAll(async () => {
    await origin[Symbol.asyncDispose]();
    await redis.stop();
  });
  return {
    get origin() {
      return origin.url;
    },
    get redis() {
      return redis;
    },
  };
}

/** The section of a gateway that uses this Redis. */
export function redisSection({ url }: RedisServer): string {
  return `redis: { url: '${url}', timeout: 500ms, keySecret: a-secret-of-the-tests }`;
}

/** One gateway, the same in all tests of a group. */
export interface Standing {
  readonly store: 'embedded' | 'redis';
  /** The one in use now. */
  readonly gateway: Gateway;
  /** Counts to the unit, see `counted`. */
  readonly exactly: (work: () => Promise<void>) => Promise<void>;
}

/** The same tests without Redis and with it. @param start with this section, or with nothing */
export function withEachStore(
  ground: Ground,
  start: (section: string) => Promise<Gateway>,
  tests: (standing: Standing) => void,
): void {
  describe.each(['embedded', 'redis'] as const)('with the store %s', (store) => {
    let gateway: Gateway;
    const begin = async (): Promise<void> => {
      gateway = await start(store === 'redis' ? redisSection(ground.redis) : '');
    };
    const again = async (): Promise<void> => {
      await gateway[Symbol.asyncDispose]();
      await ground.redis.restart();
      await begin();
    };
    beforeAll(begin);
    afterAll(async () => {
      await gateway[Symbol.asyncDispose]();
    });
    tests({
      store,
      get gateway() {
        return gateway;
      },
      exactly: async (work) => {
        await counted(() => gateway, again, work);
      },
    });
  });
}

/** What most of these configurations begin with. @param workers of the gateway */
export function base({ origin }: Pick<Ground, 'origin'>, section: string, workers: number): string {
  return `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: ${workers}
${section}
services: { shop: { instances: [${origin}], sla: 5s, readiness: { path: /ready, interval: 600s, timeout: 10s } } }
`;
}

/** Clients of several tiers. @param section of Redis, or of something else, or nothing */
export function limitedClients(ground: Ground, section: string): string {
  return `${base(ground, section, 2)}
clients:
  unknownKeys: defaultTier
  keys:
    - { key: free-key, client: freddy, tier: free }
    - { key: new-key, client: nadia, tier: free }
    - { key: gold-key, client: gina, tier: gold }
    - { key: open-key, client: olga, tier: open }
    - { key: wide-key, client: wanda, tier: wide }
tiers:
  default: { rate: 2/h, burst: 4 }
  free: { rate: 1/h, burst: 5, total: { rate: 100/h, burst: 100 } }
  gold: { rate: 1000/h, burst: 1000 }
  open: {}
  wide: { rate: 1/h, burst: 400 }
routes:
  - { path: /, service: shop }
  - { path: /login, service: shop, limits: { perClient: { rate: 30/h, burst: 2, mode: observe } } }
`;
}

/** A gateway with those; its two workers and their store answer. */
export async function startLimited(ground: Ground, section: string): Promise<Gateway> {
  const gateway = await startGateway(limitedClients(ground, section));
  await quota(gateway, 'wanda');
  return gateway;
}

export interface Seen {
  readonly status: number;
  readonly quota: QuotaView;
  readonly detail: string;
  readonly text: string;
}

export async function quotaNow(
  gateway: Gateway,
  client: string,
  method = 'GET',
  figures?: unknown,
): Promise<Seen> {
  const path = `/v1/limits/${encodeURIComponent(client)}`;
  const sent = figures === undefined ? {} : { body: JSON.stringify(figures) };
  const { status, body } = await gateway.admin(path, { method, ...sent });
  const { detail } = body as { detail: string };
  return { status, quota: body as QuotaView, detail, text: JSON.stringify(body) };
}

/**
 * The same with the word of the store and of as many workers: asked again where a machine that stood still let one of
 * them miss its deadline. Twice is as good as once, be it a look or a filling.
 */
export async function quota(gateway: Gateway, client: string, method = 'GET', workers = 2): Promise<Seen> {
  let seen = await quotaNow(gateway, client, method);
  await eventually(`${workers} workers and their store answer`, async () => {
    const complete = seen.status === 200 ? seen.quota.workers.answered === workers : seen.status !== 503;
    if (!complete) seen = await quotaNow(gateway, client, method);
    return complete;
  });
  return seen;
}

/** Whether a worker decided something by its own share, since the store did not answer within its deadline. */
async function hasDecidedAlone(gateway: Gateway): Promise<boolean> {
  const { body } = await gateway.admin('/metrics');
  return /^spillway_limit_decisions_total\{path="fallback"\} [1-9]/m.test(String(body));
}

/**
 * Counts to the unit. They hold as long as the store answers the workers within its deadline; where the machine did not let
 * it, what was counted says nothing, and is counted again, by a gateway and a store that know of nothing (`again`).
 */
export async function counted(
  gateway: () => Gateway,
  again: () => Promise<void>,
  work: () => Promise<void>,
): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await work();
      return;
    } catch (error) {
      if (tries === 10 || !(await hasDecidedAlone(gateway()))) throw error;
    }
    await again();
  }
}

/** How often each status came, and which workers answered. */
export async function spend(
  gateway: Gateway,
  count: number,
  key: string,
  path = '/',
): Promise<{ statuses: Record<number, number>; workers: ReadonlySet<string> }> {
  const headers: Record<string, string> = key === '' ? {} : { 'x-api-key': key };
  const statuses: Record<number, number> = {};
  const workers = new Set<string>();
  const answers = await Promise.all(
    Array.from({ length: count }, async () => await ask(gateway.port, { path, headers })),
  );
  for (const { status, rawHeaders } of answers) {
    statuses[status] = (statuses[status] ?? 0) + 1;
    // A worker's name begins its request ids.
    workers.add((valueOf(rawHeaders, 'x-request-id') ?? '').split('-')[0] ?? '');
  }
  return { statuses, workers };
}

/** Uses up the quota of 400, until each of the two workers has had to refuse. */
export async function refusedByBoth(gateway: Gateway): Promise<void> {
  const refused = new Set<string>();
  for (let asked = 0; asked < 400; asked += 50) await spend(gateway, 50, 'wide-key');
  await eventually('both workers have refused', async () => {
    const { statuses, workers } = await spend(gateway, 20, 'wide-key');
    if (Object.keys(statuses).join() === '429') for (const worker of workers) refused.add(worker);
    return refused.size === 2;
  });
}

/** Each of the two workers serves, and neither refuses. */
export async function servedByBoth(gateway: Gateway): Promise<void> {
  const served = new Set<string>();
  for (let asked = 0; asked < 360 && served.size < 2; asked += 20) {
    const { statuses, workers } = await spend(gateway, 20, 'wide-key');
    expect(statuses).toEqual({ 200: 20 });
    for (const worker of workers) served.add(worker);
  }
  expect(served.size).toBe(2);
}

/** An operator's override; the answer as it comes. */
export async function put(gateway: Gateway, client: string, figures: unknown): Promise<Seen> {
  return await quotaNow(gateway, client, 'PUT', figures);
}

/** Lines of the supervisor's log with this message. */
export function logged(gateway: Gateway, message: string): Record<string, unknown>[] {
  return gateway
    .logs()
    .split('\n')
    .filter((line) => line.includes(`"msg":"${message}"`))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
