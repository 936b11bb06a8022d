/** Callers without a cookie: the same key goes to the same instance, and only as far as its load allows. */
import { describe, expect, test } from 'vitest';

import { markOf, rendezvous, type Field } from '../../../src/affinity/rendezvous.ts';

interface Bench {
  readonly field: Field;
  readonly marks: number[];
  /** In flight by slot. */
  readonly inFlight: number[];
}

/** Instances by their factor, 1 / weight. */
function bench(factors: readonly number[], slots: readonly number[] = factors.map((_, slot) => slot)): Bench {
  const inFlight = factors.map(() => 0);
  return {
    inFlight,
    marks: factors.map((_, slot) => markOf(`10.0.0.${slot}:9001`)),
    field: {
      candidates: slots.length,
      candidateAt: (index) => slots[index] ?? -1,
      factorOf: (slot) => factors[slot] ?? 1,
      inFlight: (slot) => inFlight[slot] ?? 0,
    },
  };
}

const EVEN = [1, 1, 1, 1, 1];
const keys = Array.from({ length: 20_000 }, (_, index) => markOf(`user-${index}`));

function tally({ field, marks }: Bench): number[] {
  const counts: number[] = marks.map(() => 0);
  for (const key of keys) {
    const slot = rendezvous(key, field, marks);
    counts[slot] = (counts[slot] ?? 0) + 1;
  }
  return counts;
}

test('nobody to draw from is -1', () => {
  const { field, marks } = bench([]);
  expect(rendezvous(markOf('x'), field, marks)).toBe(-1);
});

test('keys spread over the instances, by their weight', () => {
  for (const count of tally(bench(EVEN))) expect(Math.abs(count - 4000)).toBeLessThan(250);
  // Weight 2, and one that warns and counts for a quarter.
  const [heavy = 0, plain = 0, warned = 0] = tally(bench([0.5, 1, 4]));
  expect(heavy / plain).toBeCloseTo(2, 0);
  expect(Math.abs(warned - 20_000 / 13)).toBeLessThan(200);
});

test('one that leaves moves its own keys alone, and onto all others', () => {
  const before = bench(EVEN);
  const after = bench(EVEN, [4, 0, 1, 3]);
  const receivers = [0, 0, 0, 0, 0];
  for (const key of keys) {
    const home = rendezvous(key, before.field, before.marks);
    const now = rendezvous(key, after.field, after.marks);
    if (home === 2) receivers[now] = (receivers[now] ?? 0) + 1;
    else expect(now).toBe(home);
  }
  expect(receivers[2]).toBe(0);
  for (const slot of [0, 1, 3, 4]) expect(Math.abs((receivers[slot] ?? 0) - 1000)).toBeLessThan(150);
});

describe('the load', () => {
  test('of one busy key spreads: no instance has more than 1.25 times its share', () => {
    const { field, marks, inFlight } = bench(EVEN);
    const key = markOf('the busy one');
    for (let request = 0; request < 400; request++) {
      const slot = rendezvous(key, field, marks);
      inFlight[slot] = (inFlight[slot] ?? 0) + 1;
    }
    expect(Math.max(...inFlight)).toBeLessThanOrEqual(Math.ceil((1.25 * 400) / 5));
    expect(inFlight.reduce((sum, each) => sum + each)).toBe(400);
  });

  test('of many keys leaves nearly all at home', () => {
    const { field, marks, inFlight } = bench(EVEN);
    const idle = bench(EVEN);
    let away = 0;
    for (const key of keys.slice(0, 500)) {
      const slot = rendezvous(key, field, marks);
      inFlight[slot] = (inFlight[slot] ?? 0) + 1;
      if (slot !== rendezvous(key, idle.field, idle.marks)) away++;
    }
    expect(away).toBeLessThan(50);
  });

  test('of a pair of requests at a quiet service parts them not', () => {
    const { field, marks, inFlight } = bench(EVEN);
    const key = markOf('quiet');
    const home = rendezvous(key, field, marks);
    inFlight[home] = 1;
    expect(rendezvous(key, field, marks)).toBe(home);
    inFlight[home] = 2;
    expect(rendezvous(key, field, marks)).not.toBe(home);
  });
});
