/**
 * Redis stands still for two seconds under load. How long decisions take is measured inside a process (hang-child.ts);
 * what callers see, and whether the limit still binds, at two gateways of two workers, whose callers ask for three times
 * their limit all the time.
 */
import { setTimeout as pause } from 'node:timers/promises';

import type { Measured, MeasureContext } from '../measure.ts';
import type { Row } from '../overload/rows.ts';
import { quantile } from '../turns.ts';
import { usedShare, worstWindow } from './checker.ts';
import { reportOf } from './child.ts';
import { record, startFleet, strangeRow } from './fleet.ts';
import type { FleetLoad, Recorded } from './fleet.ts';
import type { HangReport } from './hang-child.ts';

const CALM_MS = 2000;
const STILL_MS = 2000;
const AFTER_MS = 3000;
const RATE = 100;
const BURST = 40;
const GATEWAYS = 2;
/** The store is lost, and it comes back. */
const SWITCHES = 2;
/** Those that were asked until the first deadline had passed; 10 ms more for a timer that is late. */
const FIRST_MS = 35;
/** A gateway's own burst is used up by then, and the last second is steady. */
const STEADY_MS = 1000;

const LOAD: FleetLoad = {
  name: 'steady',
  headers: { 'x-api-key': 'steady' },
  perGatewayPerSecond: (3 * RATE) / GATEWAYS,
};
const YAML = `
clients: { keys: [{ key: steady, client: steady, tier: small }, { key: warm, client: warm, tier: default }] }
tiers: { default: { rate: 20000/s, burst: 20000 }, small: { rate: ${RATE}/s, burst: ${BURST} } }
limits: { enforcement: exact, global: { rate: 20000/s, burst: 20000 } }
`;

/** A process that does not come round for so long cannot keep a deadline to 5 ms. */
const AWAY_MOST_MS = 5;
const LATER_MOST_MS = 0.1;

export function decisionRows({ decisions, resumedMs, memoryMs, awayMs }: HangReport): Row[] {
  const still = decisions.filter(({ atMs }) => atMs >= -FIRST_MS && atMs < resumedMs);
  const later = still.filter(({ atMs }) => atMs > FIRST_MS).map(({ tookMs }) => tookMs);
  const back = decisions.find(({ atMs, path }) => atMs > resumedMs && path === 'store');
  const inMemoryMs = quantile(memoryMs, 0.99);
  return [
    {
      what: 'the longest decision from when Redis stands still',
      unit: 'ms',
      value: Math.max(...still.map(({ tookMs }) => tookMs)),
      bound: { most: 30 },
      ...(awayMs > AWAY_MOST_MS
        ? { excuse: `the process itself did not come round for ${awayMs.toFixed(1)} ms meanwhile` }
        : {}),
    },
    {
      what: `half of the decisions from ${FIRST_MS} ms after`,
      unit: 'fine ms',
      value: quantile(later, 0.5),
      bound: { most: LATER_MOST_MS },
    },
    {
      what: '99 of 100 of these',
      unit: 'fine ms',
      value: quantile(later, 0.99),
      bound: { most: LATER_MOST_MS },
      ...(inMemoryMs > LATER_MOST_MS
        ? { excuse: `in memory alone 1 % took ${inMemoryMs.toFixed(2)} ms on this machine` }
        : {}),
    },
    { what: 'the longest of these', unit: 'fine ms', value: Math.max(...later) },
    {
      what: 'Redis decides again, after it went on',
      unit: 'seconds',
      value: back === undefined ? Infinity : (back.atMs - resumedMs) / 1000,
      bound: { most: 2 },
    },
  ];
}

export function fleetRows(answers: readonly Recorded[], stoppedMs: number, resumedMs: number): Row[] {
  const admitted = answers.filter(({ fate }) => fate === 'served');
  // L7: with k switches in W at most rate · W + (1 + k)(burst + gateways · cost); nothing is leased here.
  const bound = (1 + SWITCHES) * (BURST + GATEWAYS);
  const steadyFromMs = stoppedMs + STEADY_MS;
  return [
    strangeRow(answers),
    {
      what: 'the most beyond rate · W + 3 · (burst + gateways) in any window, units',
      unit: 'count',
      value: worstWindow(admitted, RATE, bound).excess,
      bound: { most: 0 },
    },
    {
      what: 'admitted ÷ rate while Redis stood still, its second second',
      unit: 'share',
      value: usedShare(admitted, RATE, steadyFromMs, resumedMs),
      bound: { most: 1.05 },
      goal: { least: 0.9 },
    },
  ];
}

function latencyCells(name: string, answers: readonly Recorded[], fromMs: number, untilMs: number): string[] {
  const times = answers
    .filter((each) => each.fromMs >= fromMs && each.fromMs < untilMs)
    .map((each) => each.untilMs - each.fromMs);
  return [
    name,
    String(times.length),
    quantile(times, 0.5).toFixed(2),
    quantile(times, 0.99).toFixed(2),
    Math.max(...times).toFixed(2),
  ];
}

export async function limitsHang(context: MeasureContext): Promise<Measured> {
  process.stderr.write('limits-hang: inside a process\n');
  const inside = await reportOf<HangReport>('hang-child.ts', []);
  process.stderr.write('limits-hang: two gateways\n');
  await using fleet = await startFleet({ yaml: YAML, gateways: GATEWAYS, redisTimeout: '25ms' });
  const warm = { ...LOAD, headers: { 'x-api-key': 'warm' }, perGatewayPerSecond: 500 };
  await record(fleet, [warm], 2, context.seed + 1);
  const recording = record(fleet, [LOAD], (CALM_MS + STILL_MS + AFTER_MS) / 1000, context.seed);
  await pause(CALM_MS);
  fleet.server.pause();
  const stoppedMs = performance.now();
  await pause(STILL_MS);
  fleet.server.resume();
  const resumedMs = performance.now();
  const answers = await recording;
  return {
    rows: [...decisionRows(inside), ...fleetRows(answers, stoppedMs, resumedMs)],
    figures: [
      {
        caption: `answers at two gateways, ms from the moment meant to leave, ${RATE}/s allowed of ${3 * RATE}/s`,
        head: ['', 'answers', 'p50', 'p99', 'longest'],
        rows: [
          latencyCells('before', answers, 0, stoppedMs - FIRST_MS),
          latencyCells(`the first ${FIRST_MS} ms`, answers, stoppedMs - FIRST_MS, stoppedMs + FIRST_MS),
          latencyCells('while it stands still', answers, stoppedMs + FIRST_MS, resumedMs),
          latencyCells('after', answers, resumedMs, Infinity),
        ],
      },
    ],
    notes: [],
    data: { resumedMs: resumedMs - stoppedMs, inside: inside.resumedMs },
  };
}
