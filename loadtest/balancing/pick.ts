/**
 * What choosing an instance costs, and telling the breaker how a request ended: time and bytes, in one process
 * (pick-child.ts), the fleets in turns. Judged is the median stretch of the dearer thousand, where a tenth of the instances
 * is slow or fails and pairs are drawn again.
 */
import { reportOf } from '../limits/child.ts';
import type { Measured, MeasureContext } from '../measure.ts';
import type { Row } from '../overload/rows.ts';
import { median, spread } from '../turns.ts';
import type { PickReport, Stretch } from './pick-child.ts';

const STRETCHES = 9;
const QUICK_STRETCHES = 3;
const PICKS = 500_000;
/** A collection that falls into a stretch, or a compilation, is some kilobytes; one object a pick is sixteen bytes and more. */
const LEAST_BYTES = 1;

/** MiB for young objects: half a million picks of a hundred bytes fit. With the usual one they would be collected unseen. */
const YOUNG_MIB = 64;

/** The report of a process that collects garbage when it is asked to and not before. */
export async function picksOf(stretches: number, picks: number): Promise<PickReport> {
  const flags = ['--expose-gc', `--min-semi-space-size=${YOUNG_MIB}`, `--max-semi-space-size=${YOUNG_MIB}`];
  return await reportOf<PickReport>('../balancing/pick-child.ts', [stretches, picks], flags);
}

export function pickRows({ stretches, refused }: PickReport): Row[] {
  const thousands = namesOf(stretches).filter((name) => name.startsWith('1000'));
  const dearest = (of: (stretch: Stretch) => number): number =>
    Math.max(...thousands.map((name) => median(named(stretches, name).map(of))));
  return [
    {
      what: 'a pick of a thousand instances',
      unit: 'µs',
      value: dearest(({ nsEach }) => nsEach) / 1000,
      bound: { most: 1 },
    },
    {
      what: 'bytes allocated by it',
      unit: 'ratio',
      value: dearest(({ bytesEach }) => bytesEach),
      bound: { most: LEAST_BYTES },
    },
    {
      what: "telling a breaker of a request's end",
      unit: 'µs',
      value: median(named(stretches, 'breaker').map(({ nsEach }) => nsEach)) / 1000,
      bound: { most: 0.2 },
    },
    { what: 'picks that found nothing', unit: 'count', value: refused, bound: { most: 0 } },
  ];
}

function namesOf(stretches: readonly Stretch[]): string[] {
  return [...new Set(stretches.map(({ what }) => what))];
}

function named(stretches: readonly Stretch[], name: string): Stretch[] {
  return stretches.filter(({ what }) => what === name);
}

export async function costOfPicks(context: MeasureContext): Promise<Measured> {
  const count = context.rounds ?? (context.quick ? QUICK_STRETCHES : STRETCHES);
  const report = await picksOf(count, PICKS);
  return {
    rows: pickRows(report),
    figures: [
      {
        caption: `medians of ${count} stretches of ${PICKS}`,
        head: ['', 'ns each', 'least–most', 'bytes each'],
        rows: namesOf(report.stretches).map((name) => {
          const own = named(report.stretches, name);
          const ns = own.map(({ nsEach }) => nsEach);
          return [
            name,
            median(ns).toFixed(0),
            spread(ns, 0),
            median(own.map(({ bytesEach }) => bytesEach)).toFixed(2),
          ];
        }),
      },
    ],
    notes: [],
    data: report,
  };
}
