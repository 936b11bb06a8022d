import { describe, expect, it } from 'vitest';
import { OutlierDetector } from '../../../src/upstreams/outlier.ts';
import { PassiveSlice, type PassiveReport } from '../../../src/upstreams/passive-slice.ts';

const POLICY = {
  consecutiveFailures: 5,
  errorRatio: 0.5,
  minRequests: 20,
  windowMs: 10_000,
  baseEjectionMs: 5000,
  maxEjectedRatio: 0.34,
};
const ALONE_BAD = { othersRatio: () => 0, mayEject: () => true };
const MIDDLE = (): number => 0.5;

function report(more: Partial<PassiveReport>): PassiveReport {
  return { ok: 0, hard: 0, soft: 0, trailingHard: 0, callers: 0b11, failedCallers: 0b11, ...more };
}

describe('ejection of an outlier', () => {
  it('comes after five hard failures in a row, over several reports', () => {
    const outlier = new OutlierDetector(POLICY);
    for (let count = 1; count <= 4; count++) {
      expect(outlier.take(report({ hard: 1, trailingHard: 1 }), count, MIDDLE, ALONE_BAD)).toBe(false);
    }
    expect(outlier.take(report({ hard: 1, trailingHard: 1 }), 5, MIDDLE, ALONE_BAD)).toBe(true);
    expect(outlier.state).toBe('ejected');
    expect(outlier.reason).toBe('5 failures in a row');
  });

  it('a success sets the streak to what came after it', () => {
    const outlier = new OutlierDetector(POLICY);
    outlier.take(report({ hard: 4, trailingHard: 4 }), 0, MIDDLE, ALONE_BAD);
    outlier.take(report({ ok: 1, hard: 3, trailingHard: 2 }), 1, MIDDLE, ALONE_BAD);
    outlier.take(report({ hard: 2, trailingHard: 2 }), 2, MIDDLE, ALONE_BAD);
    expect(outlier.state).toBe('ok');
    outlier.take(report({ hard: 1, trailingHard: 1 }), 3, MIDDLE, ALONE_BAD);
    expect(outlier.state).toBe('ejected');
  });

  it('comes at half of twenty requests, soft failures included', () => {
    const outlier = new OutlierDetector(POLICY);
    outlier.take(report({ ok: 10, soft: 9 }), 0, MIDDLE, ALONE_BAD);
    expect(outlier.state).toBe('ok');
    outlier.take(report({ soft: 1 }), 100, MIDDLE, ALONE_BAD);
    expect(outlier.reason).toBe('10 of 20 requests failed');
  });

  it('soft failures alone never make a streak', () => {
    const outlier = new OutlierDetector(POLICY);
    outlier.take(report({ soft: 19 }), 0, MIDDLE, ALONE_BAD);
    expect(outlier.state).toBe('ok');
  });

  it('forgets what is older than the window', () => {
    const outlier = new OutlierDetector(POLICY);
    outlier.take(report({ ok: 9, soft: 10 }), 0, MIDDLE, ALONE_BAD);
    outlier.take(report({ soft: 9 }), 20_000, MIDDLE, ALONE_BAD);
    expect(outlier.state).toBe('ok');
  });

  it('does not come while the others fail alike', () => {
    const outlier = new OutlierDetector(POLICY);
    const alike = { othersRatio: () => 0.9, mayEject: () => true };
    outlier.take(report({ hard: 30, trailingHard: 30 }), 0, MIDDLE, alike);
    expect(outlier.state).toBe('ok');
    const half = { othersRatio: () => 0.3, mayEject: () => true };
    const mixed = new OutlierDetector(POLICY);
    mixed.take(report({ ok: 15, hard: 15 }), 0, MIDDLE, half);
    expect(mixed.state).toBe('ok'); // 30 % is more than half of 50 %
  });

  it('one crashing URL of one caller trips nothing, however often it is asked', () => {
    const outlier = new OutlierDetector(POLICY);
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
      const outlier = new OutlierDetector(POLICY);
      outlier.take(report({ hard: 5, trailingHard: 5, callers, failedCallers }), 0, MIDDLE, ALONE_BAD);
      expect(outlier.state).toBe('ejected');
    }
  });

  it('callers are forgotten with the window', () => {
    const outlier = new OutlierDetector(POLICY);
    outlier.take(report({ ok: 1, callers: 0b1111, failedCallers: 0 }), 0, MIDDLE, ALONE_BAD);
    const failures = report({ hard: 5, trailingHard: 5, callers: 1, failedCallers: 1 });
    outlier.take(failures, 4000, MIDDLE, ALONE_BAD);
    expect(outlier.state).toBe('ok');
    outlier.take(failures, 60_000, MIDDLE, ALONE_BAD);
    expect(outlier.state).toBe('ejected');
  });

  it('lasts 5 s, then 10, 20, 40 with failing trials, 300 s at most, a quarter more or less', () => {
    for (const [random, factor] of [
      [() => 0, 0.75],
      [MIDDLE, 1],
    ] as const) {
      const outlier = new OutlierDetector(POLICY);
      let now = 0;
      outlier.take(report({ hard: 5, trailingHard: 5 }), now, random, ALONE_BAD);
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
    const last = { othersRatio: () => 0, mayEject: () => false };
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
      outlier.take(report({ hard: 5, trailingHard: 5 }), again, MIDDLE, ALONE_BAD);
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
    const outlier = new OutlierDetector(POLICY);
    const full = { othersRatio: () => 0, mayEject: () => false };
    outlier.take(report({ hard: 5, trailingHard: 5 }), 0, MIDDLE, full);
    expect(outlier.state).toBe('ok');
    outlier.take(report({ hard: 1, trailingHard: 1 }), 1, MIDDLE, ALONE_BAD);
    expect(outlier.reason).toBe('6 failures in a row');
  });
});

function ejectedAt0(): OutlierDetector {
  const outlier = new OutlierDetector(POLICY);
  outlier.take(report({ hard: 5, trailingHard: 5 }), 0, MIDDLE, ALONE_BAD);
  expect(outlier.state).toBe('ejected');
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
    expect(slice.take()).toEqual({
      ok: 1,
      hard: 3,
      soft: 1,
      trailingHard: 2,
      callers: (1 << 1) | (1 << 2) | (1 << 3) | (1 << 31),
      failedCallers: (1 << 1) | (1 << 3) | (1 << 31),
    });
    expect(slice.empty).toBe(true);
  });

  it('a failed connection is no caller of its own', () => {
    const slice = new PassiveSlice();
    slice.record('connect', 4);
    expect(slice.take()).toMatchObject({ hard: 1, trailingHard: 1, callers: 16, failedCallers: -1 });
  });
});
