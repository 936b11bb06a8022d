/**
 * What a soak promises, row by row: every answer that no injected fault explains is a finding, and at rest everything is back where it
 * was before the load. A process that took the place of a killed one is compared with the killed one's own start.
 *
 * A heap is judged twice: by what is left of it at rest, and by its slope while the load lasted, in the last half of the
 * process's life: in the first it compiles and fills its caches. The slope is the median of the slopes of all pairs of
 * points (Theil and Sen), which a few large points do not move.
 */
import type { Row } from '../overload/rows.ts';
import { explanation } from './outcomes.ts';
import type { Fault, Incident } from './outcomes.ts';
import type { Course, HeapLook } from './recorder.ts';
import type { Holdings, SettledProcess } from './settled.ts';

const MIB = 2 ** 20;

/** forwarding.md §9: what may remain. */
const HEAP_MOST_MIB = 8;
const RESIDENT_MOST_TIMES = 1.15;
/**
 * With requests under way a heap of 35 MiB that leaks nothing was found to gain −0.6 to 1.3 in 6 to 10 minutes (and to be
 * back at rest); one snapshot held a reload made 22. Half would judge noise; at double, a day would be half a GiB.
 */
const SLOPE_MOST_MIB = 2;
/** Five minutes of points. */
const SLOPE_POINTS_LEAST = 20;
/** The largest cap of any map of the gateway is that of the sheds it remembers. */
const LARGEST_MAP = 65_536;
/** Refusals of the gateway's own load while the machine is ours. */
const SHED_MOST = 0.001;
/** What other programs may take of the machine before sheds say more about them than about the gateway. */
const OTHERS_MOST = 0.15;
/** A probe's connection may be under way while objects are counted: its sockets, streams, timers. */
const PASSING_OBJECTS = 12;
const GROWN_MOST = 300;
const GROWN_SHARE = 0.1;
/** Kept for use again, at most so many: node:http's parsers, the ring of explained requests. */
const KEPT: Readonly<Record<string, number>> = {
  HTTPParser: 1000,
  ExchangeRecord: 4096,
  LimitNote: 4096,
  ShedNote: 4096,
};

/** Classes whose objects belong to a connection, a request, a permit, a pool or a timer. */
const PASSING =
  /(Socket|Stream|Session|Exchange|Permit|Attempt|Tunnel|Connection|Pool|Client|IncomingMessage|ServerResponse|ClientRequest|Wrap|TCP|Timeout|AbortSignal|AbortController|Server|Snapshot|ServiceRuntime|FrontGate)$/;

export interface Compared {
  readonly name: string;
  readonly before: SettledProcess;
  readonly after: SettledProcess;
}

/** How much `after` has above `before`, kind by kind; what became less makes up for nothing. */
export function above(
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
): readonly (readonly [kind: string, count: number])[] {
  return Object.entries(after)
    .map(([kind, count]) => [kind, count - (before[kind] ?? 0)] as const)
    .filter(([, count]) => count > 0)
    .toSorted((a, b) => b[1] - a[1]);
}

function total(grown: readonly (readonly [string, number])[]): number {
  return grown.reduce((sum, [, count]) => sum + count, 0);
}

function inWords(grown: readonly (readonly [string, number])[]): string {
  return grown.map(([kind, count]) => `${kind} +${count}`).join(', ');
}

/** Median slope of all pairs, in units of y a ms; NaN for fewer than two points. */
export function slopeOf(points: readonly (readonly [x: number, y: number])[]): number {
  const slopes: number[] = [];
  for (const [i, [x, y]] of points.entries()) {
    for (const [otherX, otherY] of points.slice(i + 1))
      if (otherX !== x) slopes.push((otherY - y) / (otherX - x));
  }
  slopes.sort((a, b) => a - b);
  const middle = slopes.length >> 1;
  const upper = slopes[middle] ?? Number.NaN;
  return slopes.length % 2 === 1 ? upper : ((slopes[middle - 1] ?? upper) + upper) / 2;
}

/** What the heap gained in the last half of the process's life under load, by its slope; undefined for too few points. */
export function heapGain(heap: readonly HeapLook[], bornMs: number, endMs: number): number | undefined {
  const halfMs = (endMs - bornMs) / 2;
  const points = heap
    .filter(({ atMs }) => atMs >= endMs - halfMs && atMs <= endMs)
    .map(({ atMs, heapBytes }) => [atMs, heapBytes / MIB] as const);
  return points.length < SLOPE_POINTS_LEAST ? undefined : slopeOf(points) * halfMs;
}

