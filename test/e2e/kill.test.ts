/** Power cuts under load: whatever dies, only what was in flight in it may fail, and everything heals by itself. */
import { setTimeout as pause } from 'node:timers/promises';

import { describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import type { LoadResult } from '../harness/load-statistics.ts';
import { runOpenLoop } from '../harness/open-loop.ts';
import { startOrigin } from '../harness/origin.ts';
import { eventually, freePorts } from '../harness/ports.ts';
import { isAlive } from '../harness/process.ts';
import { RedisServer } from '../harness/redis.ts';

const RATE = 300;
const MEAN_MS = 5;
/** Little's law gives 1.5 requests in flight, a burst some more; a machine that stalls just then as many as it says. */
const IN_FLIGHT_MAX = 15;
/** What a blow may still hit after it: requests on connections of which nobody knows yet that they are dead. */
const AFTERMATH_MS = 750;

function config(instances: readonly string[], more = ''): string {
  return `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 2
log: { access: off }
# A machine that is busy elsewhere may look like overload; that is another test's subject.
shedding: { mode: observe }
services:
  shop:
    instances: [${instances.join(', ')}]
    sla: 500ms
    readiness: { path: /ready, interval: 200ms, timeout: 2s, rise: 2, fall: 2 }
    balancing: { slowStart: 1s }
routes: [{ path: /, service: shop }]
${more}`;
}

interface Load {
  readonly result: Promise<LoadResult>;
  /** Requests without an answer, and ms since the start. */
  readonly look: () => { readonly pending: number; readonly atMs: number };
}

function startLoad(gateway: Gateway, seconds: number): Load {
  let look: Load['look'] = () => ({ pending: 0, atMs: 0 });
  const result = runOpenLoop({
    port: gateway.port,
    classes: [{ name: 'all', share: 1 }],
    phases: [{ seconds, ratePerSecond: RATE }],
    slaMs: 500,
    timeoutMs: 30_000,
    binMs: 250,
    onStart: (given) => {
      look = given;
    },
  });
  return { result, look };
}

async function load(gateway: Gateway, seconds: number): Promise<LoadResult> {
  return startLoad(gateway, seconds).result;
}

/** Only what was in flight at the blow may have failed, and nothing that was sent well after it. */
function expectOnlyInFlight(
  result: LoadResult,
  blow: { readonly pending: number; readonly atMs: number },
): void {
  const most = Math.max(IN_FLIGHT_MAX, blow.pending);
  expect(result.failed + result.refused, summary(result)).toBeLessThanOrEqual(most);
  expect(failedAfter(result, blow.atMs + AFTERMATH_MS), summary(result)).toBe(0);
}

/** What a failed expectation should say. */
function summary(result: LoadResult): string {
  const { statuses, codes, failures, failureNotes, bins } = result;
  return JSON.stringify({ statuses, codes, failures, notes: failureNotes.slice(0, 20), bins });
}

function failedAfter(result: LoadResult, ms: number): number {
  return result.bins.filter((bin) => bin.atMs >= ms).reduce((sum, bin) => sum + bin.failed + bin.refused, 0);
}

interface ServicesBody {
  readonly services: Readonly<
    Record<string, { readonly instances: readonly { readonly id: string; readonly state: string }[] }>
  >;
}

async function instanceState(gateway: Gateway, id: string): Promise<string | undefined> {
  const { body } = await gateway.admin('/v1/services');
  return (body as ServicesBody).services['shop']?.instances.find((each) => each.id === id)?.state;
}

describe('kill -9 under load', () => {
  test('a worker: only its requests in flight fail, and another takes its place', async () => {
    await using origin = await startOrigin({ slots: 200, meanMs: MEAN_MS });
    await using gateway = await startGateway(config([origin.url]));
    const before = gateway.workerPids();
    expect(before).toHaveLength(2);
    const running = startLoad(gateway, 5);
    await pause(1500);
    const [victim = 0] = before;
    const blow = running.look();
    process.kill(victim, 'SIGKILL');
    expectOnlyInFlight(await running.result, blow);
    await eventually('two workers again', () => {
      const now = gateway.workerPids().filter(isAlive);
      return now.length === 2 && !now.includes(victim);
    });
    await gateway.readyz(200);
    const after = await load(gateway, 1);
    expect(after.failed + after.refused).toBe(0);
  });

  test('an instance: the others serve, and it gets traffic again when it is back', async () => {
    await using first = await startOrigin({ slots: 200, meanMs: MEAN_MS });
    await using second = await startOrigin({ slots: 200, meanMs: MEAN_MS });
    // A port of which no connection of this test can take hold while it is free.
    const [port = 0] = await freePorts(1);
    const victim = await startOrigin({ slots: 200, meanMs: MEAN_MS, port });
    await using gateway = await startGateway(config([first.url, second.url, victim.url]));
    const running = startLoad(gateway, 4);
    await pause(1500);
    const { pending } = running.look();
    await victim.kill();
    // Until its traffic or its probes have told, requests meet the dead one first.
    const toldMs = running.look().atMs + 750;
    expectOnlyInFlight(await running.result, { pending, atMs: toldMs });
    const id = `127.0.0.1:${victim.port}`;
    expect(await instanceState(gateway, id)).not.toBe('ready');
    await using reborn = await startOrigin({ slots: 200, meanMs: MEAN_MS, port: victim.port });
    // With traffic: where it was ejected before its probes told, only requests can end its trial.
    await eventually(
      'the instance is ready again and has its share of the traffic',
      async () => {
        const after = await load(gateway, 1);
        expect(after.failed + after.refused, summary(after)).toBe(0);
        return (await instanceState(gateway, id)) === 'ready' && (await reborn.report()).arrived > 20;
      },
      60_000,
    );
  });

  test('Redis: requests go on with a local share of the limits, and it is used again when it is back', async () => {
    const redis = await RedisServer.start();
    try {
      await using origin = await startOrigin({ slots: 200, meanMs: MEAN_MS });
      const limits = `
redis: { url: ${redis.url}, timeout: 25ms, onUnavailable: local }
tiers: { default: { rate: 2000/s, burst: 2000, priority: default } }`;
      await using gateway = await startGateway(config([origin.url], limits));
      const running = load(gateway, 5);
      await pause(1500);
      await redis.kill();
      const result = await running;
      expect(result.failed + result.refused, summary(result)).toBe(0);
      // Had they waited for Redis, most of those after its end would be late; the machine alone may make some so.
      expect(result.goodputRatio, summary(result)).toBeGreaterThan(0.8);
      expect(result.p50Ms).toBeLessThan(250);
      const metrics = async (): Promise<string> => String((await gateway.admin('/metrics')).body);
      await eventually('redis_up is 0', async () => /^spillway_redis_up 0$/m.test(await metrics()));
      await gateway.readyz(200);
      await redis.restart();
      await eventually('redis_up is 1', async () => /^spillway_redis_up 1$/m.test(await metrics()));
      const after = await load(gateway, 1);
      expect(after.failed + after.refused).toBe(0);
    } finally {
      await redis.stop();
    }
  });

  test('the supervisor: its workers do not outlive it, and the ports are free for the next one', async () => {
    await using origin = await startOrigin({ slots: 200, meanMs: MEAN_MS });
    await using gateway = await startGateway(config([origin.url]));
    const workers = gateway.workerPids();
    expect(workers).toHaveLength(2);
    await gateway.kill();
    await eventually('the workers end', () => !workers.some(isAlive));
    const ports = { port: gateway.port, adminPort: gateway.adminPort };
    await using next = await startGateway(config([origin.url]), { ports });
    expect((await fetch(next.publicUrl)).status).toBe(200);
  });
});
