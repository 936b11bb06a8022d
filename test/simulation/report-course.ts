/** The course of one run: every slice as a row of a CSV, and four charts over time. */
import type { PriorityRank } from '../../src/kernel/priority.ts';
import { lineChart, type Series } from '../harness/plot.ts';
import type { World } from './model.ts';
import type { Bound } from './suite.ts';
import type { TraceRow } from './trace.ts';

const CLASSES = ['critical', 'default', 'sheddable', 'background'] as const;

/** A point of a chart is at least so long: 50 requests or so where the anchors' origin is busy. */
const LEAST_POINT_MS = 500;
const MOST_POINTS = 150;
/** Goodput is what is looked at; an offered load beyond this leaves the chart. */
const MOST_CAPACITIES = 1.5;
/** Latencies beyond so many SLAs are lost anyway; the rest stays readable. */
const MOST_SLAS = 2;

type Point = readonly [x: number, y: number];

interface Chart {
  readonly name: 'goodput' | 'limit' | 'latency' | 'success';
  readonly svg: string;
}

/** One line a slice; times and latencies in ms, counts of requests sent in the slice. */
export function courseCsv(world: World): string {
  const rows = world.trace.rows();
  const codes = [...new Set(rows.flatMap(({ shedByCode }) => Object.keys(shedByCode)))].sort();
  const head = [
    'end_ms',
    'offered',
    'goodput',
    'late',
    'failed',
    ...CLASSES.map((name) => `shed_${name}`),
    ...codes,
    'limit',
    'in_flight',
    'p50_ms',
    'baseline_ms',
    'slowdown_x50',
    'queue',
    'pressure',
    'slow',
    'capacity_per_second',
  ];
  const lines = rows.map((row) =>
    [
      row.atMs,
      row.offered,
      row.good,
      row.late,
      row.failed,
      ...row.shedByRank,
      ...codes.map((code) => row.shedByCode[code] ?? 0),
      row.limit,
      row.inFlight,
      rounded(row.p50Ms),
      rounded(row.baselineMs),
      row.baselineMs > 0 ? rounded(row.p50Ms / row.baselineMs) : '',
      row.queueDepth,
      rounded(row.pressure),
      row.slow ? 1 : 0,
      rounded(row.capacityPerSecond),
    ].join(','),
  );
  return `${[head.join(','), ...lines].join('\n')}\n`;
}

/** @param title of the scenario; @param bounds those of its figures that are a level in a chart are drawn */
export function courseCharts(title: string, world: World, bounds: readonly Bound[]): readonly Chart[] {
  const rows = world.trace.rows();
  const { report } = world;
  const pointMs = pointLength(report.sliceMs, rows.length * report.sliceMs);
  const points = Array.from({ length: Math.floor((rows.length * report.sliceMs) / pointMs) }, (_, i) => ({
    fromMs: i * pointMs,
    toMs: (i + 1) * pointMs,
  }));
  const over = (value: (fromMs: number, toMs: number) => number): Point[] =>
    points.map(({ fromMs, toMs }) => [toMs / 1000, value(fromMs, toMs)]);
  const state = (value: (row: TraceRow) => number): Point[] =>
    rows.map((row) => [row.atMs / 1000, value(row)]);
  const xLabel = 'time, s';
  const svg = {
    goodput: lineChart({
      title: `${title}: goodput`,
      xLabel,
      yLabel: 'share of the capacity',
      yMax: MOST_CAPACITIES,
      bounds: bounds
        .filter(({ measure, least }) => measure === 'goodput' && least !== undefined)
        .map(({ least = 0 }) => ({ y: least, label: `bound ${least}` })),
      series: [
        { name: 'goodput', points: over((from, to) => report.goodput(from, to) / capacity(rows, from, to)) },
        {
          name: 'offered',
          dashed: true,
          points: over((from, to) => offered(rows, from, to) / capacity(rows, from, to)),
        },
      ],
    }),
    limit: lineChart({
      title: `${title}: limit`,
      xLabel,
      yLabel: 'requests',
      series: [
        { name: 'limit L', points: state(({ limit }) => limit), step: true },
        { name: 'in flight', points: over((from, to) => mean(rows, from, to, ({ inFlight }) => inFlight)) },
        { name: 'queue', points: over((from, to) => mean(rows, from, to, ({ queueDepth }) => queueDepth)) },
        { name: 'true knee: slots', points: state(({ knee }) => knee), step: true, dashed: true },
      ],
    }),
    latency: lineChart({
      title: `${title}: latency of the served`,
      xLabel,
      yLabel: 'ms',
      yMax: MOST_SLAS * report.slaMs,
      bounds: [{ y: report.slaMs, label: `SLA ${report.slaMs} ms` }],
      series: [
        { name: 'p99', points: over((from, to) => quantile(world, 0.99, from, to)) },
        { name: 'p50', points: over((from, to) => quantile(world, 0.5, from, to)) },
      ],
    }),
    success: lineChart({
      title: `${title}: served in time, by class`,
      xLabel,
      yLabel: 'share of the offered',
      yMax: 1,
      series: CLASSES.map((name, rank): Series => {
        const ranks = [rank as PriorityRank];
        return {
          name,
          points: over((from, to) => {
            const { good, offered: all } = report.tally(from, to, ranks);
            return all === 0 ? Number.NaN : good / all;
          }),
        };
      }).filter(({ points: all }) => all.some(([, y]) => Number.isFinite(y))),
    }),
  };
  return (['goodput', 'limit', 'latency', 'success'] as const).map((name) => ({ name, svg: svg[name] }));
}

