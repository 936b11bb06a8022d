/**
 * Under `observe` no answer changes (limits.md L15): the same seeded traffic through a gateway with limits off and through
 * one that observes them gets the same answers, field by field and byte by byte, also while Redis is gone and a lost store
 * is to be answered with `deny`; and what would have been refused is counted.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { seededRandom } from '../../src/kernel/random.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { RedisServer } from '../harness/redis.ts';
import { ask, startService } from './path-fixture.ts';
import type { Answer, Asked, Listening } from './path-fixture.ts';

/** Fields that differ between any two answers. */
const OWN = new Set(['date', 'x-request-id']);

/** What a caller sees of an answer. */
function seen({ status, reason, rawHeaders, body }: Answer): string {
  const fields: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = String(rawHeaders[at]).toLowerCase();
    if (!OWN.has(name)) fields.push(`${name}: ${rawHeaders[at + 1]}`);
  }
  const text = body.toString('latin1').replace(/"requestId":"[^"]*"/, '"requestId":""');
  return [`${status} ${reason}`, ...fields.toSorted(), text].join('\n');
}

const CALLERS: readonly Asked['headers'][] = [
  { 'x-api-key': 'one' },
  { 'x-api-key': 'two' },
  { 'x-api-key': 'nobody' },
  { cookie: 'key=one' },
  {},
];

/** The same for the same seed: known and unknown callers, dear and cheap routes, bodies, what is not found. */
function traffic(seed: number, count: number): Asked[] {
  const random = seededRandom(seed);
  const pick = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)] as T;
  return Array.from({ length: count }, (): Asked => {
    const path = pick(['/', '/dear', '/tight', '/tight', '/gone?x=1']);
    const method = pick(['GET', 'GET', 'HEAD', 'POST']);
    const headers = pick(CALLERS) ?? {};
    return {
      path,
      method,
      headers,
      ...(method === 'POST' ? { body: 'x'.repeat(Math.floor(random() * 900)) } : {}),
    };
  });
}

let origin: Listening;
let redis: RedisServer;
const gateways = new Map<'off' | 'observe', Gateway>();

beforeAll(async () => {
  redis = await RedisServer.start();
  origin = await startService((request, response) => {
    request.resume();
    const gone = request.url?.startsWith('/gone') === true;
    response.writeHead(gone ? 404 : 200, { 'content-length': gone ? 4 : 2, ratelimit: '"own";r=1' });
    response.end(gone ? 'gone' : 'ok');
  });
  for (const mode of ['off', 'observe'] as const) {
    const gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
redis: { url: '${redis.url}', timeout: 500ms, onUnavailable: deny }
services: { shop: { instances: [${origin.url}], sla: 5s, readiness: { path: /ready, interval: 600s, timeout: 10s } } }
clients:
  identify: [{ header: x-api-key }, { cookie: key }, { ip: {} }]
  keys: [{ key: one, client: one, tier: small }, { key: two, client: two, tier: small }]
tiers:
  default: { rate: 1/m, burst: 5, concurrency: 1 }
  small: { rate: 1/m, burst: 10, concurrency: 1, total: { rate: 1/m, burst: 30 } }
limits: { mode: ${mode}, global: { rate: 1/m, burst: 40 } }
routes:
  - { path: /, service: shop }
  - { path: /dear, service: shop, cost: 5 }
  - { path: /tight, service: shop, limits: { perClient: { rate: 1/m, burst: 1 }, total: { rate: 1/m, burst: 9 } } }
`);
    gateways.set(mode, gateway);
    await eventually('Redis is in use', async () =>
      /redis_up 1/.test(String((await gateway.admin('/metrics')).body)),
    );
  }
});

afterAll(async () => {
  for (const gateway of gateways.values()) await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
  await redis.stop();
});

async function answersOf(mode: 'off' | 'observe', requests: readonly Asked[]): Promise<string[]> {
  const port = gateways.get(mode)?.port ?? 0;
  const answers: string[] = [];
  for (const request of requests) answers.push(seen(await ask(port, request)));
  return answers;
}

async function observed(): Promise<Record<string, number>> {
  const page = String((await gateways.get('observe')?.admin('/metrics'))?.body);
  const counts: Record<string, number> = {};
  for (const [, level = '', count] of page.matchAll(
    /limited_total\{[^}]*level="([\w-]+)",mode="observe"\} (\d+)/g,
  ))
    counts[level] = (counts[level] ?? 0) + Number(count);
  return counts;
}

describe('the same seeded traffic, limits off and observed', () => {
  test('gets the same answers, and what would have been refused is counted by level', async () => {
    const requests = traffic(11, 200);
    const off = await answersOf('off', requests);
    expect(await answersOf('observe', requests)).toEqual(off);
    const statuses = new Set(off.map((answer) => answer.slice(0, 3)));
    expect([...statuses].toSorted()).toEqual(['200', '401', '404']);
    await eventually('the refusals that were none are counted', async () => {
      const { client = 0, route = 0, global = 0, tier = 0 } = await observed();
      return client > 0 && route > 0 && global > 0 && tier > 0;
    });
  });

  test('also while Redis is gone, where an enforced limit would be answered SPW_RATE_STORE_DOWN', async () => {
    await redis.kill();
    const requests = traffic(12, 60);
    expect(await answersOf('observe', requests)).toEqual(await answersOf('off', requests));
  });
});
