/** The figures that cases take out of a run: journals written by hand, for which the answer is known. */
import { describe, expect, test } from 'vitest';

import { closedRows } from '../../../loadtest/overload/closed.ts';
import { idleRows } from '../../../loadtest/overload/idle.ts';
import { metric } from '../../../loadtest/overload/metrics.ts';
import { movingLoad, movingRows } from '../../../loadtest/overload/moving.ts';
import { comparable, observeRows } from '../../../loadtest/overload/observe.ts';
import { retryRows } from '../../../loadtest/overload/retries.ts';
import { outcomeOf } from '../../../loadtest/overload/rows.ts';
import type { Row } from '../../../loadtest/overload/rows.ts';
import { unevenness } from '../../../loadtest/overload/several.ts';
import { slowRows } from '../../../loadtest/overload/slow.ts';
import { squareRows } from '../../../loadtest/overload/square.ts';
import { SURGE, surgeLoad, surgeRows } from '../../../loadtest/overload/surge.ts';
import { sweepRows } from '../../../loadtest/overload/sweep.ts';
import { figures } from '../../../loadtest/overload/window.ts';
import { LoadJournal } from '../../harness/load-journal.ts';
import { spread } from './journals.ts';

const REFUSED = { fate: 'refused', code: 'SPW_SHED_QUEUE_FULL', queuedMs: 0, tookMs: 2 } as const;
const missed = (rows: readonly Row[]): string[] =>
  rows.filter((row) => outcomeOf(row) === 'missed').map(({ what }) => what);

describe('surge', () => {
  const perfect = (critical: object = {}, surgeServed = 280): LoadJournal => {
    const journal = new LoadJournal();
    spread(journal, 0, 19_000, 120, { classIndex: 0 });
    if (Object.keys(critical).length > 0) spread(journal, 5000, 13_000, 1, { classIndex: 0, ...critical });
    spread(journal, 0, 5000, 200);
    spread(journal, 5000, 13_000, surgeServed);
    spread(journal, 5000, 13_000, 3600, REFUSED);
    spread(journal, 13_000, 19_000, 200);
    return journal;
  };

  test('sends 0.8, 10 and 0.8 C, critical 0.3 C throughout', () => {
    const { classes, phases } = surgeLoad(SURGE);
    expect(phases.map(({ ratePerSecond }) => Math.round(ratePerSecond))).toEqual([200, 3880, 200]);
    const critical = classes[0]?.phases ?? [];
    expect(critical.map(({ ratePerSecond }) => Math.round(ratePerSecond))).toEqual([120, 120, 120]);
  });

  test('all bounds are kept by a run that serves its capacity and refuses at once', () => {
    const rows = surgeRows([perfect()], SURGE, 1);
    expect(missed(rows)).toEqual([]);
    expect(rows.find(({ what }) => what === 'goodput ÷ C')?.value).toBe(1);
  });

  test('one critical request refused is missed; late ones count against the share', () => {
    expect(missed(surgeRows([perfect(REFUSED)], SURGE, 1))).toContain('critical shed');
    expect(missed(surgeRows([perfect({ tookMs: 260 })], SURGE, 1))).toEqual(['critical in time']);
  });

  test('lost goodput is missed', () => {
    expect(missed(surgeRows([perfect({}, 260)], SURGE, 1))).toEqual(['goodput ÷ C']);
  });

  test('a slow no is missed, unless the sender was slow itself', () => {
    const journal = perfect();
    spread(journal, 5000, 13_000, 100, { ...REFUSED, tookMs: 30 });
    const what = 'p99 of a refusal that did not wait';
    expect(missed(surgeRows([journal], SURGE, 1))).toEqual([what]);
    expect(surgeRows([journal], SURGE, 9).map(outcomeOf)).toContain('not judged');
    expect(missed(surgeRows([journal], SURGE, 9))).toEqual([]);
  });

  test('several senders are judged together', () => {
    const half = new LoadJournal();
    const other = new LoadJournal();
    for (const journal of [half, other]) spread(journal, 0, 19_000, 200);
    expect(surgeRows([half, other], SURGE, 1)[0]?.value).toBe(1);
  });
});

test('moving: each part is judged by its own capacity, and critical by all ten seconds', () => {
  expect(movingLoad().phases.map(({ ratePerSecond }) => ratePerSecond)).toEqual([720, 1800]);
  const journal = new LoadJournal();
  spread(journal, 5000, 10_000, 80, { classIndex: 0, fate: 'refused' });
  spread(journal, 10_000, 15_000, 80, { classIndex: 0 });
  spread(journal, 10_000, 15_000, 20);
  spread(journal, 24_000, 29_000, 800);
  const rows = movingRows(journal);
  expect(rows[0]?.value).toBe(1);
  expect(rows[1]?.value).toBe(0.5);
  expect(rows[2]?.value).toBe(0.5);
  expect(missed(rows)).toHaveLength(2);
});

