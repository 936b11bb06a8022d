/** The suite itself: complete, asserted, and able to miss. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { SHEDDABLE } from './loads.ts';
import { World } from './model.ts';
import { markOf, SHORT } from './shortfalls.ts';
import { judge, LONG_SCENARIOS, SCENARIOS, type Bound, type Judgement } from './suite.ts';

const ALL = [...SCENARIOS, ...LONG_SCENARIOS];

/** What may never be marked as short: the promises that everything else is for. */
const PROMISED: readonly (readonly [scenario: RegExp, measures: readonly string[]])[] = [
  [
    /^overload: S2 step to 10 C /,
    ['goodput', 'p99Ms', 'critical', 'mean critical', 'criticalShed', 'recoveredMs'],
  ],
  [/^overload: cold in 10 C, /, ['goodput', 'p99Ms', 'critical', 'criticalShed']],
  [/^moving capacity: S21 /, ['few', 'many', 'fewCritical']],
  [/^underload: 0\.7 C /, ['importantShed', 'shedShare']],
  [/^slow service: S23 /, ['shedAtFirst', 'shedLater']],
  [/^closed loop: S22 /, ['shedAtFirst', 'shedLater']],
];

/** Goodput of each seed 0, 1, … is given. */
function judgement(goodputs: readonly number[], bound: Bound): Judgement {
  const world = new World({ seed: 1, slaMs: 250, slots: 1, meanMs: 50 });
  const planted = {
    group: 'planted',
    name: 'planted',
    bounds: [bound],
    run: (seed: number) => ({
      figures: { goodput: goodputs[seed] ?? Number.NaN, p99Ms: 0, critical: 1 },
      world,
    }),
  };
  return judge(planted, [...goodputs.keys()]);
}

function misses(goodputs: readonly number[], bound: Bound): readonly string[] {
  return judgement(goodputs, bound).misses;
}

describe('the suite', () => {
  test('has every scenario of the design and every row of its table', () => {
    const names = ALL.map(({ name }) => name);
    const wanted = [
      ...Array.from({ length: 23 }, (_, i) => `S${i + 1} `),
      ...'ABCDEFGHIJ'.split('').map((letter) => `${letter} `),
    ];
    expect(wanted.filter((start) => !names.some((name) => name.startsWith(start)))).toEqual([]);
  });

  test('has each scenario once, and bounds for all of them', () => {
    const titles = ALL.map(({ group, name }) => `${group}: ${name}`);
    expect(new Set(titles).size).toBe(titles.length);
    expect(ALL.filter(({ bounds }) => bounds.length === 0)).toEqual([]);
  });

  test('is asserted, each group in one of the test files here', () => {
    const folder = new URL('.', import.meta.url);
    const asserted = readdirSync(folder)
      .filter((file) => file.endsWith('.test.ts'))
      .map((file) => readFileSync(new URL(file, folder), 'utf8'))
      .flatMap((text) => Array.from(text.matchAll(/^assertGroups\(([^)]*)\)/gm), ([, groups = '']) => groups))
      .flatMap((groups) => Array.from(groups.matchAll(/'([^']*)'/g), ([, group]) => group));
    expect(new Set(asserted).size).toBe(asserted.length);
    expect(new Set(asserted)).toEqual(new Set(SCENARIOS.map(({ group }) => group)));
  });

  test('a day at 0.7 C, of which the test takes a minute, keeps its bounds', () => {
    for (const scenario of LONG_SCENARIOS) expect(judge(scenario, [1], { brief: true }).misses).toEqual([]);
  });
});

describe('a bound', () => {
  test('is missed by the seed that misses it, and by a figure that is not there', () => {
    expect(misses([0.96, 0.94, 0.97], { measure: 'goodput', least: 0.95 })).toEqual([
      'goodput ≥ 0.95: 0.9400, seed 1',
    ]);
    expect(misses([0.96], { measure: 'nothing', most: 1 })).toHaveLength(1);
    expect(misses([12], { measure: 'goodput', least: 1, most: 9 })).toEqual(['goodput ≥ 1 ≤ 9: 12, seed 0']);
  });

  test('of the mean lets one seed be worse if others are better', () => {
    expect(misses([0.96, 0.94, 0.97], { measure: 'goodput', least: 0.95, mean: true })).toEqual([]);
    expect(misses([0.96, 0.9, 0.97], { measure: 'goodput', least: 0.95, mean: true })).toEqual([
      'mean goodput ≥ 0.95: 0.9433',
    ]);
  });
});