/** Goodput of several runs of one scenario over time, each with its own gate. */
export function goodputChart(
  title: string,
  runs: readonly { readonly name: string; readonly world: World }[],
): string {
  const series = runs.map(({ name, world }, i): Series => {
    const rows = world.trace.rows();
    const spanMs = rows.length * world.report.sliceMs;
    const pointMs = pointLength(world.report.sliceMs, spanMs);
    const points: Point[] = [];
    for (let from = 0; from + pointMs <= spanMs; from += pointMs) {
      const to = from + pointMs;
      points.push([to / 1000, world.report.goodput(from, to) / capacity(rows, from, to)]);
    }
    return { name, points, dashed: i > 0 };
  });
  return lineChart({
    title: `${title}: goodput, ours and peers`,
    xLabel: 'time, s',
    yLabel: 'share of the capacity',
    yMax: MOST_CAPACITIES,
    series,
  });
}

function pointLength(sliceMs: number, spanMs: number): number {
  const leastMs = Math.max(LEAST_POINT_MS, spanMs / MOST_POINTS);
  return Math.ceil(leastMs / sliceMs) * sliceMs;
}

function within(rows: readonly TraceRow[], fromMs: number, toMs: number): readonly TraceRow[] {
  return rows.filter(({ atMs }) => atMs > fromMs && atMs <= toMs + 1e-6);
}

function mean(
  rows: readonly TraceRow[],
  fromMs: number,
  toMs: number,
  value: (row: TraceRow) => number,
): number {
  const some = within(rows, fromMs, toMs);
  return some.reduce((sum, row) => sum + value(row), 0) / some.length;
}

function capacity(rows: readonly TraceRow[], fromMs: number, toMs: number): number {
  return mean(rows, fromMs, toMs, ({ capacityPerSecond }) => capacityPerSecond);
}

/** Requests a second. */
function offered(rows: readonly TraceRow[], fromMs: number, toMs: number): number {
  const count = within(rows, fromMs, toMs).reduce((sum, row) => sum + row.offered, 0);
  return (count * 1000) / (toMs - fromMs);
}

/** A gap where nobody was served, or latencies were not kept. */
function quantile(world: World, share: number, fromMs: number, toMs: number): number {
  const latencyMs = world.report.latencyMs(share, fromMs, toMs);
  return latencyMs > 0 ? latencyMs : Number.NaN;
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
