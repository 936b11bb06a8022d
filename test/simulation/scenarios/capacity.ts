/** Capacity that is not known yet, or moves, and nobody tells: S4, S6, S21. */
import { CAPACITY, CRITICAL, DEFAULT, instead, ORIGIN, SHEDDABLE } from '../loads.ts';
import { broken, CRITICAL_LIVES, figures, FULL, inTime, SPARES, spared } from '../measures.ts';
import { World } from '../model.ts';
import type { Scenario } from '../suite.ts';

/**
 * S4. Before the first windows nothing is known to anybody: 20 permits serve 400 of the 2 400 critical requests a second that
 * 400 slots could. So all is judged from the third second on, and only the tail of the first.
 */
function coldStart(slots: number): Scenario {
  return {
    group: 'cold start',
    name: `S4 ${slots} slots at 3 C`,
    bounds: [...FULL, ...inTime(ORIGIN.slaMs), ...CRITICAL_LIVES],
    run: (seed, gate) => {
      const world = new World({ ...ORIGIN, slots, seed, ...instead(gate) });
      const capacity = world.service.capacityPerSecond;
      const untilMs = slots > 100 ? 8000 : 14_000;
      world.poisson(CRITICAL, 0.3 * capacity, 0, untilMs);
      world.poisson(SHEDDABLE, 2.7 * capacity, 0, untilMs);
      world.run(2000);
      const brokenBefore = broken(world);
      world.run(untilMs + 500);
      return {
        figures: {
          ...figures(world, 2000, untilMs, capacity),
          firstP99Ms: world.report.latencyMs(0.99, 0, 1000),
          promisesBroken: broken(world) - brokenBefore,
        },
        world,
      };
    },
  };
}

/** S21: 20 → 5 slots at 800/s, then 5 → 80 at 2 000/s, ten seconds each; a tenth is critical. */
function movingCapacity(workers: number): Scenario {
  return {
    group: 'moving capacity',
    name: `S21 20 → 5 → 80 slots, ${workers} worker(s)`,
    bounds: [
      { measure: 'few', least: 0.9 },
      { measure: 'many', least: 0.9 },
      // I5: three seconds after the move.
      { measure: 'fewSoon', least: 0.9 },
      { measure: 'manySoon', least: 0.9 },
      // Over all ten seconds: at 5 slots critical alone is 0.8 of the capacity.
      { measure: 'fewCritical', least: 0.92 },
      { measure: 'critical', least: 0.995 },
      { measure: 'promisesBroken', most: 0 },
    ],
    run: (seed, gate) => {
      const world = new World({ ...ORIGIN, seed, workers, ...instead(gate) });
      const offered = (now: number): number => (now < 15_000 ? 800 : 2000);
      world.poisson(CRITICAL, (now) => 0.1 * offered(now), 0, 25_000);
      world.poisson(DEFAULT, (now) => 0.9 * offered(now), 0, 25_000);
      world.clock.at(5000, () => world.service.setSlots(5));
      world.clock.at(15_000, () => world.service.setSlots(80));
      world.run(25_500);
      const { report } = world;
      const criticalAtFew = report.tally(5000, 15_000, [CRITICAL]);
      return {
        figures: {
          ...figures(world, 15_000, 25_000, 1600),
          few: report.goodput(10_000, 15_000) / 100,
          fewSoon: report.goodput(8000, 15_000) / 100,
          many: report.goodput(20_000, 25_000) / 1600,
          manySoon: report.goodput(18_000, 25_000) / 1600,
          fewCritical: criticalAtFew.good / criticalAtFew.offered,
          promisesBroken: broken(world),
        },
        world,
      };
    },
  };
}

/** S6: two of four instances leave for ten seconds and return; the gateway is told. */
function halfLeave(times: number, workers: number): Scenario {
  const low = times < 0.5;
  return {
    group: 'moving capacity',
    name: `S6 half the instances leave and return at ${times} C, ${workers} worker(s)`,
    bounds: low
      ? SPARES
      : [
          { measure: 'fewSoon', least: 0.9 },
          { measure: 'manySoon', least: 0.9 },
          ...CRITICAL_LIVES,
          { measure: 'p99Ms', most: ORIGIN.slaMs },
        ],
    run: (seed, gate) => {
      const world = new World({
        ...ORIGIN,
        slots: 5,
        instances: 4,
        capPerInstance: 64,
        seed,
        workers,
        ...instead(gate),
      });
      const criticalTimes = Math.min(0.3, 0.3 * times);
      world.poisson(CRITICAL, criticalTimes * CAPACITY, 0, 30_000);
      world.poisson(SHEDDABLE, (times - criticalTimes) * CAPACITY, 0, 30_000);
      for (const index of [0, 1]) {
        world.clock.at(8000, () => world.setReady(index, false));
        world.clock.at(18_000, () => world.setReady(index, true));
      }
      world.run(30_500);
      const { report } = world;
      const share = (fromMs: number, toMs: number, capacity: number): number =>
        report.goodput(fromMs, toMs) / Math.min(capacity, times * CAPACITY);
      return {
        figures: {
          ...figures(world, 2000, 30_000, CAPACITY),
          ...spared(report, 0, 30_000),
          fewSoon: share(11_000, 18_000, CAPACITY / 2),
          manySoon: share(21_000, 30_000, CAPACITY),
          promisesBroken: broken(world),
        },
        world,
      };
    },
  };
}

export const CAPACITY_SCENARIOS: readonly Scenario[] = [
  ...[5, 40, 400].map(coldStart),
  ...[0.35, 0.7, 2].map((times) => halfLeave(times, 1)),
  halfLeave(2, 2),
  ...[1, 2].map(movingCapacity),
];