function processRows({ name, before, after }: Compared, course: Course | undefined, endMs: number): Row[] {
  const passing = above(before.census.classes, after.census.classes).filter(([kind]) => PASSING.test(kind));
  const grown = grownClasses(before, after);
  const gain = course === undefined ? undefined : heapGain(course.heap, course.bornMs, endMs);
  const wheel: Row[] =
    after.census.wheelNodes === undefined
      ? []
      : [
          {
            what: `${name}: armed nodes of the timer wheel`,
            unit: 'count',
            value: after.census.wheelNodes,
            bound: { most: before.census.wheelNodes ?? 0 },
          },
        ];
  return [
    {
      what: `${name}: descriptors and sockets above the start, kind by kind`,
      unit: 'count',
      value: total(above(before.descriptors, after.descriptors)),
      bound: { most: 0 },
    },
    {
      what: `${name}: timers and other active resources above the start`,
      unit: 'count',
      value: total(above(before.resources, after.resources)),
      bound: { most: 0 },
    },
    ...wheel,
    {
      what: `${name}: objects of connections, requests, permits, pools, timers above the start`,
      unit: 'count',
      value: total(passing),
      bound: { most: PASSING_OBJECTS },
    },
    {
      what: `${name}: other classes grown by more than ${GROWN_MOST} objects and 10 %`,
      unit: 'count',
      value: grown.length,
      bound: { most: 0 },
    },
    {
      what: `${name}: entries of the largest map`,
      unit: 'count',
      value: after.census.largest[0],
      bound: { most: LARGEST_MAP },
    },
    {
      what: `${name}: heap after a collection, MiB above the start`,
      unit: 'ratio',
      value: (after.heapBytes - before.heapBytes) / MIB,
      bound: { most: HEAP_MOST_MIB },
    },
    {
      what: `${name}: heap gained by its slope in the last half of its life, MiB`,
      unit: 'ratio',
      value: gain,
      bound: { most: SLOPE_MOST_MIB },
      ...(gain === undefined ? { excuse: 'too few points for a slope in so short a run' } : {}),
    },
    {
      what: `${name}: resident memory ÷ start`,
      unit: 'ratio',
      value: after.residentBytes / before.residentBytes,
      bound: { most: RESIDENT_MOST_TIMES },
    },
  ];
}

function grownClasses(before: SettledProcess, after: SettledProcess): readonly (readonly [string, number])[] {
  return above(before.census.classes, after.census.classes).filter(
    ([kind, count]) =>
      !PASSING.test(kind) &&
      (after.census.classes[kind] ?? 0) > (KEPT[kind] ?? 0) &&
      count > GROWN_MOST &&
      count > GROWN_SHARE * (before.census.classes[kind] ?? 0),
  );
}

/** What lies behind the counts, in words: one line each. */
export function processNotes({ name, before, after }: Compared): string[] {
  const lines: [string, string][] = [
    ['descriptors above the start', inWords(above(before.descriptors, after.descriptors))],
    ['active resources above the start', inWords(above(before.resources, after.resources))],
    [
      'passing objects above the start',
      inWords(above(before.census.classes, after.census.classes).filter(([kind]) => PASSING.test(kind))),
    ],
    ['classes that grew most', inWords(above(before.census.classes, after.census.classes).slice(0, 12))],
    [
      'largest maps before and after',
      `${before.census.largest.slice(0, 6).join(' ')} · ${after.census.largest.slice(0, 6).join(' ')}`,
    ],
  ];
  return lines.filter(([, text]) => text !== '').map(([what, text]) => `${name}: ${what}: ${text}`);
}

export interface Answers {
  /** By `kind\tending\thow`. */
  readonly counts: ReadonlyMap<string, number>;
  readonly incidents: readonly Incident[];
  readonly faults: readonly Fault[];
  /** Of all cores, what programs other than the soak's own used. */
  readonly othersShare: number;
}

function countOf(counts: ReadonlyMap<string, number>, ending: string, kind?: string): number {
  let sum = 0;
  for (const [key, count] of counts) {
    const [itsKind, itsEnding] = key.split('\t');
    if (itsEnding === ending && (kind === undefined || kind === itsKind)) sum += count;
  }
  return sum;
}

