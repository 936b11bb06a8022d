/** A case as a table of figures: one row a sentence, one column a target, the gateway first. */
import type { TargetName } from '../targets.ts';
import type { CaseRun } from './case.ts';
import { worstOf } from './judge.ts';
import type { Judged } from './judge.ts';

export interface CaseResult {
  readonly name: string;
  readonly about: string;
  readonly runs: readonly CaseRun[];
  /** Of the gateway; empty when it was not measured. */
  readonly judged: readonly Judged[];
}

export interface Comparison {
  readonly targets: readonly TargetName[];
  /** The gateway's row, or that of the first target when the gateway was not measured: then nothing is judged. */
  readonly rows: readonly { readonly row: Judged; readonly values: readonly (number | undefined)[] }[];
}

export function comparisonOf({ runs, judged }: CaseResult): Comparison {
  const targets = [...new Set(runs.map(({ target }) => target))].toSorted(
    (a, b) => Number(b === 'gateway') - Number(a === 'gateway'),
  );
  const worst = targets.map((target) => {
    const rows = worstOf(runs.filter((run) => run.target === target).map((run) => run.rows));
    return new Map(rows.map((row) => [row.what, row]));
  });
  const first: Judged[] = [];
  for (const row of worst[0]?.values() ?? []) first.push({ ...row, outcome: 'shown' });
  const rows = (judged.length > 0 ? judged : first).map((row) => ({
    row,
    values: targets.map((target, index) =>
      target === 'gateway' ? row.value : worst[index]?.get(row.what)?.value,
    ),
  }));
  return { targets, rows };
}
