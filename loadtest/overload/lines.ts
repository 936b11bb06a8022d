/** A case as text: one line a row, the gateway's verdict and figure first, then those it is compared with. */
import { aligned } from '../report.ts';
import { comparisonOf } from './comparison.ts';
import type { CaseResult } from './comparison.ts';
import { formatted, wanted } from './rows.ts';

export function caseLines(result: CaseResult): string {
  const { targets, rows } = comparisonOf(result);
  const lines = [['', '', ...targets, 'wanted']];
  for (const { row, values } of rows) {
    const figures = values.map((value) => formatted(value, row.unit));
    lines.push([row.outcome === 'missed' ? 'MISSED' : row.outcome, row.what, ...figures, wanted(row)]);
  }
  const notes = new Set<string>();
  for (const { target, notes: told } of result.runs) for (const note of told) notes.add(`${target}: ${note}`);
  for (const { excuse, outcome, what } of result.judged)
    if (outcome === 'not judged' && excuse !== undefined) notes.add(`not judged, ${what}: ${excuse}`);
  return [`${result.name}: ${result.about}`, aligned(lines), ...notes].join('\n');
}
