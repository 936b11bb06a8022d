/** Draws for the tests of judgements that chance can mislead: counts of arrivals, and medians of few answers. */
import type { Random } from '../../../src/kernel/random.ts';

/** A Poisson count. */
export function poisson(random: Random, mean: number): number {
  let count = 0;
  let left = mean + Math.log(1 - random());
  while (left > 0) {
    count += 1;
    left += Math.log(1 - random());
  }
  return count;
}

/** Standard normal. */
function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** A latency of this median, spread as the anchors' origin spreads it: lognormal, σ 0.5. */
export function latency(random: Random, medianMs: number): number {
  return medianMs * Math.exp(0.5 * normal(random));
}

/** The median of so many of them. */
export function medianOf(random: Random, count: number, medianMs: number): number {
  const values = Float64Array.from({ length: Math.max(1, count) }, () => latency(random, medianMs)).sort();
  return values[Math.floor(values.length / 2)] ?? 0;
}
