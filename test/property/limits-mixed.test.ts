import { describe, expect, test } from 'vitest';
import type { Random } from '../../src/kernel/random.ts';
import type { Charge, Level } from '../../src/limits/decision.ts';
import { compileRate } from '../../src/limits/gcra.ts';
import { AUTO, simulate, unitsOf, worstWindow, type Run } from './limit-world.ts';

/**
 * Requests that are charged at small and at large limits at once: a free tier below a shared limit, the usual case.
 * Bounds: every bucket keeps rW + b, leased ones with `maxOverAdmission`; the scarce one is used to at least 98 %; a
 * decision is one trip at most; and units are conserved: what the store gave out was admitted, except for what ended in a
 * lease or is still held, so nobody who was refused has been charged.
 */

function level(name: Level, rate: number, burst: number, key: string = name): Charge {
  return { key, level: name, rate: compileRate(rate, burst), enforced: true };
}

/** What `maxOverAdmission` allows in a second. */
function most({ rate }: Charge): number {
  return Math.floor((rate.ratePerSecond + rate.burst) * (1 + AUTO.maxOverRatio));
}

const global = level('global', 300, 100);
const shared = [level('tier', 3000, 1000), level('route-total', 2000, 500), global];
/** Units that requests may be waiting for as a run ends, and leases that may be on their way to four workers. */
const MOST_ON_THEIR_WAY = 15;
const MOST_LEASED = 4 * 3 * 25;
const CLIENTS = 100;
const clients = Array.from({ length: CLIENTS }, (_, i) => [
  level('client', 10, 5, `client ${i}`),
  level('route', 8, 5, `route ${i}`),
  ...shared,
]);

function anyClient(random: Random): readonly Charge[] {
  return clients[Math.floor(random() * CLIENTS)] as Charge[];
}

function expectBounds(run: Run): void {
  for (const charge of clients.flat()) {
    const exact = charge.level === 'client' || charge.level === 'route';
    const bound = exact ? charge.rate.ratePerSecond + charge.rate.burst : most(charge);
    expect(worstWindow(run.admitted.get(charge.key))).toBeLessThanOrEqual(bound);
  }
  expect(run.trips).toBeLessThanOrEqual(run.decisions);
  let unused = 0;
  for (const charge of clients.flat()) {
    const units = (run.charged.get(charge.key) ?? 0) - unitsOf(run.admitted.get(charge.key));
    expect(units).toBeGreaterThanOrEqual(0);
    if (shared.includes(charge)) continue;
    // What is on its way at the end.
    expect(units).toBeLessThanOrEqual(MOST_ON_THEIR_WAY);
  }
  for (const { key } of shared) unused += (run.charged.get(key) ?? 0) - unitsOf(run.admitted.get(key));
  const { granted, spent, expired } = run.tokens;
  expect(unused - expired).toBeGreaterThanOrEqual(granted - spent - expired - MOST_ON_THEIR_WAY);
  expect(unused - expired).toBeLessThanOrEqual(granted - spent - expired + MOST_ON_THEIR_WAY + MOST_LEASED);
}

describe.each([1, 2, 3])('seed %i', (seed) => {
  test.each([1, 2, 4])('five levels, small clients below a shared limit, %i workers', (workers) => {
    const run = simulate({
      request: (random) => ({ charges: anyClient(random), cost: 1 }),
      offeredPerSecond: 900,
      workers,
      seed,
    });
    expectBounds(run);
    expect(unitsOf(run.admitted.get('global'))).toBeGreaterThanOrEqual(0.98 * 3000);
    // What is bought for the large limits is used.
    expect(run.tokens.expired).toBeLessThanOrEqual(0.1 * run.tokens.granted);
  });

  test('requests that cost five beside those that cost one', () => {
    const run = simulate({
      request: (random) => ({ charges: anyClient(random), cost: random() < 0.3 ? 5 : 1 }),
      offeredPerSecond: 600,
      workers: 2,
      seed,
    });
    expectBounds(run);
    expect(unitsOf(run.admitted.get('global'))).toBeGreaterThanOrEqual(0.98 * 3000);
  });

  test('a leased limit alone, cost five beside one', () => {
    const large = level('global', 1000, 200);
    const run = simulate({
      request: (random) => ({ charges: [large], cost: random() < 0.3 ? 5 : 1 }),
      offeredPerSecond: 2000,
      workers: 4,
      seed,
    });
    expect(worstWindow(run.admitted.get('global'))).toBeLessThanOrEqual(most(large));
    expect(unitsOf(run.admitted.get('global'))).toBeGreaterThanOrEqual(0.98 * 10_000);
  });

  test('three generous limits are topped up together: at most 0.1 trips a decision at 800/s', () => {
    const charges = [level('client', 5000, 5000), level('tier', 8000, 8000), level('global', 10_000, 10_000)];
    for (const workers of [1, 2]) {
      const run = simulate({ request: () => ({ charges, cost: 1 }), offeredPerSecond: 800, workers, seed });
      expect(run.trips / run.decisions).toBeLessThanOrEqual(0.1);
      expect(run.passed).toBe(run.decisions);
    }
  });

  test('refused clients cost the shared limits nothing: those within their limits get all they ask', () => {
    // One client at fifty times its limit beside ninety-nine that are well within theirs.
    const run = simulate({
      request: (random) => ({
        charges: random() < 0.7 ? (clients[0] as Charge[]) : anyClient(random),
        cost: 1,
      }),
      offeredPerSecond: 500,
      workers: 2,
      seed,
    });
    expectBounds(run);
    const offeredToOthers = 10 * 500 * 0.3 * 0.99;
    const others = clients
      .slice(1)
      .reduce((sum, [own]) => sum + unitsOf(run.admitted.get(own?.key ?? '')), 0);
    expect(others).toBeGreaterThanOrEqual(0.9 * offeredToOthers);
    const admitted = unitsOf(run.admitted.get('client 0')) + others;
    expect(unitsOf(run.admitted.get('global'))).toBe(admitted);
  });
});
