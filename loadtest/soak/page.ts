/** The report of a soak: its verdict, its curves with everything that was done to it, its answers by kind, its findings. */
import { gallery, lineChart, paragraph, reportPage, table } from '../../test/harness/plot.ts';
import type { Cell, Series } from '../../test/harness/plot.ts';
import type { Judged } from '../overload/judge.ts';
import { formatted, wanted } from '../overload/rows.ts';
import { machineLines } from '../report.ts';
import type { Machine } from '../report.ts';
import type { Fault, Incident } from './outcomes.ts';
import type { Course, Second } from './recorder.ts';

export interface SoakReport {
  readonly machine: Machine;
  readonly minutes: number;
  readonly ratePerSecond: number;
  readonly rows: readonly Judged[];
  readonly courses: readonly Course[];
  readonly seconds: readonly Second[];
  readonly faults: readonly Fault[];
  readonly originMs: number;
  readonly counts: Readonly<Record<string, number>>;
  readonly unexplained: readonly Incident[];
  readonly notes: readonly string[];
}

const MIB = 2 ** 20;
const FAULTS: readonly Fault['what'][] = [
  'reload',
  'kill-instance',
  'redis-away',
  'certificate',
  'kill-worker',
  'short-of-time',
];
const POINTS_MOST = 600;

type Point = readonly [x: number, y: number];

/** At most so many points; what is left out is left out evenly. */
function thinned(points: readonly Point[]): readonly Point[] {
  const step = Math.ceil(points.length / POINTS_MOST);
  return step <= 1 ? points : points.filter((_, index) => index % step === 0);
}

function minutesOf(ms: number): number {
  return ms / 60_000;
}

/** An upright stroke at each moment: how a chart without room for words tells what happened when. */
function strokes(moments: readonly number[], from: number, to: number): Point[] {
  return moments.flatMap((x): Point[] => [
    [x, from],
    [x, to],
    [x, Number.NaN],
  ]);
}

function marks({ faults, originMs }: SoakReport, highest: number): Series[] {
  const of = (what: Fault['what']): Fault[] => faults.filter((fault) => fault.what === what);
  const redis = of('redis-away').flatMap(({ fromMs, toMs }) => [fromMs, toMs]);
  const workers = of('kill-worker').map(({ fromMs }) => fromMs);
  return [
    { name: 'Redis goes, comes', points: redis },
    { name: 'worker killed', points: workers },
  ]
    .filter(({ points }) => points.length > 0)
    .map(({ name, points }) => ({
      name,
      dashed: true,
      points: strokes(
        points.map((ms) => minutesOf(ms - originMs)),
        0,
        highest,
      ),
    }));
}

function chart(report: SoakReport, title: string, yLabel: string, series: readonly Series[]): string {
  const highest = Math.max(0, ...series.flatMap(({ points }) => points.map(([, y]) => y)));
  return lineChart({ title, xLabel: 'minutes', yLabel, series: [...series, ...marks(report, highest)] });
}

function byProcess(report: SoakReport, of: (course: Course) => readonly Point[]): Series[] {
  return report.courses
    .map((course) => ({ name: course.name, points: thinned(of(course)) }))
    .filter(({ points }) => points.length > 0);
}

function lanes({ faults, originMs }: SoakReport): string {
  return lineChart({
    title: 'what was done to it',
    xLabel: 'minutes',
    yLabel: 'a stroke each',
    series: FAULTS.map((what, lane) => ({
      name: what,
      points: strokes(
        faults.filter((fault) => fault.what === what).map(({ fromMs }) => minutesOf(fromMs - originMs)),
        lane + 0.15,
        lane + 0.85,
      ),
    })).filter(({ points }) => points.length > 0),
  });
}

function answers(seconds: readonly Second[], of: (second: Second) => number): readonly Point[] {
  return thinned(seconds.map((second): Point => [minutesOf(second.atMs), of(second)]));
}

