/** Several workers, several gateways, and changes of either: S15, S18, S20. */
import { CAPACITY, CRITICAL, DEFAULT, instead, ORIGIN, SHEDDABLE } from '../loads.ts';
import { broken, CRITICAL_LIVES, figures, inTime, surge } from '../measures.ts';
import { World } from '../model.ts';
import type { Scenario } from '../suite.ts';

interface Shape {
  readonly gateways: number;
  readonly workers: number;
  /** Shares of the requests; even where it is not said. */
  readonly uneven?: readonly number[];
}

/** S18. Requests fall to the workers by chance; where that is even, so is what each serves. */
function crowd({ gateways, workers, uneven }: Shape, times: number): Scenario {
  const count = gateways * workers;
  const split = uneven === undefined ? '' : `, ${uneven.map((share) => `${100 * share} %`).join(' to ')}`;
  return {
    group: 'workers',
    name: `S18 ${gateways} gateway(s) of ${workers} worker(s) in ${times} C${split}`,
    bounds: [
      { measure: 'goodput', least: times === 10 ? 0.97 : 0.95 },
      ...inTime(ORIGIN.slaMs),
      ...CRITICAL_LIVES,
      ...(uneven === undefined && count > 1
        ? [
            { measure: 'leastShare', least: 0.9 },
            { measure: 'mostShare', most: 1.1 },
          ]
        : []),
    ],
    run: (seed, gate, brief = false) => {
      // A worker's count over 20 s is 8 000 ÷ workers; with 16 its own noise is 4 %, so they get a minute.
      const untilMs = count >= 8 && !brief ? 90_000 : count >= 4 ? 60_000 : 20_000;
      const spread = uneven ?? Array.from({ length: count }, () => 1);
      const world = new World({ ...ORIGIN, seed, gateways, workers, spread, ...instead(gate) });
      world.poisson(CRITICAL, 0.3 * CAPACITY, 0, untilMs);
      world.poisson(SHEDDABLE, (times - 0.3) * CAPACITY, 0, untilMs);
      world.run(2000);
      const before = world.workers.map(({ good }) => good);
      world.run(untilMs + 500);
      const goods = world.workers.map(({ good }, index) => good - (before[index] ?? 0));
      const parts = gateways > 1 ? sums(goods, workers) : goods;
      const even = parts.reduce((sum, each) => sum + each, 0) / parts.length;
      return {
        figures: {
          ...surge(world, 0, untilMs, CAPACITY),
          leastShare: Math.min(...parts) / even,
          mostShare: Math.max(...parts) / even,
        },
        world,
      };
    },
  };
}

function sums(values: readonly number[], by: number): number[] {
  const result: number[] = [];
  for (const [index, value] of values.entries()) {
    const at = Math.floor(index / by);
    result[at] = (result[at] ?? 0) + value;
  }
  return result;
}

/** Trap 22: twice what five slots can serve, from more workers than there are slots. */
function fewSlots(): Scenario {
  return {
    group: 'workers',
    name: 'S18 sixteen workers do not drown five slots',
    bounds: [
      { measure: 'goodput', least: 0.9 },
      { measure: 'p99Ms', most: ORIGIN.slaMs },
    ],
    run: (seed, gate) => {
      const world = new World({ ...ORIGIN, slots: 5, workers: 16, seed, ...instead(gate) });
      world.poisson(DEFAULT, 200, 0, 30_000);
      world.run(30_500);
      return { figures: figures(world, 5000, 30_000, 100), world };
    },
  };
}

/** S15: of two workers one drains in 2 C; what it has it finishes, the other takes over. */
function drain(): Scenario {
  return {
    group: 'workers',
    name: 'S15 one of two workers drains in 2 C',
    bounds: [
      { measure: 'unanswered', most: 0 },
      { measure: 'leftBehind', most: 0 },
      { measure: 'soon', least: 0.9 },
      ...inTime(ORIGIN.slaMs),
      ...CRITICAL_LIVES,
    ],
    run: (seed, gate) => {
      const world = new World({ ...ORIGIN, seed, workers: 2, ...instead(gate) });
      world.poisson(CRITICAL, 0.3 * CAPACITY, 0, 20_000);
      world.poisson(SHEDDABLE, 1.7 * CAPACITY, 0, 20_000);
      const [leaving, staying] = world.workers;
      world.clock.at(8000, (now) => {
        if (leaving !== undefined) leaving.draining = true;
        staying?.gate.configure?.({ ...world.policy, workers: 1 }, now);
      });
      world.run(10_000);
      const view = leaving?.gate.view(10_000);
      world.run(21_500);
      const all = world.report.tally(0, 20_000);
      return {
        figures: {
          ...surge(world, 0, 20_000, CAPACITY),
          soon: world.report.goodput(11_000, 20_000) / CAPACITY,
          leftBehind: (view?.inFlight ?? Number.NaN) + (view?.queueDepth ?? Number.NaN),
          unanswered: all.offered - all.good - all.late - all.shed - all.failed - all.left,
        },
        world,
      };
    },
  };
}

/** S20: 2 C are watched for eight seconds, then judged. Callers wait for a second at most, so that is what has piled up. */
function enforced(): Scenario {
  return {
    group: 'workers',
    name: 'S20 from observe to enforce in 2 C',
    bounds: [
      { measure: 'shedBefore', most: 0 },
      { measure: 'wouldShed', least: 1 },
      // I5: three seconds after the change; then as ever.
      { measure: 'soon', least: 0.9 },
      { measure: 'p99Ms', most: ORIGIN.slaMs },
      { measure: 'critical', least: 0.995 },
    ],
    run: (seed, gate) => {
      const world = new World({
        ...ORIGIN,
        seed,
        timeoutMs: 1000,
        policy: { mode: 'observe' },
        ...instead(gate),
      });
      world.poisson(CRITICAL, 0.3 * CAPACITY, 0, 20_000);
      world.poisson(SHEDDABLE, 1.7 * CAPACITY, 0, 20_000);
      world.run(8000);
      const shedBefore = world.report.tally(0, 8000).shed;
      for (const { gate: one } of world.workers) one.configure?.({ ...world.policy, mode: 'enforce' }, 8000);
      world.run(21_500);
      return {
        figures: {
          ...figures(world, 11_000, 20_000, CAPACITY),
          soon: world.report.goodput(11_000, 20_000) / CAPACITY,
          shedBefore,
          wouldShed: world.report.wouldShed,
          promisesBroken: broken(world),
        },
        world,
      };
    },
  };
}

export const WORKER_SCENARIOS: readonly Scenario[] = [
  ...[2, 10].flatMap((times) =>
    [
      { gateways: 1, workers: 1 },
      { gateways: 1, workers: 2 },
      { gateways: 1, workers: 2, uneven: [0.25, 0.75] },
      { gateways: 1, workers: 4 },
      { gateways: 1, workers: 16 },
      { gateways: 2, workers: 1 },
      { gateways: 2, workers: 2 },
      { gateways: 4, workers: 1 },
    ].map((shape) => crowd(shape, times)),
  ),
  fewSlots(),
  drain(),
  enforced(),
];
