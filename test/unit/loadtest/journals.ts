/** Journals written by hand: so many requests a second, all with the same fate. */
import type { Entry, LoadJournal } from '../../harness/load-journal.ts';

export type Written = Partial<Entry>;

export function entry(more: Written = {}): Entry {
  const atMs = more.atMs ?? 0;
  return {
    atMs,
    tookMs: 50,
    firstAtMs: atMs,
    attempt: 0,
    classIndex: 1,
    fate: 'served',
    code: '',
    queuedMs: Number.NaN,
    worker: '',
    ...more,
  };
}

/** `perSecond` entries a second from `fromMs` on, evenly. */
export function spread(
  journal: LoadJournal,
  fromMs: number,
  untilMs: number,
  perSecond: number,
  more: Written = {},
): void {
  const stepMs = 1000 / perSecond;
  for (let index = 0; ; index += 1) {
    const atMs = fromMs + (index + 0.5) * stepMs;
    if (atMs >= untilMs) return;
    journal.add(entry({ ...more, atMs }));
  }
}
