/** A service that is slow, altogether or in part, and busy or not: S5, S7, S8, S23. */
import type { GateFactory } from '../gate.ts';
import { CAPACITY, CRITICAL, DEFAULT, instead, ORIGIN, SHEDDABLE } from '../loads.ts';
import { broken, CRITICAL_LIVES, figures, slowAfterMs, SPARES, spared } from '../measures.ts';
import { World, type WorldOptions } from '../model.ts';
import type { Bound, Scenario } from '../suite.ts';

/** S23: 50 → 300 ms at once with slots to spare. */
export function turnsSlow(seed: number, sigma: number, workers: number, gate?: GateFactory): World {
  const world = new World({
    seed,
    slaMs: 500,
    slots: 200,
    meanMs: 50,
    sigma,
    workers,
    ...instead(gate),
  });
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
    name: `S23 six times slower, σ ${sigma}, ${workers} worker(s)`,
    bounds: [
      { measure: 'shedBefore', most: 0 },
      { measure: 'shedAtFirst', most: 0.1 },
      { measure: 'shedLater', most: 0.005 },
      { measure: 'slowAfterMs', most: 3000 },
    ],
    run: (seed, gate) => {
      const world = turnsSlow(seed, sigma, workers, gate);
      const { report } = world;
      return {
        figures: {
          // The service can do 667/s: goodput here is of the 120/s that are offered.
          ...figures(world, 15_000, 30_000, 120),
          shedBefore: report.tally(0, 10_000).shed,
          shedAtFirst: report.shedRatio(10_000, 15_000),
          shedLater: report.shedRatio(15_000, 30_000),
          slowAfterMs: slowAfterMs(world, 10_000),
        },
        world,
      };
    },
  };
}

interface Slowing {
  readonly times: number;
  /** Share of the old capacity that is offered. */
  readonly load: number;
  /** 0: at once. */
  readonly overMs: number;
}

/** The service of row E and G, slower from 8 s to 28 s. */
function slowed(seed: number, { times, load, overMs }: Slowing, options: Partial<WorldOptions>): World {
  const world = new World({ slaMs: 250, slots: 40, meanMs: 25, seed, ...options });
  const { service } = world;
  world.poisson(CRITICAL, Math.min(0.2, 0.3 * load) * 1600, 0, 32_000);
  world.poisson(SHEDDABLE, (load - Math.min(0.2, 0.3 * load)) * 1600, 0, 32_000);
  if (overMs === 0) {
    world.clock.at(8000, () => {
      service.meanMs = 25 * times;
    });
  } else {
    world.clock.every(50, (now) => {
      const way = Math.min(1, Math.max(0, (now - 8000) / overMs));
      if (now < 28_000) service.meanMs = 25 * (1 + way * (times - 1));
    });
  }
  world.clock.at(28_000, () => {
    service.meanMs = 25;
  });
  world.run(32_500);
  return world;
}

/** S5 with slots to spare: I10, what no limit would give, and the flag where it is six times slower. */
function slowIdle(slowing: Slowing): Scenario {
  const bounds: Bound[] = [{ measure: 'ofNoLimit', least: 0.95 }];
  if (slowing.times >= 6 && slowing.overMs === 0) bounds.push({ measure: 'slowAfterMs', most: 3000 });
  return {
    group: 'slow service',
    name: `S5 ${slowing.times} times slower ${way(slowing)}, idle at ${slowing.load} C`,
    bounds,
    run: (seed, gate) => {
      const world = slowed(seed, slowing, instead(gate));
      const free = slowed(seed, slowing, { policy: { mode: 'off' } });
      return {
        figures: {
          ...figures(world, 8000, 28_000, 1600),
          ofNoLimit: world.report.goodput(8000, 28_000) / free.report.goodput(8000, 28_000),
          slowAfterMs: slowAfterMs(world, 8000),
        },
        world,
      };
    },
  };
}

/** S5 in traffic: the capacity falls with the speed. From three seconds after the whole change on, I5. */
function slowBusy(slowing: Slowing): Scenario {
  const { times, load, overMs } = slowing;
  const capacity = 1600 / times;
  // What is in time of answers that take so long, whatever a gateway does: lognormal, σ 0.5.
  const best = Math.min(load * 1600, capacity) * shareWithin(250, 25 * times, 0.5);
  return {
    group: 'slow service',
    name: `S5 ${times} times slower ${way(slowing)}, busy at ${load} C`,
    bounds: [
      { measure: 'ofBest', least: 0.9 },
      { measure: 'back', least: 0.95 },
      // Of the new capacity critical traffic is within I3 only where it is slowed twofold.
      ...(times <= 2 ? CRITICAL_LIVES : []),
    ],
    run: (seed, gate) => {
      const world = slowed(seed, slowing, instead(gate));
      return {
        figures: {
          ...figures(world, 8000, 28_000, capacity),
          ofBest: world.report.goodput(11_000 + overMs, 28_000) / best,
          back: world.report.goodput(30_000, 32_000) / (load * 1600),
          promisesBroken: broken(world),
        },
        world,
      };
    },
  };
}

