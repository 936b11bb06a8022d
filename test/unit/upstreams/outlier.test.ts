import { describe, expect, it } from 'vitest';
import { OutlierDetector, type Company } from '../../../src/upstreams/outlier.ts';
import type { Outcomes } from '../../../src/upstreams/recent-outcomes.ts';
import { PassiveSlice, type PassiveReport } from '../../../src/upstreams/passive-slice.ts';
import { OUTLIER, report } from './fleet-model.ts';

const ALONE_BAD = others(0);
const FIVE = { hard: 5, trailingHard: 5 } as const;
const MIDDLE = (): number => 0.5;

/** Of their requests so many fail, over the window, and while a row lasts. */
function others(ratio: number, mayEject = true, since = ratio): Company {
  const of = (share: number): Outcomes => ({
    ok: Math.round(100 - 100 * share),
    failed: Math.round(100 * share),
  });
  return {
    inWindow: () => of(ratio),
    between: () => of(since),
    heardSince: () => true,
    mayEject: () => mayEject,
  };
}

/** Takes a report; what it is judged to be once the others are known: 400 ms later. */
function judged(
  outlier: OutlierDetector,
  more: Partial<PassiveReport>,
  now: number,
  company = ALONE_BAD,
): string {
  outlier.take(report(more), now, MIDDLE, company);
  outlier.settle(now + 400, MIDDLE, company);
  return outlier.state;
}

