import { describe, expect, test } from 'vitest';
import { between, seededRandom } from '../../../src/kernel/random.ts';
import { Baseline } from '../../../src/shedding/baseline.ts';
import { reading } from './readings.ts';

function learnt(p50Ms: number, p95Ms: number): Baseline {
  const baseline = new Baseline();
  baseline.learn(reading({ p50Ms, p95Ms, bound: false }), true, true);
  return baseline;
}

describe('the baseline', () => {
  test('is what the first window shows, verified unless somebody waited', () => {
    expect(learnt(50, 100)).toMatchObject({ p50Ms: 50, p95Ms: 100, verified: true });
    const bound = new Baseline();
    bound.learn(reading({ bound: true }), false, true);
    expect(bound.verified).toBe(false);
  });

  test('goes down by 30 % of the way, whatever the load', () => {
    const baseline = learnt(100, 200);
    baseline.learn(reading({ p50Ms: 50, p95Ms: 200 }), false, true);
    expect(baseline.p50Ms).toBeCloseTo(85);
    baseline.learn(reading({ p50Ms: 35, p95Ms: 200 }), true, true);
    expect(baseline.p50Ms).toBeCloseTo(70);
  });

  test('averages calm windows that lie a little below, so that two gateways learn the same', () => {
    const baseline = learnt(100, 200);
    baseline.learn(reading({ p50Ms: 82, p95Ms: 200 }), true, true);
    expect(baseline.p50Ms).toBeCloseTo(99.1);
    // In a window that is not calm nothing but the service can make answers faster.
    baseline.learn(reading({ p50Ms: 89.1, p95Ms: 200 }), false, true);
    expect(baseline.p50Ms).toBeCloseTo(96.1);
  });

  test('averages noise: two that see different windows of one service end within 5 % of each other', () => {
    const random = seededRandom(9);
    const [one, two] = [learnt(40, 90), learnt(62, 120)];
    for (let i = 0; i < 400; i += 1) {
      for (const baseline of [one, two]) {
        baseline.learn(reading({ p50Ms: between(random, 42, 58), p95Ms: 110, bound: false }), true, true);
      }
    }
    expect(Math.abs(Math.log(one.p50Ms / two.p50Ms))).toBeLessThan(0.05);
    expect(one.p50Ms).toBeGreaterThan(48);
  });

  test('takes a tenth of the way down in its 95th percentile, which is never below its median', () => {
    const baseline = learnt(100, 200);
    baseline.learn(reading({ p50Ms: 100, p95Ms: 150 }), false, true);
    expect(baseline.p95Ms).toBeCloseTo(195);
    for (let i = 0; i < 200; i += 1) baseline.learn(reading({ p50Ms: 100, p95Ms: 20 }), false, true);
    expect(baseline.p95Ms).toBe(baseline.p50Ms);
  });

  test('goes up by 5 %, and only in a calm and clean window', () => {
    const baseline = learnt(50, 100);
    baseline.learn(reading({ p50Ms: 150, p95Ms: 300 }), false, true);
    baseline.learn(reading({ p50Ms: 150, p95Ms: 300 }), true, false);
    expect(baseline).toMatchObject({ p50Ms: 50, p95Ms: 100 });
    baseline.learn(reading({ p50Ms: 150, p95Ms: 300 }), true, true);
    expect(baseline.p50Ms).toBeCloseTo(55);
  });

  test('follows overload nowhere in an hour of it', () => {
    const baseline = learnt(50, 100);
    for (let i = 0; i < 18_000; i += 1) baseline.learn(reading({ p50Ms: 75, p95Ms: 180 }), false, true);
    expect(baseline.p50Ms).toBe(50);
  });

  test('is verified by twice the load without a slower answer', () => {
    const baseline = new Baseline();
    baseline.learn(reading({ inFlight: 20 }), false, true);
    baseline.learn(reading({ inFlight: 40, p50Ms: 80 }), false, true);
    expect(baseline.verified).toBe(false);
    baseline.learn(reading({ inFlight: 20 }), false, true);
    baseline.learn(reading({ inFlight: 40, p50Ms: 52, steady: false }), false, true);
    baseline.learn(reading({ inFlight: 39, p50Ms: 52 }), false, true);
    expect(baseline.verified).toBe(false);
    baseline.learn(reading({ inFlight: 40, p50Ms: 52 }), false, true);
    expect(baseline.verified).toBe(true);
  });

  test.each([
    [40, 50],
    [36, 36],
  ])(
    'that a lucky first window put at %i ms is %i ms then: what is far slower has changed',
    (first, then) => {
      const baseline = new Baseline();
      baseline.learn(reading({ inFlight: 20, p50Ms: first }), false, true);
      baseline.learn(reading({ inFlight: 20, p50Ms: 50 }), false, true);
      baseline.learn(reading({ inFlight: 40, p50Ms: 53 }), false, true);
      expect(baseline.p50Ms).toBe(then);
    },
  );

  test('learnt anew is verified only when that was sure', () => {
    const baseline = learnt(50, 100);
    baseline.relearn(reading({ p50Ms: 300, p95Ms: 500 }), false);
    expect(baseline).toMatchObject({ p50Ms: 300, p95Ms: 500, verified: false });
    baseline.relearn(reading({ p50Ms: 300, p95Ms: 500 }), true);
    expect(baseline.verified).toBe(true);
  });
});

describe('the tolerance', () => {
  test('at 16 permits refuses nobody for a wait below a tenth of the SLA', () => {
    expect(learnt(2, 4).toleranceMs(80, 250, 16)).toBeCloseTo(27);
  });

  test('is between 1.25 and 1.5 baselines, by how much of the SLA the tail takes', () => {
    expect(learnt(200, 300).toleranceMs(80, 250, 16)).toBeCloseTo(250);
    expect(learnt(300, 310).toleranceMs(80, 1000, 16)).toBeCloseTo(450);
    expect(learnt(400, 430).toleranceMs(80, 1000, 16)).toBeCloseTo(558.14, 1);
  });

  test('is wider where there are few samples', () => {
    const baseline = learnt(100, 200);
    expect(baseline.toleranceMs(29, 250, 16)).toBeCloseTo(180);
    expect(baseline.toleranceMs(30, 250, 16)).toBeCloseTo(125);
  });

  test('is a queue of so many requests, whoever sends them: twice as wide for half the permits, four fifths from 20 on', () => {
    const slackMs = (limit: number): number => learnt(100, 200).toleranceMs(80, 250, limit) - 100;
    expect(slackMs(16)).toBeCloseTo(25);
    expect(slackMs(8)).toBeCloseTo(50);
    expect(slackMs(20)).toBeCloseTo(20);
    expect(slackMs(100_000)).toBe(slackMs(20));
    for (let limit = 6; limit < 20; limit += 1) expect(slackMs(limit)).toBeGreaterThan(slackMs(limit + 1));
  });

  test('never lets a median past the SLA pass for calm, where the service could keep the SLA', () => {
    for (const samples of [12, 80]) {
      for (const limit of [4, 16, 100]) {
        for (const p50Ms of [20, 50, 100, 150, 190]) {
          const most = learnt(p50Ms, 1.5 * p50Ms).toleranceMs(samples, 250, limit);
          expect([samples, limit, p50Ms, most <= 250]).toEqual([samples, limit, p50Ms, true]);
        }
      }
    }
  });
});
