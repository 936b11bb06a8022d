import { describe, expect, test } from 'vitest';

import {
  byWorker,
  codes,
  figures,
  merged,
  p99Slices,
  percentile,
  recoveryMs,
  refusalFigures,
  timeBins,
} from '../../../loadtest/overload/window.ts';
import { LoadJournal } from '../../harness/load-journal.ts';
import { entry, spread } from './journals.ts';

const SLA_MS = 250;
const WHOLE = { fromMs: 0, untilMs: Infinity };

describe('a journal', () => {
  test('gives back what was written, also past its first rows', () => {
    const journal = new LoadJournal();
    for (let index = 0; index < 20_000; index += 1)
      journal.add(entry({ atMs: index, code: index % 2 === 0 ? 'SPW_A' : '', worker: `w${index % 3}` }));
    const entries = [...journal.entries()];
    expect(entries).toHaveLength(20_000);
    expect(entries[19_998]).toEqual(entry({ atMs: 19_998, code: 'SPW_A', worker: 'w0' }));
  });

  test('of several senders is one', () => {
    const [first, second] = [new LoadJournal(), new LoadJournal()];
    first.add(entry());
    second.add(entry({ fate: 'failed' }));
    expect(merged([first, second]).length).toBe(2);
    expect(first.length).toBe(1);
  });
});

describe('figures of a window', () => {
  const journal = new LoadJournal();
  spread(journal, 0, 1000, 10);
  spread(journal, 1000, 2000, 10, { tookMs: 251, classIndex: 0 });
  spread(journal, 1000, 2000, 30, { fate: 'refused', code: 'SPW_SHED_QUEUE_FULL', worker: 'b' });
  spread(journal, 2000, 3000, 5, { fate: 'failed', code: 'timeout', attempt: 1 });

  test('count who was meant to leave in it: in time, late, refused, failed', () => {
    expect(figures(journal, SLA_MS, { fromMs: 1000, untilMs: 2000 })).toMatchObject({
      offered: 40,
      served: 10,
      inTime: 0,
      refused: 30,
      failed: 0,
      refusedRatio: 0.75,
      p99Ms: 251,
    });
    expect(figures(journal, SLA_MS, WHOLE)).toMatchObject({ offered: 55, inTime: 10, failed: 5 });
  });

  test('can be of one class, of one worker, and of first attempts', () => {
    expect(figures(journal, SLA_MS, { ...WHOLE, classIndex: 0 }).offered).toBe(10);
    expect(figures(journal, SLA_MS, { ...WHOLE, worker: 'b' }).offered).toBe(30);
    expect(figures(journal, SLA_MS, { ...WHOLE, firstOnly: true }).failed).toBe(0);
  });

  test('nobody came: everybody was in time, and there is no percentile', () => {
    const none = figures(journal, SLA_MS, { fromMs: 9000, untilMs: 9001 });
    expect(none).toMatchObject({ offered: 0, inTimeRatio: 1 });
    expect(none.p99Ms).toBeNaN();
  });

  test('bins add up to the same, by class too', () => {
    const bins = timeBins(journal, SLA_MS, 2, 500);
    expect(bins).toHaveLength(6);
    expect(bins[2]?.all).toEqual({ offered: 20, inTime: 0, late: 5, refused: 15, failed: 0 });
    expect(bins[2]?.classes[0]).toEqual({ offered: 5, inTime: 0, late: 5, refused: 0, failed: 0 });
    expect(p99Slices(journal, 1000)).toEqual([50, 251, null]);
  });

  test('refusals and failures are told by their codes, most first', () => {
    expect(Object.entries(codes(journal, WHOLE))).toEqual([
      ['SPW_SHED_QUEUE_FULL', 30],
      ['timeout', 5],
    ]);
  });

  test('a percentile is the smallest value that so many do not exceed', () => {
    expect(percentile([3, 1, 2, 4], 0.5)).toBe(2);
    expect(percentile([3, 1, 2, 4], 0.99)).toBe(4);
    expect(percentile([], 0.5)).toBeNaN();
  });

  test('answers are counted by the worker that gave them', () => {
    expect(byWorker(journal, SLA_MS, WHOLE)).toEqual({ b: { offered: 30, inTime: 0 } });
  });
});

describe('a refusal that did not wait', () => {
  test('is known by its Server-Timing, or by a code that is never given after a wait', () => {
    const journal = new LoadJournal();
    const full = { fate: 'refused', code: 'SPW_SHED_QUEUE_FULL' } as const;
    journal.add(entry({ ...full, queuedMs: 0, tookMs: 3 }));
    journal.add(entry({ ...full, queuedMs: 40, tookMs: 43 }));
    journal.add(entry({ ...full, tookMs: 5 }));
    journal.add(entry({ fate: 'refused', code: 'SPW_SHED_OVERLOAD', tookMs: 4 }));
    journal.add(entry({ tookMs: 200 }));
    expect(refusalFigures(journal, WHOLE)).toEqual({
      refused: 4,
      prompt: 2,
      unknown: 1,
      promptP99Ms: 4,
      p99Ms: 43,
    });
  });
});

describe('recovery', () => {
  const after = (badMs: number): LoadJournal => {
    const journal = new LoadJournal();
    spread(journal, 0, 1000, 100, { fate: 'refused' });
    spread(journal, 1000, 1000 + badMs, 100, { fate: 'refused' });
    spread(journal, 1000 + badMs, 5000, 100);
    return journal;
  };

  test('is at once when the first second already has its share', () => {
    expect(recoveryMs(after(0), SLA_MS, 1000, 5000, 0.9)).toBe(0);
    expect(recoveryMs(after(100), SLA_MS, 1000, 5000, 0.9)).toBe(0);
  });

  test('is when a whole second with its share begins', () => {
    expect(recoveryMs(after(1500), SLA_MS, 1000, 5000, 0.9)).toBe(1400);
  });

  test('is never when no second had it', () => {
    expect(recoveryMs(after(3500), SLA_MS, 1000, 5000, 0.9)).toBe(Infinity);
  });
});
