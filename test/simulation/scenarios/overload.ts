/** More is offered than the service can serve, or nearly: S1, S2, S3, S11, and critical requests in a crowd. */
import { CAPACITY, CRITICAL, DEFAULT, instead, ORIGIN, SHEDDABLE } from '../loads.ts';
import {
  broken,
  CRITICAL_LIVES,
  CRITICAL_POOLED,
  evenness,
  EVEN,
  figures,
  FULL,
  inTime,
  recoveredMs,
  RECOVERS,
  SPARES,
  spared,
  surge,
} from '../measures.ts';
import { World } from '../model.ts';
import type { Scenario } from '../suite.ts';

/** S1: from a tenth to tenfold in a minute. */
function ramp(): Scenario {
  return {
    group: 'overload',
    name: 'S1 ramp from 0.1 to 10 C',
    bounds: [...FULL, ...inTime(ORIGIN.slaMs), ...CRITICAL_LIVES, ...SPARES],
    run: (seed, gate, brief = false) => {
      const world = new World({ ...ORIGIN, seed, ...instead(gate) });
      const spanMs = brief ? 20_000 : 60_000;
      const times = (now: number): number => 0.1 + (9.9 * now) / spanMs;
      const criticalTimes = (now: number): number => Math.min(0.3, 0.3 * times(now));
      world.poisson(CRITICAL, (now) => criticalTimes(now) * CAPACITY, 0, spanMs);
      world.poisson(SHEDDABLE, (now) => (times(now) - criticalTimes(now)) * CAPACITY, 0, spanMs);
      world.run(spanMs + 500);
      /** Moment at which so many capacities are offered, to a tenth of a second. */
      const at = (capacities: number): number =>
        Math.round((((capacities - 0.1) / 9.9) * spanMs) / 100) * 100;
      return {
        figures: {
          ...surge(world, at(1.5), spanMs, CAPACITY),
          ...spared(world.report, 0, at(0.7)),
        },
        world,
      };
    },
  };
}

/** S2: from 0.5 C at once, and down to 0.8 C afterwards. */
function step(times: number, workers: number): Scenario {
  return {
    group: 'overload',
    name: `S2 step to ${times} C for 20 s, ${workers} worker(s)`,
    bounds: [
      { measure: 'goodput', least: times === 10 ? 0.97 : 0.95 },
      ...inTime(ORIGIN.slaMs),
      ...CRITICAL_LIVES,
      CRITICAL_POOLED,
      { measure: 'criticalShed', most: 0 },
      ...RECOVERS,
      ...EVEN,
    ],
    run: (seed, gate) => {
      const world = new World({ ...ORIGIN, seed, workers, ...instead(gate) });
      world.poisson(CRITICAL, 0.3 * CAPACITY, 0, 32_000);
      const others = (now: number): number => (now < 5000 ? 0.2 : now < 25_000 ? times - 0.3 : 0.5);
      world.poisson(SHEDDABLE, (now) => others(now) * CAPACITY, 0, 32_000);
      world.run(32_500);
      return {
        figures: {
          ...surge(world, 5000, 25_000, CAPACITY),
          ...evenness(world.report, 7000, 25_000),
          recoveredMs: recoveredMs(world.report, 25_000, 32_000),
        },
        world,
      };
    },
  };
}

/** S2 for ten minutes: probes have their turn. */
function lasting(times: number): Scenario {
  return {
    group: 'overload',
    name: `S2 the limit never dips to measure: ten minutes of ${times} C, 2 workers`,
    bounds: [...FULL, ...inTime(ORIGIN.slaMs), ...CRITICAL_LIVES, CRITICAL_POOLED, ...EVEN],
    mostSeeds: times > 2 ? 2 : 5,
    run: (seed, gate, brief = false) => {
      const spanMs = brief ? 100_000 : 600_000;
      const world = new World({ ...ORIGIN, seed, workers: 2, ...instead(gate) });
      world.poisson(CRITICAL, 0.3 * CAPACITY, 0, spanMs);
      world.poisson(SHEDDABLE, (times - 0.3) * CAPACITY, 0, spanMs);
      world.run(spanMs + 500);
      return {
        figures: {
          ...surge(world, 0, spanMs, CAPACITY),
          ...evenness(world.report, 2000, spanMs, 2000),
        },
        world,
      };
    },
  };
}