function way({ overMs }: Slowing): string {
  return overMs === 0 ? 'at once' : `in ${overMs / 1000} s`;
}

/** P(lognormal of this mean ≤ x); the normal's distribution by the series of Abramowitz and Stegun 26.2.17. */
function shareWithin(x: number, mean: number, sigma: number): number {
  const z = (Math.log(x / mean) + (sigma * sigma) / 2) / sigma;
  const t = 1 / (1 + 0.2316419 * Math.abs(z));
  const poly =
    t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  const tail = (poly * Math.exp((-z * z) / 2)) / Math.sqrt(2 * Math.PI);
  return z > 0 ? 1 - tail : tail;
}

/** S7: one of four instances ten times slower for 15 s; nobody ejects it. Judged against no limit: that costs what it costs. */
function oneSlow(pick: 'least' | 'two'): Scenario {
  const run = (seed: number, options: Partial<WorldOptions>): World => {
    const world = new World({
      ...ORIGIN,
      slots: 5,
      instances: 4,
      capPerInstance: 64,
      pick,
      seed,
      ...options,
    });
    world.poisson(CRITICAL, 0.2 * CAPACITY, 0, 25_000);
    world.poisson(DEFAULT, 0.3 * CAPACITY, 0, 25_000);
    const [slow] = world.services;
    world.clock.at(5000, () => {
      if (slow !== undefined) slow.meanMs *= 10;
    });
    world.clock.at(20_000, () => {
      if (slow !== undefined) slow.meanMs /= 10;
    });
    world.run(25_500);
    return world;
  };
  return {
    group: 'slow service',
    name: `S7 one of four instances ten times slower, ${pick === 'two' ? 'better of two' : 'least busy'}`,
    bounds: [
      { measure: 'ofNoLimit', least: 0.95 },
      { measure: 'criticalShed', most: 0 },
    ],
    run: (seed, gate) => {
      const world = run(seed, instead(gate));
      const free = run(seed, { policy: { mode: 'off' } });
      return {
        figures: {
          ...figures(world, 5000, 25_000, CAPACITY),
          ofNoLimit: world.report.goodput(5000, 25_000) / free.report.goodput(5000, 25_000),
        },
        world,
      };
    },
  };
}

/** S8: other kinds of requests come, load stays at 0.7 of what is then the capacity, or below. */
function mixShift(name: string, load: number, after: readonly [share: number, factor: number]): Scenario {
  const [share, factor] = after;
  return {
    group: 'mix',
    name: `S8 ${name}`,
    bounds: SPARES,
    run: (seed, gate) => {
      const world = new World({ ...ORIGIN, seed, ...instead(gate) });
      const chance = world.random();
      const ask = (now: number): { kind: number; factor: number } =>
        now > 10_000 && chance() < share ? { kind: 1, factor } : { kind: 0, factor: 1 };
      world.poisson(CRITICAL, 0.1 * load * CAPACITY, 0, 30_000, ask);
      world.poisson(DEFAULT, 0.4 * load * CAPACITY, 0, 30_000, ask);
      world.poisson(SHEDDABLE, 0.5 * load * CAPACITY, 0, 30_000, ask);
      world.run(31_000);
      return {
        figures: { ...figures(world, 0, 30_000, CAPACITY), ...spared(world.report, 0, 30_000) },
        world,
      };
    },
  };
}

export const SLOWNESS_SCENARIOS: readonly Scenario[] = [
  ...[0, 0.5].flatMap((sigma) => [1, 2].map((workers) => slowService(sigma, workers))),
  ...[0, 10_000].flatMap((overMs) => [
    slowIdle({ times: 2, load: 0.1, overMs }),
    slowIdle({ times: 6, load: 0.1, overMs }),
    slowBusy({ times: 2, load: 0.7, overMs }),
    slowBusy({ times: 6, load: 0.7, overMs }),
  ]),
  ...(['least', 'two'] as const).map(oneSlow),
  // Load after the shift: 0.4 · 1.6 = 0.64, 0.35 · 1.9 = 0.67, 0.7 · 0.85 = 0.6.
  mixShift('a fifth becomes four times heavier', 0.4, [0.2, 4]),
  mixShift('nine of ten become twice as heavy', 0.35, [0.9, 2]),
  mixShift('a fifth becomes four times lighter', 0.7, [0.2, 0.25]),
];
