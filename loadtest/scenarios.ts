/**
 * One client too many: the scenarios beside the overload cases and the measures. Each starts an origin of its own and one target, sends, and returns one measurement in the same terms,
 * so that targets can be compared line by line.
 */
import autocannon from 'autocannon';

import { runOpenLoop } from '../test/harness/open-loop.ts';
import type { LoadResult } from '../test/harness/load-statistics.ts';
import { startOrigin } from '../test/harness/origin.ts';
import { startTarget } from './targets.ts';
import type { TargetName } from './targets.ts';

export type ScenarioName = 'noisy';

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
  const cpuBefore = target.cpuUs();
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
  const usedUs = target.cpuUs() - cpuBefore;
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
    cpuUsPerAnswer: usedUs / Math.max(1, answers),
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
> = { noisy };
