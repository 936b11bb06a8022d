/** The report as one page: what is promised, what was measured, how it looked over time, case by case. */
import { paragraph, reportPage, table } from '../test/harness/plot.ts';
import type { Cell, Section } from '../test/harness/plot.ts';
import { casePlots } from './overload/charts.ts';
import type { MeasureResult } from './measure.ts';
import { comparisonOf } from './overload/comparison.ts';
import type { CaseResult } from './overload/comparison.ts';
import type { Judged } from './overload/judge.ts';
import { formatted, wanted } from './overload/rows.ts';
import { machineLines } from './report.ts';
import type { Machine } from './report.ts';

function verdictCell(row: Judged): Cell {
  const value = formatted(row.value, row.unit);
  switch (row.outcome) {
    case 'kept':
      return { text: `${value} kept`, verdict: 'kept' };
    case 'missed':
      return { text: `${value} MISSED`, verdict: 'missed' };
    case 'goal missed':
      return { text: `${value} kept, goal missed`, verdict: 'kept' };
    case 'not judged':
      return `${value} not judged${row.excuse === undefined ? '' : `: ${row.excuse}`}`;
    case 'shown':
      break;
  }
  return value;
}

function caseTable(result: CaseResult): string {
  const { targets, rows } = comparisonOf(result);
  const cells: Cell[][] = [];
  for (const { row, values } of rows) {
    const line: Cell[] = [row.what, wanted(row)];
    for (const [index, value] of values.entries())
      line.push(targets[index] === 'gateway' ? verdictCell(row) : formatted(value, row.unit));
    cells.push(line);
  }
  return table(['', 'wanted', ...targets], cells);
}

function notes({ runs }: CaseResult): readonly string[] {
  return runs.map((run) => {
    const codes = Object.entries(run.codes)
      .map(([code, count]) => `${code.replace('SPW_', '')} ${count}`)
      .join(', ');
    const lag = `sender late by ${run.senderLagP99Ms.toFixed(1)} ms in 1 %`;
    const who = `${run.target}, ${run.workers} worker(s), seed ${run.seed}`;
    return [who, lag, codes, ...run.notes].filter((text) => text !== '').join(' · ');
  });
}

function section(result: CaseResult): Section {
  const html = [
    paragraph(result.about),
    caseTable(result),
    ...casePlots(result.runs),
    ...notes(result).map((note) => paragraph(note)),
  ];
  return { heading: result.name, html: html.join('\n') };
}

function measureSection(result: MeasureResult): Section {
  const rows = result.judged.map((row): readonly Cell[] => [row.what, wanted(row), verdictCell(row)]);
  const html = [
    paragraph(result.about),
    table(['', 'wanted', 'found'], rows),
    ...result.figures.flatMap(({ caption, head, rows: lines }) => [paragraph(caption), table(head, lines)]),
    ...(result.html ?? []),
    ...result.notes.map((note) => paragraph(note)),
  ];
  return { heading: result.name, html: html.join('\n') };
}

function summary(results: readonly Pick<CaseResult, 'name' | 'judged'>[]): Section {
  const rows = results.flatMap(({ name, judged }) =>
    judged
      .filter(({ outcome }) => outcome !== 'shown')
      .map((row): readonly Cell[] => [`${name}: ${row.what}`, wanted(row), verdictCell(row)]),
  );
  return { heading: 'Every bound', html: table(['', 'wanted', 'gateway'], rows) };
}

/** `skipped`: what could not be measured here, one sentence each. */
export function loadPage(
  machine: Machine,
  results: readonly CaseResult[],
  measures: readonly MeasureResult[],
  skipped: readonly string[],
): string {
  const all = [...measures, ...results];
  const missing = skipped.length === 0 ? '' : ` Not measured: ${skipped.join('; ')}.`;
  return reportPage({
    title: 'Spillway under load',
    intro: `Real processes on loopback; sender, origin and target share this machine. Measures: everything in turns, medians of the rounds. Overload cases: arrivals by chance (Poisson) that wait for nobody, each timed from the moment it was meant to leave. C = 400 requests a second (20 slots of 50 ms, lognormal), SLA 250 ms, one process each unless a case says otherwise.${missing}`,
    sections: [
      ...(all.some(({ judged }) => judged.length > 0) ? [summary(all)] : []),
      ...measures.map((result) => measureSection(result)),
      ...results.map((result) => section(result)),
      { heading: 'Machine', html: paragraph(machineLines(machine)) },
    ],
  });
}
