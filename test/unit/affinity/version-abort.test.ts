/** When a canary is worse than what it runs beside: by its answers, in windows, compared with the same seconds. */
import { describe, expect, test } from 'vitest';

import { CanaryTrial, judgeWindow, wilsonUpper } from '../../../src/affinity/canary-abort.ts';
import { VersionBook, emptyTally, quantileMs, since, sumOf } from '../../../src/affinity/version-tally.ts';
import type { VersionTally } from '../../../src/affinity/version-tally.ts';
import { seededRandom } from '../../../src/kernel/random.ts';

function tally(version: string, answered: number, failed = 0, ms = 50): VersionTally {
  const book = new VersionBook(version);
  for (let n = 0; n < answered; n++) book.answer(n < failed, ms);
  return book.tally;
}

describe('what a version answered', () => {
  test('is added and subtracted, and a book that was begun anew counts from nothing', () => {
    const book = new VersionBook('v2');
    book.answer(false, 10);
    const before = book.tally;
    book.answer(true, 1000);
    book.lost();
    book.miss();
    const later = since(book.tally, before);
    expect([later.answered, later.failed, later.missed]).toEqual([2, 2, 1]);
    expect(quantileMs(later, 0.5)).toBeGreaterThanOrEqual(1000);
    expect(sumOf(before, later)).toEqual(book.tally);
    expect(since(before, book.tally)).toEqual(before);
  });

  test('knows a quantile to an eighth, from 5 ms up', () => {
    for (const ms of [7, 33, 250, 4000, 60_000]) {
      const told = quantileMs(tally('v', 200, 0, ms), 0.95);
      expect(told / ms).toBeGreaterThanOrEqual(1 - 1e-9);
      expect(told / ms).toBeLessThan(1.13);
    }
    expect(quantileMs(tally('v', 10, 0, 0.1), 0.95)).toBe(5);
    expect(quantileMs(tally('v', 10, 0, 1e9), 0.95)).toBeGreaterThan(60_000);
    expect(quantileMs(emptyTally('v'), 0.95)).toBe(0);
  });
});

describe('one window', () => {
  test.each([
    // Nothing to say before a hundred of both.
    { own: [99, 99], others: [5000, 0], is: 'open' },
    { own: [5000, 5000], others: [99, 0], is: 'open' },
    { own: [100, 0], others: [100, 0], is: 'fine' },
    // 2 of 100 could be 1 %; 30 of 1 000 could not.
    { own: [100, 2], others: [5000, 0], is: 'fine' },
    { own: [1000, 30], others: [5000, 0], is: 'worse' },
    { own: [100, 10], others: [5000, 0], is: 'worse' },
    // What fails behind both aborts nobody.
    { own: [1000, 500], others: [5000, 2500], is: 'fine' },
    { own: [1000, 0], others: [5000, 2500], is: 'fine' },
    // One point is allowed, however certain it is.
    { own: [100_000, 900], others: [100_000, 0], is: 'fine' },
    { own: [100_000, 1200], others: [100_000, 0], is: 'worse' },
  ])('with $own answers and failures beside $others is $is', ({ own, others, is }) => {
    const [answered = 0, failed = 0] = own;
    const [theirs = 0, theirFailed = 0] = others;
    expect(judgeWindow(tally('v2', answered, failed), tally('', theirs, theirFailed)).is).toBe(is);
  });

  test.each([
    [100, 140, 'fine'],
    [100, 200, 'worse'],
    [0.5, 4.9, 'fine'],
    [0.5, 9, 'worse'],
  ])('with a p95 of %d ms and %d ms in the canary is %s', (others, own, is) => {
    expect(judgeWindow(tally('v2', 200, 0, own), tally('', 200, 0, others)).is).toBe(is);
  });

  test('says why', () => {
    expect(judgeWindow(tally('v2', 1000, 100), tally('', 1000, 10))).toEqual({
      is: 'worse',
      reason: 'fails 10.0 %, the others 1.0 %',
    });
    expect(judgeWindow(tally('v2', 100, 0, 400), tally('', 100, 0, 50))).toMatchObject({
      reason: expect.stringMatching(/^p95 4\d\d ms, the others 5\d ms$/) as unknown,
    });
  });

  test('the upper end of the interval is where Wilson has it', () => {
    // Worked out by hand from the formula in his paper.
    expect(wilsonUpper(95, 100)).toBeCloseTo(0.9785, 4);
    expect(wilsonUpper(0, 100)).toBeCloseTo(0.037, 3);
    expect(wilsonUpper(100, 100)).toBeCloseTo(1, 9);
  });
});

describe('a trial', () => {
  /** Runs windows of ten seconds in reports of one; the second of the abort, or -1. */
  function run(seconds: number, canary: (second: number) => VersionTally, others = tally('', 100)): number {
    const trial = new CanaryTrial('v2', 0);
    for (let second = 1; second <= seconds; second++) {
      trial.add(canary(second), others, second * 1000);
      if (trial.settle(second * 1000)) return second;
    }
    return -1;
  }

  test('ends after three windows in a row that were worse, and not before', () => {
    expect(run(60, () => tally('v2', 50, 10))).toBe(30);
    // The second window is fine.
    expect(run(60, (second) => tally('v2', 50, second > 10 && second <= 20 ? 0 : 10))).toBe(50);
  });

  test('waits for a hundred answers a window', () => {
    expect(run(100, () => tally('v2', 4, 2))).toBe(75);
    expect(run(3600, () => emptyTally('v2'))).toBe(-1);
    expect(run(3600, () => tally('v2', 50, 50), emptyTally(''))).toBe(-1);
  });

  test('takes silence for worse when it had answered, and callers are sent there', () => {
    const missed = { ...emptyTally('v2'), missed: 3 };
    expect(run(120, (second) => (second <= 5 ? tally('v2', 5) : missed))).toBe(35);
    // It is not deployed yet, or nobody is sent there.
    expect(run(120, () => missed)).toBe(-1);
    expect(run(120, (second) => (second <= 5 ? tally('v2', 5) : emptyTally('v2')))).toBe(-1);
  });

  test('of a canary as good as the others goes on for a day', () => {
    const random = seededRandom(11);
    const draw = (version: string, count: number): VersionTally => {
      const book = new VersionBook(version);
      for (let n = 0; n < count; n++) {
        const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
        book.answer(random() < 0.02, 40 * Math.exp(normal));
      }
      return book.tally;
    };
    const trial = new CanaryTrial('v2', 0);
    for (let window = 1; window <= 8640; window++) {
      // The least that is judged: a hundred answers, of times as spread as they come.
      trial.add(draw('v2', 100), draw('', 200), window * 10_000);
      expect(trial.settle(window * 10_000), `window ${window}`).toBe(false);
    }
  });
});
