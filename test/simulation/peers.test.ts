/** Each peer's arithmetic on samples made by hand, against its public description (named in its file). */
import { describe, expect, test } from 'vitest';
import { Caller } from './caller.ts';
import { EnvoyGradient } from './peers/envoy.ts';
import { FixedLimit } from './peers/fixed.ts';
import { Gradient2 } from './peers/gradient2.ts';
import { LimitedGate, type LimitAlgorithm, type PeerSample } from './peers/limited-gate.ts';
import { Vegas } from './peers/vegas.ts';
import { Windowed } from './peers/windowed.ts';

function sample(rttMs: number, rest: Partial<PeerSample> = {}): PeerSample {
  return { startMs: 0, rttMs, inFlight: 1000, dropped: false, ...rest };
}

function feed(algorithm: LimitAlgorithm, count: number, one: PeerSample): void {
  for (let i = 0; i < count; i += 1) algorithm.sample(one);
}

describe('a gate with a limit', () => {
  test('refuses above it at once, whoever asks, and has room again after a release', () => {
    const gate = new LimitedGate(new FixedLimit(2));
    const [first, second, third] = [new Caller(), new Caller(), new Caller()];
    for (const caller of [first, second, third]) gate.enter(caller);
    expect(third).toMatchObject({ code: 'SPW_SHED_CONCURRENCY', permit: undefined });
    expect(gate.view()).toMatchObject({ limit: 2, inFlight: 2, queueDepth: 0 });
    expect(first.permit?.release(1)).toBe(true);
    expect(first.permit?.release(2)).toBe(false);
    expect(gate.view().inFlight).toBe(1);
    const fourth = new Caller();
    gate.enter(fourth);
    expect(fourth.code).toBe('');
  });

  test('samples answers and drops with the in-flight they met, and no errors', () => {
    const seen: PeerSample[] = [];
    const gate = new LimitedGate({
      limit: 10,
      baselineMs: 0,
      sample: (one) => seen.push(one),
      tick: () => undefined,
    });
    const callers = (['sample', 'drop', 'failed', 'ignored'] as const).map((outcome) => {
      const caller = new Caller();
      gate.enter(caller);
      caller.permit?.attempt(100);
      return { caller, outcome };
    });
    for (const { caller, outcome } of callers) caller.permit?.head(130, outcome);
    expect(seen).toEqual([
      { startMs: 100, rttMs: 30, inFlight: 1, dropped: false },
      { startMs: 100, rttMs: 30, inFlight: 2, dropped: true },
    ]);
  });
});

