/**
 * What an experiment expects, in figures that stand before its fault, and what is made of that which it found. Pure, so that
 * a hypothesis that must fail can be shown to fail.
 */
import type { PhaseFigures } from './ledger.ts';
import { sumOf } from './verdict.ts';

/** The phases of an experiment; what is sent in the first second of a fault is its price, what comes later should be none. */
export const PHASES = {
  calm: 'before the fault',
  first: 'its first second',
  later: 'later',
  after: 'after it is mended',
} as const;

export interface Hypothesis {
  /** At most so many fail, in all phases together. */
  readonly gets: number;
  readonly posts: number;
  /** Share of what is sent from a second after the fault until it is mended, that fails at most. */
  readonly laterShare: number;
  /** Of what is answered in that time, ms. */
  readonly laterP99Ms: number;
  /** After that second nothing but this code is told, and so soon (p99, ms). */
  readonly refusal?: { readonly code: string; readonly p99Ms: number };
  /** The gateway calls the struck instance so, within ms. */
  readonly out?: { readonly state: string; readonly withinMs: number };
  /** No instance is ever called so. */
  readonly never: readonly string[];
  /** So often at most an instance changes its state. */
  readonly changes?: number;
  /** All take new sessions, and a caller is answered, so long after it is mended. */
  readonly backMs: number;
  /** What the gateway's figures say of it, a line of `/metrics`. */
  readonly figure?: RegExp;
}

/** What became of it. */
export interface Found {
  readonly figures: readonly PhaseFigures[];
  /** Infinity: never. */
  readonly outMs: number;
  readonly backMs: number;
  /** All states that any instance was in, the struck one or not. */
  readonly seen: ReadonlySet<string>;
  /** Of the instance that changed most. */
  readonly changes: number;
  readonly metrics: string;
}

export interface Check {
  readonly what: string;
  readonly found: string;
  readonly wanted: string;
  readonly kept: boolean;
}

function msText(ms: number): string {
  return Number.isFinite(ms) ? `${ms.toFixed(0)} ms` : 'never';
}

function percentText(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** Fails also where there is no figure. */
function atMost(what: string, value: number, most: number, text: (value: number) => string = String): Check {
  const wanted = most === Infinity ? 'of any number' : `≤ ${text(most)}`;
  return { what, found: text(value), wanted, kept: value <= most };
}

/** Each figure of the hypothesis beside what was found; first what every hypothesis has. */
export function checksOf(hypothesis: Hypothesis, found: Found): readonly Check[] {
  const { figures } = found;
  const failedGets = sumOf(figures, (each) => each.failedGets);
  const failed = sumOf(figures, (each) => each.failed);
  const twice = sumOf(figures, ({ duplicated, unfounded }) => duplicated + unfounded);
  const moved = sumOf(figures, (each) => each.moved['without a cause']);
  return [
    atMost('GETs failed', failedGets, hypothesis.gets),
    atMost('POSTs failed', failed - failedGets, hypothesis.posts),
    atMost('POSTs run twice', twice, 0),
    atMost('moved', moved, 0),
    atMost('back', found.backMs, hypothesis.backMs, msText),
    ...laterChecks(
      hypothesis,
      figures.find(({ phase }) => phase === PHASES.later),
    ),
    ...stateChecks(hypothesis, found),
  ];
}

function laterChecks(
  { laterShare, laterP99Ms, refusal }: Hypothesis,
  later: PhaseFigures | undefined,
): readonly Check[] {
  const {
    sent = 0,
    failed = Number.NaN,
    p99Ms = Number.NaN,
    failedP99Ms = Number.NaN,
    faults = {},
  } = later ?? {};
  const checks = [atMost('failed later', failed / sent, laterShare, percentText)];
  if (laterShare < 1) checks.push(atMost('p99 later', p99Ms, laterP99Ms, msText));
  if (refusal === undefined) return checks;
  const others = Object.keys(faults).filter((kind) => !kind.endsWith(refusal.code));
  const kept = failed > 0 && others.length === 0;
  return [
    ...checks,
    atMost('told later', failedP99Ms, refusal.p99Ms, msText),
    { what: 'told later', found: kept ? refusal.code : others.join(', '), wanted: refusal.code, kept },
  ];
}

function stateChecks({ out, never, changes, figure }: Hypothesis, found: Found): readonly Check[] {
  const seen = never.filter((state) => found.seen.has(state));
  const line = figure?.exec(found.metrics)?.[0];
  return [
    ...(out === undefined ? [] : [atMost(out.state, found.outMs, out.withinMs, msText)]),
    ...(seen.length === 0
      ? []
      : [{ what: 'states', found: seen.join(', '), wanted: `never ${never.join(', ')}`, kept: false }]),
    ...(changes === undefined ? [] : [atMost('changes of state', found.changes, changes)]),
    ...(figure === undefined
      ? []
      : [{ what: 'figures', found: line ?? 'nothing', wanted: 'tell of it', kept: line !== undefined }]),
  ];
}
