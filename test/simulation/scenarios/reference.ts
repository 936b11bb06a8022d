/**
 * The rows of the design's reference table: 40 slots of 25 ms (lognormal, σ 0.5), an SLA of 250 ms, an event of twenty
 * seconds. All peers run them too, so that each can show what it is known for. And a day at 0.7 C, on request.
 */
import type { PriorityRank } from '../../../src/kernel/priority.ts';
import { persistent } from '../callers.ts';
import type { GateFactory } from '../gate.ts';
import { CRITICAL, DEFAULT, instead, SHEDDABLE } from '../loads.ts';
import {
  broken,
  CRITICAL_LIVES,
  CRITICAL_POOLED,
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
import type { Bound, Scenario } from '../suite.ts';

const SERVICE = { slaMs: 250, slots: 40, meanMs: 25 } as const;
const C = 1600;

interface Row {
  readonly letter: string;
  readonly name: string;
  readonly bounds: readonly Bound[];
  /** Offered by critical and by all in the event, in capacities; before and after it 0.7 of all, at most the event's. */
  readonly critical: number;
  readonly times: number;
  readonly retries?: true;
  readonly begin?: (world: World) => void;
  readonly end?: (world: World) => void;
  /** What the service can do in the event, in capacities. */
  readonly capacity?: number;
}

/** Calm, the event, calm again. */
function run(row: Row, seed: number, gate: GateFactory | undefined, brief: boolean): World {
  const { fromMs, toMs, endMs } = moments(brief);
  const world = new World({ ...SERVICE, seed, ...instead(gate) });
  const chance = world.random();
  const calm = Math.min(0.7, row.times);
  const retry = { kind: 'fixed', tries: row.retries === true ? 3 : 1, afterMs: 100 } as const;
  const ask = (rank: PriorityRank) => () => persistent(world, { rank }, retry, chance);
  world.poisson(CRITICAL, row.critical * Math.min(1, calm / row.critical) * C, 0, endMs, ask(CRITICAL));
  const others = (now: number): number =>
    now >= fromMs && now < toMs ? row.times - row.critical : Math.max(0, calm - row.critical);
  world.poisson(SHEDDABLE, (now) => others(now) * C, 0, endMs, ask(SHEDDABLE));
  world.clock.at(fromMs, () => row.begin?.(world));
  world.clock.at(toMs, () => row.end?.(world));
  world.run(endMs + 500);
  return world;
}

function moments(brief: boolean): { fromMs: number; toMs: number; endMs: number } {
  return brief
    ? { fromMs: 4000, toMs: 16_000, endMs: 22_000 }
    : { fromMs: 15_000, toMs: 35_000, endMs: 50_000 };
}

function reference(row: Row): Scenario {
  return {
    group: 'reference',
    name: `${row.letter} ${row.name}`,
    bounds: row.bounds,
    run: (seed, gate, brief = false) => {
      const world = run(row, seed, gate, brief);
      const { fromMs, toMs, endMs } = moments(brief);
      const { report } = world;
      const all = report.tally(fromMs, toMs);
      return {
        figures: {
          ...surge(world, fromMs, toMs, C * (row.capacity ?? 1)),
          ...spared(report, fromMs, toMs),
          success: all.good / all.offered,
          recoveredMs: recoveredMs(report, toMs, endMs),
        },
        world,
      };
    },
  };
}

function setSpeed(meanMs: number): (world: World) => void {
  return ({ service }) => {
    service.meanMs = meanMs;
  };
}

const SLOWED: Row = {
  letter: 'G',
  name: 'six times slower, 0.1 C',
  // I10: see below.
  bounds: [{ measure: 'ofNoLimit', least: 0.95 }],
  critical: 0.03,
  times: 0.1,
  begin: setSpeed(150),
  end: setSpeed(25),
};

/** Row G: what no limit at all would serve in time is the best there is. */
function slowed(): Scenario {
  const plain = reference(SLOWED);
  return {
    ...plain,
    run: (seed, gate, brief = false) => {
      const { figures: own, world } = plain.run(seed, gate, brief);
      const { fromMs, toMs } = moments(brief);
      const free = new World({ ...SERVICE, seed, policy: { mode: 'off' } });
      free.poisson(DEFAULT, 0.1 * C, 0, toMs);
      free.clock.at(fromMs, () => SLOWED.begin?.(free));
      free.run(toMs + 1000);
      // Other arrivals, so the shares of what came are compared.
      const [a, b] = [world, free].map(({ report }) => report.tally(fromMs, toMs));
      const ofNoLimit = (a?.good ?? 0) / (a?.offered ?? 0) / ((b?.good ?? 0) / (b?.offered ?? 0));
      return { figures: { ...own, ofNoLimit }, world };
    },
  };
}

/** Row F: half the arrivals as many, every fifth four times as heavy. */
function heavyMix(): Scenario {
  return {
    group: 'reference',
    name: 'F every fifth request four times heavier, 0.4 C',
    // The weak case of this method, asserted as such: I6 would be 0.999.
    bounds: [{ measure: 'success', least: 0.995 }],
    run: (seed, gate, brief = false) => {
      const { fromMs, toMs, endMs } = moments(brief);
      const world = new World({ ...SERVICE, seed, ...instead(gate) });
      const chance = world.random();
      const ask = (now: number): { kind: number; factor: number } =>
        now >= fromMs && now < toMs && chance() < 0.2 ? { kind: 1, factor: 4 } : { kind: 0, factor: 1 };
      world.poisson(CRITICAL, 0.1 * C, 0, endMs, ask);
      world.poisson(SHEDDABLE, 0.3 * C, 0, endMs, ask);
      world.run(endMs + 500);
      const all = world.report.tally(fromMs, toMs);
      return {
        figures: {
          ...figures(world, fromMs, toMs, C),
          ...spared(world.report, fromMs, toMs),
          // A heavy answer may be late by itself; what counts is who was refused.
          success: (all.good + all.late) / all.offered,
        },
        world,
      };
    },
  };
}

/** Rows H and I have no calm before. */
function fromCold(
  letter: string,
  name: string,
  bounds: readonly Bound[],
  times: (now: number) => number,
): Scenario {
  return {
    group: 'reference',
    name: `${letter} ${name}`,
    bounds,
    run: (seed, gate, brief = false) => {
      const untilMs = brief ? 12_000 : 20_000;
      const world = new World({ ...SERVICE, seed, ...instead(gate) });
      world.poisson(CRITICAL, 0.3 * C, 0, untilMs);
      world.poisson(SHEDDABLE, (now) => (times(now) - 0.3) * C, 0, untilMs);
      world.run(untilMs + 500);
      return { figures: surge(world, 0, untilMs, C), world };
    },
  };
}

const OVERLOADED: readonly Bound[] = [...FULL, ...inTime(SERVICE.slaMs), ...CRITICAL_LIVES];

export const REFERENCE_SCENARIOS: readonly Scenario[] = [
  reference({
    letter: 'A',
    name: '0.7 C',
    bounds: [...SPARES, { measure: 'success', least: 0.999 }],
    critical: 0.2,
    times: 0.7,
  }),
  reference({
    letter: 'B',
    name: '2 C',
    bounds: [...OVERLOADED, CRITICAL_POOLED, ...RECOVERS],
    critical: 0.3,
    times: 2,
  }),
  reference({
    letter: 'C',
    name: '10 C',
    bounds: [...OVERLOADED, CRITICAL_POOLED, ...RECOVERS],
    critical: 0.3,
    times: 10,
  }),
  reference({
    letter: 'D',
    name: '2 C, three tries each',
    bounds: [...OVERLOADED, ...RECOVERS],
    critical: 0.3,
    times: 2,
    retries: true,
  }),
  reference({
    letter: 'E',
    name: 'twice as slow, 0.7 C',
    bounds: [...FULL, ...CRITICAL_LIVES, ...RECOVERS],
    critical: 0.2,
    times: 0.7,
    capacity: 0.5,
    begin: setSpeed(50),
    end: setSpeed(25),
  }),
  heavyMix(),
  slowed(),
  fromCold('H', 'cold start in 3 C', OVERLOADED, () => 3),
  fromCold(
    'I',
    'square wave of 0.5 and 3 C',
    [{ measure: 'goodput', least: 0.713 }, ...inTime(SERVICE.slaMs), ...CRITICAL_LIVES],
    (now) => (Math.floor(now / 1000) % 2 === 1 ? 3 : 0.5),
  ),
  reference({
    letter: 'J',
    name: 'critical 0.9 C and 9 C of others',
    bounds: OVERLOADED,
    critical: 0.9,
    times: 9.9,
  }),
];

/** S17: a day at 0.7 C. Only on request: it takes minutes. */
export const LONG: readonly Scenario[] = [
  {
    group: 'long',
    name: 'S17 a day at 0.7 C',
    bounds: SPARES,
    mostSeeds: 1,
    run: (seed, gate, brief = false) => {
      const untilMs = brief ? 60_000 : 86_400_000;
      const report = { sliceMs: 60_000, forgetLatencies: true } as const;
      const world = new World({
        slaMs: 250,
        slots: 20,
        meanMs: 50,
        seed,
        workers: 2,
        report,
        ...instead(gate),
      });
      world.poisson(CRITICAL, 40, 0, untilMs);
      world.poisson(DEFAULT, 120, 0, untilMs);
      world.poisson(SHEDDABLE, 120, 0, untilMs);
      world.run(untilMs + 500);
      return {
        figures: {
          ...figures(world, 0, untilMs, 400),
          ...spared(world.report, 0, untilMs),
          promisesBroken: broken(world),
        },
        world,
      };
    },
  },
];
