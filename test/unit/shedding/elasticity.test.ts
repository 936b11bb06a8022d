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

/** From 50 ms, with nobody waiting, to a full limit at `p50Ms` and little more than half of the pace. */
function jumped(p50Ms: number): Elasticity {
  const elasticity = new Elasticity();
  elasticity.fine(reading({ inFlight: 12, p50Ms: 50, bound: false }));
  expect(elasticity.judge(reading({ inFlight: 20, p50Ms, ratePerMs: 0.22 }), at(20)).kind).toBe('climb');
  return elasticity;
}

describe('a climb', () => {
  test('follows a jump: slower answers, and fewer a second than before', () => {
    jumped(300);
  });

  test('does not follow a surge: answers are three times as slow, and more of them come than before', () => {
    const elasticity = new Elasticity();
    elasticity.fine(reading({ inFlight: 14, p50Ms: 46, bound: false }));
    const step = elasticity.judge(reading({ inFlight: 40, p50Ms: 140, ratePerMs: 0.5 }), at(40));
    expect(step.kind).toBe('cut');
  });

  test('does not follow a jump seen from a full limit', () => {
    const elasticity = new Elasticity();
    elasticity.fine(reading({ inFlight: 20, p50Ms: 50, bound: true }));
    expect(elasticity.judge(reading({ inFlight: 20, p50Ms: 120, ratePerMs: 0.17 }), at(20)).kind).toBe('cut');
  });

  test('does not begin when answers are late, nor after a brake', () => {
    const late = new Elasticity();
    late.fine(reading({ inFlight: 6, p50Ms: 50, bound: false }));
    expect(
      late.judge(reading({ inFlight: 20, p50Ms: 300, ratePerMs: 0.1 }), at(20, { late: true })).kind,
    ).toBe('cut');
    const braked = new Elasticity();
    braked.fine(reading({ inFlight: 6, p50Ms: 50, bound: false }));
    braked.begin(20);
    expect(braked.judge(reading({ inFlight: 20, p50Ms: 150, ratePerMs: 0.13 }), at(20)).kind).toBe('cut');
  });

  test('with latency unmoved finds the service slow, for sure', () => {
    const elasticity = jumped(300);
    expect(elasticity.judge(reading({ inFlight: 30, p50Ms: 300 }), at(30)).kind).toBe('climb');
    const step = elasticity.judge(reading({ inFlight: 48, p50Ms: 300 }), at(48));
    expect(step).toEqual({ kind: 'intrinsic', limit: 48, relearn: true, sure: true });
  });

  test('with latency following retreats, and none begins again before a calm window', () => {
    const elasticity = jumped(120);
    elasticity.judge(reading({ inFlight: 30, p50Ms: 150 }), at(30));
    expect(elasticity.judge(reading({ inFlight: 45, p50Ms: 225 }), at(45))).toEqual({
      kind: 'retreat',
      limit: 30,
    });
    expect(elasticity.judge(reading({ inFlight: 30, p50Ms: 150 }), at(30)).kind).toBe('cut');
  });

  test('ends in a retreat when answers become late', () => {
    const elasticity = jumped(150);
    expect(elasticity.judge(reading({ inFlight: 30, p50Ms: 240 }), at(30, { late: true })).kind).toBe(
      'retreat',
    );
  });

  test('has given the service what it needs once nobody waits, and one such window may be a gap', () => {
    const elasticity = jumped(300);
    elasticity.judge(reading({ inFlight: 30, p50Ms: 300 }), at(30));
    const content = reading({ inFlight: 34, p50Ms: 420, bound: false });
    expect(elasticity.judge(content, at(45)).kind).toBe('hold');
    expect(elasticity.judge(reading({ inFlight: 33, p50Ms: 300 }), at(45)).kind).toBe('climb');
    expect(elasticity.judge(content, at(45)).kind).toBe('hold');
    expect(elasticity.judge(content, at(45))).toEqual({
      kind: 'intrinsic',
      limit: 45,
      relearn: true,
      sure: true,
    });
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
  const LOW = 8;
  type Trying = { readonly kinds: string[]; readonly relearned: boolean };

  /** From thirty in flight down to eight, and so many windows there. Latency by what is in flight. */
  function sits(
    windows: number,
    p50Ms: (inFlight: number) => number,
    change: Partial<Circumstances>,
  ): Trying {
    const elasticity = new Elasticity();
    elasticity.judge(reading({ inFlight: 30, p50Ms: p50Ms(30) }), at(30, change));
    const kinds: string[] = [];
    let limit = LOW;
    let relearned = false;
    for (let i = 0; i < windows && !relearned; i += 1) {
      const step = elasticity.judge(reading({ inFlight: limit, p50Ms: p50Ms(limit) }), at(limit, change));
      kinds.push(step.kind);
      if (step.kind === 'climb') limit *= step.factor;
      if (step.kind === 'retreat') ({ limit } = step);
      relearned = step.kind === 'intrinsic';
    }
    return { kinds, relearned };
  }

  const starts = ({ kinds }: Trying): number[] =>
    kinds.flatMap((kind, i) => (kind === 'climb' && kinds[i - 1] !== 'climb' ? [i] : []));

  test('is tried upward in the end; where latency follows it goes back, and is tried later each time', () => {
    const tried = sits(80, (inFlight) => 15 * inFlight, { alone: false });
    const begun = starts(tried);
    expect(begun[0]).toBeLessThanOrEqual(8);
    const pauses = begun.slice(1).map((at, i) => at - (begun[i] ?? 0));
    expect(pauses.length).toBeGreaterThanOrEqual(3);
    for (let i = 1; i < pauses.length; i += 1) expect(pauses[i]).toBeGreaterThan(1.2 * (pauses[i - 1] ?? 0));
    expect(tried.kinds.filter((kind) => kind === 'climb')).toHaveLength(begun.length);
    expect(tried.kinds.filter((kind) => kind === 'retreat').length).toBeGreaterThanOrEqual(begun.length - 1);
    expect(tried.relearned).toBe(false);
  });

  test('is that of a slow service where latency does not follow', () => {
    expect(sits(20, () => 150, { alone: false }).relearned).toBe(true);
  });

  test.each([
    [0.2, true, true],
    [0.2, false, false],
    [0.05, false, true],
    [0.4, true, false],
  ])(
    'with elasticity %f, alone %s, is believed to be a slow service’s: %s',
    (elasticity, alone, believed) => {
      const level = (inFlight: number): number => 100 * (inFlight / LOW) ** elasticity;
      // Down from thirty the answers were late enough: only the trial is to tell.
      const tried = sits(20, (inFlight) => (inFlight === 30 ? 400 : level(inFlight)), { alone });
      expect(tried.relearned).toBe(believed);
    },
  );

  test('cuts nothing while it is tried', () => {
    const { kinds } = sits(30, (inFlight) => 15 * inFlight, { alone: false });
    const [first = 0] = starts({ kinds, relearned: false });
    const end = kinds.indexOf('retreat');
    expect(end).toBeGreaterThan(first);
    expect(kinds.slice(first - 2, end)).not.toContain('cut');
  });

  test('is tried whatever the lateness: nothing stays at the floor', () => {
    expect(sits(60, () => 300, { late: true, alone: false }).relearned).toBe(true);
  });
});
