/** How figures of scenarios are written, in the terminal and on the page. */
import {
  inWords,
  type Bound,
  type BoundCount,
  type Figures,
  type Judgement,
  type Scenario,
  type Shortfall,
} from './suite.ts';

export function title({ group, name }: Scenario): string {
  return `${group}: ${name}`;
}

/** A measure with the unit that its name has. */
export function figure(measure: string, value: number): string {
  if (Number.isNaN(value)) return '–';
  if (!Number.isFinite(value)) return 'never';
  if (measure.endsWith('Ms')) return `${value.toFixed(0)} ms`;
  return Number.isInteger(value) && value > 1 ? String(value) : value.toFixed(3);
}

/** "1 seed", "2 seeds". */
function count(n: number, thing: string): string {
  return `${n} ${thing}${n === 1 ? '' : 's'}`;
}

export type Verdict = 'kept' | 'SHORT' | 'MISSED';

/** The worst that one of its bounds has come to. */
export function verdictOf({ misses, shortfalls }: Judgement): Verdict {
  if (misses.length > 0) return 'MISSED';
  return shortfalls.length > 0 ? 'SHORT' : 'kept';
}

export function shortfallInWords({ bound, worst, seed, missedBy, of, why }: Shortfall): string {
  const where = seed === undefined ? '' : `, seed ${seed}`;
  const seeds = bound.mean === true ? '' : `, missed by ${missedBy} of ${count(of, 'seed')}`;
  return `${inWords(bound)}: ${figure(bound.measure, worst)}${where}${seeds}. ${why}`;
}

/** "109 scenarios, 20 seeds: 9 bounds kept, 2 short of their bound (listed above), 0 missed" */
export function lastLine(scenarios: number, seeds: number, { kept, short, missed }: BoundCount): string {
  const listed = short === 0 ? '' : ' (listed above)';
  return `${count(scenarios, 'scenario')}, ${count(seeds, 'seed')}: ${count(kept, 'bound')} kept, ${short} short of their bound${listed}, ${missed} missed`;
}

export function sumOf(judgements: readonly Judgement[]): BoundCount {
  const sum = { kept: 0, short: 0, missed: 0 };
  for (const { bounds } of judgements) {
    sum.kept += bounds.kept;
    sum.short += bounds.short;
    sum.missed += bounds.missed;
  }
  return sum;
}

export interface Summary {
  readonly goodput: string;
  readonly p99: string;
  readonly critical: string;
}

/** Goodput worst / median; the worst of the others. */
export function summary({ figures }: Judgement): Summary {
  const goodputs = figures.map(({ goodput }) => goodput).sort((a, b) => a - b);
  const [worst = Number.NaN] = goodputs;
  const median = goodputs[Math.floor(goodputs.length / 2)] ?? Number.NaN;
  return {
    goodput: `${figure('goodput', worst)} / ${figure('goodput', median)}`,
    p99: Math.max(...figures.map(({ p99Ms }) => p99Ms)).toFixed(0),
    critical: figure('critical', Math.min(...figures.map(({ critical }) => critical))),
  };
}

/** The bound, and the value that came nearest to it or went past it. */
export function boundWithWorst(bound: Bound, figures: readonly Figures[]): string {
  const values = figures.map((one) => one[bound.measure] ?? Number.NaN);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const least = Math.min(...values);
  const most = Math.max(...values);
  const shown = bound.mean === true ? [mean] : bound.most === undefined ? [least] : [most];
  if (bound.mean !== true && bound.least !== undefined && bound.most !== undefined) shown.unshift(least);
  return `${inWords(bound)}: ${shown.map((value) => figure(bound.measure, value)).join('…')}`;
}

/**
 * One run among peers: goodput, p99 (in brackets that of the first second, where it was longer), critical in time,
 * seconds until all was well again.
 */
export function inShort(figures: Figures): readonly string[] {
  const { goodput, p99Ms, firstP99Ms = 0, critical, recoveredMs } = figures;
  const atFirst = firstP99Ms > p99Ms ? ` (${firstP99Ms.toFixed(0)})` : '';
  const parts = [figure('goodput', goodput), `${figure('p99Ms', p99Ms)}${atFirst}`];
  if (Number.isFinite(critical)) parts.push(`${(100 * critical).toFixed(critical > 0.995 ? 2 : 1)} %`);
  if (recoveredMs !== undefined) parts.push(`${(recoveredMs / 1000).toFixed(1)} s`);
  return parts;
}