describe('Envoy’s gradient', () => {
  /** minRTT is 20 ms. */
  function learnt(): EnvoyGradient {
    const envoy = new EnvoyGradient(() => 0.5);
    feed(envoy, 50, sample(20));
    return envoy;
  }

  /** One window of the given latency; returns the limit after it. */
  function window(envoy: EnvoyGradient, at: number, rttMs: number): number {
    envoy.sample(sample(rttMs, { startMs: Math.max(0, at - rttMs) }));
    envoy.tick(at);
    return envoy.limit;
  }

  test('begins with 3 in flight until 50 answers tell the minRTT', () => {
    const envoy = new EnvoyGradient(() => 0.5);
    feed(envoy, 49, sample(20));
    envoy.tick(10_000);
    expect(envoy).toMatchObject({ limit: 3, baselineMs: 0, measuring: true });
    envoy.sample(sample(20));
    expect(envoy).toMatchObject({ limit: 3, baselineMs: 20, measuring: false });
  });

  test('takes the median, so one slow answer in a window changes nothing', () => {
    const envoy = learnt();
    for (const rttMs of [25, 25, 900]) envoy.sample(sample(rttMs));
    envoy.tick(200);
    expect(envoy.limit).toBe(4);
  });

  test('adds the root of the limit where the latency is minRTT and a quarter', () => {
    // 3 · 1 + √3 = 4.7; 4 + 2 = 6; 6 + 2.4 = 8.4
    const envoy = learnt();
    expect([200, 300, 400].map((at) => window(envoy, at, 25))).toEqual([4, 6, 8]);
  });

  test('doubles at most, halves at most, and stays within 3 and 1 000', () => {
    const envoy = learnt();
    // 2 · 3 + √6 = 8.4; 16 + 4 = 20; 40 + 6.3 = 46
    expect([200, 300, 400].map((at) => window(envoy, at, 1))).toEqual([8, 20, 46]);
    // 23 + 4.8 = 27.8; 13.5 + 3.7 = 17
    expect([500, 600].map((at) => window(envoy, at, 9000))).toEqual([27, 17]);
    for (let at = 700; at < 3000; at += 100) window(envoy, at, 1);
    expect(envoy.limit).toBe(1000);
  });

  test('holds without answers, and asks for a window of 100 ms', () => {
    const envoy = learnt();
    envoy.sample(sample(25));
    envoy.tick(60);
    expect(envoy.limit).toBe(3);
    envoy.tick(150);
    expect(envoy.limit).toBe(4);
    envoy.tick(250);
    expect(envoy.limit).toBe(4);
  });

  test('goes back to 3 each minute and up to 15 % later, asks none that were sent before, and resumes', () => {
    const envoy = learnt();
    window(envoy, 200, 1);
    envoy.tick(64_400);
    expect(envoy.measuring).toBe(false);
    envoy.tick(64_600);
    expect(envoy).toMatchObject({ limit: 3, measuring: true });
    feed(envoy, 100, sample(500, { startMs: 64_500 }));
    expect(envoy.measuring).toBe(true);
    feed(envoy, 50, sample(40, { startMs: 64_700 }));
    expect(envoy).toMatchObject({ limit: 8, baselineMs: 40, measuring: false });
  });

  test('measures anew after five windows at 3, and takes no drop for a latency', () => {
    const envoy = learnt();
    // Halved each time: 1.5 + 1.2 is under 3.
    for (let at = 200; at <= 500; at += 100) window(envoy, at, 9000);
    expect(envoy.measuring).toBe(false);
    window(envoy, 600, 9000);
    expect(envoy.measuring).toBe(true);
    feed(envoy, 50, sample(30, { startMs: 700, dropped: true }));
    expect(envoy.measuring).toBe(true);
  });

  test('drifts up although nobody is near the limit', () => {
    const envoy = learnt();
    for (let at = 200; at < 20_000; at += 100) {
      envoy.sample(sample(20, { startMs: at - 20, inFlight: 1 }));
      envoy.tick(at);
    }
    expect(envoy.limit).toBe(1000);
  });
});

describe('Gradient2', () => {
  test('goes a fifth of the way to limit + 4 while the latency is what it was', () => {
    const gradient = new Gradient2();
    gradient.sample(sample(20));
    expect(gradient.limit).toBeCloseTo(20.8);
    gradient.sample(sample(20));
    expect(gradient.limit).toBeCloseTo(21.6);
  });

  test('tolerates one and a half of the long mean, and halves its aim at most', () => {
    const gradient = new Gradient2();
    feed(gradient, 50, sample(20));
    const before = gradient.limit;
    gradient.sample(sample(29));
    expect(gradient.limit).toBeCloseTo(before + 0.8);
    const high = gradient.limit;
    gradient.sample(sample(2000));
    expect(gradient.limit).toBeCloseTo(0.8 * high + 0.2 * (0.5 * high + 4));
  });

  test('learns the plain mean of ten windows, then 2 ÷ 601 of each difference', () => {
    const gradient = new Gradient2();
    for (let i = 1; i <= 10; i += 1) gradient.sample(sample(10 * i));
    expect(gradient.baselineMs).toBeCloseTo(55);
    gradient.sample(sample(655));
    expect(gradient.baselineMs).toBeCloseTo(55 + (2 / 601) * 600);
  });

  test('takes a long mean of more than twice the latency down by a twentieth', () => {
    const gradient = new Gradient2();
    feed(gradient, 10, sample(100));
    gradient.sample(sample(10));
    expect(gradient.baselineMs).toBeCloseTo((100 - (2 / 601) * 90) * 0.95);
  });

  test('stays where less than half is in flight, and within 20 and 200', () => {
    const gradient = new Gradient2();
    gradient.sample(sample(20, { inFlight: 9 }));
    expect(gradient.limit).toBe(20);
    feed(gradient, 10, sample(2000));
    feed(gradient, 10, sample(9000));
    expect(gradient.limit).toBeGreaterThanOrEqual(20);
    feed(gradient, 1000, sample(20));
    expect(gradient.limit).toBe(200);
  });
});

