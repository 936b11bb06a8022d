/**
 * What a journal says of a window of the run: pure counting, so that every figure of the report can be tested on a
 * journal that was written by hand. A window takes the requests that were *meant* to leave in it.
 */
import { LoadJournal } from '../../test/harness/load-journal.ts';
import type { Entry } from '../../test/harness/load-journal.ts';

export interface Window {
  readonly fromMs: number;
  readonly untilMs: number;
  /** One class only. */
  readonly classIndex?: number;
  /** One of the gateway's workers only. */
  readonly worker?: string;
  /** First attempts only. */
  readonly firstOnly?: boolean;
}

export interface Figures {
  readonly offered: number;
  readonly served: number;
  /** Served within the SLA. */
  readonly inTime: number;
  readonly refused: number;
  readonly failed: number;
  /** Served within the SLA ÷ offered; 1 when nobody came. */
  readonly inTimeRatio: number;
  readonly refusedRatio: number;
  /** Of served requests, ms; NaN when none was. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
}

/** Several senders of one run began together: what they wrote down, as one. */
export function merged(journals: readonly LoadJournal[]): LoadJournal {
  const all = new LoadJournal();
  for (const journal of journals) for (const entry of journal.entries()) all.add(entry);
  return all;
}

function inWindow(entry: Entry, window: Window): boolean {
  return (
    entry.atMs >= window.fromMs &&
    entry.atMs < window.untilMs &&
    (window.classIndex === undefined || entry.classIndex === window.classIndex) &&
    (window.worker === undefined || entry.worker === window.worker) &&
    (window.firstOnly !== true || entry.attempt === 0)
  );
}

/** The smallest value that at least `share` of all do not exceed; NaN of none. Sorts `values`. */
export function percentile(values: number[], share: number): number {
  values.sort((a, b) => a - b);
  return values[Math.max(0, Math.ceil(share * values.length) - 1)] ?? Number.NaN;
}

export function figures(journal: LoadJournal, slaMs: number, window: Window): Figures {
  const took: number[] = [];
  let offered = 0;
  let inTime = 0;
  let refused = 0;
  let failed = 0;
  for (const entry of journal.entries()) {
    if (!inWindow(entry, window)) continue;
    offered += 1;
    if (entry.fate === 'refused') refused += 1;
    else if (entry.fate === 'failed') failed += 1;
    else {
      took.push(entry.tookMs);
      if (entry.tookMs <= slaMs) inTime += 1;
    }
  }
  return {
    offered,
    served: took.length,
    inTime,
    refused,
    failed,
    inTimeRatio: offered === 0 ? 1 : inTime / offered,
    refusedRatio: offered === 0 ? 0 : refused / offered,
    p50Ms: percentile(took, 0.5),
    p99Ms: percentile(took, 0.99),
    p999Ms: percentile(took, 0.999),
  };
}

/** Codes of requests that were refused without a wait, whatever the queue looked like. */
const NEVER_WAIT: ReadonlySet<string> = new Set(['SPW_SHED_OVERLOAD', 'SPW_SHED_CONCURRENCY']);
/** Server-Timing has a tenth of a millisecond: this is 0. */
const NO_WAIT_MS = 0.05;

export interface RefusalFigures {
  readonly refused: number;
  /** Those that did not wait in the queue. */
  readonly prompt: number;
  /** Neither the answer nor its code says whether they waited. */
  readonly unknown: number;
  /** Of the prompt ones, ms from the intended moment; NaN when there was none. */
  readonly promptP99Ms: number;
  /** Of all refusals. */
  readonly p99Ms: number;
}

/**
 * How fast a no is told. A refusal that did not wait is known by `queue;dur=0` in its Server-Timing, or by a code that
 * is never given after a wait.
 */
export function refusalFigures(journal: LoadJournal, window: Window): RefusalFigures {
  const prompt: number[] = [];
  const all: number[] = [];
  let unknown = 0;
  for (const entry of journal.entries()) {
    if (entry.fate !== 'refused' || !inWindow(entry, window)) continue;
    all.push(entry.tookMs);
    if (entry.queuedMs < NO_WAIT_MS || NEVER_WAIT.has(entry.code)) prompt.push(entry.tookMs);
    else if (Number.isNaN(entry.queuedMs)) unknown += 1;
  }
  return {
    refused: all.length,
    prompt: prompt.length,
    unknown,
    promptP99Ms: percentile(prompt, 0.99),
    p99Ms: percentile(all, 0.99),
  };
}

/** Refusals by code, most first. */
export function codes(journal: LoadJournal, window: Window): Readonly<Record<string, number>> {
  const counts = new Map<string, number>();
  for (const entry of journal.entries()) {
    if (entry.fate === 'served' || !inWindow(entry, window)) continue;
    const code = entry.code === '' ? entry.fate : entry.code;
    counts.set(code, (counts.get(code) ?? 0) + 1);
  }
  return Object.fromEntries([...counts].toSorted((a, b) => b[1] - a[1]));
}

/** Served within the SLA by the worker that answered. */
export function byWorker(
  journal: LoadJournal,
  slaMs: number,
  window: Window,
): Readonly<Record<string, { readonly offered: number; readonly inTime: number }>> {
  const counts: Record<string, { offered: number; inTime: number }> = {};
  for (const entry of journal.entries()) {
    if (!inWindow(entry, window) || entry.worker === '') continue;
    const count = (counts[entry.worker] ??= { offered: 0, inTime: 0 });
    count.offered += 1;
    if (entry.fate === 'served' && entry.tookMs <= slaMs) count.inTime += 1;
  }
  return counts;
}

/** Whatever the bin counts are about: of one class, or of all. */
export interface BinCount {
  offered: number;
  inTime: number;
  late: number;
  refused: number;
  failed: number;
}

export interface TimeBin {
  readonly atMs: number;
  readonly all: BinCount;
  /** By class, in the order of the run. */
  readonly classes: readonly BinCount[];
}

function emptyCount(): BinCount {
  return { offered: 0, inTime: 0, late: 0, refused: 0, failed: 0 };
}

/** The run in slices of `binMs`, from its start to its last arrival. */
export function timeBins(
  journal: LoadJournal,
  slaMs: number,
  classCount: number,
  binMs: number,
): readonly TimeBin[] {
  const bins: { all: BinCount; classes: BinCount[] }[] = [];
  for (const entry of journal.entries()) {
    const index = Math.floor(entry.atMs / binMs);
    while (bins.length <= index)
      bins.push({ all: emptyCount(), classes: Array.from({ length: classCount }, emptyCount) });
    const bin = bins[index];
    if (bin === undefined) continue;
    for (const count of [bin.all, bin.classes[entry.classIndex]]) {
      if (count === undefined) continue;
      count.offered += 1;
      if (entry.fate !== 'served') count[entry.fate] += 1;
      else if (entry.tookMs <= slaMs) count.inTime += 1;
      else count.late += 1;
    }
  }
  return bins.map(({ all, classes }, index) => ({ atMs: index * binMs, all, classes }));
}

/** p99 of what was served of each slice of `sliceMs`, ms; null where nothing was. */
export function p99Slices(journal: LoadJournal, sliceMs: number): readonly (number | null)[] {
  const slices: number[][] = [];
  for (const { atMs, fate, tookMs } of journal.entries()) {
    const index = Math.floor(atMs / sliceMs);
    while (slices.length <= index) slices.push([]);
    if (fate === 'served') slices[index]?.push(tookMs);
  }
  return slices.map((took) => (took.length === 0 ? null : percentile(took, 0.99)));
}

/** A second is long enough that chance alone seldom takes a tenth of 0.8 C away. */
const RECOVERED_SPAN_MS = 1000;
const RECOVERED_STEP_MS = 100;

/**
 * Ms from `fallMs` until a whole second begins in which `share` of what was offered was in time: 0 when the first second
 * already was one; Infinity when none was before `untilMs`.
 */
export function recoveryMs(
  journal: LoadJournal,
  slaMs: number,
  fallMs: number,
  untilMs: number,
  share: number,
): number {
  const bins = timeBins(journal, slaMs, 0, RECOVERED_STEP_MS);
  const span = RECOVERED_SPAN_MS / RECOVERED_STEP_MS;
  for (let first = Math.ceil(fallMs / RECOVERED_STEP_MS); ; first += 1) {
    const atMs = first * RECOVERED_STEP_MS;
    if (atMs + RECOVERED_SPAN_MS > untilMs) return Infinity;
    const second = bins.slice(first, first + span);
    const offered = second.reduce((sum, { all }) => sum + all.offered, 0);
    const inTime = second.reduce((sum, { all }) => sum + all.inTime, 0);
    if (inTime >= share * offered) return atMs - fallMs;
  }
}
