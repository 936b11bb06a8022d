/** Readings of windows for the modules that judge them: a steady, bound, clean window unless said otherwise. */
import type { Reading } from '../../../src/shedding/window.ts';

export function reading(change: Partial<Reading> = {}): Reading {
  return {
    elapsedMs: 200,
    samples: 80,
    drops: 0,
    dropRatio: 0,
    failureRatio: 0,
    p50Ms: 50,
    p95Ms: 100,
    inFlight: 20,
    ratePerMs: 0.4,
    steady: true,
    bound: true,
    refused: false,
    ...change,
  };
}
