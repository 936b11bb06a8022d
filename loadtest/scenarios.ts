/**
 * What a request costs, and one client too many: the scenarios beside the overload cases. Each starts an origin of its own and one target, sends, and returns one measurement in the same terms,
 * so that targets can be compared line by line.
 */
import autocannon from 'autocannon';

import { runOpenLoop } from '../test/harness/open-loop.ts';
import type { LoadResult } from '../test/harness/load-statistics.ts';
import { startOrigin } from '../test/harness/origin.ts';
import { flatOut } from './flat-out.ts';
import { startTarget } from './targets.ts';
import type { TargetName } from './targets.ts';

export type ScenarioName = 'baseline' | 'noisy';

export interface Measurement {
  readonly scenario: ScenarioName;
  readonly target: TargetName;
  readonly offeredPerSecond: number;
  /** Answers below 400 within the SLA. */
  readonly goodputPerSecond: number;
  /** Of served requests, in ms. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly refusals: Readonly<Record<string, number>>;
  /** Neither served nor refused. */
  readonly failed: number;
  /** CPU of all processes of the target ÷ answers, in µs. */
  readonly cpuUsPerAnswer: number;
  readonly residentBytes: number;
  /** The scenario's own figures. */
  readonly figures: Readonly<Record<string, number>>;
}

const SLA_MS = 250;

const COMMON = `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
admin: { host: 127.0.0.1, port: __ADMIN__ }
shutdown: { delay: 0s, timeout: 5s }
`;

function service(originUrl: string): string {
  return `
services:
  shop:
    instances: [${originUrl}]
    sla: ${SLA_MS}ms
    readiness: { path: /ready }
routes: [{ path: /, service: shop }]
`;
}

function answersOf(result: LoadResult): number {
  return Object.values(result.statuses).reduce((sum, count) => sum + count, 0);
}

const WARM_UP_SECONDS = 5;

/** What a request costs: an origin that answers at once, 64 connections flat out, every protection on. */
async function baseline(name: TargetName, seconds: number): Promise<Measurement> {
  await using origin = await startOrigin({ slots: 10_000, meanMs: 0, bodyBytes: 129 });
  const yaml = `${COMMON}
workers: 1
clients: { keys: [{ key: load, client: load, tier: default }] }
tiers: { default: { rate: 1000000/s, burst: 1000000, priority: default } }
${service(origin.url)}`;
  await using target = await startTarget(name, yaml, origin.url);
  // Until both sides have compiled their code and opened their pools: the first seconds cost twice the others. A crowd
  // from the first moment on, none of which may be refused.
  const cold = await flatOut(target.port, WARM_UP_SECONDS, 200, 'load');
  const cpuBefore = target.cpuMs();
  const result = await flatOut(target.port, seconds, 64, 'load');
  const usedMs = target.cpuMs() - cpuBefore;
  const refusals: Record<string, number> = {};
  for (const [status, { count }] of Object.entries(result.statusCodeStats ?? {})) {
    if (Number(status) >= 400) refusals[status] = count;
  }
  return {
    scenario: 'baseline',
    target: name,
    offeredPerSecond: result.requests.sent / result.duration,
    goodputPerSecond: result['2xx'] / result.duration,
    p50Ms: result.latency.p50,
    p99Ms: result.latency.p99,
    refusals,
    failed: result.errors + result.timeouts,
    cpuUsPerAnswer: (usedMs * 1000) / Math.max(1, result['2xx'] + result.non2xx),
    residentBytes: target.residentBytes(),
    figures: { servedRatio: servedRatio(result), coldServedRatio: servedRatio(cold) },
  };
}

function servedRatio(result: autocannon.Result): number {
  return result['2xx'] / Math.max(1, result['2xx'] + result.non2xx + result.errors);
}

const NOISY_LIMIT_PER_SECOND = 50;
const NOISY_BURST = 50;
const QUIET_PER_SECOND = 40;

/** One client at 50 times its limit, another that keeps to the same limit, before an origin that could serve both. */
async function noisy(name: TargetName, seconds: number): Promise<Measurement> {
  await using origin = await startOrigin({ slots: 50, meanMs: 5 });
  const yaml = `${COMMON}
clients:
  keys:
    - { key: loud, client: loud, tier: default }
    - { key: quiet, client: quiet, tier: default }
tiers: { default: { rate: ${NOISY_LIMIT_PER_SECOND}/s, burst: ${NOISY_BURST}, priority: default } }
${service(origin.url)}`;
  await using target = await startTarget(name, yaml, origin.url);
  const cpuBefore = target.cpuMs();
  const [loud, quiet] = await Promise.all([
    autocannon({
      url: `http://127.0.0.1:${target.port}/loud`,
      connections: 50,
      duration: seconds,
      overallRate: 50 * NOISY_LIMIT_PER_SECOND,
      headers: { 'x-api-key': 'loud' },
      excludeErrorStats: true,
      ignoreCoordinatedOmission: true,
    }),
    runOpenLoop({
      port: target.port,
      classes: [{ name: 'quiet', share: 1, path: '/quiet', headers: { 'x-api-key': 'quiet' } }],
      phases: [{ seconds, ratePerSecond: QUIET_PER_SECOND }],
      slaMs: SLA_MS,
    }),
  ]);
  const usedMs = target.cpuMs() - cpuBefore;
  const answers = loud['2xx'] + loud.non2xx + answersOf(quiet);
  const refusals: Record<string, number> = {};
  for (const [status, { count }] of Object.entries(loud.statusCodeStats ?? {})) {
    if (Number(status) >= 400) refusals[`loud ${status}`] = count;
  }
  for (const [code, count] of Object.entries(quiet.codes)) refusals[`quiet ${code}`] = count;
  return {
    scenario: 'noisy',
    target: name,
    offeredPerSecond: loud.requests.sent / loud.duration + quiet.offeredPerSecond,
    goodputPerSecond: loud['2xx'] / loud.duration + quiet.goodputPerSecond,
    p50Ms: quiet.p50Ms,
    p99Ms: quiet.p99Ms,
    refusals,
    failed: loud.errors + loud.timeouts + quiet.failed,
    cpuUsPerAnswer: (usedMs * 1000) / Math.max(1, answers),
    residentBytes: target.residentBytes(),
    figures: {
      quietRatio: quiet.goodputRatio,
      // 1 = exactly what burst and rate allow over the time it really took.
      loudOverLimit: loud['2xx'] / (NOISY_BURST + NOISY_LIMIT_PER_SECOND * loud.duration),
    },
  };
}

export const SCENARIOS: Readonly<
  Record<ScenarioName, (target: TargetName, seconds: number) => Promise<Measurement>>
> = { baseline, noisy };