/** From nothing known: the first seconds of a process. */
function fresh(times: number, workers: number): Scenario {
  return {
    group: 'overload',
    name: `cold in ${times} C, ${workers} worker(s)`,
    bounds: [
      { measure: 'goodput', least: times === 10 ? 0.97 : 0.95 },
      ...inTime(ORIGIN.slaMs),
      ...CRITICAL_LIVES,
      { measure: 'criticalShed', most: 0 },
    ],
    run: (seed, gate) => {
      const world = new World({ ...ORIGIN, seed, workers, ...instead(gate) });
      world.poisson(CRITICAL, 0.3 * CAPACITY, 0, 12_000);
      world.poisson(SHEDDABLE, (times - 0.3) * CAPACITY, 0, 12_000);
      world.run(12_500);
      return { figures: surge(world, 0, 12_000, CAPACITY), world };
    },
  };
}

/** S3: half and threefold, a second each; the best is then 0.75 of the capacity, 0.713 are 95 % of it. */
function squareWave(): Scenario {
  return {
    group: 'overload',
    name: 'S3 square wave of 0.5 and 3 C',
    bounds: [{ measure: 'goodput', least: 0.713 }, ...inTime(ORIGIN.slaMs), ...CRITICAL_LIVES],
    run: (seed, gate) => {
      const world = new World({ ...ORIGIN, seed, ...instead(gate) });
      const high = (now: number): number => (Math.floor(now / 1000) % 2 === 1 ? 3 : 0.5);
      world.poisson(CRITICAL, 0.2 * CAPACITY, 0, 20_000);
      world.poisson(SHEDDABLE, (now) => (high(now) - 0.2) * CAPACITY, 0, 20_000);
      world.run(20_500);
      return { figures: surge(world, 0, 20_000, CAPACITY), world };
    },
  };
}

/** The most that is promised to critical requests: 0.9 C of them in a crowd of ten. */
function criticalCrowded(workers: number): Scenario {
  return {
    group: 'critical',
    name: `critical 0.9 C beside sheddable 9 C, ${workers} worker(s)`,
    bounds: [...FULL, ...inTime(ORIGIN.slaMs), ...CRITICAL_LIVES],
    run: (seed, gate) => {
      const world = new World({ ...ORIGIN, seed, workers, ...instead(gate) });
      world.poisson(CRITICAL, 0.9 * CAPACITY, 0, 15_000);
      world.poisson(SHEDDABLE, 9 * CAPACITY, 0, 15_000);
      world.run(15_500);
      return { figures: surge(world, 0, 15_000, CAPACITY), world };
    },
  };
}

function criticalAlone(times: number): Scenario {
  return {
    group: 'critical',
    name: times > 1 ? `S11 critical alone at ${times} C` : `critical alone at ${times} C`,
    bounds:
      times > 1
        ? [...FULL, ...inTime(ORIGIN.slaMs)]
        : [
            { measure: 'criticalShed', most: 0 },
            { measure: 'critical', least: 0.995 },
          ],
    run: (seed, gate) => {
      const world = new World({ ...ORIGIN, seed, ...instead(gate) });
      world.poisson(CRITICAL, times * CAPACITY, 0, 20_000);
      world.run(20_500);
      return { figures: surge(world, 0, 20_000, CAPACITY), world };
    },
  };
}

/** I6 of the plainest kind. */
function underload(workers: number): Scenario {
  return {
    group: 'underload',
    name: `0.7 C sheds nobody, ${workers} worker(s)`,
    bounds: SPARES,
    run: (seed, gate) => {
      const world = new World({ ...ORIGIN, seed, workers, ...instead(gate) });
      world.poisson(CRITICAL, 0.1 * CAPACITY, 0, 30_000);
      world.poisson(DEFAULT, 0.3 * CAPACITY, 0, 30_000);
      world.poisson(SHEDDABLE, 0.3 * CAPACITY, 0, 30_000);
      world.run(30_500);
      return {
        figures: {
          ...figures(world, 0, 30_000, CAPACITY),
          ...spared(world.report, 0, 30_000),
          promisesBroken: broken(world),
        },
        world,
      };
    },
  };
}

export const OVERLOAD_SCENARIOS: readonly Scenario[] = [
  ramp(),
  ...[2, 5, 10].flatMap((times) => [1, 2].map((workers) => step(times, workers))),
  ...[2, 10].map(lasting),
  ...[2, 10].flatMap((times) => [1, 2].map((workers) => fresh(times, workers))),
  squareWave(),
  ...[1, 2].map(criticalCrowded),
  ...[0.9, 2].map(criticalAlone),
  ...[1, 2, 4].map(underload),
];
