/** What runs are measured by, and the bounds that the invariants of the design put on it. */
import type { World } from './model.ts';
import type { Report } from './report.ts';
import type { Bound, Figures } from './suite.ts';
import { CRITICAL } from './loads.ts';

interface Basics extends Figures {
  readonly p999Ms: number;
  readonly criticalShed: number;
}

/** Goodput in capacities, latencies of the served, what became of critical requests; all sent within [fromMs, toMs). */
export function figures(world: World, fromMs: number, toMs: number, capacity: number): Basics {
  const { report } = world;
  const critical = report.tally(fromMs, toMs, [CRITICAL]);
  return {
    goodput: report.goodput(fromMs, toMs) / capacity,
    p99Ms: report.latencyMs(0.99, fromMs, toMs),
    p999Ms: report.latencyMs(0.999, fromMs, toMs),
    critical: critical.good / critical.offered,
    criticalShed: critical.shed,
  };
}

/**
 * An overload that lasts from `fromMs` to `toMs`: goodput and tails from the third second on, the first second's tail,
 * critical requests from the first moment to the last. `promisesBroken` is of the whole run.
 */
export function surge(world: World, fromMs: number, toMs: number, capacity: number): Figures {
  const whole = figures(world, fromMs, toMs, capacity);
  const settled = figures(world, fromMs + 2000, toMs, capacity);
  return {
    ...whole,
    goodput: settled.goodput,
    p99Ms: settled.p99Ms,
    p999Ms: settled.p999Ms,
    firstP99Ms: world.report.latencyMs(0.99, fromMs, fromMs + 1000),
    promisesBroken: broken(world),
  };
}

export function broken(world: World): number {
  return world.workers.reduce((sum, worker) => sum + worker.promisesBroken, 0);
}

/** I1. */
export const FULL: readonly Bound[] = [{ measure: 'goodput', least: 0.95 }];

/** I2. */
export function inTime(slaMs: number): readonly Bound[] {
  return [
    { measure: 'p99Ms', most: slaMs },
    { measure: 'p999Ms', most: slaMs },
    { measure: 'firstP99Ms', most: 1.5 * slaMs },
  ];
}

/** I3. */
export const CRITICAL_LIVES: readonly Bound[] = [
  { measure: 'promisesBroken', most: 0 },
  { measure: 'critical', least: 0.995 },
];
/** I3, where the seeds together send 10 000. */
export const CRITICAL_POOLED: Bound = { measure: 'critical', least: 0.999, mean: true };

/** I5, to the end of the first tenth of a second after which at least 0.9 of what is offered is served in time. */
export const RECOVERS: readonly Bound[] = [{ measure: 'recoveredMs', most: 2000 }];

/** I6: nobody who matters is shed in vain. */
export const SPARES: readonly Bound[] = [
  { measure: 'importantShed', most: 0 },
  { measure: 'shedShare', most: 0.001 },
];

/** I7. */
export const EVEN: readonly Bound[] = [
  { measure: 'leastSecond', least: 0.9 },
  { measure: 'shedVariation', most: 0.3 },
];

/** From `fellAtMs` until no slice before `untilMs` has less than 0.9 of what is offered in time any more. */
export function recoveredMs(report: Report, fellAtMs: number, untilMs: number): number {
  for (let at = untilMs - report.sliceMs; at >= fellAtMs; at -= report.sliceMs) {
    const { good, offered } = report.tally(at, at + report.sliceMs);
    if (good < 0.9 * offered) return at + report.sliceMs - fellAtMs;
  }
  return 0;
}

/** Sheds that I6 is about. */
export function spared(report: Report, fromMs: number, toMs: number): Record<string, number> {
  return {
    importantShed: report.tally(fromMs, toMs, [0, 1]).shed,
    shedShare: report.shedRatio(fromMs, toMs),
  };
}

/**
 * The worst second against the median one, and the spread of the sheds a second. 20 slots that are never idle answer 400 ± 11
 * (lognormal, σ 0.5), so a tenth below is 3.7 deviations: one of 10 000 seconds. Where there are many, take two at once.
 */
export function evenness(
  report: Report,
  fromMs: number,
  toMs: number,
  binMs = 1000,
): { leastSecond: number; shedVariation: number } {
  const goods = report.answersIn(fromMs, toMs, binMs).sort((a, b) => a - b);
  const sheds: number[] = [];
  for (let at = fromMs; at + 1000 <= toMs; at += 1000) sheds.push(report.tally(at, at + 1000).shed);
  const mean = sheds.reduce((sum, each) => sum + each, 0) / sheds.length;
  const variance = sheds.reduce((sum, each) => sum + (each - mean) ** 2, 0) / sheds.length;
  return {
    leastSecond: (goods[0] ?? 0) / (goods[Math.floor(goods.length / 2)] ?? 0),
    shedVariation: Math.sqrt(variance) / mean,
  };
}

/** From `sinceMs` until some worker finds the service slow by itself; infinite if none does. */
export function slowAfterMs(world: World, sinceMs: number): number {
  const row = world.trace.rows().find(({ atMs, slow }) => atMs > sinceMs && slow);
  return row === undefined ? Number.POSITIVE_INFINITY : row.atMs - sinceMs;
}
