/** Whatever the mix of classes and clients: the refused share is the pressure, in order of the levels. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { seededRandom, type Random } from '../../src/kernel/random.ts';
import { LEVELS } from '../../src/shedding/cohort.ts';
import { Threshold } from '../../src/shedding/threshold.ts';

/** Levels with their weights: from one client to a crowd, in one class or in all. */
const crowd = fc.array(fc.tuple(fc.integer({ min: 0, max: LEVELS - 1 }), fc.integer({ min: 1, max: 50 })), {
  minLength: 1,
  maxLength: 200,
});
const share = fc.double({ min: 0.005, max: 0.98, noNaN: true });

function drawer(of: readonly (readonly [number, number])[], random: Random): () => number {
  const sum = of.reduce((total, [, weight]) => total + weight, 0);
  return () => {
    let at = random() * sum;
    for (const [level, weight] of of) {
      at -= weight;
      if (at < 0) return level;
    }
    return of[0]?.[0] ?? 0;
  };
}

describe('the threshold', () => {
  test('refuses as large a share as it was told, of any crowd', () => {
    fc.assert(
      fc.property(crowd, share, fc.integer(), (of, wanted, seed) => {
        const random = seededRandom(seed);
        const draw = drawer(of, random);
        const threshold = new Threshold();
        let refused = 0;
        const count = 6000;
        for (let i = 0; i < count + 1024; i += 1) {
          const level = draw();
          threshold.arrived(level);
          if (threshold.refuses(level, wanted, random) && i >= 1024) refused += 1;
        }
        expect(Math.abs(refused / count - wanted)).toBeLessThan(0.03);
      }),
      { numRuns: 60 },
    );
  });

  test('refuses nobody of a level while somebody above it is kept, but for the level that is split', () => {
    fc.assert(
      fc.property(crowd, share, fc.integer(), (of, wanted, seed) => {
        const random = seededRandom(seed);
        const draw = drawer(of, random);
        const threshold = new Threshold();
        for (let i = 0; i < 2000; i += 1) threshold.arrived(draw());
        // The two ends of chance: 0 refuses what may be refused, almost 1 only what must be.
        const may = Array.from({ length: LEVELS }, (_, level) => threshold.refuses(level, wanted, () => 0));
        const must = Array.from({ length: LEVELS }, (_, level) => threshold.refuses(level, wanted, () => 1));
        const lowest = may.indexOf(true);
        const highest = must.lastIndexOf(false);
        expect(may.slice(lowest).every(Boolean)).toBe(true);
        expect(must.slice(0, highest + 1).some(Boolean)).toBe(false);
        expect(highest - lowest).toBeLessThanOrEqual(0);
        expect(highest - lowest).toBeGreaterThanOrEqual(-1);
      }),
      { numRuns: 100 },
    );
  });

  test('keeps its books: after any order of shares it decides as one that counted anew', () => {
    fc.assert(
      fc.property(
        crowd,
        fc.array(share, { minLength: 1, maxLength: 40 }),
        fc.integer(),
        (of, shares, seed) => {
          const random = seededRandom(seed);
          const draw = drawer(of, random);
          const threshold = new Threshold();
          const kept: number[] = [];
          for (const wanted of shares) {
            for (let i = 0; i < 97; i += 1) {
              const level = draw();
              kept.push(level);
              threshold.arrived(level);
            }
            const recent = kept.slice(-1024);
            threshold.refuses(0, wanted, random);
            const fresh = new Threshold();
            for (const level of recent) fresh.arrived(level);
            for (let level = 0; level < LEVELS; level += 7) {
              for (const chance of [0, 0.3, 0.9]) {
                expect(threshold.refuses(level, wanted, () => chance)).toBe(
                  fresh.refuses(level, wanted, () => chance),
                );
              }
            }
          }
        },
      ),
      { numRuns: 25 },
    );
  });

  test('who stands in for unknown clients is cut as they would be, and makes room for them', () => {
    const mix = fc
      .tuple(fc.nat(1000), fc.nat(1000), fc.nat(1000), fc.nat(1000))
      .filter((all) => all.some((n) => n > 20));
    fc.assert(
      fc.property(mix, share, fc.integer(), (classes, wanted, seed) => {
        const random = seededRandom(seed);
        const levels = classes.flatMap((weight, rank) =>
          Array.from({ length: 112 }, (_, cohort) => [rank * 128 + cohort, weight] as const),
        );
        const draw = drawer(levels, random);
        const threshold = new Threshold();
        threshold.standIn([classes[0], classes[1], classes[2], classes[3]]);
        let refused = 0;
        for (let i = 0; i < 3000; i += 1) {
          const level = draw();
          threshold.arrived(level);
          if (threshold.refuses(level, wanted, random)) refused += 1;
        }
        expect(Math.abs(refused / 3000 - wanted)).toBeLessThan(0.05);
      }),
      { numRuns: 60 },
    );
  });

  test('a pressure of 0.98 lets two of a hundred pass', () => {
    const random = seededRandom(4);
    const threshold = new Threshold();
    let passed = 0;
    for (let i = 0; i < 50_000; i += 1) {
      const level = 128 + Math.floor(random() * 112);
      threshold.arrived(level);
      if (!threshold.refuses(level, 0.98, random)) passed += 1;
    }
    expect(passed / 50_000).toBeGreaterThan(0.015);
    expect(passed / 50_000).toBeLessThan(0.025);
  });
});
