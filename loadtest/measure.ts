/**
 * A measure: one thing that is promised in figures, measured on everything it is compared with in turns, and judged. What
 * the overload cases are to overload, measures are to everything else: the price of a request, memory, the time to start.
 */
import type { Judged } from './overload/judge.ts';
import { outcomeOf } from './overload/rows.ts';
import type { Row } from './overload/rows.ts';
import type { TargetName } from './targets.ts';

export interface MeasureContext {
  /** Undefined: as many as the measure needs. */
  readonly rounds: number | undefined;
  /** Of one turn; undefined: as long as the measure needs. */
  readonly seconds: number | undefined;
  readonly seed: number;
  /** Shorter: the same bounds, more chance. */
  readonly quick: boolean;
  /** What to compare with beside that which the bounds need. */
  readonly peers: ReadonlySet<TargetName>;
  /** Another checkout of this project, to be measured beside this one. */
  readonly before: string | undefined;
}

/** Figures as they were measured, for a reader. */
export interface Figures {
  readonly caption: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export interface Measured {
  readonly rows: readonly Row[];
  readonly figures: readonly Figures[];
  /** What a reader must know of this run. */
  readonly notes: readonly string[];
  /** Trusted markup for the page: charts, a flame graph. */
  readonly html?: readonly string[];
  /** Every turn, for whoever wants to count again. */
  readonly data: unknown;
  /** What could not be measured here, one sentence each. */
  readonly missing?: readonly string[];
}

export interface Measure {
  /** One sentence: what is sent to what. */
  readonly about: string;
  readonly run: (context: MeasureContext) => Promise<Measured>;
}

export interface MeasureResult extends Measured {
  readonly name: string;
  readonly about: string;
  readonly judged: readonly Judged[];
}

export function judged(name: string, about: string, measured: Measured): MeasureResult {
  return {
    ...measured,
    name,
    about,
    judged: measured.rows.map((row) => ({ ...row, outcome: outcomeOf(row) })),
  };
}