function charts(report: SoakReport): string {
  const { seconds } = report;
  return gallery([
    chart(
      report,
      'heap after a collection',
      'MiB',
      byProcess(report, ({ heap }) => heap.map(({ atMs, heapBytes }) => [minutesOf(atMs), heapBytes / MIB])),
    ),
    chart(
      report,
      'resident memory',
      'MiB',
      byProcess(report, ({ looks }) =>
        looks.map(({ atMs, residentBytes }) => [minutesOf(atMs), residentBytes / MIB]),
      ),
    ),
    chart(
      report,
      'open descriptors',
      'count',
      byProcess(report, ({ looks }) => looks.map(({ atMs, descriptors }) => [minutesOf(atMs), descriptors])),
    ),
    chart(
      report,
      'established connections',
      'count',
      byProcess(report, ({ looks }) => looks.map(({ atMs, established }) => [minutesOf(atMs), established])),
    ),
    chart(
      report,
      'timers',
      'count',
      byProcess(report, ({ heap }) => heap.map(({ atMs, timers }) => [minutesOf(atMs), timers])),
    ),
    chart(report, 'calls by their end', 'a second', [
      { name: 'as wanted', points: answers(seconds, ({ ok }) => ok) },
      { name: 'left', points: answers(seconds, ({ left }) => left) },
      { name: 'limited or shed', points: answers(seconds, ({ refused }) => refused) },
      { name: 'failed', points: answers(seconds, ({ failed }) => failed) },
    ]),
    lanes(report),
  ]);
}

function verdict(row: Judged): Cell {
  const value = formatted(row.value, row.unit);
  if (row.outcome === 'kept' || row.outcome === 'goal missed')
    return { text: `${value} kept`, verdict: 'kept' };
  if (row.outcome === 'missed') return { text: `${value} MISSED`, verdict: 'missed' };
  if (row.outcome === 'not judged') return `${value} not judged: ${row.excuse ?? ''}`;
  return value;
}

function kinds(counts: SoakReport['counts']): string {
  const rows = Object.entries(counts)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, count]): readonly string[] => {
      const [kind = '', ending = '', how = ''] = key.split('\t');
      return [kind, ending, how, String(count)];
    });
  return table(['call', 'ended', 'how', 'count'], rows);
}

function findings({ unexplained, originMs, faults }: SoakReport): string {
  if (unexplained.length === 0)
    return paragraph('None: every answer was wanted, or an injected fault explains it.');
  const rows = unexplained.slice(0, 200).map(({ kind, how, fromMs, toMs }): readonly string[] => {
    const before = faults.findLast((fault) => fault.fromMs <= toMs);
    const last =
      before === undefined ? '' : `${before.what}, ${((fromMs - before.fromMs) / 1000).toFixed(2)} s before`;
    return [kind, how, `${((fromMs - originMs) / 1000).toFixed(2)} s`, `${toMs - fromMs} ms`, last];
  });
  return table(['call', 'how', 'began', 'took', 'last done'], rows);
}

export function soakPage(report: SoakReport): string {
  return reportPage({
    title: 'Spillway, soaked',
    intro: `${report.minutes} minutes of mixed calls at ${report.ratePerSecond} a second (Poisson, waiting for nobody) on loopback: kept-alive and short connections, pipelined, HTTP/2 over TLS, WebSocket, server-sent events, uploads and downloads; one in ten callers leaves at some byte, others are slow, silent or send garbage. Meanwhile the configuration is reloaded, instances and a worker are killed, Redis goes away, certificates are replaced. Then 70 s of quiet, and everything is compared with the rest before the load.`,
    sections: [
      {
        heading: 'Every bound',
        html: table(
          ['', 'wanted', 'found'],
          report.rows.map((row) => [row.what, wanted(row), verdict(row)]),
        ),
      },
      { heading: 'Over time', html: charts(report) },
      { heading: 'Failures that nothing explains', html: findings(report) },
      { heading: 'How calls ended', html: kinds(report.counts) },
      { heading: 'Notes', html: report.notes.map((note) => paragraph(note)).join('\n') },
      { heading: 'Machine', html: paragraph(machineLines(report.machine)) },
    ],
  });
}