describe('ejection of an outlier', () => {
  it('comes after five hard failures in a row, over several reports', () => {
    const outlier = new OutlierDetector(OUTLIER);
    for (let count = 1; count <= 4; count++) {
      expect(judged(outlier, { hard: 1, trailingHard: 1 }, count)).toBe('ok');
    }
    expect(outlier.take(report({ hard: 1, trailingHard: 1 }), 500, MIDDLE, ALONE_BAD)).toBe(true);
    expect(outlier.state).toBe('ejected');
    expect(outlier.reason).toBe('5 failures in a row');
  });

  it('a success sets the streak to what came after it', () => {
    const outlier = new OutlierDetector(OUTLIER);
    outlier.take(report({ hard: 4, trailingHard: 4 }), 0, MIDDLE, ALONE_BAD);
    outlier.take(report({ ok: 1, hard: 3, trailingHard: 2 }), 1, MIDDLE, ALONE_BAD);
    outlier.take(report({ hard: 2, trailingHard: 2 }), 2, MIDDLE, ALONE_BAD);
    outlier.settle(402, MIDDLE, ALONE_BAD);
    expect(outlier.state).toBe('ok');
    expect(judged(outlier, { hard: 1, trailingHard: 1 }, 403)).toBe('ejected');
  });

  it('comes at half of twenty requests, soft failures included', () => {
    const outlier = new OutlierDetector(OUTLIER);
    outlier.take(report({ ok: 10, soft: 9 }), 0, MIDDLE, ALONE_BAD);
    expect(outlier.state).toBe('ok');
    outlier.take(report({ soft: 1 }), 100, MIDDLE, ALONE_BAD);
    expect(outlier.reason).toBe('10 of 20 requests failed');
  });

  it('soft failures alone never make a streak', () => {
    const outlier = new OutlierDetector(OUTLIER);
    outlier.take(report({ soft: 19 }), 0, MIDDLE, ALONE_BAD);
    expect(outlier.state).toBe('ok');
  });

  it('forgets what is older than the window', () => {
    const outlier = new OutlierDetector(OUTLIER);
    outlier.take(report({ ok: 9, soft: 10 }), 0, MIDDLE, ALONE_BAD);
    outlier.take(report({ soft: 9 }), 20_000, MIDDLE, ALONE_BAD);
    expect(outlier.state).toBe('ok');
  });

  it('does not come while the others fail alike', () => {
    const outlier = new OutlierDetector(OUTLIER);
    expect(judged(outlier, { hard: 30, trailingHard: 30 }, 0, others(0.9))).toBe('ok');
    const mixed = new OutlierDetector(OUTLIER);
    expect(judged(mixed, { ok: 15, hard: 15 }, 0, others(0.3))).toBe('ok'); // 30 % is more than half of 50 %
  });

  it('does not come where the others began to fail just now, though their window still looks good', () => {
    for (const failures of [FIVE, { ok: 15, hard: 15 }, { hard: 30, trailingHard: 30 }]) {
      const outlier = new OutlierDetector(OUTLIER);
      expect(judged(outlier, failures, 0, others(0.02, true, 0.9))).toBe('ok');
    }
  });

  it('a row waits until the others are known: for one report and 400 ms, and where they have no traffic for another row after a second', () => {
    const outlier = new OutlierDetector(OUTLIER);
    const asked: number[][] = [];
    const company = {
      ...ALONE_BAD,
      between: (from: number, to: number) => {
        asked.push([from, to]);
        return { ok: 0, failed: 0 };
      },
      heardSince: () => false,
    };
    outlier.take(report(FIVE), 1000, MIDDLE, company);
    asked.length = 0; // what the ratio of the window wants to know
    for (const now of [1399, 1400, 1999]) outlier.settle(now, MIDDLE, company);
    expect(asked).toEqual([
      [1100, 1400],
      [1100, 1400],
    ]);
    expect(outlier.state).toBe('ok');
    outlier.take(report({ hard: 4, trailingHard: 4 }), 2000, MIDDLE, company);
    expect(outlier.state).toBe('ok');
    outlier.take(report({ hard: 1, trailingHard: 1 }), 2100, MIDDLE, company);
    expect(outlier.state).toBe('ejected');
  });

  it('a row that a breaker cut off for all is no verdict, nor are the trials after it', () => {
    const outlier = new OutlierDetector(OUTLIER);
    const silent = { ...ALONE_BAD, between: () => ({ ok: 0, failed: 0 }), heardSince: () => false };
    outlier.take(report(FIVE), 1000, MIDDLE, silent);
    for (const now of [2000, 2500, 3500]) outlier.settle(now, MIDDLE, silent);
    for (const now of [3600, 7800]) outlier.take(report({ hard: 1, trailingHard: 1 }), now, MIDDLE, silent);
    expect(outlier.state).toBe('ok');
  });

  it('a row that ended long ago is not judged by how the others fare now', () => {
    const outlier = new OutlierDetector(OUTLIER);
    outlier.take(report(FIVE), 0, MIDDLE, others(0.9));
    expect(outlier.suspected(2500)).toBe(true);
    expect(outlier.suspected(2501)).toBe(false);
    outlier.settle(2501, MIDDLE, ALONE_BAD);
    expect(outlier.state).toBe('ok');
  });

  it('a failure on trial is no verdict while the others fail alike', () => {
    const outlier = ejectedAt0();
    outlier.tick(6000);
    outlier.take(report({ hard: 1, trailingHard: 1 }), 6001, MIDDLE, others(0.02, true, 0.9));
    expect(outlier.state).toBe('trial');
    outlier.take(report({ hard: 1, trailingHard: 1 }), 7001, MIDDLE, others(0.02, true, 0.1));
    expect(outlier.state).toBe('ejected');
  });

  it('one crashing URL of one caller trips nothing, however often it is asked', () => {
    const outlier = new OutlierDetector(OUTLIER);
    for (let now = 0; now < 20_000; now += 100) {
      outlier.take(
        report({ ok: 3, hard: 9, trailingHard: 9, callers: 0b1111, failedCallers: 0b1 }),
        now,
        MIDDLE,
        ALONE_BAD,
      );
    }
    expect(outlier.state).toBe('ok');
  });

  it('two callers that fail, or one of two, count', () => {
    for (const [callers, failedCallers] of [
      [0b1111, 0b11],
      [0b11, 0b1],
    ] as const) {
      const outlier = new OutlierDetector(OUTLIER);
      expect(judged(outlier, { ...FIVE, callers, failedCallers }, 0)).toBe('ejected');
    }
  });

  it('callers are forgotten with the window', () => {
    const outlier = new OutlierDetector(OUTLIER);
    outlier.take(report({ ok: 1, callers: 0b1111, failedCallers: 0 }), 0, MIDDLE, ALONE_BAD);
    const failures = { ...FIVE, callers: 1, failedCallers: 1 };
    expect(judged(outlier, failures, 4000)).toBe('ok');
    expect(judged(outlier, failures, 60_000)).toBe('ejected');
  });

  it('lasts 5 s, then 10, 20, 40 with failing trials, 300 s at most, a quarter more or less', () => {
    for (const [random, factor] of [
      [() => 0, 0.75],
      [MIDDLE, 1],
    ] as const) {
      const outlier = new OutlierDetector(OUTLIER);
      let now = 0;
      outlier.take(report(FIVE), now - 400, random, ALONE_BAD);
      outlier.settle(now, random, ALONE_BAD);
      for (const spanMs of [5000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]) {
        outlier.tick(now + spanMs * factor - 1);
        expect(outlier.state).toBe('ejected');
        now += spanMs * factor;
        outlier.tick(now);
        expect(outlier.state).toBe('trial');
        outlier.take(report({ hard: 1, trailingHard: 1 }), now, random, ALONE_BAD);
        expect(outlier.reason).toBe('failed on trial');
      }
    }
  });

  it('ends with three successes on trial', () => {
    const outlier = ejectedAt0();
    outlier.tick(5000);
    outlier.take(report({ ok: 2 }), 5001, MIDDLE, ALONE_BAD);
    expect(outlier.state).toBe('trial');
    outlier.take(report({ ok: 1 }), 5002, MIDDLE, ALONE_BAD);
    expect(outlier.state).toBe('ok');
  });

  it('a failure on trial begins the count anew where the service cannot spare it', () => {
    const outlier = ejectedAt0();
    outlier.tick(5000);
    const last = others(0, false);
    outlier.take(report({ ok: 2 }), 5001, MIDDLE, last);
    outlier.take(report({ hard: 1, trailingHard: 1 }), 5002, MIDDLE, last);
    outlier.take(report({ ok: 2 }), 5003, MIDDLE, last);
    expect(outlier.state).toBe('trial');
    outlier.take(report({ ok: 1 }), 5004, MIDDLE, last);
    expect(outlier.state).toBe('ok');
  });

  it('grows less after each quiet minute', () => {
    for (const [quietMs, spanMs] of [
      [59_000, 10_000],
      [60_000, 5000],
    ] as const) {
      const outlier = ejectedAt0();
      outlier.tick(5000);
      outlier.take(report({ ok: 3 }), 5000, MIDDLE, ALONE_BAD);
      const again = 5000 + quietMs;
      judged(outlier, FIVE, again - 400);
      outlier.tick(again + spanMs - 1);
      expect(outlier.state).toBe('ejected');
      outlier.tick(again + spanMs);
      expect(outlier.state).toBe('trial');
    }
  });

  it('stragglers of the time before an ejection change nothing', () => {
    const outlier = ejectedAt0();
    outlier.take(report({ hard: 50, trailingHard: 50 }), 1, MIDDLE, ALONE_BAD);
    outlier.tick(5000);
    expect(outlier.state).toBe('trial');
    expect(outlier.failedCount(5000)).toBe(0);
  });

  it('waits while the service cannot spare one more', () => {
    const outlier = new OutlierDetector(OUTLIER);
    expect(judged(outlier, FIVE, 0, others(0, false))).toBe('ok');
    expect(judged(outlier, { hard: 1, trailingHard: 1 }, 500)).toBe('ejected');
    expect(outlier.reason).toBe('6 failures in a row');
  });
});

