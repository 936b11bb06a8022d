/** Several rounds of a case as one verdict: every bound is kept in every round, or it is missed. */
import type { CaseRun } from './case.ts';
import { outcomeOf } from './rows.ts';
import type { Outcome, Row } from './rows.ts';

export interface Judged extends Row {
  readonly outcome: Outcome;
}

/** A share of one in a thousand means little on fewer. */
const POOLED_LEAST = 10_000;
const POOLED_RATIO = 0.999;

/** Whether `a` is worse than `b` for this row; what could not be counted is worst of all. */
function worse(row: Row, a: number, b: number): boolean {
  if (Number.isNaN(b)) return false;
  if (Number.isNaN(a)) return true;
  const limit = row.bound ?? row.goal;
  return limit !== undefined && 'least' in limit ? a < b : a > b;
}

/** The row of the round that did worst, for each row of the rounds. */
export function worstOf(rounds: readonly (readonly Row[])[]): readonly Row[] {
  const worst = new Map<string, Row>();
  for (const row of rounds.flat()) {
    const before = worst.get(row.what);
    const value = before?.value;
    if (before === undefined || value === undefined) worst.set(row.what, row);
    else if (row.value !== undefined && worse(row, row.value, value)) worst.set(row.what, row);
  }
  return [...worst.values()];
}

/** Critical requests of all rounds together, where the case counts them. */
export function pooledRow(runs: readonly CaseRun[]): Row | undefined {
  const pools = runs.flatMap(({ pool }) => (pool === undefined ? [] : [pool]));
  if (pools.length === 0) return undefined;
  const offered = pools.reduce((sum, pool) => sum + pool.criticalOffered, 0);
  const inTime = pools.reduce((sum, pool) => sum + pool.criticalInTime, 0);
  const enough = offered >= POOLED_LEAST;
  return {
    what: `critical in time of all rounds together${enough ? '' : ` (${offered} sent, judged from ${POOLED_LEAST} on)`}`,
    unit: 'share',
    value: enough ? inTime / offered : undefined,
    bound: { least: POOLED_RATIO },
  };
}

export function judgeCase(runs: readonly CaseRun[]): readonly Judged[] {
  const pooled = pooledRow(runs);
  const judged: Judged[] = [];
  for (const row of worstOf(runs.map(({ rows }) => rows))) judged.push({ ...row, outcome: outcomeOf(row) });
  if (pooled !== undefined) judged.push({ ...pooled, outcome: outcomeOf(pooled) });
  return judged;
}
