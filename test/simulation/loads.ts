/** The origin that the anchors were measured on, and the loads that several suites put on it. */
import type { PriorityRank } from '../../src/kernel/priority.ts';
import type { GateFactory } from './gate.ts';
import { World, type WorldOptions } from './model.ts';

/** 20 slots of 50 ms (lognormal, σ 0.5) and an SLA of 250 ms. */
export const ORIGIN = { slaMs: 250, slots: 20, meanMs: 50 } as const;
/** What it can serve, requests a second. */
export const CAPACITY = 400;

export const CRITICAL: PriorityRank = 0;
export const DEFAULT: PriorityRank = 1;
export const SHEDDABLE: PriorityRank = 2;

/** Offered `times` the capacity for the whole run, 0.3 of it critical; half a second is left for stragglers. */
export function overload(
  times: number,
  untilMs: number,
  options: Omit<WorldOptions, keyof typeof ORIGIN>,
): World {
  const world = new World({ ...ORIGIN, ...options });
  world.poisson(CRITICAL, 0.3 * CAPACITY, 0, untilMs);
  world.poisson(SHEDDABLE, (times - 0.3) * CAPACITY, 0, untilMs);
  world.run(untilMs + 500);
  return world;
}

/** One class at a steady rate. */
export function steady(perSecond: number, untilMs: number, options: WorldOptions): World {
  const world = new World(options);
  world.poisson(DEFAULT, perSecond, 0, untilMs);
  world.run(untilMs + 500);
  return world;
}

/** Spread into a world's options: a peer in place of ours. */
export function instead(gate: GateFactory | undefined): { gate?: GateFactory } {
  return gate === undefined ? {} : { gate };
}
