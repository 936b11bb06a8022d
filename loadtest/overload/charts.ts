/** The plots of a case: what was in time over time, what became of critical traffic, how late the served were. */
import { lineChart } from '../../test/harness/plot.ts';
import { CAPACITY, CRITICAL } from './anchors.ts';
import { P99_SLICE_MS } from './case.ts';
import type { CaseRun, Recorded } from './case.ts';
import type { TimeBin } from './window.ts';

/** Bins of a point: half a second is 200 answers at the capacity. */
const BINS_A_POINT = 5;

type Point = readonly [x: number, y: number];

function points(
  recorded: Recorded,
  of: (bins: readonly TimeBin[], seconds: number) => number,
): readonly Point[] {
  const found: Point[] = [];
  const seconds = (BINS_A_POINT * recorded.binMs) / 1000;
  for (let index = 0; index + BINS_A_POINT <= recorded.bins.length; index += BINS_A_POINT) {
    const group = recorded.bins.slice(index, index + BINS_A_POINT);
    found.push([(index * recorded.binMs) / 1000 + seconds / 2, of(group, seconds)]);
  }
  return found;
}

function sum(bins: readonly TimeBin[], of: (bin: TimeBin) => number): number {
  return bins.reduce((total, bin) => total + of(bin), 0);
}

const goodput = (bins: readonly TimeBin[], seconds: number): number =>
  sum(bins, ({ all }) => all.inTime) / seconds;
const offered = (bins: readonly TimeBin[], seconds: number): number =>
  sum(bins, ({ all }) => all.offered) / seconds;
const criticalShare = (bins: readonly TimeBin[]): number => {
  const came = sum(bins, ({ classes }) => classes[CRITICAL]?.offered ?? 0);
  return came === 0 ? Number.NaN : (100 * sum(bins, ({ classes }) => classes[CRITICAL]?.inTime ?? 0)) / came;
};
function p99(recorded: Recorded): readonly Point[] {
  const seconds = P99_SLICE_MS / 1000;
  return recorded.p99Ms.map((ms, index) => [(index + 0.5) * seconds, ms ?? Number.NaN]);
}

interface Named {
  readonly name: string;
  readonly recorded: Recorded;
}

/** The three plots of loads that belong together. */
function timePlots(title: string, loads: readonly Named[]): readonly string[] {
  const [first] = loads;
  if (first === undefined || first.recorded.bins.length === 0) return [];
  const { capacity, bins, binMs, slaMs } = first.recorded;
  const endS = (bins.length * binMs) / 1000;
  const steps: Point[] = capacity.map(([atMs, perSecond]) => [atMs / 1000, perSecond]);
  const last = steps.at(-1);
  if (last !== undefined) steps.push([endS, last[1]]);
  const most = Math.max(...capacity.map(([, perSecond]) => perSecond));
  const offeredMost = Math.max(...points(first.recorded, offered).map(([, y]) => y));
  return [
    lineChart({
      title: `${title}: answers in time`,
      xLabel: 'seconds',
      yLabel: 'a second',
      yMax: Math.ceil((1.3 * Math.min(most, offeredMost)) / 100) * 100,
      series: [
        ...loads.map(({ name, recorded }) => ({ name, points: points(recorded, goodput) })),
        { name: 'offered', points: points(first.recorded, offered), dashed: true },
        { name: 'capacity', points: steps, step: true, dashed: true },
      ],
    }),
    lineChart({
      title: `${title}: critical requests in time`,
      xLabel: 'seconds',
      yLabel: '% of those sent',
      yMax: 100,
      series: loads.map(({ name, recorded }) => ({ name, points: points(recorded, criticalShare) })),
    }),
    lineChart({
      title: `${title}: p99 of served requests`,
      xLabel: 'seconds',
      yLabel: 'ms, second by second',
      yMax: 4 * slaMs,
      series: loads.map(({ name, recorded }) => ({ name, points: p99(recorded) })),
      bounds: [{ y: slaMs, label: 'SLA' }],
    }),
  ];
}

function sweepPlots(runs: readonly CaseRun[]): readonly string[] {
  const swept = runs.flatMap(({ target, sweep }) => (sweep === undefined ? [] : [{ target, sweep }]));
  if (swept.length === 0) return [];
  const axis = { xLabel: 'offered ÷ C', logX: true } as const;
  return [
    lineChart({
      ...axis,
      title: 'goodput against what is offered',
      yLabel: 'goodput ÷ C',
      series: swept.map(({ target, sweep }) => ({
        name: target,
        points: sweep.map((each): Point => [
          each.offeredPerSecond / CAPACITY,
          each.goodputPerSecond / CAPACITY,
        ]),
      })),
      bounds: [{ y: 1, label: 'C' }],
    }),
    lineChart({
      ...axis,
      title: 'critical requests in time against what is offered',
      yLabel: '% of those sent',
      series: swept.map(({ target, sweep }) => ({
        name: target,
        points: sweep.map((each): Point => [each.offeredPerSecond / CAPACITY, 100 * each.criticalRatio]),
      })),
    }),
  ];
}

/** The first round of each target. Loads of one name are drawn together, beside each other where targets have them. */
export function casePlots(runs: readonly CaseRun[]): readonly string[] {
  const firsts = [...new Map(runs.toReversed().map((run) => [run.target, run])).values()].toReversed();
  const swept = sweepPlots(firsts);
  if (swept.length > 0) return swept;
  const titles = new Map<string, Named[]>();
  for (const { target, recorded } of firsts) {
    for (const load of recorded) {
      const named = titles.get(load.name) ?? [];
      named.push({ name: target, recorded: load });
      titles.set(load.name, named);
    }
  }
  return [...titles].flatMap(([title, loads]) => timePlots(title, loads));
}
