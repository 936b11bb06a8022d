/** What a case of the overload family is, and what one run of it brings home. */
import { LoadJournal } from '../../test/harness/load-journal.ts';
import { runOpenLoop } from '../../test/harness/open-loop.ts';
import type { OpenLoopOptions } from '../../test/harness/open-loop.ts';
import type { TargetName } from '../targets.ts';
import { SLA_MS, TIMEOUT_MS } from './anchors.ts';
import type { Row } from './rows.ts';
import { p99Slices, timeBins } from './window.ts';
import type { TimeBin } from './window.ts';

export interface CaseContext {
  readonly target: TargetName;
  readonly seed: number;
  /** Shorter phases: the same bounds, more chance. */
  readonly quick: boolean;
}

/** One load on one target, slice by slice, for the plots and for whoever wants to count again. */
export interface Recorded {
  readonly name: string;
  readonly slaMs: number;
  readonly classNames: readonly string[];
  readonly binMs: number;
  readonly bins: readonly TimeBin[];
  /** Of served requests, ms, a slice of `P99_SLICE_MS` each; null where nothing was served. */
  readonly p99Ms: readonly (number | null)[];
  /** What the origin could do, requests a second, from each moment on. */
  readonly capacity: readonly (readonly [atMs: number, perSecond: number])[];
}

/** One point of a sweep. */
export interface SweepPoint {
  readonly offeredPerSecond: number;
  readonly goodputPerSecond: number;
  readonly p99Ms: number;
  readonly criticalRatio: number;
}

export interface CaseRun {
  readonly target: TargetName;
  /** The gateway's; 1 for all others. */
  readonly workers: number;
  readonly seed: number;
  readonly rows: readonly Row[];
  readonly recorded: readonly Recorded[];
  readonly sweep?: readonly SweepPoint[];
  /** Counts that rounds are pooled by. */
  readonly pool?: { readonly criticalOffered: number; readonly criticalInTime: number };
  /** Refusals and failures by code, in the part that is judged. */
  readonly codes: Readonly<Record<string, number>>;
  readonly senderLagP99Ms: number;
  /** What a reader must know of this run: how workers shared, which tool was used. */
  readonly notes: readonly string[];
}

export interface OverloadCase {
  /** One sentence: what is sent to what. */
  readonly about: string;
  /** Whether it says something about a proxy that is not ours. */
  readonly comparable: (target: TargetName) => boolean;
  readonly run: (context: CaseContext) => Promise<CaseRun>;
}

const BIN_MS = 100;
/** A p99 of fewer than some hundred answers is a maximum. */
export const P99_SLICE_MS = 1000;

export interface Sending {
  readonly journal: LoadJournal;
  readonly senderLagP99Ms: number;
  readonly recorded: Recorded;
}

type SendOptions = Omit<OpenLoopOptions, 'slaMs' | 'journal'> & {
  readonly name: string;
  readonly slaMs?: number;
  readonly capacity: Recorded['capacity'];
  /** What happens while it runs, at moments of the sender's clock. */
  readonly events?: readonly { readonly atMs: number; readonly act: () => void }[];
};

/** Sends, and writes every attempt down. */
export async function send(options: SendOptions): Promise<Sending> {
  const { name, slaMs = SLA_MS, capacity, events = [], classes } = options;
  const journal = new LoadJournal();
  const timers: NodeJS.Timeout[] = [];
  try {
    const result = await runOpenLoop({
      timeoutMs: TIMEOUT_MS,
      ...options,
      slaMs,
      journal,
      onStart: (look) => {
        for (const { atMs, act } of events) timers.push(setTimeout(act, atMs - look().atMs));
      },
    });
    const bins = timeBins(journal, slaMs, classes.length, BIN_MS);
    const classNames = classes.map((each) => each.name);
    return {
      journal,
      senderLagP99Ms: result.senderLagP99Ms,
      recorded: {
        name,
        slaMs,
        classNames,
        binMs: BIN_MS,
        bins,
        p99Ms: p99Slices(journal, P99_SLICE_MS),
        capacity,
      },
    };
  } finally {
    for (const timer of timers) clearTimeout(timer);
  }
}
