import { describe, expect, test } from 'vitest';
import { Elasticity, type Circumstances } from '../../../src/shedding/elasticity.ts';
import { reading } from './readings.ts';

function at(limit: number, change: Partial<Circumstances> = {}): Circumstances {
  return { limit, floor: 4, late: false, alone: true, ...change };
}

describe('less load', () => {
  test('that helps in proportion is congestion: the cuts go on', () => {
    const elasticity = new Elasticity();
    for (const inFlight of [40, 30, 22, 16, 12]) {
      const step = elasticity.judge(reading({ inFlight, p50Ms: 4 * inFlight }), at(inFlight));
      expect(step.kind).toBe('cut');
    }
  });

  test('that does not help is the service itself: the limit goes back to where it was', () => {
    const elasticity = new Elasticity();
    elasticity.judge(reading({ inFlight: 40, p50Ms: 300 }), at(40));
    elasticity.judge(reading({ inFlight: 30, p50Ms: 300 }), at(30));
    const step = elasticity.judge(reading({ inFlight: 22, p50Ms: 300 }), at(22));
    expect(step).toEqual({ kind: 'intrinsic', limit: 40, relearn: true, sure: false });
  });

  test('needs more of a step where there are fewer samples', () => {
    const few = new Elasticity();
    few.judge(reading({ inFlight: 40, p50Ms: 300, samples: 30 }), at(40));
    expect(few.judge(reading({ inFlight: 22, p50Ms: 300, samples: 30 }), at(22)).kind).toBe('cut');
    expect(few.judge(reading({ inFlight: 19, p50Ms: 300, samples: 30 }), at(19)).kind).toBe('intrinsic');
  });

  test('is no evidence in a window in transition', () => {
    const elasticity = new Elasticity();
    elasticity.judge(reading({ inFlight: 40, p50Ms: 100, steady: false }), at(40));
    expect(elasticity.judge(reading({ inFlight: 20, p50Ms: 100 }), at(20)).kind).toBe('cut');
  });

  test('and yet much slower answers mean that something is still changing', () => {
    // The first window after slots are lost shows a part of the latency to come.
    const elasticity = new Elasticity();
    elasticity.judge(reading({ inFlight: 30, p50Ms: 100 }), at(30));
    const step = elasticity.judge(reading({ inFlight: 16, p50Ms: 300 }), at(16));
    expect(step.kind).toBe('cut');
  });

  test('is believed only twice between calm windows', () => {
    const elasticity = new Elasticity();
    const relearned: boolean[] = [];
    for (let i = 0; i < 3; i += 1) {
      elasticity.judge(reading({ inFlight: 40, p50Ms: 300 }), at(40));
      const step = elasticity.judge(reading({ inFlight: 20, p50Ms: 300 }), at(20));
      if (step.kind === 'intrinsic') relearned.push(step.relearn);
    }
    expect(relearned).toEqual([true, true, false]);
    elasticity.calmed();
    elasticity.judge(reading({ inFlight: 40, p50Ms: 300 }), at(40));
    expect(elasticity.judge(reading({ inFlight: 20, p50Ms: 300 }), at(20))).toMatchObject({ relearn: true });
  });

  test('says nothing to a worker beside others: a neighbour may have taken the place', () => {
    const elasticity = new Elasticity();
    elasticity.judge(reading({ inFlight: 40, p50Ms: 90 }), at(40, { alone: false }));
    expect(elasticity.judge(reading({ inFlight: 20, p50Ms: 90 }), at(20, { alone: false })).kind).toBe('cut');
  });
});

describe('a service that keeps up', () => {
  test('is not cut for being slow while nobody waits', () => {
    const elasticity = new Elasticity();
    expect(elasticity.judge(reading({ p50Ms: 300, bound: false }), at(20)).kind).toBe('hold');
  });

  test('is not cut on the word of a window in transition, unless answers are late', () => {
    const elasticity = new Elasticity();
    expect(elasticity.judge(reading({ p50Ms: 100, steady: false }), at(20)).kind).toBe('hold');
    expect(elasticity.judge(reading({ p50Ms: 220, steady: false }), at(20, { late: true })).kind).toBe('cut');
  });
});

/** From some in flight at 50 ms, with nobody waiting, to a full limit at `p50Ms`. */
function jumped(p50Ms: number, before = 6): Elasticity {
  const elasticity = new Elasticity();
  elasticity.fine(reading({ inFlight: before, p50Ms: 50, bound: false }));
  expect(elasticity.judge(reading({ inFlight: 20, p50Ms }), at(20)).kind).toBe('climb');
  return elasticity;
}

