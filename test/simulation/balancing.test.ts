/**
 * Two of ten instances take three times as long: how much later the slowest of a hundred answers come than from ten fast
 * ones, each fleet at the same share of what it can do. The workers' balancers are the real ones (queueing-model.ts).
 *
 * What the two get, for their recovery to be seen and by their price (0.06 of a fast one's share each), makes p99 1.06 times
 * as long without any queue; the rest is the load that the eight carry for them.
 */
import { describe, expect, test } from 'vitest';

import { seededRandom } from '../../src/kernel/random.ts';
import { quantile, runModel } from '../unit/upstreams/queueing-model.ts';
import type { ModelInstance } from '../unit/upstreams/queueing-model.ts';

const FAST: ModelInstance = { slots: 8, meanMs: 20 };
const SLOW: ModelInstance = { slots: 8, meanMs: 60 };
const FAST_PER_SECOND = 400;
/** Until then the workers learn who is slow. */
const LEARNING_MS = 5000;
const RUN_MS = 20_000;
const SEEDS = [1, 2, 3];

interface Figures {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

function of(count: number, instance: ModelInstance): ModelInstance[] {
  return Array.from({ length: count }, () => instance);
}

/** Means over the seeds. */
function figuresOf(instances: readonly ModelInstance[], workers: number, loadRatio: number): Figures {
  const capacity = instances.reduce((sum, { meanMs }) => sum + (FAST.meanMs / meanMs) * FAST_PER_SECOND, 0);
  let p50Ms = 0;
  let p99Ms = 0;
  for (const seed of SEEDS) {
    const { answers } = runModel({
      instances,
      workers,
      ratePerSecond: loadRatio * capacity,
      durationMs: RUN_MS,
      random: seededRandom(seed),
    });
    const latencies = answers.flatMap(({ at, latencyMs }) => (at < LEARNING_MS ? [] : [latencyMs]));
    expect(latencies.length).toBeGreaterThan(1000);
    p50Ms += quantile(latencies, 0.5) / SEEDS.length;
    p99Ms += quantile(latencies, 0.99) / SEEDS.length;
  }
  return { p50Ms, p99Ms };
}

describe('two of ten that take three times as long', () => {
  const mixed = [...of(2, SLOW), ...of(8, FAST)];

  test.each([
    [1, 0.3, 1.1],
    [1, 0.7, 1.1],
    [1, 0.85, 1.15],
    [4, 0.3, 1.1],
    [4, 0.7, 1.1],
    [4, 0.85, 1.15],
    [16, 0.7, 1.15],
    [16, 0.85, 1.2],
  ])(
    'leave p99 near that of ten fast ones: %i workers, load %f, at most %f times',
    (workers, load, bound) => {
      const fast = figuresOf(of(10, FAST), workers, load);
      const two = figuresOf(mixed, workers, load);
      expect(two.p99Ms / fast.p99Ms).toBeLessThanOrEqual(bound);
      expect(two.p50Ms / fast.p50Ms).toBeLessThanOrEqual(1.25);
    },
  );

  test('that take ten times as long are no worse: what is dearer gets less', () => {
    const fast = figuresOf(of(10, FAST), 4, 0.7);
    const two = figuresOf([...of(2, { slots: 8, meanMs: 200 }), ...of(8, FAST)], 4, 0.7);
    expect(two.p99Ms / fast.p99Ms).toBeLessThanOrEqual(1.2);
  });
});

test('five of ten that take three times as long are used, when five alone could not bear the load', () => {
  const fast = figuresOf(of(10, FAST), 4, 0.9);
  const half = figuresOf([...of(5, SLOW), ...of(5, FAST)], 4, 0.9);
  // Two thirds of the load pass through the fast half; the p99 is that of a slow one.
  expect(half.p99Ms / fast.p99Ms).toBeLessThanOrEqual(2.3);
});

test('two that become slow weigh on p99 for ten seconds at most', () => {
  const { answers } = runModel({
    instances: of(10, FAST),
    workers: 2,
    ratePerSecond: 0.7 * (8 + 2 / 3) * FAST_PER_SECOND,
    durationMs: 50_000,
    random: seededRandom(6),
    changes: [0, 1].map((instance) => ({ at: 20_000, instance, meanMs: SLOW.meanMs })),
  });
  const p99Ms = (from: number, to: number): number =>
    quantile(
      answers.flatMap(({ at, latencyMs }) => (at >= from && at < to ? [latencyMs] : [])),
      0.99,
    );
  for (const from of [30_000, 35_000, 40_000, 45_000])
    expect(p99Ms(from, from + 5000) / p99Ms(5000, 20_000)).toBeLessThan(1.2);
});

test('one that is repaired has its share again within half a minute', () => {
  const { answers } = runModel({
    instances: [SLOW, ...of(9, FAST)],
    workers: 4,
    ratePerSecond: 0.5 * 9 * FAST_PER_SECOND,
    durationMs: 60_000,
    random: seededRandom(4),
    changes: [{ at: 20_000, instance: 0, meanMs: FAST.meanMs }],
  });
  const share = (from: number, to: number): number => {
    const within = answers.filter(({ at }) => at >= from && at < to);
    return (10 * within.filter(({ instance }) => instance === 0).length) / within.length;
  };
  expect(share(10_000, 20_000)).toBeLessThan(0.2);
  expect(share(50_000, 60_000)).toBeGreaterThan(0.85);
});
