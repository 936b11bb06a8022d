import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../src/kernel/random.ts';
import { EmbeddedStore } from '../../src/limits/embedded-store.ts';
import type { CompiledRate } from '../../src/limits/gcra.ts';
import { compileRate, TICKS_PER_MS } from '../../src/limits/gcra.ts';
import { Ask, terms } from '../unit/limits/fixtures.ts';

interface Admission {
  readonly at: number;
  readonly cost: number;
}

const rates = fc
  .record({
    ratePerSecond: fc.double({ min: 0.01, max: 100_000, noNaN: true }),
    burst: fc.integer({ min: 1, max: 500 }),
  })
  .map(({ ratePerSecond, burst }) => compileRate(ratePerSecond, burst));

/** Arrivals: gaps in tenths of microseconds up to a few seconds, and costs. */
const arrivals = fc.array(
  fc.record({
    gap: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 0, max: 30_000_000 })),
    cost: fc.integer({ min: 0, max: 6 }),
  }),
  { maxLength: 200 },
);

function decide(store: EmbeddedStore, keys: string[], levels: number[], now: number): readonly number[] {
  const call = new Ask(keys, levels);
  store.decide(call, now);
  if (call.reply === undefined) throw new Error('no answer');
  return call.reply;
}

/** The most units admitted above rate · window + burst in any window that begins at an admission. */
function worstExcess(admitted: readonly Admission[], rate: CompiledRate): number {
  let worst = -Infinity;
  for (let from = 0; from < admitted.length; from++) {
    let units = 0;
    for (let to = from; to < admitted.length; to++) {
      const first = admitted[from] as Admission;
      const last = admitted[to] as Admission;
      units += last.cost;
      const windowTicks = (last.at - first.at) * TICKS_PER_MS;
      worst = Math.max(worst, units - rate.burst - windowTicks / rate.unitTicks);
    }
  }
  return worst;
}

describe('GCRA', () => {
  test('any window admits at most rate · window + burst, whatever arrives and whatever it costs', () => {
    fc.assert(
      fc.property(rates, arrivals, (rate, list) => {
        const store = new EmbeddedStore(10, seededRandom(1));
        const admitted: Admission[] = [];
        let now = 1000;
        for (const { gap, cost } of list) {
          now += gap / TICKS_PER_MS;
          if (cost > rate.burst) continue;
          if (decide(store, ['k'], terms(rate, cost), now)[0] === 1) admitted.push({ at: now, cost });
        }
        // A tick of slack: moments are floats of milliseconds here, whole ticks there.
        expect(worstExcess(admitted, rate)).toBeLessThanOrEqual(1 / rate.unitTicks + 1e-9);
      }),
      { numRuns: 200 },
    );
  });

  test("a burst at a window's edge stays within rW + b", () => {
    // Ten a second: nothing until just before the full second, then everything; a fixed window would give 19 or 20.
    const rate = compileRate(10, 10);
    const store = new EmbeddedStore(10, seededRandom(1));
    let admitted = 0;
    for (const at of [980, 990, 1000, 1010, 1020]) {
      for (let i = 0; i < 10; i++) if (decide(store, ['k'], terms(rate), at)[0] === 1) admitted++;
    }
    expect(admitted).toBe(10);
  });

  test('who is refused and waits as told, alone, is admitted; a tick earlier he is not', () => {
    fc.assert(
      fc.property(
        rates,
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 500 }),
        (rate, cost, before) => {
          fc.pre(cost <= rate.burst);
          const store = new EmbeddedStore(10, seededRandom(1));
          for (let i = 0; i < before; i++) decide(store, ['k'], terms(rate), 0);
          const [ok, , , waitTicks = 0] = decide(store, ['k'], terms(rate, cost), 0);
          if (ok === 1) return;
          expect(decide(store, ['k'], terms(rate, cost), (waitTicks - 0.5) / TICKS_PER_MS)[0]).toBe(0);
          expect(decide(store, ['k'], terms(rate, cost), (waitTicks + 0.5) / TICKS_PER_MS)[0]).toBe(1);
        },
      ),
    );
  });

  test('demand above the rate gets the rate: no unit is lost to rounding', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5000 }),
        fc.integer({ min: 10, max: 100 }),
        (ratePerSecond, burst) => {
          const rate = compileRate(ratePerSecond, burst);
          const store = new EmbeddedStore(10, seededRandom(1));
          const step = Math.min(1, burst / ratePerSecond / 4) * 1000;
          let units = 0;
          for (let now = 0; now <= 10_000; now += Math.max(step, 5)) {
            while (decide(store, ['k'], terms(rate), now)[0] === 1) units++;
          }
          // Only what overflows between two steps of 5 ms may be missing.
          if (burst / ratePerSecond > 0.01) expect(units).toBeGreaterThanOrEqual(0.98 * ratePerSecond * 10);
        },
      ),
      { numRuns: 20 },
    );
  });
});

describe('several levels', () => {
  test('a refused request is charged at no level: afterwards every bucket stands as without it', () => {
    const request = fc.record({
      gap: fc.integer({ min: 0, max: 500 }),
      levels: fc.subarray([0, 1, 2, 3, 4], { minLength: 1 }),
      cost: fc.integer({ min: 0, max: 4 }),
      vetoes: fc.array(fc.boolean(), { minLength: 5, maxLength: 5 }),
    });
    const limits = [
      compileRate(2, 4),
      compileRate(5, 5),
      compileRate(1, 10),
      compileRate(50, 6),
      compileRate(3, 7),
    ];
    fc.assert(
      fc.property(fc.array(request, { maxLength: 80 }), (list) => {
        const store = new EmbeddedStore(100, seededRandom(1));
        const shadow = new EmbeddedStore(100, seededRandom(1));
        let now = 0;
        for (const { gap, levels, cost, vetoes } of list) {
          now += gap;
          const keys = levels.map((level) => `k${level}`);
          const ask = levels.flatMap((level) =>
            terms(limits[level] as CompiledRate, cost, vetoes[level] === true ? 1 : 0),
          );
          const reply = decide(store, keys, ask, now);
          // The model of all or nothing: each granted bucket is charged by itself, and nothing else is.
          levels.forEach((level, i) => {
            const granted = reply[1 + 4 * i] ?? 0;
            expect(granted === 0 || granted === cost).toBe(true);
            if (reply[0] === 0) expect(granted).toBe(0);
            if (granted > 0)
              decide(shadow, [`k${level}`], terms(limits[level] as CompiledRate, granted), now);
          });
          for (let level = 0; level < 5; level++) {
            const peek = terms(limits[level] as CompiledRate, 0);
            expect(decide(store, [`k${level}`], peek, now)).toEqual(decide(shadow, [`k${level}`], peek, now));
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  test('a limit that changes under load: waits at most the new depth, at most one new burst extra', () => {
    fc.assert(
      fc.property(rates, rates, fc.integer({ min: 0, max: 600 }), (before, after, taken) => {
        const store = new EmbeddedStore(10, seededRandom(1));
        for (let i = 0; i < taken; i++) decide(store, ['k'], terms(before), 0);
        let units = 0;
        while (decide(store, ['k'], terms(after), 0)[0] === 1) units++;
        expect(units).toBeLessThanOrEqual(after.burst);
        const [, , , waitTicks = 0, fullTicks = 0] = decide(store, ['k'], terms(after), 0);
        expect(waitTicks).toBeLessThanOrEqual(after.depthTicks);
        expect(fullTicks).toBeLessThanOrEqual(after.depthTicks);
      }),
    );
  });
});
