/** How a rolling experiment is judged and told: one row a promise, one line a phase. */
import type { Figures } from '../measure.ts';
import type { Row } from '../overload/rows.ts';
import type { PhaseFigures } from './ledger.ts';

export function sumOf(figures: readonly PhaseFigures[], of: (figures: PhaseFigures) => number): number {
  return figures.reduce((sum, each) => sum + of(each), 0);
}

/** What must not happen once. */
export function noneRow(what: string, value: number): Row {
  return { what, unit: 'count', value, bound: { most: 0 } };
}

/** Why a miss says more about the machine, where the sender itself did not come round (`RollingLoad.stood`). */
export function excuseOf(stood: string): Pick<Row, 'excuse'> {
  return stood === '' ? {} : { excuse: stood };
}

/** What holds in every phase in which whoever leaves says so. */
export function soundRows(figures: readonly PhaseFigures[], stood: string): Row[] {
  const requests = sumOf(figures, ({ sent }) => sent);
  const posts = sumOf(figures, (each) => each.posts);
  return [
    // Without a request nothing was shown.
    {
      ...noneRow(
        `failed of ${requests}`,
        requests === 0 ? Number.NaN : sumOf(figures, ({ failed }) => failed),
      ),
      ...excuseOf(requests === 0 ? '' : stood),
    },
    noneRow(
      `POSTs run twice of ${posts}`,
      posts === 0 ? Number.NaN : sumOf(figures, ({ duplicated }) => duplicated),
    ),
    noneRow(
      'POSTs answered that no instance has seen',
      sumOf(figures, ({ unfounded }) => unfounded),
    ),
    {
      what: 'sessions moved though their instance stayed, of all answers',
      unit: 'share',
      value: sumOf(figures, ({ moved }) => moved['without a cause']) / Math.max(1, requests),
      bound: { most: 0.001 },
    },
  ];
}

export function phaseTable(figures: readonly PhaseFigures[], caption: string): Figures {
  return {
    caption,
    head: ['phase', 'sent', 'failed', 'run twice', 'moved with instance', 'moved', 'spilled', 'p50', 'p99'],
    rows: figures.map(({ phase, sent, failed, duplicated, moved, p50Ms, p99Ms }) => [
      phase,
      String(sent),
      String(failed),
      String(duplicated),
      String(moved['with the instance']),
      String(moved['without a cause']),
      String(moved.spill),
      `${p50Ms.toFixed(0)} ms`,
      `${p99Ms.toFixed(0)} ms`,
    ]),
  };
}

/** What failed, in words, a line for each kind of each phase. */
export function failures(figures: readonly PhaseFigures[]): string[] {
  return figures.flatMap(({ phase, faults }) =>
    Object.entries(faults).map(([kind, count]) => `${phase}: ${count} × ${kind}`),
  );
}
