/**
 * Bounds, stated before: of a thousand draws of 120 answers at each level 97 % are told right, elasticity 0 from 1, where one
 * window of 30 is right in no more than 95 %.
 */
import { describe, expect, test } from 'vitest';
import { seededRandom, type Random } from '../../../src/kernel/random.ts';
import { Trial, type TrialStep } from '../../../src/shedding/trial.ts';
import { medianOf } from './chance.ts';
import { reading } from './readings.ts';

/** Feeds windows until there is a result; the limit rises when it is asked to. */
function run(
  window: (inFlight: number) => ReturnType<typeof reading>,
  doubles = false,
): {
  elasticity: number;
  kinds: string[];
} {
  const trial = new Trial(doubles);
  const kinds: string[] = [];
  let inFlight = 6;
  for (let i = 0; i < 100; i += 1) {
    const step: TrialStep = trial.add(window(inFlight));
    kinds.push(step.kind);
    if (step.kind === 'raise') inFlight *= step.factor;
    if (step.kind === 'result') return { elasticity: step.elasticity, kinds };
  }
  throw new Error('a trial comes to a result');
}

describe('a trial', () => {
  test('asks at two levels of 120 answers each; the window of the raise is a mixture and counts for neither', () => {
    const { kinds } = run(() => reading({ samples: 40 }));
    expect(kinds).toEqual(['wait', 'wait', 'raise', 'wait', 'wait', 'wait', 'result']);
  });

  test('asks by half as much again; where the limit is next to nothing by as much again, with 50 answers each', () => {
    expect(new Trial(false).add(reading({ samples: 120 }))).toEqual({ kind: 'raise', factor: 1.5 });
    expect(new Trial(true).add(reading({ samples: 50 }))).toEqual({ kind: 'raise', factor: 2 });
    expect(run(() => reading({ samples: 25 }), true).kinds).toEqual([
      'wait',
      'raise',
      'wait',
      'wait',
      'result',
    ]);
  });

  test('finds no elasticity in a service that is slow by itself, one in a service that is full', () => {
    expect(run((inFlight) => reading({ inFlight, p50Ms: 200 })).elasticity).toBeCloseTo(0);
    expect(run((inFlight) => reading({ inFlight, p50Ms: 30 * inFlight })).elasticity).toBeCloseTo(1);
    // Without load to tell them apart there is no result.
    expect(run(() => reading({ inFlight: 6 })).elasticity).toBeNaN();
  });

  test('takes nothing from the window in which the limit has just moved', () => {
    let seen = 0;
    const { elasticity } = run((inFlight) => {
      seen += 1;
      return reading({ inFlight, samples: 120, p50Ms: seen === 2 ? 5000 : 200 });
    });
    expect(elasticity).toBeCloseTo(0);
  });

  test('weighs levels by time and medians by answers', () => {
    let seen = 0;
    const { elasticity } = run(() => {
      seen += 1;
      if (seen === 1) return reading({ inFlight: 4, elapsedMs: 300, samples: 90, p50Ms: 100 });
      if (seen === 2) return reading({ inFlight: 8, elapsedMs: 100, samples: 30, p50Ms: 140 });
      return reading({ inFlight: 10, samples: 120, p50Ms: 220 });
    });
    // 5 in flight at 110 ms, then 10 at 220.
    expect(elasticity).toBeCloseTo(1);
  });

  test('explains nothing by a rise that is only noise', () => {
    const rising = (to: number) => (inFlight: number) => reading({ inFlight: inFlight > 6 ? to : 6 });
    expect(run(rising(6.9)).elasticity).toBeNaN();
    expect(run(rising(7)).elasticity).not.toBeNaN();
  });
});

describe('by chance', () => {
  const DRAWS = 1000;

  /** Elasticities that trials of a service of this elasticity find, by windows of 30 lognormal answers. */
  function trials(truth: number, random: Random, doubles = false, samples = 30): number[] {
    const window = (inFlight: number): ReturnType<typeof reading> =>
      reading({ inFlight, samples, p50Ms: medianOf(random, samples, 150 * (inFlight / 6) ** truth) });
    return Array.from({ length: DRAWS }, () => run(window, doubles).elasticity);
  }

  /** The same from one window of 30 at each level. */
  function singleWindows(truth: number, random: Random): number[] {
    return Array.from({ length: DRAWS }, () => {
      const [before, after] = [medianOf(random, 30, 150), medianOf(random, 30, 150 * 1.5 ** truth)];
      return Math.log(after / before) / Math.log(1.5);
    });
  }

  const below = (found: readonly number[], bound: number): number =>
    found.filter((elasticity) => elasticity < bound).length / DRAWS;

  test('a slow service is told from a full one in 97 of 100 and more', () => {
    const random = seededRandom(21);
    expect(below(trials(0, random), 0.5)).toBeGreaterThanOrEqual(0.97);
    expect(1 - below(trials(1, random), 0.5)).toBeGreaterThanOrEqual(0.97);
  });

  test('so it is by fifty answers where the limit doubles', () => {
    const random = seededRandom(24);
    expect(below(trials(0, random, true, 25), 0.5)).toBeGreaterThanOrEqual(0.97);
    expect(1 - below(trials(1, random, true, 25), 0.5)).toBeGreaterThanOrEqual(0.97);
  });

  test('single windows of 30 would be wrong in more than one of twenty', () => {
    const random = seededRandom(22);
    expect(below(singleWindows(0, random), 0.5)).toBeLessThan(0.95);
    expect(1 - below(singleWindows(1, random), 0.5)).toBeLessThan(0.95);
  });

  test('a full service is believed to be slow by itself in less than one of a hundred, by what the governor asks for', () => {
    const random = seededRandom(23);
    const full = trials(1, random);
    expect(below(full, 0.3)).toBeLessThan(0.01);
    expect(below(full, 0.1)).toBeLessThan(0.001);
  });
});
