/** The scenarios with bounds that hold for any seed: the tests judge some seeds, `npm run simulate` many more. */
import { World, type WorldOptions } from './model.ts';
import type { Report } from './report.ts';
import { CAPACITY, CRITICAL, DEFAULT, ORIGIN, overload, SHEDDABLE } from './scenarios.ts';

/** What a run is measured by; shares are 0..1, goodput is in capacities of the service. */
export interface Figures {
  readonly goodput: number;
  readonly p99Ms: number;
  /** Critical requests answered in time; NaN when none was sent. */
  readonly critical: number;
  readonly [measure: string]: number;
}

export interface Bound {
  readonly measure: string;
  readonly least?: number;
  readonly most?: number;
  /** The mean over the seeds is bound, not each of them. */
  readonly mean?: true;
}

export interface Scenario {
  readonly group: string;
  readonly name: string;
  readonly bounds: readonly Bound[];
  run(seed: number): Figures;
}

export interface Judgement {
  readonly figures: readonly Figures[];
  /** In words, with the seed. */
  readonly misses: readonly string[];
}

export function judge(scenario: Scenario, seeds: readonly number[]): Judgement {
  const figures = seeds.map((seed) => scenario.run(seed));
  const misses: string[] = [];
  for (const bound of scenario.bounds) {
    const values = figures.map((one) => one[bound.measure] ?? Number.NaN);
    if (bound.mean === true) {
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      if (!keeps(bound, mean)) misses.push(`${inWords(bound)}: ${mean.toFixed(3)}`);
      continue;
    }
    for (const [index, value] of values.entries()) {
      if (!keeps(bound, value)) misses.push(`${inWords(bound)}: ${value.toFixed(3)}, seed ${seeds[index]}`);
    }
  }
  return { figures, misses };
}

export function inWords({ measure, least, most, mean }: Bound): string {
  const sides = [least === undefined ? '' : `≥ ${least}`, most === undefined ? '' : `≤ ${most}`];
  return `${mean === true ? 'mean ' : ''}${measure} ${sides.filter((side) => side !== '').join(' ')}`;
}

function keeps({ least, most }: Bound, value: number): boolean {
  return (least === undefined || value >= least) && (most === undefined || value <= most);
}

function figures(report: Report, fromMs: number, toMs: number, capacity: number): Figures {
  const critical = report.tally(fromMs, toMs, [CRITICAL]);
  return {
    goodput: report.goodput(fromMs, toMs) / capacity,
    p99Ms: report.latencyMs(0.99, fromMs, toMs),
    critical: critical.good / critical.offered,
    criticalShed: critical.shed,
  };
}

function overloaded(times: number, workers: number): Scenario {
  return {
    group: 'overload',
    name: `${times} C, ${workers} worker(s)`,
    bounds: [
      { measure: 'goodput', least: 0.9 },
      { measure: 'warm', least: 0.96 },
      { measure: 'p99Ms', most: ORIGIN.slaMs },
      { measure: 'criticalShed', most: 0 },
      { measure: 'critical', least: 0.99 },
    ],
    run: (seed) => {
      const { report } = overload(times, 12_000, { seed, workers });
      return {
        ...figures(report, 0, 12_000, CAPACITY),
        warm: report.goodput(2000, 12_000) / CAPACITY,
      };
    },
  };
}

/** 20 → 5 slots at 800/s, then 5 → 80 at 2 000/s; a tenth is critical. */
function movingCapacity(workers: number): Scenario {
  return {
    group: 'moving capacity',
    name: `20 → 5 → 80 slots, ${workers} worker(s)`,
    bounds: [
      { measure: 'few', least: 0.75 },
      { measure: 'few', least: 0.85, mean: true },
      { measure: 'goodput', least: 0.9 },
      { measure: 'criticalShed', most: 0 },
      { measure: 'critical', least: 0.99 },
      // At 5 slots critical alone is 0.8 of the capacity; two workers cannot pool five slots.
      { measure: 'scarceCritical', least: workers === 1 ? 0.9 : 0.65 },
    ],
    run: (seed) => {
      const world = new World({ ...ORIGIN, seed, workers });
      const offered = (now: number): number => (now < 17_000 ? 800 : 2000);
      world.poisson(CRITICAL, (now) => 0.1 * offered(now), 0, 30_000);
      world.poisson(DEFAULT, (now) => 0.9 * offered(now), 0, 30_000);
      world.clock.at(5000, () => world.service.setSlots(5));
      world.clock.at(17_000, () => world.service.setSlots(80));
      world.run(30_500);
      const few = figures(world.report, 8000, 17_000, 100);
      return {
        ...figures(world.report, 20_000, 30_000, 1600),
        few: few.goodput,
        scarceCritical: few.critical,
      };
    },
  };
}

