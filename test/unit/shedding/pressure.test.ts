import { describe, expect, test } from 'vitest';
import type { PriorityRank } from '../../../src/kernel/priority.ts';
import { seededRandom, type Random } from '../../../src/kernel/random.ts';
import { COHORTS, LEVELS_PER_CLASS } from '../../../src/shedding/cohort.ts';
import { LoopPressure, type Arrival } from '../../../src/shedding/pressure.ts';

const SLA = 250;
const RANKS: readonly PriorityRank[] = [0, 1, 2, 3];

/** Beats that come `lagMs` late each, for `ms`; returns the last moment. */
function lagging(loop: LoopPressure, fromMs: number, ms: number, lagMs: number, busy: number): number {
  let now = fromMs;
  while (now < fromMs + ms) {
    now += 20 + lagMs;
    loop.beat(now, busy);
  }
  return now;
}

/** A client that was never seen before. */
function anybody(rank: PriorityRank, random: Random): Arrival {
  return { rank, level: rank * LEVELS_PER_CLASS + Math.floor(random() * COHORTS) };
}

/** Share refused of each class, of `count` arrivals of each right after a beat. */
function refusedShares(loop: LoopPressure, now: number, count = 2000): number[] {
  const random = seededRandom(11);
  const refused = [0, 0, 0, 0];
  for (let i = 0; i < count; i += 1) {
    for (const rank of RANKS)
      if (loop.refuses(anybody(rank, random), SLA, now, random) !== '')
        refused[rank] = (refused[rank] ?? 0) + 1;
  }
  return refused.map((n) => n / count);
}

describe('the event loop', () => {
  test('a lone pause of 100 ms sheds nobody, however busy the loop is', () => {
    const loop = new LoopPressure(SLA, 0);
    let now = lagging(loop, 0, 3000, 1, 1);
    now += 120;
    loop.beat(now, 1);
    expect(loop.view(now).lagMs).toBe(100);
    expect(refusedShares(loop, now)).toEqual([0, 0, 0, 0]);
    lagging(loop, now, 1000, 1, 1);
    expect(loop.view(now).pressure).toBe(0);
  });

  test('full use without lag sheds nobody', () => {
    const loop = new LoopPressure(SLA, 0);
    const now = lagging(loop, 0, 20_000, 3, 1);
    expect(loop.view(now).pressure).toBe(0);
  });

  test('lag of a loop that is not busy sheds nobody: somebody else uses the machine', () => {
    const loop = new LoopPressure(SLA, 0);
    const now = lagging(loop, 0, 10_000, 60, 0.5);
    expect(loop.view(now).minLagMs).toBe(60);
    expect(loop.view(now).pressure).toBe(0);
  });

  test('standing lag of a busy loop sheds background first and critical last', () => {
    const loop = new LoopPressure(SLA, 0);
    let now = 0;
    const firstAtMs: number[] = [-1, -1, -1, -1];
    for (let round = 0; round < 100; round += 1) {
      now = lagging(loop, now, 100, 60, 1);
      const shares = refusedShares(loop, now, 200);
      for (const rank of RANKS)
        if (firstAtMs[rank] === -1 && (shares[rank] ?? 0) > 0.02) firstAtMs[rank] = now;
      // A class is touched only where all below it are refused already.
      for (const rank of [0, 1, 2] as const) {
        if ((shares[rank] ?? 0) > 0.2) expect(shares[rank + 1]).toBeGreaterThan(0.9);
      }
    }
    const [critical = 0, ordinary = 0, sheddable = 0, background = 0] = firstAtMs;
    // Four late beats of 80 ms are the least that can stand.
    expect(background).toBeGreaterThan(300);
    expect(background).toBeLessThan(600);
    expect(background).toBeLessThan(sheddable);
    expect(sheddable).toBeLessThan(ordinary);
    expect(critical).toBeGreaterThan(ordinary);
    expect(loop.view(now).pressure).toBeLessThanOrEqual(0.98);
  });

  test('the share that passes is steered in its logarithm: at any pressure a lag changes the load by the same factor', () => {
    const gentle = new LoopPressure(SLA, 0);
    let now = lagging(gentle, 0, 2000, 60, 1);
    let before = 1 - gentle.view(now).pressure;
    for (let round = 0; round < 5; round += 1) {
      now = lagging(gentle, now, 400, 60, 1);
      const passes = 1 - gentle.view(now).pressure;
      // ln(80/45) an e-fold a second.
      expect(Math.log(before / passes)).toBeCloseTo(Math.log(80 / 45) * 0.4, 1);
      before = passes;
    }
  });

  test('a turn that outgrows the one before is cut for all but the critical, at once', () => {
    const loop = new LoopPressure(SLA, 0);
    let now = lagging(loop, 0, 2000, 0, 1);
    now = lagging(loop, now, 1, 40, 1);
    const random = seededRandom(5);
    const ask = (at: number): string[] =>
      RANKS.map((rank) => loop.refuses(anybody(rank, random), SLA, at, random));
    expect(ask(now + 20 + 40)).toEqual(['', '', '', '']);
    const refused = 'SPW_SHED_OVERLOAD';
    for (let i = 0; i < 9; i += 1) expect(ask(now + 20 + 41)).toEqual(['', refused, refused, refused]);
    expect(loop.view(now).pressure).toBe(0);
    loop.beat(now + 90, 1);
    expect(loop.view(now + 90).pressure).toBeGreaterThan(0.1);
  });

  test('a level is not looked at while nobody has to be refused', () => {
    const loop = new LoopPressure(SLA, 0);
    expect(loop.pressing).toBe(false);
    const silent: Arrival = {
      rank: 3,
      get level(): number {
        throw new Error('nobody may ask');
      },
    };
    expect(loop.refuses(silent, SLA, 0, seededRandom(1))).toBe('');
  });

  test('a client keeps its fate while the pressure stays, and of two the same one always goes first', () => {
    const loop = new LoopPressure(SLA, 0);
    for (let now = 0; now <= 2000; now += 200) loop.memory(0.9, now);
    const random = seededRandom(9);
    const refusals = Array.from({ length: COHORTS }, () => 0);
    const asked = Array.from({ length: COHORTS }, () => 0);
    for (let i = 0; i < 100_000; i += 1) {
      const cohort = Math.floor(random() * COHORTS);
      asked[cohort] = (asked[cohort] ?? 0) + 1;
      const code = loop.refuses({ rank: 1, level: LEVELS_PER_CLASS + cohort }, SLA, 2000, random);
      if (code !== '') refusals[cohort] = (refusals[cohort] ?? 0) + 1;
    }
    const shares = refusals.map((count, cohort) => count / (asked[cohort] ?? 1));
    // The cut knows the crowd to ± 1.5 %, so six standard errors are 10 of 112 cohorts.
    const wavering = shares.filter((share) => share > 0 && share < 1);
    expect(wavering.length).toBeLessThanOrEqual(20);
    expect(shares.slice(0, 46)).toEqual(Array.from({ length: 46 }, () => 0));
    expect(shares.slice(66)).toEqual(Array.from({ length: COHORTS - 66 }, () => 1));
  });

  test('when the lag is over the pressure goes away within three seconds', () => {
    const loop = new LoopPressure(SLA, 0);
    let now = lagging(loop, 0, 20_000, 60, 1);
    expect(loop.view(now).pressure).toBeGreaterThan(0.9);
    now = lagging(loop, now, 3000, 1, 0.5);
    expect(loop.view(now).pressure).toBe(0);
  });
});

