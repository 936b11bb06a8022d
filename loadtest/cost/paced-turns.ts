/**
 * What turns of a paced load say: how soon answers came, and how much later by one way than by another, round by round. A
 * late sender is late on all ways: a difference of such p99s is chance, also where it is small, and is not judged.
 */
import { senderTooLate } from '../overload/rows.ts';
import type { Row } from '../overload/rows.ts';
import { median, quantile, spread } from '../turns.ts';
import type { PacedResult } from './paced.ts';

export interface PacedTurn {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly answers: number;
  /** Refused or failed; what found no free connection was not sent. */
  readonly lost: number;
  readonly lateP99Ms: number;
}

export type Figure = 'p50Ms' | 'p99Ms';

export function turnOf(result: PacedResult): PacedTurn {
  return {
    p50Ms: quantile(result.latenciesMs, 0.5),
    p99Ms: quantile(result.latenciesMs, 0.99),
    answers: result.latenciesMs.length,
    lost: result.refused + result.failed,
    lateP99Ms: result.lateP99Ms,
  };
}

/** How late the sender was in the middle turn: what one bad turn does to both ways is not what is told. */
export function lateMs(turns: readonly PacedTurn[]): number {
  return median(turns.map(({ lateP99Ms }) => lateP99Ms));
}

export function lateNote(late: number): string {
  return `the sender left ${late.toFixed(2)} ms late in 1 % of the middle turn`;
}

/** How much later answers come `through` than `direct`: the median of the rounds. @param late see `lateMs` */
export function addedRow(
  what: string,
  [through, direct]: readonly [readonly PacedTurn[], readonly PacedTurn[]],
  figure: Figure,
  late: number,
  most?: number,
): Row {
  const added = through.map((turn, round) => turn[figure] - (direct[round]?.[figure] ?? Number.NaN));
  const excuse = figure === 'p50Ms' ? undefined : senderTooLate(late);
  return {
    what,
    unit: 'fine ms',
    ...(most === undefined ? {} : { bound: { most } }),
    ...(excuse === undefined ? { value: median(added) } : { value: undefined, excuse }),
  };
}

export function lostRow(turns: readonly PacedTurn[]): Row {
  return {
    what: 'requests lost',
    unit: 'count',
    value: turns.reduce((sum, { lost }) => sum + lost, 0),
    bound: { most: 0 },
  };
}

export const TURN_HEAD = ['', 'p50 ms', 'least–most', 'p99 ms', 'least–most', 'answers'];

/** Cells below `TURN_HEAD`, behind its name. */
export function turnCells(name: string, turns: readonly PacedTurn[]): string[] {
  const [p50, p99] = [turns.map(({ p50Ms }) => p50Ms), turns.map(({ p99Ms }) => p99Ms)];
  return [
    name,
    median(p50).toFixed(3),
    spread(p50, 3),
    median(p99).toFixed(3),
    spread(p99, 3),
    String(turns.reduce((sum, { answers }) => sum + answers, 0)),
  ];
}
