import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { seededRandom } from '../../src/kernel/random.ts';
import type { Charge } from '../../src/limits/decision.ts';
import { compileRate } from '../../src/limits/gcra.ts';
import { Limiter } from '../../src/limits/limiter.ts';
import { charge, decideNow, ScriptedStore } from '../unit/limits/fixtures.ts';

/**
 * What all workers of all gateways admit together while the store is lost. Bounds, stated first: in any window W at most
 * rW + b + G·c, with G gateways and c the dearest request; and at full demand 9/10 of the rate, where all cost the same.
 */

/** The workers of one gateway, without their store. */
function workersOf(workers: number, gateways: number): Limiter[] {
  const store = new ScriptedStore();
  store.mode = 'unfit';
  store.live = gateways;
  return Array.from({ length: workers }, (_, index) => {
    const limiter = new Limiter({ store, onUnavailable: 'local', workers, random: seededRandom(1) });
    limiter.setWorkers(workers, index);
    return limiter;
  });
}

/** Questions come a little after units, so that rounding takes none away. */
const LATE_MS = 0.01;

const scenes = fc.record({
  workers: fc.integer({ min: 1, max: 16 }),
  gateways: fc.integer({ min: 1, max: 8 }),
  burst: fc.integer({ min: 1, max: 100 }),
  dearest: fc.integer({ min: 1, max: 20 }),
  level: fc.constantFrom('client' as const, 'route' as const, 'global' as const),
  key: fc.string({ minLength: 1, maxLength: 12 }),
});

function limitOf(
  level: 'client' | 'route' | 'global',
  rate: number,
  burst: number,
  c: number,
  key: string,
): Charge {
  return charge(level, compileRate(rate, burst, c), true, key);
}

/** Units admitted now to whoever asks each worker for this cost until it refuses. */
function exhaust(workers: readonly Limiter[], each: Charge, cost: number, now: number): number {
  let units = 0;
  for (const limiter of workers) while (decideNow(limiter, [each], now, cost).ok) units += cost;
  return units;
}

test('at once they admit the burst at most, and the dearest request once a gateway; and each cost is served by somebody', () => {
  fc.assert(
    fc.property(scenes, ({ workers, gateways, burst, dearest, level, key }) => {
      const c = Math.min(burst, dearest);
      const each = limitOf(level, 0.01, burst, c, key);
      // On a route all cost the same.
      const costs = level === 'route' ? [c] : [c, 1];
      const fleet = workersOf(workers, gateways);
      let units = 0;
      for (const cost of costs) units += exhaust(fleet, each, cost, 0);
      expect(units * gateways).toBeLessThanOrEqual(burst + gateways * c);
      expect(units).toBeGreaterThanOrEqual(Math.min(c, Math.ceil(burst / gateways)));
      const share = Math.ceil(burst / gateways);
      for (const cost of costs) {
        const served = exhaust(workersOf(workers, gateways), each, cost, 0);
        expect(served).toBeGreaterThanOrEqual(cost);
        // All of the share, but for what is too little for another request.
        if (cost === 1) expect(served).toBeGreaterThanOrEqual(share);
        else if (level === 'route') expect(served).toBeGreaterThan(share - cost);
      }
    }),
    { numRuns: 400 },
  );
});

test('in any time they admit the rate besides, whatever the requests cost, and no less than nine tenths of it', () => {
  fc.assert(
    fc.property(scenes, fc.constantFrom(1, 8, 50), fc.boolean(), (scene, rate, mixed) => {
      const { workers, gateways, burst, dearest, level, key } = scene;
      const c = Math.min(burst, dearest);
      const each = limitOf(level, rate, burst, c, key);
      const fleet = workersOf(workers, gateways);
      const costs = mixed && level !== 'route' ? [1, c] : [level === 'route' ? c : 1];
      // A gateway's share fills a hundred times and more.
      const stepMs = (1000 * gateways) / rate / 2;
      const steps = 200 * c;
      let units = 0;
      for (let step = 0; step <= steps; step++)
        for (let i = 0; i < costs.length; i++)
          units += exhaust(fleet, each, costs[(step + i) % costs.length] as number, step * stepMs + LATE_MS);
      const brought = (rate / gateways) * ((steps * stepMs + LATE_MS) / 1000);
      expect(units).toBeLessThanOrEqual(brought + burst / gateways + c);
      if (!mixed) expect(units).toBeGreaterThanOrEqual(0.9 * brought);
    }),
    { numRuns: 60 },
  );
});

test('a worker that has no part of one bucket has one of another', () => {
  const fleet = workersOf(8, 1);
  const served = Array.from({ length: 100 }, (_, i) => {
    const hash = `${String.fromCharCode(65 + (i % 26))}${i}`.padEnd(22, 'x');
    const each = charge('client', compileRate(1, 2), true, `spw:{c.${hash}}:t`);
    return fleet.map((limiter) => (decideNow(limiter, [each], 0).ok ? 1 : 0));
  });
  for (const each of served) expect(each.reduce((sum: number, one) => sum + one, 0)).toBe(2);
  for (const index of fleet.keys()) {
    const buckets = served.reduce((sum, each) => sum + (each[index] ?? 0), 0);
    expect(buckets).toBeGreaterThan(5);
    expect(buckets).toBeLessThan(75);
  }
});
