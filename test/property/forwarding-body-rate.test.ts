import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BodyRate, GRACE_MS } from '../../src/forwarding/body-rate.ts';

/** A fixed seed, so that a red run can be run again. */
const RUNS = { numRuns: 2000, seed: 20_261_121 };

const RATE = 240;
/** As the beat looks: about twice a second, late when the loop was busy. */
const spanMs = fc.integer({ min: 1, max: 2500 });

/** Moment of owed time at which it was found slow, Infinity when it never was. */
function slowAfter(rate: BodyRate, spans: readonly (readonly [owedMs: number, bytes: number])[]): number {
  let owed = 0;
  for (const [ms, bytes] of spans) {
    rate.note(ms, bytes);
    owed += ms;
    if (rate.slow) return owed;
  }
  return Infinity;
}

describe('a transfer', () => {
  it('at the rate or above is never slow, however it is looked at', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(spanMs, fc.double({ min: 1, max: 50, noNaN: true })), { maxLength: 200 }),
        (spans) => {
          const moved = spans.map(([ms, over]): [number, number] => [
            ms,
            Math.ceil((ms * RATE * over) / 1000),
          ]);
          expect(slowAfter(new BodyRate(RATE), moved)).toBe(Infinity);
        },
      ),
      RUNS,
    );
  });

  it('below the rate from its start is slow at the first look after the grace, never before', () => {
    fc.assert(
      fc.property(
        fc.array(spanMs, { minLength: 20, maxLength: 200 }),
        fc.double({ min: 0, max: 0.99, noNaN: true }),
        (spans, share) => {
          const moved = spans.map((ms): [number, number] => [ms, (ms * RATE * share) / 1000]);
          const total = spans.reduce((sum, ms) => sum + ms, 0);
          const found = slowAfter(new BodyRate(RATE), moved);
          if (total < GRACE_MS) expect(found).toBe(Infinity);
          else {
            expect(found).toBeGreaterThanOrEqual(GRACE_MS);
            expect(found).toBeLessThan(GRACE_MS + 2500);
          }
        },
      ),
      RUNS,
    );
  });

  it('that falls silent after any burst is slow as soon, whatever it moved before', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constant(500), fc.integer({ min: 1000, max: 1e9 })), { maxLength: 50 }),
        fc.constantFrom(100, 250, 500),
        (burst, lookMs) => {
          const rate = new BodyRate(RATE);
          fc.pre(slowAfter(rate, burst) === Infinity);
          const silence = Array.from({ length: 250 }, (): [number, number] => [lookMs, 0]);
          expect(slowAfter(rate, silence)).toBeLessThanOrEqual(GRACE_MS + 1500);
        },
      ),
      { ...RUNS, numRuns: 200 },
    );
  });

  it('may pause for less than the grace after it was well on its way', () => {
    const rate = new BodyRate(RATE);
    rate.note(1000, 1_000_000);
    for (let ms = 0; ms < GRACE_MS - 1000; ms += 500) {
      rate.note(500, 0);
      expect(rate.slow).toBe(false);
    }
  });

  it('that owes nothing is never slow', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(5000), { maxLength: 500 }), (bytes) => {
        expect(
          slowAfter(
            new BodyRate(RATE),
            bytes.map((each): [number, number] => [0, each]),
          ),
        ).toBe(Infinity);
      }),
      { ...RUNS, numRuns: 200 },
    );
  });

  it('is no slower for bytes more', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(spanMs, fc.nat(2000), fc.nat(500)), { minLength: 1, maxLength: 60 }),
        (spans) => {
          const less = slowAfter(
            new BodyRate(RATE),
            spans.map(([ms, bytes]): [number, number] => [ms, bytes]),
          );
          const more = slowAfter(
            new BodyRate(RATE),
            spans.map(([ms, bytes, extra]): [number, number] => [ms, bytes + extra]),
          );
          expect(more).toBeGreaterThanOrEqual(less);
        },
      ),
      RUNS,
    );
  });
});
