/** Modes, streams and what callers get back: the same worlds, other switches. */
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../src/kernel/random.ts';
import { Admission } from '../../src/shedding/admission.ts';
import { Caller } from './caller.ts';
import type { GatePermit } from './gate.ts';
import { World } from './model.ts';
import { CAPACITY, CRITICAL, ORIGIN, overload, SHEDDABLE } from './loads.ts';
import { POLICY } from '../unit/shedding/fixture.ts';

describe('modes', () => {
  test('observe admits all and counts who would have been shed', () => {
    for (const seed of [601, 602, 603]) {
      const { report } = overload(2, 8000, { seed, policy: { mode: 'observe' } });
      const all = report.tally(0, 8000);
      const enforced = overload(2, 8000, { seed }).report.tally(0, 8000);
      expect(all.shed).toBe(0);
      // An upper bound: nobody's leaving makes room.
      expect(report.wouldShed).toBeGreaterThan(0.8 * enforced.shed);
      expect(report.wouldShed).toBeLessThanOrEqual(all.offered);
    }
  });

  test('observe counts nothing at 0.7 C', () => {
    for (const seed of [601, 602, 603]) {
      const world = new World({ ...ORIGIN, seed, policy: { mode: 'observe' } });
      world.poisson(SHEDDABLE, 0.7 * CAPACITY, 0, 20_000);
      world.run(20_500);
      expect(world.report.wouldShed).toBe(0);
    }
  });

  test('off admits all and counts nothing', () => {
    const { report } = overload(2, 4000, { seed: 601, policy: { mode: 'off' } });
    expect(report.tally(0, 4000).shed).toBe(0);
    expect(report.wouldShed).toBe(0);
  });

  test('without a queue goodput is lost to jitter, and nobody waits', () => {
    const { report } = overload(2, 10_000, { seed: 601, policy: { queue: 0 } });
    expect([...report.shedByCode.keys()]).toEqual(['SPW_SHED_CONCURRENCY']);
    expect(report.goodput(2000, 10_000) / CAPACITY).toBeGreaterThan(0.85);
  });

  test('streams take no request’s permit: a thousand idle ones cost no goodput in 2 C', () => {
    const gates: Admission[] = [];
    const world = new World({
      ...ORIGIN,
      seed: 604,
      gate: (policy, random) => {
        const gate = new Admission({ ...policy, maxInFlight: 5000, evenInFlight: 5000 }, random, 0);
        gates.push(gate);
        return gate;
      },
    });
    const [gate] = gates;
    if (gate === undefined) throw new Error('a world has workers');
    const streams: GatePermit[] = [];
    for (let i = 0; i < 1000; i += 1) {
      const caller = new Caller();
      gate.enter(caller, 0);
      if (caller.permit === undefined) throw new Error('a permit was free');
      caller.permit.asStream(0);
      streams.push(caller.permit);
    }
    world.poisson(CRITICAL, 0.3 * CAPACITY, 0, 10_000);
    world.poisson(SHEDDABLE, 1.7 * CAPACITY, 0, 10_000);
    world.run(10_500);
    expect(world.report.goodput(2000, 10_000) / CAPACITY).toBeGreaterThan(0.95);
    expect(gate.view(10_500).streams).toBe(1000);
    for (const stream of streams) expect(stream.release(10_500)).toBe(true);
    for (const stream of streams) expect(stream.release(10_501)).toBe(false);
    expect(gate.view(10_501)).toMatchObject({ streams: 0, inFlight: 0 });
  });

  test('learned state survives a change from observe to enforce', () => {
    const gate = new Admission({ ...POLICY, mode: 'observe' }, seededRandom(1), 0);
    let now = 0;
    for (let i = 0; i < 100; i += 1) {
      const caller = new Caller();
      gate.enter(caller, now);
      caller.permit?.attempt(now);
      for (const endMs = now + 40; now < endMs; now += 5) gate.tick(now);
      caller.permit?.head(now, 'sample');
      caller.permit?.release(now);
    }
    const before = gate.view(now).baselineMs;
    gate.configure(POLICY, now);
    expect(before).toBeGreaterThan(30);
    expect(gate.view(now)).toMatchObject({ mode: 'enforce', baselineMs: before });
  });
});