describe('the age of a request', () => {
  const late = (busy: number): string[] => {
    const loop = new LoopPressure(SLA, 0);
    let now = lagging(loop, 0, 500, 1, busy);
    now += 20 + SLA;
    loop.beat(now, busy);
    return RANKS.map((rank) => loop.refuses(anybody(rank, seededRandom(1)), SLA, now, seededRandom(1)));
  };

  test('older than the SLA when first looked at, sheddable and background are refused', () => {
    expect(late(0.5)).toEqual(['', '', 'SPW_SHED_DEADLINE', 'SPW_SHED_DEADLINE']);
  });

  test('default is refused as well while the loop is busy, critical never', () => {
    expect(late(0.95)).toEqual(['', 'SPW_SHED_DEADLINE', 'SPW_SHED_DEADLINE', 'SPW_SHED_DEADLINE']);
  });

  test('without a beat the time since the last one counts as lag: a stale sample does not say fine', () => {
    const loop = new LoopPressure(SLA, 0);
    const beatAtMs = lagging(loop, 0, 500, 0, 0.5);
    const random = seededRandom(1);
    expect(loop.refuses(anybody(3, random), SLA, beatAtMs + 20 + SLA - 1, random)).toBe('');
    expect(loop.lagMs(beatAtMs + 20 + SLA)).toBe(SLA);
    expect(loop.refuses(anybody(3, random), SLA, beatAtMs + 20 + SLA, random)).toBe('SPW_SHED_DEADLINE');
  });

  test('a service with a longer SLA is patient, whatever its neighbours want', () => {
    const loop = new LoopPressure(SLA, 0);
    const late = (slaMs: number): string =>
      loop.refuses(anybody(3, seededRandom(1)), slaMs, 20 + SLA, seededRandom(1));
    expect([late(SLA), late(1000)]).toEqual(['SPW_SHED_DEADLINE', '']);
  });
});

describe('memory', () => {
  test.each([
    [0.84, 0],
    [0.85, 0],
    [0.9, 0.5],
    [0.94, 0.9],
    [0.95, 0.98],
    [1, 0.98],
  ])('a standing use of %f is a pressure of %f', (used, pressure) => {
    const loop = new LoopPressure(SLA, 0);
    for (let now = 0; now <= 2000; now += 200) loop.memory(used, now);
    expect(loop.view(2000).memory).toBeCloseTo(pressure, 9);
  });

  test('garbage is not use: one low value in a second counts', () => {
    const loop = new LoopPressure(SLA, 0);
    for (let now = 0; now <= 2000; now += 200) loop.memory(now === 1600 ? 0.6 : 0.97, now);
    expect(loop.view(2000).memory).toBe(0);
  });

  test('at half pressure an even mix loses its two lower classes and keeps the upper ones', () => {
    const loop = new LoopPressure(SLA, 0);
    expect(refusedShares(loop, 0)).toEqual([0, 0, 0, 0]);
    for (let now = 0; now <= 2000; now += 200) loop.memory(0.9, now);
    const [critical = 1, ordinary = 1, sheddable = 0, background = 0] = refusedShares(loop, 0);
    expect(critical).toBe(0);
    expect(ordinary).toBeLessThan(0.02);
    expect(sheddable).toBeGreaterThan(0.97);
    expect(background).toBeGreaterThan(0.99);
  });

  test('where all are critical, half of them are refused', () => {
    const loop = new LoopPressure(SLA, 0);
    for (let now = 0; now <= 2000; now += 200) loop.memory(0.9, now);
    const random = seededRandom(3);
    let refused = 0;
    for (let i = 0; i < 4000; i += 1)
      if (loop.refuses(anybody(0, random), SLA, 0, random) === 'SPW_SHED_OVERLOAD') refused += 1;
    expect(refused / 4000).toBeGreaterThan(0.46);
    expect(refused / 4000).toBeLessThan(0.54);
  });
});
