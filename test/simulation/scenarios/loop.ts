/** The gateway's own event loop and clock in the way: S14, S16. */
import { CAPACITY, CRITICAL, DEFAULT, instead, ORIGIN, SHEDDABLE } from '../loads.ts';
import { broken, figures, recoveredMs, SPARES, spared } from '../measures.ts';
import { World, type WorldOptions } from '../model.ts';
import type { Scenario } from '../suite.ts';

const COST = { requestMs: 0.15, answerMs: 0.1, shedMs: 0.03 } as const;
const LOAD = 0.7 * CAPACITY;

function calm(world: World, untilMs: number): void {
  world.poisson(CRITICAL, LOAD / 7, 0, untilMs);
  world.poisson(DEFAULT, (3 * LOAD) / 7, 0, untilMs);
  world.poisson(SHEDDABLE, (3 * LOAD) / 7, 0, untilMs);
}

/** S14: the loop stands still now and then while the service has time to spare. */
function blocks(name: string, pauseMs: (chance: () => number) => number, everyMs: number): Scenario {
  return {
    group: 'own loop',
    name: `S14 ${name}`,
    bounds: SPARES,
    run: (seed, gate) => {
      const world = new World({ ...ORIGIN, seed, cost: COST, ...instead(gate) });
      const chance = world.random();
      calm(world, 20_000);
      world.clock.every(everyMs, () => world.workers[0]?.loop?.block(pauseMs(chance)));
      world.run(20_500);
      return {
        figures: { ...figures(world, 0, 20_000, CAPACITY), ...spared(world.report, 0, 20_000) },
        world,
      };
    },
  };
}

/** S14: a whole second. Who came in it may be refused by the age rule, critical requests never. */
function longBlock(): Scenario {
  return {
    group: 'own loop',
    name: 'S14 a block of 1 000 ms at 0.7 C',
    bounds: [
      { measure: 'criticalShed', most: 0 },
      { measure: 'recoveredMs', most: 2000 },
      { measure: 'shedLater', most: 0 },
    ],
    run: (seed, gate) => {
      const world = new World({ ...ORIGIN, seed, cost: COST, ...instead(gate) });
      calm(world, 16_000);
      world.clock.at(8000, () => world.workers[0]?.loop?.block(1000));
      world.run(16_500);
      const { report } = world;
      return {
        figures: {
          ...figures(world, 0, 16_000, CAPACITY),
          recoveredMs: recoveredMs(report, 9000, 16_000),
          shedLater: report.tally(11_000, 16_000).shed,
        },
        world,
      };
    },
  };
}

/**
 * S14: requests come `times` as fast as the loop could turn them over if they were all it had to do. By the cost law
 * ten times is bearable where a shed costs less than a tenth of a request, and critical is a tenth of what it can do.
 */
function drowned(times: number, workers: number): Scenario {
  const shedMs = times > 5 ? 0.018 : 0.03;
  return {
    group: 'own loop',
    name: `S14 ${times} times what the loop can turn over, ${workers} worker(s)`,
    bounds: [
      { measure: 'critical', least: 0.995 },
      { measure: 'criticalShed', most: 0 },
      { measure: 'recoveredMs', most: 2000 },
    ],
    run: (seed, gate, brief = false) => {
      const options: WorldOptions = {
        seed,
        slaMs: 250,
        slots: 400 * workers,
        meanMs: 20,
        cost: { ...COST, shedMs },
        workers,
      };
      const world = new World({ ...options, ...instead(gate) });
      const can = (1000 / 0.25) * workers;
      const endMs = brief && times > 5 ? 8000 : 12_000;
      const high = (now: number): number => (now > 3000 && now < endMs ? times - 0.1 : 0.25);
      world.poisson(CRITICAL, 0.1 * can, 0, endMs + 4000);
      world.poisson(SHEDDABLE, (now) => high(now) * can, 0, endMs + 4000);
      world.run(endMs + 5000);
      return {
        figures: {
          ...figures(world, 5000, endMs, can),
          recoveredMs: recoveredMs(world.report, endMs, endMs + 4000),
          promisesBroken: broken(world),
        },
        world,
      };
    },
  };
}

/** S16: the process stands still for ten seconds and its callers do not; or the whole machine, and only clocks go on. */
function suspended(what: 'process' | 'machine'): Scenario {
  return {
    group: 'own loop',
    name: `S16 the ${what} is suspended for ten seconds at 0.7 C`,
    bounds: [
      // What has piled up at a stopped process is far more than the 10 C that I3 is about; I5 holds.
      { measure: 'recoveredMs', most: 2000 },
      { measure: 'shedLater', most: 0 },
      // Callers of a suspended machine were suspended with it, or have not noticed: nothing has piled up.
      ...(what === 'machine' ? [{ measure: 'importantShed', most: 0 }] : []),
    ],
    run: (seed, gate) => {
      const world = new World({ ...ORIGIN, seed, cost: COST, ...instead(gate) });
      calm(world, 26_000);
      world.run(8000);
      const [worker] = world.workers;
      if (what === 'process') worker?.loop?.block(10_000);
      else worker?.jump(10_000);
      world.run(26_500);
      const backMs = what === 'process' ? 18_000 : 8000;
      const { report } = world;
      return {
        figures: {
          ...figures(world, backMs, 26_000, CAPACITY),
          importantShed: report.tally(0, 26_000, [0, 1]).shed,
          recoveredMs: recoveredMs(report, backMs, 26_000),
          shedLater: report.tally(backMs + 2000, 26_000).shed,
        },
        world,
      };
    },
  };
}

export const LOOP_SCENARIOS: readonly Scenario[] = [
  blocks('a block of 50 ms each second at 0.7 C', () => 50, 1000),
  blocks('a pause of 100 ms each second at 0.7 C', () => 100, 1000),
  blocks('a block of 200 ms each five seconds at 0.7 C', () => 200, 5000),
  blocks(
    'a collector: 2 to 12 ms each fifth of a second, 60 one time in thirty',
    (chance) => (chance() < 1 / 30 ? 60 : 2 + 10 * chance()),
    200,
  ),
  longBlock(),
  drowned(2, 1),
  drowned(2, 2),
  drowned(10, 1),
  ...(['process', 'machine'] as const).map(suspended),
];