test('sweep: every step past the knee is compared with the best of 0.8 to 1.2 C', () => {
  const point = (times: number, goodput: number) => ({
    offeredPerSecond: times * 400,
    goodputPerSecond: goodput * 400,
    p99Ms: 100,
    criticalRatio: 1,
  });
  const rows = sweepRows([
    point(0.5, 0.5),
    point(0.8, 0.8),
    point(1, 0.97),
    point(1.2, 1),
    point(1.5, 1),
    point(10, 0.94),
  ]);
  expect(rows[0]?.value).toBe(1);
  expect(missed(rows)).toEqual(['goodput at 10 C ÷ at the knee']);
});

test('square: three quarters of the capacity are possible', () => {
  const journal = new LoadJournal();
  spread(journal, 2000, 22_000, 80, { classIndex: 0 });
  spread(journal, 2000, 22_000, 220);
  expect(squareRows(journal, 10)[0]?.value).toBe(1);
  expect(missed(squareRows(journal, 10))).toEqual([]);
});

test('retries: the obedient are measured against what can be served, the others against what they ask', () => {
  const journal = new LoadJournal();
  spread(journal, 4000, 8000, 120, { classIndex: 0 });
  spread(journal, 4000, 8000, 280);
  spread(journal, 10_000, 14_000, 400);
  spread(journal, 10_000, 14_000, 100, { fate: 'refused', attempt: 2 });
  expect(missed(retryRows(journal, 'obedient'))).toEqual([]);
  expect(missed(retryRows(journal, 'jittered'))).toEqual([
    'jittered: in time of all attempts, from 2 s after the fall',
  ]);
});

test('idle: one refusal of a thousand sheddable requests is allowed, none of a default one', () => {
  const journal = new LoadJournal();
  spread(journal, 0, 10_000, 280);
  journal.add({ ...[...journal.entries()][0]!, classIndex: 2, fate: 'refused' });
  expect(missed(idleRows(journal))).toEqual([]);
  journal.add({ ...[...journal.entries()][0]!, classIndex: 1, fate: 'refused' });
  expect(missed(idleRows(journal))).toEqual(['default shed']);
});

test('slow: refusals are allowed in the first five seconds only, and the flag must come', () => {
  const journal = new LoadJournal();
  spread(journal, 0, 8000, 120);
  spread(journal, 8000, 13_000, 110);
  spread(journal, 8000, 13_000, 10, REFUSED);
  spread(journal, 13_000, 25_000, 120);
  expect(missed(slowRows(journal, 2000))).toEqual([]);
  expect(missed(slowRows(journal, Infinity))).toEqual(['flagged slow after']);
  spread(journal, 14_000, 25_000, 1, REFUSED);
  expect(missed(slowRows(journal, 2000))).toEqual(['shed after that']);
});

describe('closed loop', () => {
  test('a refusal in the first second misses a goal, later a bound', () => {
    const [none, one] = [
      { answers: 10, others: 0 },
      { answers: 10, others: 1 },
    ];
    expect(closedRows(one, none, 10).map(outcomeOf)).toEqual(['kept', 'goal missed', 'shown', 'shown']);
    expect(missed(closedRows(none, one, 10))).toHaveLength(1);
  });
});

describe('observe', () => {
  test('answers are alike but for ids and dates', () => {
    const answer = (id: string, date: string, body: string): string =>
      `HTTP/1.1 405 No\r\ncontent-length: ${body.length}\r\nx-request-id: ${id}\r\nDate: ${date}\r\n\r\n${body}`;
    const one = answer('ab-9', 'Mon', '{"requestId":"ab-9"}');
    expect(comparable(one)).toBe(comparable(answer('cd-10', 'Tue', '{"requestId":"cd-10"}')));
    expect(comparable(one)).not.toBe(comparable(answer('cd-10', 'Tue', '{"requestID":"cd-10"}')));
    const head = (id: string): string =>
      `HTTP/1.1 401 No\r\ncontent-type: application/problem+json\r\ncontent-length: ${100 + id.length}\r\nx-request-id: ${id}\r\n\r\n`;
    expect(comparable(head('ab-9'))).toBe(comparable(head('ab-10')));
    expect(comparable(one)).not.toBe(comparable(one.replace('\r\nDate', '\r\nretry-after: 1\r\nDate')));
  });

  test('nothing refused, something counted, nothing different', () => {
    const journal = new LoadJournal();
    spread(journal, 0, 1000, 10);
    const all = figures(journal, 250, { fromMs: 0, untilMs: 1000 });
    expect(missed(observeRows(all, 3, { compared: 24, differing: [] }))).toEqual([]);
    expect(missed(observeRows(all, 0, { compared: 24, differing: ['GET /'] }))).toHaveLength(2);
  });
});

test('shares are even within what the larger one has too much', () => {
  expect(unevenness([50, 50], 2)).toBe(0);
  expect(unevenness([60, 40], 2)).toBeCloseTo(0.2, 9);
  expect(unevenness([100], 2)).toBeNaN();
});

test('a metric is the sum of the series that have the labels', () => {
  const page =
    '# HELP a_total x\na_total{service="s",mode="observe"} 3\na_total{mode="observe",code="X"} 4\nb_total 9\n';
  expect(metric(page, 'a_total', { mode: 'observe' })).toBe(7);
  expect(metric(page, 'a_total', { service: 's' })).toBe(3);
  expect(metric(page, 'b_total')).toBe(9);
  expect(metric(page, 'c_total')).toBe(0);
});
