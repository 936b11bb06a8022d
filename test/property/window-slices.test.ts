import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { RecentMap } from '../../src/kernel/lru.ts';
import { SliceWindow } from '../../src/kernel/window.ts';

/** The naive list: every event with its slice; the sum is of those in the last `slices` slices. */
class NaiveWindow {
  readonly #events: { readonly column: number; readonly by: number; readonly serial: number }[] = [];
  #newest = Number.NEGATIVE_INFINITY;
  readonly #sliceMs: number;
  readonly #slices: number;

  constructor(sliceMs: number, slices: number) {
    this.#sliceMs = sliceMs;
    this.#slices = slices;
  }

  add(column: number, by: number, now: number): void {
    this.#newest = Math.max(this.#newest, Math.floor(now / this.#sliceMs));
    this.#events.push({ column, by, serial: this.#newest });
  }

  sum(column: number, now: number): number {
    this.#newest = Math.max(this.#newest, Math.floor(now / this.#sliceMs));
    let sum = 0;
    for (const event of this.#events) {
      if (event.column === column && event.serial > this.#newest - this.#slices) sum += event.by;
    }
    return sum;
  }
}

const step = fc.record({
  gapMs: fc.oneof(
    { weight: 8, arbitrary: fc.double({ min: 0, max: 1500, noNaN: true }) },
    { weight: 2, arbitrary: fc.double({ min: 0, max: 30_000, noNaN: true }) },
    { weight: 1, arbitrary: fc.double({ min: -3000, max: 0, noNaN: true }) },
  ),
  column: fc.integer({ min: 0, max: 2 }),
  by: fc.integer({ min: 0, max: 1000 }),
  adds: fc.boolean(),
});

test('the ring agrees with a naive list at every step, whatever the gaps', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(1, 100, 333.3, 1000),
      fc.integer({ min: 1, max: 12 }),
      fc.double({ min: -1e6, max: 1e9, noNaN: true }),
      fc.array(step, { maxLength: 150 }),
      (sliceMs, slices, start, steps) => {
        const ring = new SliceWindow(sliceMs, slices, 3);
        const naive = new NaiveWindow(sliceMs, slices);
        let now = start;
        for (const { gapMs, column, by, adds } of steps) {
          now += gapMs;
          if (adds) {
            ring.add(column, by, now);
            naive.add(column, by, now);
          }
          for (const each of [0, 1, 2]) expect(ring.sum(each, now)).toBe(naive.sum(each, now));
        }
      },
    ),
    { seed: 20_260_504, numRuns: 1000 },
  );
});

test('a bounded memory holds at most its capacity and never a wrong value', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 40 }),
      fc.array(fc.tuple(fc.integer({ min: 0, max: 60 }), fc.boolean()), { maxLength: 400 }),
      (capacity, steps) => {
        const map = new RecentMap<number, number>(capacity);
        const truth = new Map<number, number>();
        for (const [index, [key, writes]] of steps.entries()) {
          if (writes) {
            map.set(key, index);
            truth.set(key, index);
            expect(map.get(key)).toBe(index);
          } else expect([undefined, truth.get(key)]).toContain(map.get(key));
          expect(map.size).toBeLessThanOrEqual(capacity);
        }
      },
    ),
    { seed: 20_260_504, numRuns: 500 },
  );
});
