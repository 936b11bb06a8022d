/** An instance that keeps a count of each client's requests in flight, and holds them until it is told, or for a while. */
import type { ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { startGateway, type Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { ask, startService, type Listening } from './path-fixture.ts';

export interface HoldingOrigin extends AsyncDisposable {
  readonly url: string;
  readonly server: Listening['server'];
  /** In flight now, by the last part of the path. */
  inFlight(client: string): number;
  /** The most there ever were since `forget`. */
  most(client: string): number;
  served(client: string): number;
  forget(): void;
  /** Answers to `/hold/…` that wait for a word. */
  readonly held: Set<ServerResponse>;
  /** Answers all that wait. */
  letGo(): void;
}

/** `/hold/NAME` and `/late/NAME` wait for `letGo`, `/busy/NAME?MS` takes so long, `/stream/NAME` sends a head and waits for `letGo`. */
export async function holdingOrigin(): Promise<HoldingOrigin> {
  const now = new Map<string, number>();
  const most = new Map<string, number>();
  const served = new Map<string, number>();
  const held = new Set<ServerResponse>();
  const listening = await startService((request, response) => {
    const url = new URL(request.url ?? '/', 'http://a.test');
    const [, what = '', client = ''] = url.pathname.split('/');
    const count = (now.get(client) ?? 0) + 1;
    now.set(client, count);
    most.set(client, Math.max(count, most.get(client) ?? 0));
    response.on('close', () => {
      now.set(client, (now.get(client) ?? 0) - 1);
      served.set(client, (served.get(client) ?? 0) + 1);
      held.delete(response);
    });
    if (what === 'busy') {
      setTimeout(() => response.end('ok'), Number(url.search.slice(1)));
      return;
    }
    if (what === 'hold' || what === 'late' || what === 'stream') {
      held.add(response);
      if (what === 'stream') response.write('begun');
      return;
    }
    response.end('ok');
  });
  return {
    url: listening.url,
    server: listening.server,
    held,
    inFlight: (client) => now.get(client) ?? 0,
    most: (client) => most.get(client) ?? 0,
    served: (client) => served.get(client) ?? 0,
    forget: () => {
      most.clear();
      served.clear();
    },
    letGo: () => {
      for (const response of held) response.end('ok');
    },
    [Symbol.asyncDispose]: async () => {
      for (const response of held) response.destroy();
      await listening[Symbol.asyncDispose]();
    },
  };
}

/** @param store the section `redis`, or nothing */
export async function startConcurrent(origin: string, store: string, workers = 2): Promise<Gateway> {
  return await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: ${workers}
${store}
services:
  shop: { instances: [${origin}], shedding: { mode: off }, sla: 300ms, timeout: { request: 60s }, readiness: { path: /ready, interval: 600s, timeout: 10s } }
clients:
  keys:
    - { key: two-key, client: two, tier: two }
    - { key: eight-key, client: eight, tier: eight }
    - { key: many-key, client: many, tier: many }
    - { key: seen-key, client: seen, tier: seen }
tiers:
  default: {}
  two: { rate: 1000/s, burst: 1000, concurrency: 2 }
  eight: { concurrency: 8 }
  many: { concurrency: 64 }
  seen: { concurrency: 2, mode: observe }
routes:
  - { path: /, service: shop }
  - { path: /rare, service: shop, limits: { perClient: { rate: 1/h, burst: 1 } } }
  - { path: /free, service: shop, cost: 0 }
  - { path: /late, service: shop, timeout: 300ms }
`);
}

/** Asks without a pause with `width` requests at a time until `untilMs`; how often each status came. */
export async function hammer(
  ports: readonly number[],
  key: string,
  path: string,
  width: number,
  untilMs: number,
): Promise<Record<number, number>> {
  const statuses: Record<number, number> = {};
  await Promise.all(
    Array.from({ length: width }, async (_, i) => {
      while (performance.now() < untilMs) {
        const { status } = await ask(ports[i % ports.length] ?? 0, { path, headers: { 'x-api-key': key } });
        statuses[status] = (statuses[status] ?? 0) + 1;
        if (status !== 200) await pause(5);
      }
    }),
  );
  return statuses;
}

/** How many of `offered` requests that do not end are let in, the others being told 429; then all end. */
export async function room(
  gateways: readonly Gateway[],
  origin: HoldingOrigin,
  key: string,
  offered: number,
): Promise<number> {
  const client = `probe-${key}`;
  let refused = 0;
  const asked = Array.from({ length: offered }, async (_, i) => {
    const port = gateways[i % gateways.length]?.port ?? 0;
    const { status } = await ask(port, { path: `/hold/${client}`, headers: { 'x-api-key': key } });
    if (status !== 429 && status !== 200) throw new Error(`an answer with ${status}`);
    if (status === 429) refused++;
  });
  await eventually('each is held or refused', () => origin.inFlight(client) + refused === offered);
  const held = origin.inFlight(client);
  origin.letGo();
  await Promise.all(asked);
  return held;
}

/** Until a client may have exactly so many in flight again. */
export async function untilRoom(
  gateways: readonly Gateway[],
  origin: HoldingOrigin,
  key: string,
  count: number,
): Promise<void> {
  let last = -1;
  await eventually(
    `room for ${count} of ${key}`,
    async () => (last = await room(gateways, origin, key, count + 2)) === count,
    10_000,
  ).catch((error: unknown) => {
    throw new Error(`there was room for ${last}`, { cause: error });
  });
}