/** Incidents by what explains them; undefined: nothing does. */
export function sorted(
  incidents: readonly Incident[],
  faults: readonly Fault[],
): ReadonlyMap<Fault['what'] | undefined, readonly Incident[]> {
  return Map.groupBy(incidents, (incident) => explanation(incident, faults));
}

export function answerRows({ counts, incidents, faults, othersShare }: Answers): Row[] {
  const by = sorted(incidents, faults);
  const all = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const failedInAll = countOf(counts, 'failed');
  const listed = incidents.filter(({ kind, how }) => counts.has(`${kind}\tfailed\t${how}`)).length;
  return [
    { what: 'calls', unit: 'count', value: all },
    { what: 'as wanted', unit: 'count', value: countOf(counts, 'ok') },
    {
      what: 'left by the caller at some byte',
      unit: 'share',
      value: countOf(counts, 'left') / Math.max(1, all),
      bound: { least: 0.09 },
    },
    {
      what: 'over their limit and told so (429)',
      unit: 'count',
      value: countOf(counts, 'limited', 'greedy'),
      bound: { least: 1 },
    },
    {
      what: 'failures that nothing explains',
      unit: 'count',
      // Failures that were counted but no longer listed one by one are explained by nothing.
      value: (by.get(undefined)?.length ?? 0) + Math.max(0, failedInAll - listed),
      bound: { most: 0 },
    },
    { what: 'failures by killed instances', unit: 'count', value: by.get('kill-instance')?.length ?? 0 },
    { what: 'failures by the killed worker', unit: 'count', value: by.get('kill-worker')?.length ?? 0 },
    {
      what: 'shed, closed or given up for want of processor time',
      unit: 'share',
      value: (countOf(counts, 'shed') + (by.get('short-of-time')?.length ?? 0)) / Math.max(1, all),
      bound: { most: SHED_MOST },
      ...(othersShare > OTHERS_MOST
        ? { excuse: `other programs used ${(100 * othersShare).toFixed(0)} % of the machine` }
        : {}),
    },
  ];
}

export interface Rest {
  readonly holdings: Holdings;
  readonly refusedReloads: number;
  readonly reloads: number;
  /** Between a certificate's coming in place and the first caller who met it, the slowest; Infinity: never met. */
  readonly slowestCertificateMs: number;
  /** Faults that the gateway's processes logged, those that were injected left out. */
  readonly loggedFaults: number;
}

export function restRows({
  holdings,
  refusedReloads,
  reloads,
  slowestCertificateMs,
  loggedFaults,
}: Rest): Row[] {
  return [
    { what: 'reloads', unit: 'count', value: reloads, bound: { least: 1 } },
    { what: 'reloads refused', unit: 'count', value: refusedReloads, bound: { most: 0 } },
    {
      what: 'a certificate in place until callers meet it, the slowest',
      unit: 'seconds',
      value: slowestCertificateMs / 1000,
      bound: { most: 15 },
    },
    {
      what: 'workers that died beside the one that was killed',
      unit: 'count',
      value: holdings.restarts - 1,
      bound: { most: 0 },
    },
    { what: 'permits in flight at rest', unit: 'count', value: holdings.inFlight, bound: { most: 0 } },
    { what: 'streams at rest', unit: 'count', value: holdings.streams, bound: { most: 0 } },
    { what: 'waiting in queues at rest', unit: 'count', value: holdings.queued, bound: { most: 0 } },
    {
      what: 'instances not ready at rest',
      unit: 'count',
      value: holdings.notReady.length,
      bound: { most: 0 },
    },
    {
      what: 'breakers not closed at rest',
      unit: 'count',
      value: Number(holdings.breaker !== 'closed'),
      bound: { most: 0 },
    },
    {
      what: 'processes that do not reach the limit store',
      unit: 'count',
      value: Number(holdings.limitStore !== 'up'),
      bound: { most: 0 },
    },
    { what: 'unexplained faults in the logs', unit: 'count', value: loggedFaults, bound: { most: 0 } },
  ];
}

/** Rows of all processes, each judged by itself. */
export function allProcessRows(
  compared: readonly Compared[],
  courses: readonly Course[],
  endMs: number,
): readonly Row[] {
  return compared.flatMap((each) =>
    processRows(
      each,
      courses.find(({ pid }) => pid === each.after.pid),
      endMs,
    ),
  );
}