describe('a bound that is marked as short', () => {
  const marked: Bound = { measure: 'goodput', least: 0.95, short: { today: 0.9, why: 'so it is' } };

  test('stands: who misses it is told with the worst seed, and is no miss up to the ratchet', () => {
    expect(judgement([0.96, 0.91, 0.9, 0.97], marked)).toMatchObject({
      misses: [],
      shortfalls: [{ worst: 0.9, seed: 2, missedBy: 2, of: 4, why: 'so it is' }],
      keptNow: [],
      bounds: { kept: 0, short: 1, missed: 0 },
    });
    expect(
      judgement([260, 280, 250], { measure: 'goodput', most: 250, short: { today: 280, why: '' } }),
    ).toMatchObject({ misses: [], shortfalls: [{ worst: 280, seed: 1, missedBy: 2, of: 3 }] });
  });

  test('is missed by a seed past the ratchet, and by a figure that is not there', () => {
    expect(judgement([0.91, 0.89], marked)).toMatchObject({
      misses: ['goodput ≥ 0.95, short of it by no more than 0.9 until now: 0.8900, seed 1'],
      bounds: { kept: 0, short: 0, missed: 1 },
    });
    expect(misses([0.91], { ...marked, measure: 'nothing' })).toHaveLength(1);
    expect(misses([281], { measure: 'goodput', most: 250, short: { today: 280, why: '' } })).toHaveLength(1);
  });

  test('of the mean has a ratchet for the mean', () => {
    const mean: Bound = { ...marked, mean: true };
    expect(judgement([0.97, 0.85], mean)).toMatchObject({
      misses: [],
      shortfalls: [{ seed: undefined, missedBy: 1, of: 1 }],
    });
    expect(misses([0.91, 0.85], mean)).toHaveLength(1);
  });

  test('is told as needless when every seed keeps it', () => {
    expect(judgement([0.96, 0.95], marked)).toMatchObject({
      misses: [],
      shortfalls: [],
      keptNow: [marked],
      bounds: { kept: 1, short: 0, missed: 0 },
    });
  });
});

describe('the marks', () => {
  const marks = SHORT.flatMap(({ today }) =>
    Object.entries(today).flatMap(([title, measures]) =>
      Object.keys(measures).map((measure) => `${title} | ${measure}`),
    ),
  );

  test('are each for a bound that there is, once, with a side to be short on and further off than it', () => {
    const bounds = ALL.flatMap(({ group, name, bounds: all }) =>
      all.map((bound) => ({ key: `${group}: ${name} | ${markOf(bound)}`, bound })),
    );
    expect(marks.filter((mark) => bounds.filter(({ key }) => key === mark).length !== 1)).toEqual([]);
    expect(new Set(marks).size).toBe(marks.length);
    for (const { bound } of bounds) {
      const { least, most, short } = bound;
      if (short === undefined) continue;
      expect([least, most].filter((side) => side !== undefined)).toHaveLength(1);
      expect(least === undefined ? short.today > (most ?? 0) : short.today < least).toBe(true);
      expect(Number.isFinite(short.today)).toBe(true);
    }
  });

  test('are none for what is promised first', () => {
    for (const [scenario, measures] of PROMISED) {
      const promises = ALL.filter(({ group, name }) => scenario.test(`${group}: ${name}`));
      expect(promises).not.toEqual([]);
      for (const { bounds } of promises) {
        const promised = bounds.filter((bound) => measures.includes(markOf(bound)));
        expect(promised.length).toBe(measures.length);
        expect(promised.filter(({ short }) => short !== undefined)).toEqual([]);
      }
    }
  });
});

describe('a world', () => {
  function twice(workers: number): readonly object[][] {
    return [1, 2].map(() => {
      const world = new World({ seed: 5, slaMs: 250, slots: 20, meanMs: 50, workers });
      world.poisson(SHEDDABLE, 1200, 0, 5000);
      world.run(5500);
      return world.trace.rows();
    });
  }

  test('runs the same way with the same seed', () => {
    const [one, two] = twice(2);
    expect(one).toEqual(two);
    expect(one).not.toEqual(twice(1)[0]);
  });

  test('tells its course: every request is in one row', () => {
    const world = new World({ seed: 5, slaMs: 250, slots: 20, meanMs: 50 });
    world.poisson(SHEDDABLE, 1200, 0, 5000);
    world.run(6000);
    const rows = world.trace.rows();
    const sum = (of: (row: (typeof rows)[number]) => number): number =>
      rows.reduce((total, row) => total + of(row), 0);
    expect(rows).toHaveLength(60);
    expect(sum(({ offered }) => offered)).toBe(world.report.tally(0, 6000).offered);
    expect(sum(({ offered }) => offered)).toBe(
      sum(({ good, late, failed, shedByRank }) => good + late + failed + shedByRank[SHEDDABLE]),
    );
    expect(sum(({ shedByRank }) => shedByRank[SHEDDABLE])).toBe(
      sum(({ shedByCode }) => Object.values(shedByCode).reduce((a, b) => a + b, 0)),
    );
    expect(rows.every(({ knee, capacityPerSecond }) => knee === 20 && capacityPerSecond === 400)).toBe(true);
    expect(Math.max(...rows.map(({ inFlight }) => inFlight))).toBeGreaterThan(19);
  });
});