describe('a climb', () => {
  test('follows a jump of the latency that the load cannot explain', () => {
    jumped(300);
  });

  test('does not follow a surge: latency rose, but less than the load', () => {
    const elasticity = new Elasticity();
    elasticity.fine(reading({ inFlight: 14, p50Ms: 46, bound: false }));
    expect(elasticity.judge(reading({ inFlight: 40, p50Ms: 100 }), at(40)).kind).toBe('cut');
  });

  test('does not follow a jump seen from a full limit', () => {
    const elasticity = new Elasticity();
    elasticity.fine(reading({ inFlight: 20, p50Ms: 50, bound: true }));
    expect(elasticity.judge(reading({ inFlight: 20, p50Ms: 120 }), at(20)).kind).toBe('cut');
  });

  test('does not begin when answers are late, nor after a brake', () => {
    const late = new Elasticity();
    late.fine(reading({ inFlight: 6, p50Ms: 50, bound: false }));
    expect(late.judge(reading({ inFlight: 20, p50Ms: 300 }), at(20, { late: true })).kind).toBe('cut');
    const braked = new Elasticity();
    braked.fine(reading({ inFlight: 6, p50Ms: 50, bound: false }));
    braked.begin(20);
    expect(braked.judge(reading({ inFlight: 20, p50Ms: 150 }), at(20)).kind).toBe('cut');
  });

  test('with latency unmoved finds the service slow, for sure', () => {
    const elasticity = jumped(300);
    expect(elasticity.judge(reading({ inFlight: 30, p50Ms: 300 }), at(30)).kind).toBe('climb');
    const step = elasticity.judge(reading({ inFlight: 48, p50Ms: 300 }), at(48));
    expect(step).toEqual({ kind: 'intrinsic', limit: 48, relearn: true, sure: true });
  });

  test('with latency following retreats, and none begins again before a calm window', () => {
    const elasticity = jumped(120, 12);
    elasticity.judge(reading({ inFlight: 30, p50Ms: 150 }), at(30));
    expect(elasticity.judge(reading({ inFlight: 45, p50Ms: 225 }), at(45))).toEqual({
      kind: 'retreat',
      limit: 30,
    });
    expect(elasticity.judge(reading({ inFlight: 30, p50Ms: 150 }), at(30)).kind).toBe('cut');
  });

  test('ends in a retreat when answers become late', () => {
    const elasticity = jumped(150, 12);
    expect(elasticity.judge(reading({ inFlight: 30, p50Ms: 240 }), at(30, { late: true })).kind).toBe(
      'retreat',
    );
  });

  test('is not undone once nobody waits any more', () => {
    const elasticity = jumped(300);
    elasticity.judge(reading({ inFlight: 30, p50Ms: 300 }), at(30));
    expect(elasticity.judge(reading({ inFlight: 34, p50Ms: 420, bound: false }), at(45)).kind).toBe('hold');
  });

  test('without a steady window to judge by ends after six', () => {
    const elasticity = jumped(300);
    const kinds = Array.from(
      { length: 8 },
      () => elasticity.judge(reading({ steady: false, p50Ms: 300 }), at(60)).kind,
    );
    expect(kinds.filter((kind) => kind === 'climb')).toHaveLength(6);
    expect(kinds[6]).toBe('retreat');
  });
});

describe('a limit that sits low', () => {
  test('is tried upward in the end, later each time', () => {
    const elasticity = new Elasticity();
    elasticity.judge(reading({ inFlight: 30, p50Ms: 300 }), at(30, { late: true, alone: false }));
    const kinds: string[] = [];
    for (let i = 0; i < 40; i += 1) {
      // Latency follows the load here, so each climb is refuted.
      const inFlight = kinds.at(-1) === 'climb' ? 15 : 6;
      kinds.push(
        elasticity.judge(
          reading({ inFlight, p50Ms: 20 * inFlight }),
          at(inFlight, { late: true, alone: false }),
        ).kind,
      );
    }
    const climbs = kinds.flatMap((kind, i) => (kind === 'climb' && kinds[i - 1] !== 'climb' ? [i] : []));
    const [first = 0, second = 0] = climbs;
    expect(first).toBeLessThan(10);
    expect(second - first).toBeGreaterThan(14);
  });
});