function coldStart(slots: number): Scenario {
  return {
    group: 'cold start',
    name: `${slots} slots at 3 C`,
    bounds: [{ measure: 'goodput', least: 0.8 }],
    run: (seed) => {
      const world = new World({ ...ORIGIN, slots, seed });
      const capacity = world.service.capacityPerSecond;
      world.poisson(CRITICAL, 0.3 * capacity, 0, 8000);
      world.poisson(SHEDDABLE, 2.7 * capacity, 0, 8000);
      world.run(8500);
      return figures(world.report, 4500, 8000, capacity);
    },
  };
}

/** 50 → 300 ms at once with slots to spare. */
export function turnsSlow(
  seed: number,
  sigma: number,
  workers: number,
  gate?: NonNullable<WorldOptions['gate']>,
): World {
  const peer = gate === undefined ? {} : { gate };
  const world = new World({ seed, slaMs: 500, slots: 200, meanMs: 50, sigma, workers, ...peer });
  world.poisson(DEFAULT, 120, 0, 30_000);
  world.clock.at(10_000, () => {
    world.service.meanMs = 300;
  });
  world.run(31_000);
  return world;
}

function slowService(sigma: number, workers: number): Scenario {
  return {
    group: 'slow service',
    name: `six times slower, σ ${sigma}, ${workers} worker(s)`,
    bounds: [
      { measure: 'shedAtFirst', most: 0.2 },
      { measure: 'shedAtFirst', most: 0.1, mean: true },
      { measure: 'shedLater', most: 0.005 },
    ],
    run: (seed) => {
      const { report } = turnsSlow(seed, sigma, workers);
      return {
        // The service can do 667/s: goodput here is of the 120/s that are offered.
        ...figures(report, 15_000, 30_000, 120),
        shedAtFirst: report.shedRatio(10_000, 15_000),
        shedLater: report.shedRatio(15_000, 30_000),
      };
    },
  };
}

function criticalCrowded(): Scenario {
  return {
    group: 'critical',
    name: 'critical 0.9 C beside sheddable 9 C',
    bounds: [
      { measure: 'goodput', least: 0.95 },
      { measure: 'critical', least: 0.985 },
      { measure: 'criticalShedShare', most: 0.01 },
    ],
    run: (seed) => {
      const world = new World({ ...ORIGIN, seed });
      world.poisson(CRITICAL, 0.9 * CAPACITY, 0, 15_000);
      world.poisson(SHEDDABLE, 9 * CAPACITY, 0, 15_000);
      world.run(15_500);
      return {
        ...figures(world.report, 2000, 15_000, CAPACITY),
        criticalShedShare: world.report.shedRatio(2000, 15_000, [CRITICAL]),
      };
    },
  };
}

function underload(workers: number): Scenario {
  return {
    group: 'underload',
    name: `0.7 C sheds nobody, ${workers} worker(s)`,
    bounds: [{ measure: 'shed', most: 0 }],
    run: (seed) => {
      const world = new World({ ...ORIGIN, seed, workers });
      world.poisson(SHEDDABLE, 0.7 * CAPACITY, 0, 30_000);
      world.run(30_500);
      return {
        ...figures(world.report, 0, 30_000, CAPACITY),
        shed: world.report.tally(0, 30_000).shed,
      };
    },
  };
}

export const SCENARIOS: readonly Scenario[] = [
  ...[2, 10].flatMap((times) => [1, 2].map((workers) => overloaded(times, workers))),
  criticalCrowded(),
  ...[1, 2].map(movingCapacity),
  ...[5, 40, 400].map(coldStart),
  ...[0, 0.5].flatMap((sigma) => [1, 2].map((workers) => slowService(sigma, workers))),
  ...[1, 2, 4].map(underload),
];
