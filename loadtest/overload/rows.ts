/**
 * How a run is judged: each row is one sentence of the project's promise with the figure of one run beside its bound.
 *
 * A *bound* that is missed makes the exit code 6; a *goal* that is missed is shown and does not. Every run is judged by
 * itself, so the worst of several rounds decides; what needs more requests than a run has is judged on the rounds
 * together. A miss that says more about the sender than about the gateway is *not judged*, and says why.
 */

export type Unit = 'share' | 'ratio' | 'ms' | 'fine ms' | 'seconds' | 'µs' | 'MiB' | 'KiB' | 'count';

export interface Row {
  readonly what: string;
  readonly unit: Unit;
  /** Undefined: there is nothing to judge, for the reason given. */
  readonly value: number | undefined;
  readonly bound?: { readonly least: number } | { readonly most: number };
  readonly goal?: { readonly least: number } | { readonly most: number };
  /** Why a miss would say nothing of the gateway. */
  readonly excuse?: string;
}

/** What every surge promises to critical requests. */
export function criticalRows(refused: number, inTimeRatio: number): Row[] {
  return [
    { what: 'critical shed', unit: 'count', value: refused, bound: { most: 0 } },
    {
      what: 'critical in time',
      unit: 'share',
      value: inTimeRatio,
      bound: { least: 0.995 },
      goal: { least: 0.999 },
    },
  ];
}

export type Outcome = 'kept' | 'missed' | 'goal missed' | 'not judged' | 'shown';

type Limit = { readonly least: number } | { readonly most: number };

function keeps(value: number, limit: Limit | undefined): boolean {
  if (limit === undefined) return true;
  return 'least' in limit ? value >= limit.least : value <= limit.most;
}

/** NaN keeps nothing: a figure that could not be counted is no success. */
export function outcomeOf(row: Row): Outcome {
  if (row.value === undefined) return 'not judged';
  if (row.bound === undefined && row.goal === undefined) return 'shown';
  if (!keeps(row.value, row.bound)) return row.excuse === undefined ? 'missed' : 'not judged';
  return keeps(row.value, row.goal) ? 'kept' : 'goal missed';
}

export function formatted(value: number | undefined, unit: Unit): string {
  if (value === undefined || Number.isNaN(value)) return '–';
  switch (unit) {
    case 'share':
      return `${(value * 100).toFixed(value < 0.001 || value > 0.99 ? 2 : 1)} %`;
    case 'ratio':
      return value.toFixed(3);
    case 'ms':
      return value === Infinity ? 'never' : `${value.toFixed(value < 20 && value > 0 ? 1 : 0)} ms`;
    case 'fine ms':
      return `${value.toFixed(3)} ms`;
    case 'µs':
    case 'MiB':
    case 'KiB':
      return `${value.toFixed(1)} ${unit}`;
    case 'seconds':
      return value === Infinity ? 'never' : `${value.toFixed(1)} s`;
    case 'count':
      break;
  }
  return value.toFixed(0);
}

function limitText(limit: Limit | undefined, unit: Unit): string {
  if (limit === undefined) return '';
  return 'least' in limit ? `≥ ${formatted(limit.least, unit)}` : `≤ ${formatted(limit.most, unit)}`;
}

/** "≥ 0.970, goal ≥ 0.980". */
export function wanted(row: Row): string {
  const goal = limitText(row.goal, row.unit);
  return [limitText(row.bound, row.unit), goal === '' ? '' : `goal ${goal}`]
    .filter((text) => text !== '')
    .join(', ');
}

/** A sender later than this in one of a hundred requests tells its own time, not the gateway's. */
const SENDER_LAG_MOST_MS = 3;

/** Why a time of some milliseconds cannot be told from the sender's own, or undefined. */
export function senderTooLate(senderLagP99Ms: number): string | undefined {
  if (senderLagP99Ms <= SENDER_LAG_MOST_MS) return undefined;
  return `the sender itself was ${senderLagP99Ms.toFixed(1)} ms late in one of a hundred requests`;
}