describe('Vegas', () => {
  /** The least latency is 100 ms, the limit 20; no probe soon. */
  function learnt(): Vegas {
    const vegas = new Vegas(() => 0.999);
    vegas.sample(sample(100));
    return vegas;
  }

  test.each([
    { rttMs: 100, limit: 26, because: 'no queue' },
    { rttMs: 105, limit: 26, because: 'a queue of 1' },
    { rttMs: 110, limit: 21, because: 'a queue of 2' },
    { rttMs: 125, limit: 20, because: 'a queue of 4' },
    { rttMs: 140, limit: 20, because: 'a queue of 6' },
    { rttMs: 150, limit: 19, because: 'a queue of 7' },
  ])('$because moves a limit of 20 to $limit', ({ rttMs, limit }) => {
    const vegas = learnt();
    vegas.sample(sample(rttMs));
    expect(vegas.limit).toBe(limit);
  });

  test('a drop takes one away, also where little is in flight', () => {
    const vegas = learnt();
    vegas.sample(sample(200, { inFlight: 1 }));
    expect(vegas.limit).toBe(20);
    vegas.sample(sample(200, { inFlight: 1, dropped: true }));
    expect(vegas.limit).toBe(19);
  });

  test('steps grow with the whole part of the logarithm', () => {
    const vegas = learnt();
    for (let i = 0; i < 14; i += 1) vegas.sample(sample(100));
    expect(vegas.limit).toBe(104);
    vegas.sample(sample(100));
    expect(vegas.limit).toBe(116);
  });

  test('a lower latency is the least at once, and any after 30 · L samples', () => {
    const vegas = new Vegas(() => 0);
    vegas.sample(sample(100));
    vegas.sample(sample(80));
    expect(vegas).toMatchObject({ baselineMs: 80, limit: 20 });
    // A random half at the least: the 300th.
    feed(vegas, 297, sample(100));
    expect(vegas).toMatchObject({ baselineMs: 80, limit: 20 });
    vegas.sample(sample(100));
    expect(vegas).toMatchObject({ baselineMs: 100, limit: 20 });
  });
});

describe('windows', () => {
  test('one mean a second is heard, with the most in flight and whether something was dropped', () => {
    const heard: PeerSample[] = [];
    const windowed = new Windowed({
      limit: 7,
      baselineMs: 3,
      sample: (one) => heard.push(one),
      tick: () => undefined,
    });
    // The first answer ends the first window, which has too few.
    windowed.sample(sample(10, { startMs: 0 }));
    for (let i = 0; i < 9; i += 1)
      windowed.sample(sample(20, { startMs: 100, inFlight: i, dropped: i === 4 }));
    expect(heard).toEqual([]);
    windowed.sample(sample(40, { startMs: 1000, inFlight: 2 }));
    expect(heard).toEqual([{ startMs: 1000, rttMs: 22, inFlight: 8, dropped: true }]);
    expect(windowed).toMatchObject({ limit: 7, baselineMs: 3 });
  });

  test('a window of fewer than ten is thrown away, not extended', () => {
    const heard: PeerSample[] = [];
    const windowed = new Windowed({
      limit: 1,
      baselineMs: 0,
      sample: (one) => heard.push(one),
      tick: () => undefined,
    });
    for (let second = 0; second < 5; second += 1)
      for (let i = 0; i < 6; i += 1) windowed.sample(sample(1, { startMs: second * 1001 + i }));
    expect(heard).toEqual([]);
  });
});
