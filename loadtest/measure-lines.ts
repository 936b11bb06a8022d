/** A measure as text: its rows with their verdicts, then its figures. */
import type { MeasureResult } from './measure.ts';
import { formatted, wanted } from './overload/rows.ts';
import { aligned } from './report.ts';

export function measureLines(result: MeasureResult): string {
  const rows = result.judged.map((row) => [
    row.outcome === 'missed' ? 'MISSED' : row.outcome,
    row.what,
    formatted(row.value, row.unit),
    wanted(row),
  ]);
  const notes = [...result.notes];
  for (const { excuse, outcome, what } of result.judged)
    if (outcome === 'not judged' && excuse !== undefined) notes.push(`not judged, ${what}: ${excuse}`);
  return [
    `${result.name}: ${result.about}`,
    aligned(rows),
    ...result.figures.flatMap(({ caption, head, rows: lines }) => [caption, aligned([head, ...lines])]),
    ...notes,
  ].join('\n');
}