function ejectedAt0(): OutlierDetector {
  const outlier = new OutlierDetector(OUTLIER);
  expect(judged(outlier, FIVE, -400)).toBe('ejected');
  return outlier;
}

describe('what a worker reports of an instance', () => {
  it('counts verdicts, the trailing streak and the callers, and begins anew', () => {
    const slice = new PassiveSlice();
    slice.record('hard', 1);
    slice.record('ok', 2);
    slice.record('hard', 3);
    slice.record('soft', 35); // the same bit as 3
    slice.record('hard', -1);
    slice.noteDrain();
    expect(slice.take()).toEqual({
      ok: 1,
      hard: 3,
      soft: 1,
      trailingHard: 2,
      callers: (1 << 1) | (1 << 2) | (1 << 3) | (1 << 31),
      failedCallers: (1 << 1) | (1 << 3) | (1 << 31),
      drains: true,
    });
    expect(slice.empty).toBe(true);
  });

  it('tells a notice even if the answer that carried it has not ended', () => {
    const slice = new PassiveSlice();
    slice.noteDrain();
    expect(slice.empty).toBe(false);
    expect(slice.take()).toMatchObject({ ok: 0, callers: 0, drains: true });
    expect(slice.empty).toBe(true);
  });

  it('a failed connection is no caller of its own', () => {
    const slice = new PassiveSlice();
    slice.record('connect', 4);
    expect(slice.take()).toMatchObject({ hard: 1, trailingHard: 1, callers: 16, failedCallers: -1 });
  });
});
