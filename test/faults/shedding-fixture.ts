/**
 * What the tests of hostile cases share: the anchors' origin behind one worker, load that a test can act upon while it
 * runs, and the figures by which a controller is judged.
 *
 * Bounds are fractions of what was offered, timed from the intended sending. A file learns the service first, so that
 * the fault meets a gateway that knows it.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { disturbable } from '../harness/disturbance.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import type { LoadResult } from '../harness/load-statistics.ts';
import { runOpenLoop } from '../harness/open-loop.ts';
import type { OpenLoopOptions } from '../harness/open-loop.ts';
import { startOrigin } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';

export const SLA_MS = 250;

/** Neither breaker nor ejection has a say: what is left is the shedding alone. */
export const NOTHING_OPENS = `
    breaker: { consecutive: 10000, minRequests: 1000000 }
    outlier: { consecutiveFailures: 10000, minRequests: 1000000 }`;

/** One worker, one service of these instances. `text` belongs to the service, `top` to the file. */
export function shop(urls: readonly string[], text = '', top = ''): string {
  return `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1${top}
services:
  shop:
    instances: [${urls.join(', ')}]
    sla: ${SLA_MS}ms
    readiness: { path: /ready }${text}
routes: [{ path: /, service: shop }]
`;
}

/** A gateway whose processes can be disturbed through `folder`, and that knows its service at `ratePerSecond`. */
export interface Disturbed extends AsyncDisposable {
  readonly folder: string;
  readonly gateway: Gateway;
}

export async function startDisturbed(top: string, ratePerSecond: number): Promise<Disturbed> {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-test-'));
  const origin = await startOrigin();
  const gateway = await startGateway(shop([origin.url], '', top), { env: disturbable(folder) });
  await learn(gateway, ratePerSecond, 1.5);
  return {
    folder,
    gateway,
    [Symbol.asyncDispose]: async () => {
      await gateway[Symbol.asyncDispose]();
      await origin[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
}

export interface Figures {
  readonly limit: number;
  readonly inFlight: number;
  readonly queueDepth: number;
  readonly baselineMs: number;
  readonly breaker: string;
  /** Held at the instances, streams included. */
  readonly atInstances: number;
}

export async function figuresOf(gateway: Gateway): Promise<Figures> {
  const { body } = await gateway.admin('/v1/services');
  const { shedding, breaker, instances } = (
    body as {
      services: {
        shop: {
          shedding: { limit: number; inFlight: number; queueDepth: number; baselineMs: number };
          breaker: { state: string };
          instances: readonly { inFlight: number }[];
        };
      };
    }
  ).services.shop;
  const { limit, inFlight, queueDepth, baselineMs } = shedding;
  const atInstances = instances.reduce((sum, instance) => sum + instance.inFlight, 0);
  return { limit, inFlight, queueDepth, baselineMs, breaker: breaker.state, atInstances };
}

/** Until no permit, no place at an instance and no place in the queue is held. */
export async function untilIdle(gateway: Gateway): Promise<void> {
  await eventually('nothing is held', async () => {
    const { inFlight, queueDepth, atInstances } = await figuresOf(gateway);
    return inFlight === 0 && queueDepth === 0 && atInstances === 0;
  });
}

/** Sum of a counter or gauge over all of its series whose labels match. */
export async function metric(gateway: Gateway, name: string, labels = /./): Promise<number> {
  const text = String((await gateway.admin('/metrics')).body);
  let sum = 0;
  for (const line of text.split('\n')) {
    if (!line.startsWith(`${name}{`) && !line.startsWith(`${name} `)) continue;
    if (labels.test(line)) sum += Number(line.slice(line.lastIndexOf(' ') + 1));
  }
  return sum;
}

/** Critical requests refused so far, by code. */
export async function criticalSheds(gateway: Gateway): Promise<Readonly<Record<string, number>>> {
  const text = String((await gateway.admin('/metrics')).body);
  const found = text.matchAll(
    /^spillway_shed_total\{(?=[^}]*priority="critical")[^}]*code="(\w+)"[^}]*\} (\d+)/gm,
  );
  return Object.fromEntries([...found].map(([, code = '', count]) => [code, Number(count)]));
}

export type Load = Pick<OpenLoopOptions, 'phases'> & Partial<OpenLoopOptions>;

/** A load under way: moments are ms since its start. */
export interface Running {
  readonly at: (ms: number) => Promise<void>;
  readonly nowMs: () => number;
}

/** Runs the load; `script` acts while it runs. */
export async function under(
  gateway: Gateway,
  load: Load,
  script: (run: Running) => Promise<void> = async () => undefined,
): Promise<LoadResult> {
  const started = Promise.withResolvers<() => { readonly atMs: number }>();
  const run = runOpenLoop({
    port: gateway.port,
    classes: [{ name: 'all', share: 1 }],
    slaMs: SLA_MS,
    binMs: 100,
    ...load,
    onStart: (look) => started.resolve(look),
  });
  const look = await started.promise;
  const at = async (ms: number): Promise<void> => {
    const left = ms - look().atMs;
    if (left > 0) await pause(left);
  };
  const [result] = await Promise.all([run, script({ at, nowMs: () => look().atMs })]);
  return result;
}

/** A steady load that teaches the gateway what the service is like. */
export async function learn(gateway: Gateway, ratePerSecond: number, seconds = 3): Promise<Figures> {
  await under(gateway, { phases: [{ seconds, ratePerSecond }] });
  await untilIdle(gateway);
  return await figuresOf(gateway);
}

/** Answered in time ÷ offered, of what was meant to be sent in [fromMs, toMs). */
export function goodput(result: LoadResult, fromMs: number, toMs: number): number {
  let offered = 0;
  let good = 0;
  for (const bin of result.bins) {
    if (bin.atMs < fromMs || bin.atMs >= toMs) continue;
    offered += bin.offered;
    good += bin.goodput;
  }
  return offered === 0 ? 0 : good / offered;
}

export function sum(
  result: LoadResult,
  what: 'offered' | 'served' | 'goodput' | 'refused' | 'failed',
  fromMs: number,
  toMs: number,
): number {
  return result.bins
    .filter((bin) => bin.atMs >= fromMs && bin.atMs < toMs)
    .reduce((all, bin) => all + bin[what], 0);
}

/** From which moment on each half second had 95 % of what was offered, ms since `fromMs`; Infinity: it never came. */
export function wholeAfter(result: LoadResult, fromMs: number, toMs: number): number {
  let since = fromMs;
  for (let at = fromMs; at + 500 <= toMs; at += 100) {
    if (goodput(result, at, at + 500) < 0.95) since = at + 100;
  }
  return since + 500 > toMs ? Number.POSITIVE_INFINITY : since - fromMs;
}

/** A line a figure, for whoever runs a file alone with `SPILLWAY_FIGURES=1`. */
export function told(name: string, figures: Readonly<Record<string, unknown>>): void {
  if (process.env['SPILLWAY_FIGURES'] !== undefined)
    process.stderr.write(`${name}: ${JSON.stringify(figures)}\n`);
}
