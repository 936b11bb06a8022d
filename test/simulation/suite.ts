/** The scenarios with bounds that hold for any seed: the tests judge some seeds, `npm run simulate` many more. */
import type { GateFactory } from './gate.ts';
import type { World } from './model.ts';
import { CALLER_SCENARIOS } from './scenarios/callers.ts';
import { CAPACITY_SCENARIOS } from './scenarios/capacity.ts';
import { FAULT_SCENARIOS } from './scenarios/faults.ts';
import { LOOP_SCENARIOS } from './scenarios/loop.ts';
import { OVERLOAD_SCENARIOS } from './scenarios/overload.ts';
import { LONG, REFERENCE_SCENARIOS } from './scenarios/reference.ts';
import { SLOWNESS_SCENARIOS } from './scenarios/slowness.ts';
import { WORKER_SCENARIOS } from './scenarios/workers.ts';
import { marked } from './shortfalls.ts';

/** What a run is measured by; shares are 0..1, goodput is in capacities of the service. */
export interface Figures {
  readonly goodput: number;
  readonly p99Ms: number;
  /** Critical requests answered in time; NaN when none was sent. */
  readonly critical: number;
  readonly [measure: string]: number;
}

export interface Bound {
  readonly measure: string;
  readonly least?: number;
  readonly most?: number;
  /** The mean over the seeds is bound, not each of them. */
  readonly mean?: true;
  /** The bound stands, and is not kept yet. Marks are all in shortfalls.ts. */
  readonly short?: Short;
}

export interface Short {
  /** A ratchet: the worst that any seed of the command or of the tests has, rounded to the safe side. Past it is a miss. */
  readonly today: number;
  readonly why: string;
}

export interface Run {
  readonly figures: Figures;
  /** As it ended; `world.trace.rows()` is its course. */
  readonly world: World;
}

export interface Scenario {
  readonly group: string;
  readonly name: string;
  /** Stated beforehand, from the invariants of the design. They are ours: no peer is held to them. */
  readonly bounds: readonly Bound[];
  /** More seeds than so many are not worth their time. */
  readonly mostSeeds?: number;
  /** `gate` puts a peer in place of ours; `brief` leaves out time that only repeats itself, as the tests do. */
  run(seed: number, gate?: GateFactory, brief?: boolean): Run;
}

/** A bound that is marked as short, and was missed within its ratchet. */
export interface Shortfall {
  readonly bound: Bound;
  readonly worst: number;
  /** Of the worst; none where the mean is bound. */
  readonly seed: number | undefined;
  /** Seeds that missed it, and all of them: 1 of 1 where the mean is bound. */
  readonly missedBy: number;
  readonly of: number;
  readonly why: string;
}

export interface Judgement {
  readonly figures: readonly Figures[];
  /** In words, with the seed: bounds that carry no mark, and those past their ratchet. */
  readonly misses: readonly string[];
  readonly shortfalls: readonly Shortfall[];
  /** Bounds that carry a mark and were kept with every seed. */
  readonly keptNow: readonly Bound[];
  readonly bounds: BoundCount;
}

/** A bound counts once, whatever the number of its seeds, and as missed if it is missed and short. */
export interface BoundCount {
  readonly kept: number;
  readonly short: number;
  readonly missed: number;
}

export interface Terms {
  readonly gate?: GateFactory;
  readonly brief?: boolean;
}

export function judge(scenario: Scenario, seeds: readonly number[], terms: Terms = {}): Judgement {
  const few = seeds.slice(0, scenario.mostSeeds ?? seeds.length);
  const figures = few.map((seed) => scenario.run(seed, terms.gate, terms.brief).figures);
  const misses: string[] = [];
  const shortfalls: Shortfall[] = [];
  const keptNow: Bound[] = [];
  const bounds = { kept: 0, short: 0, missed: 0 };
  for (const bound of scenario.bounds) {
    const values = judged(bound, figures, few);
    const missed = values.filter(({ value }) => !keeps(bound, value));
    const { short } = bound;
    const beyond = short === undefined ? missed : missed.filter(({ value }) => !keeps(ratchet(bound), value));
    for (const { value, seed } of beyond) {
      const from = seed === undefined ? '' : `, seed ${seed}`;
      const worse = short === undefined ? '' : `, short of it by no more than ${short.today} until now`;
      misses.push(`${inWords(bound)}${worse}: ${figure(value)}${from}`);
    }
    if (short !== undefined && missed.length === 0) keptNow.push(bound);
    if (beyond.length > 0) bounds.missed += 1;
    else if (short === undefined || missed.length === 0) bounds.kept += 1;
    else {
      bounds.short += 1;
      const sign = bound.least === undefined ? -1 : 1;
      const worst = missed.reduce((a, b) => (sign * b.value < sign * a.value ? b : a));
      shortfalls.push({
        bound,
        worst: worst.value,
        seed: worst.seed,
        missedBy: missed.length,
        of: values.length,
        why: short.why,
      });
    }
  }
  return { figures, misses, shortfalls, keptNow, bounds };
}

/** What the bound is held to: the measure of each seed, or the mean of all. */
function judged(
  { measure, mean }: Bound,
  figures: readonly Figures[],
  seeds: readonly number[],
): readonly { value: number; seed: number | undefined }[] {
  const values = figures.map((one) => one[measure] ?? Number.NaN);
  if (mean !== true) return values.map((value, index) => ({ value, seed: seeds[index] }));
  return [{ value: values.reduce((sum, value) => sum + value, 0) / values.length, seed: undefined }];
}

/** The bound as far as it is kept today. Marks are for bounds with one side. */
function ratchet(bound: Bound): Bound {
  const { measure, least, short } = bound;
  if (short === undefined) return bound;
  return least === undefined ? { measure, most: short.today } : { measure, least: short.today };
}

export function inWords({ measure, least, most, mean }: Bound): string {
  const sides = [least === undefined ? '' : `≥ ${least}`, most === undefined ? '' : `≤ ${most}`];
  return `${mean === true ? 'mean ' : ''}${measure} ${sides.filter((side) => side !== '').join(' ')}`;
}

function figure(value: number): string {
  return Math.abs(value) >= 10 ? value.toFixed(0) : value.toFixed(4);
}

function keeps({ least, most }: Bound, value: number): boolean {
  if (Number.isNaN(value)) return false;
  return (least === undefined || value >= least) && (most === undefined || value <= most);
}

export const SCENARIOS: readonly Scenario[] = marked([
  ...OVERLOAD_SCENARIOS,
  ...CAPACITY_SCENARIOS,
  ...SLOWNESS_SCENARIOS,
  ...CALLER_SCENARIOS,
  ...LOOP_SCENARIOS,
  ...FAULT_SCENARIOS,
  ...WORKER_SCENARIOS,
  ...REFERENCE_SCENARIOS,
]);

/** Those that take minutes: only on request. */
export const LONG_SCENARIOS: readonly Scenario[] = LONG;
