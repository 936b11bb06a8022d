import { describe, expect, test } from 'vitest';
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

  test('is verified by half as much load again without a slower answer', () => {
    const baseline = new Baseline();
    baseline.learn(reading({ inFlight: 20 }), false, true);
    baseline.learn(reading({ inFlight: 30, p50Ms: 80 }), false, true);
    expect(baseline.verified).toBe(false);
    baseline.learn(reading({ inFlight: 30, p50Ms: 52, steady: false }), false, true);
    expect(baseline.verified).toBe(false);
    baseline.learn(reading({ inFlight: 30, p50Ms: 52 }), false, true);
    expect(baseline.verified).toBe(true);
  });

  test('learnt anew is verified only when that was sure', () => {
    const baseline = learnt(50, 100);
    baseline.relearn(reading({ p50Ms: 300, p95Ms: 500 }), false);
    expect(baseline).toMatchObject({ p50Ms: 300, p95Ms: 500, verified: false });
    baseline.relearn(reading({ p50Ms: 300, p95Ms: 500 }), true);
    expect(baseline.verified).toBe(true);
  });
});

describe('the tolerance', () => {
  test('never refuses for a wait below a tenth of the SLA', () => {
    expect(learnt(2, 4).toleranceMs(80, 250)).toBeCloseTo(27);
  });

  test('is between 1.25 and 1.5 baselines, by how much of the SLA the tail takes', () => {
    expect(learnt(200, 300).toleranceMs(80, 250)).toBeCloseTo(250);
    expect(learnt(300, 310).toleranceMs(80, 1000)).toBeCloseTo(450);
    expect(learnt(400, 430).toleranceMs(80, 1000)).toBeCloseTo(558.14, 1);
  });

  test('is wider where there are few samples', () => {
    const baseline = learnt(100, 200);
    expect(baseline.toleranceMs(29, 250)).toBeCloseTo(180);
    expect(baseline.toleranceMs(30, 250)).toBeCloseTo(125);
  });
});
