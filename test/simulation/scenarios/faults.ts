/** Answers that are none, too fast, or all alike: S12, and a service that falls silent. */
import type { Random } from '../../../src/kernel/random.ts';
import { CAPACITY, CRITICAL, DEFAULT, instead, ORIGIN, SHEDDABLE } from '../loads.ts';
import { figures, spared } from '../measures.ts';
import { World, type WorldOptions } from '../model.ts';
import type { Answer } from '../service.ts';
import type { Bound, Scenario } from '../suite.ts';

interface Fault {
  readonly name: string;
  readonly bounds: readonly Bound[];
  /** Offered by the default class, in capacities, before the fault and in it. */
  readonly load: readonly [before: number, during: number];
  readonly sigma?: number;
  readonly timeoutMs?: number;
  readonly begin: (world: World) => void;
}

const FROM_MS = 8000;
const TO_MS = 28_000;

/** The limit and the baseline at the end against what they were when the fault began. */
function faulty({ name, bounds, load, sigma, timeoutMs, begin }: Fault): Scenario {
  return {
    group: 'faults',
    name: `S12 ${name}`,
    bounds,
    run: (seed, gate) => {
      const options: WorldOptions = {
        ...ORIGIN,
        seed,
        ...(sigma === undefined ? {} : { sigma }),
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
      };
      const world = new World({ ...options, ...instead(gate) });
      world.poisson(DEFAULT, (now) => load[now < FROM_MS ? 0 : 1] * CAPACITY, 0, TO_MS);
      world.run(FROM_MS);
      const before = world.workers[0]?.gate.view(FROM_MS);
      begin(world);
      world.run(TO_MS + 500);
      const after = world.workers[0]?.gate.view(TO_MS + 500);
      return {
        figures: {
          ...figures(world, FROM_MS, TO_MS, CAPACITY),
          limitRatio: (after?.limit ?? Number.NaN) / (before?.limit ?? Number.NaN),
          baselineRatio: (after?.baselineMs ?? Number.NaN) / (before?.baselineMs ?? Number.NaN),
          limit: after?.limit ?? Number.NaN,
          shed: world.report.tally(FROM_MS, TO_MS).shed,
          shedShare: world.report.shedRatio(FROM_MS, TO_MS),
        },
        world,
      };
    },
  };
}

function answering(share: number, answer: Answer): (world: World) => void {
  return ({ service }) => {
    service.fault = (random: Random) => (random() < share ? answer : undefined);
  };
}

/** Nothing is answered for three seconds; I5 for the time after. */
function silence(workers: number): Scenario {
  return {
    group: 'faults',
    name: `a service that is silent for three seconds and returns, ${workers} worker(s)`,
    bounds: [
      { measure: 'back', least: 0.9 },
      // Then all is calm again: I6.
      { measure: 'importantShed', most: 0 },
      { measure: 'shedShare', most: 0.001 },
      { measure: 'criticalAfter', least: 0.995 },
    ],
    run: (seed, gate) => {
      const world = new World({ ...ORIGIN, seed, workers, timeoutMs: 1000, ...instead(gate) });
      world.poisson(CRITICAL, 0.2 * CAPACITY, 0, 26_000);
      world.poisson(SHEDDABLE, 0.5 * CAPACITY, 0, 26_000);
      world.clock.at(8000, () => world.service.setSlots(0));
      world.clock.at(11_000, () => world.service.setSlots(20));
      world.run(26_500);
      const { report } = world;
      const share = (fromMs: number, toMs: number, ranks?: readonly (0 | 1 | 2 | 3)[]): number => {
        const { good, offered } = report.tally(fromMs, toMs, ranks);
        return good / offered;
      };
      return {
        figures: {
          ...figures(world, 14_000, 26_000, CAPACITY),
          back: share(14_000, 16_000),
          ...spared(report, 16_000, 26_000),
          criticalAfter: share(13_000, 26_000, [CRITICAL]),
        },
        world,
      };
    },
  };
}

export const FAULT_SCENARIOS: readonly Scenario[] = [
  faulty({
    name: 'stable timeouts are drops, not calm',
    bounds: [{ measure: 'limitRatio', most: 1 }],
    load: [0.7, 0.7],
    sigma: 0,
    timeoutMs: 1000,
    begin: ({ service }) => {
      service.meanMs = 5000;
    },
  }),
  faulty({
    name: 'fast errors never raise the limit: four of five answers are 500',
    bounds: [
      { measure: 'limitRatio', most: 1 },
      { measure: 'baselineRatio', least: 0.9 },
      { measure: 'shed', most: 0 },
    ],
    load: [0.7, 0.7],
    begin: answering(0.8, 'error500'),
  }),
  faulty({
    name: 'a tenth of 503s costs less than another tenth',
    bounds: [{ measure: 'shedShare', most: 0.1 }],
    load: [0.5, 0.5],
    begin: answering(0.1, 'busy503'),
  }),
  faulty({
    name: 'constant 503s do not floor the limit',
    bounds: [
      { measure: 'limit', least: 10 },
      { measure: 'shedShare', most: 0.05 },
    ],
    load: [0.5, 0.5],
    begin: answering(1, 'busy503'),
  }),
  faulty({
    name: 'a 404 scan does not lower the baseline',
    bounds: [
      { measure: 'baselineRatio', least: 0.85 },
      { measure: 'shed', most: 0 },
    ],
    load: [0.6, 3.75],
    begin: answering(0.9, 'notFound404'),
  }),
  faulty({
    name: 'all answers are 404',
    bounds: [
      { measure: 'baselineRatio', least: 0.85 },
      { measure: 'shed', most: 0 },
    ],
    load: [0.6, 0.7],
    begin: answering(1, 'notFound404'),
  }),
  ...[1, 2].map(silence),
];
