/** Brake, drops and probe: the three that move the limit for other reasons than a window's median. */
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { Baseline } from '../../../src/shedding/baseline.ts';
import { Brake } from '../../../src/shedding/brake.ts';
import { Drops } from '../../../src/shedding/drops.ts';
import { Flight } from '../../../src/shedding/flight.ts';
import { Permit } from '../../../src/shedding/permit.ts';
import { Probe } from '../../../src/shedding/probe.ts';
import { NOBODY } from './fixture.ts';
import { reading } from './readings.ts';

function inFlight(count: number): Flight {
  const flight = new Flight(0);
  for (let i = 0; i < count; i += 1) {
    const permit = new Permit(NOBODY);
    flight.take(permit, 0);
    flight.begin(permit, 0);
  }
  return flight;
}

describe('the brake', () => {
  test('cuts by a quarter when what is in flight is older than 0.7 of the SLA', () => {
    const flight = inFlight(20);
    const brake = new Brake();
    expect(brake.apply(20, 4, 100, 250, flight, 170)).toBe(20);
    expect(brake.apply(20, 4, 100, 250, flight, 180)).toBe(15);
    expect(brake.beganAtMs).toBe(180);
  });

  test('cuts again each 50 ms at most, down to 0.3 of where it began', () => {
    const flight = inFlight(20);
    const brake = new Brake();
    let limit = 20;
    const limits: number[] = [];
    for (let now = 180; now <= 480; now += 10) {
      limit = brake.apply(limit, 4, 100, 250, flight, now);
      if (limit !== limits.at(-1)) limits.push(limit);
    }
    // At 13.3 the twenty in flight are what an earlier cut still drains.
    expect(limits).toEqual([15, 11.25]);
    const drained = inFlight(8);
    for (let now = 500; now <= 900; now += 50) limit = brake.apply(limit, 4, 100, 250, drained, now);
    expect(limit).toBeCloseTo(6);
  });

  test('does nothing for a service that is that slow in calm times, nor without a baseline, nor for three requests', () => {
    expect(new Brake().apply(20, 4, 200, 250, inFlight(20), 1000)).toBe(20);
    expect(new Brake().apply(20, 4, 0, 250, inFlight(20), 1000)).toBe(20);
    expect(new Brake().apply(20, 4, 100, 250, inFlight(3), 1000)).toBe(20);
  });
});

describe('drops', () => {
  test('below 5 % have no say', () => {
    expect(new Drops().judge(reading({ dropRatio: 0.05 }), 20, 4, 0)).toBeUndefined();
  });

  test('above it take a tenth a window', () => {
    const drops = new Drops();
    expect(drops.judge(reading({ dropRatio: 0.2 }), 20, 4, 0)).toBeCloseTo(18);
    expect(drops.judge(reading({ dropRatio: 0.2, inFlight: 18 }), 18, 4, 200)).toBeCloseTo(16.2);
  });

  test('that half the load does not cure are not our load’s doing: the limit goes back, for 30 s', () => {
    const drops = new Drops();
    drops.judge(reading({ dropRatio: 0.2, inFlight: 20 }), 20, 4, 0);
    expect(drops.judge(reading({ dropRatio: 0.18, inFlight: 10 }), 10, 4, 1000)).toBe(20);
    expect(drops.judge(reading({ dropRatio: 0.5 }), 20, 4, 30_999)).toBeUndefined();
    expect(drops.judge(reading({ dropRatio: 0.5 }), 20, 4, 31_001)).toBeCloseTo(18);
  });

  test('that half the load does cure keep the limit down', () => {
    const drops = new Drops();
    drops.judge(reading({ dropRatio: 0.4, inFlight: 20 }), 20, 4, 0);
    expect(drops.judge(reading({ dropRatio: 0.1, inFlight: 10 }), 10, 4, 1000)).toBeCloseTo(9);
  });
});

describe('the probe', () => {
  const poisoned = (): Baseline => {
    const baseline = new Baseline();
    baseline.learn(reading({ p50Ms: 200, p95Ms: 300, inFlight: 20, bound: true }), false, true);
    return baseline;
  };

  test('does not run while nobody is refused: it would be the one who refuses', () => {
    const probe = new Probe(seededRandom(1), 0);
    expect(probe.wants(reading({ refused: false }), true, 100_000)).toBe(false);
    expect(probe.wants(reading({ refused: true }), true, 0)).toBe(true);
  });

  test('runs after half a minute without a calm window, give or take a fifth', () => {
    for (const seed of [1, 2, 3, 4]) {
      const probe = new Probe(seededRandom(seed), 0);
      expect(probe.wants(reading({ refused: true }), false, 23_999)).toBe(false);
      expect(probe.wants(reading({ refused: true }), false, 36_001)).toBe(true);
    }
  });

  test('walks down while latency falls with the load, and puts a poisoned baseline right', () => {
    const probe = new Probe(seededRandom(1), 0);
    const baseline = poisoned();
    let limit = 20;
    let now = 0;
    for (let i = 0; i < 100; i += 1) {
      now += 400;
      // Five slots of 40 ms behind us: more than five in flight only wait.
      const window = reading({
        inFlight: limit,
        p50Ms: Math.max(40, 8 * limit),
        p95Ms: Math.max(80, 16 * limit),
        ratePerMs: Math.min(limit, 5) / 40,
        elapsedMs: 400,
        refused: true,
      });
      if (!probe.wants(window, !baseline.verified, now)) break;
      limit = probe.step(window, limit, 4, baseline, now);
    }
    expect(baseline.verified).toBe(true);
    expect(baseline.p50Ms).toBeLessThan(60);
    expect(limit).toBeLessThan(8);
  });

  test('ends one step past the knee and goes back', () => {
    const probe = new Probe(seededRandom(1), 0);
    const baseline = new Baseline();
    baseline.learn(reading({ bound: false }), true, true);
    let limit = 20;
    let least = limit;
    let now = 40_000;
    for (let i = 0; i < 100; i += 1) {
      now += 200;
      const window = reading({ inFlight: limit, p50Ms: 50, ratePerMs: limit / 50, refused: true });
      if (!probe.wants(window, false, now)) break;
      limit = probe.step(window, limit, 4, baseline, now);
      least = Math.min(least, limit);
    }
    expect(least).toBeCloseTo(17);
    expect(limit).toBe(20);
    expect(baseline.p50Ms).toBe(50);
  });
});
