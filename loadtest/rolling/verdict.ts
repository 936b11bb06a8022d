/** How a rolling experiment is judged and told: one row a promise, one line a phase. */
import type { Figures } from '../measure.ts';
import type { Row } from '../overload/rows.ts';
import type { PhaseFigures } from './ledger.ts';

export function sumOf(figures: readonly PhaseFigures[], of: (figures: PhaseFigures) => number): number {
  return figures.reduce((sum, each) => sum + of(each), 0);
}

/** What holds in every phase in which whoever leaves says so. */
export function soundRows(figures: readonly PhaseFigures[]): Row[] {
  const requests = sumOf(figures, ({ sent }) => sent);
  const posts = sumOf(figures, (each) => each.posts);
  return [
    {
      what: `failed of ${requests}`,
      unit: 'count',
      // Without a request nothing was shown.
      value: requests === 0 ? Number.NaN : sumOf(figures, ({ failed }) => failed),
      bound: { most: 0 },
    },
    {
      what: `POSTs run twice of ${posts}`,
      unit: 'count',
      value: posts === 0 ? Number.NaN : sumOf(figures, ({ duplicated }) => duplicated),
      bound: { most: 0 },
    },
    {
      what: 'POSTs answered that no instance has seen',
      unit: 'count',
      value: sumOf(figures, ({ unfounded }) => unfounded),
      bound: { most: 0 },
    },
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
