import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { seededRandom } from '../../src/kernel/random.ts';
import { Breaker, type BreakerPolicy, type BreakerResult } from '../../src/upstreams/breaker.ts';
import { RetryBudget } from '../../src/upstreams/retry-budget.ts';

const POLICY: BreakerPolicy = { consecutive: 5, errorRatio: 0.5, minRequests: 20, openMs: 2000 };

interface Step {
  readonly gapMs: number;
  readonly result: BreakerResult;
}

const steps = fc.array(
  fc.record({
    gapMs: fc.oneof(
      { weight: 9, arbitrary: fc.integer({ min: 0, max: 400 }) },
      { weight: 1, arbitrary: fc.integer({ min: 0, max: 15_000 }) },
    ),
    result: fc.constantFrom<BreakerResult>('ok', 'ok', 'hard', 'hard', 'ignored'),
  }),
  { minLength: 30, maxLength: 300, size: 'max' },
);

/** Which outcome trips a closed breaker, by a plain list of everything; −1: none. */
function naiveTrip(history: readonly Step[]): number {
  const seen: { readonly slice: number; readonly hard: boolean }[] = [];
  let now = 0;
  let streak = 0;
  for (const [index, { gapMs, result }] of history.entries()) {
    now += gapMs;
    if (result === 'ignored') continue;
    const slice = Math.floor(now / 1000);
    seen.push({ slice, hard: result === 'hard' });
    streak = result === 'hard' ? streak + 1 : 0;
    const recent = seen.filter((outcome) => outcome.slice > slice - 10);
    const hard = recent.filter((outcome) => outcome.hard).length;
    if (streak >= 5 || (recent.length >= 20 && hard / recent.length >= 0.5)) return index;
  }
  return -1;
}

test('a closed breaker trips at the very outcome at which a naive list would', () => {
  let trips = 0;
  fc.assert(
    fc.property(steps, (history) => {
      const breaker = new Breaker(POLICY, () => 0.5);
      const wanted = naiveTrip(history);
      let now = 0;
      for (const [index, { gapMs, result }] of history.entries()) {
        now += gapMs;
        const pass = breaker.allow(now);
        expect(pass).toBeGreaterThan(0);
        breaker.record(result, now, pass);
        expect(breaker.view(now).state).toBe(index === wanted ? 'open' : 'closed');
        if (index === wanted) {
          trips++;
          return;
        }
      }
      expect(wanted).toBe(-1);
    }),
    { seed: 20_260_504, numRuns: 1500 },
  );
  expect(trips).toBeGreaterThan(100);
});

test('whatever happens: nothing passes while open, one at a time while half-open, and it never sticks', () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.array(
        fc.record({
          gapMs: fc.integer({ min: 0, max: 3000 }),
          ends: fc.integer({ min: 0, max: 40_000 }),
          result: fc.constantFrom<BreakerResult>('ok', 'hard', 'hard', 'ignored'),
        }),
        { maxLength: 200 },
      ),
      (seed, requests) => {
        const breaker = new Breaker(POLICY, seededRandom(seed));
        const flying: { pass: number; endsMs: number; result: BreakerResult }[] = [];
        let now = 0;
        let trialStartedMs = Number.NEGATIVE_INFINITY;
        for (const { gapMs, ends, result } of requests) {
          now += gapMs;
          for (const flight of flying.filter(({ endsMs }) => endsMs <= now)) {
            breaker.record(flight.result, now, flight.pass);
            flying.splice(flying.indexOf(flight), 1);
          }
          const before = breaker.view(now);
          const pass = breaker.allow(now);
          if (before.state === 'open') {
            expect(pass).toBe(0);
            expect(before.leftMs).toBeGreaterThan(0);
            expect(before.leftMs).toBeLessThanOrEqual(60_000);
            trialStartedMs = Number.NEGATIVE_INFINITY;
          }
          if (before.state === 'half-open' && pass !== 0) {
            // The trial before this one has ended, or has been out for its ten seconds.
            const unfinished =
              flying.some((flight) => flight.pass === pass - 1) && trialStartedMs > Number.NEGATIVE_INFINITY;
            if (unfinished) expect(now - trialStartedMs).toBeGreaterThanOrEqual(10_000);
            trialStartedMs = now;
          }
          if (before.state === 'closed') expect(pass).toBeGreaterThan(0);
          if (pass !== 0) flying.push({ pass, endsMs: now + ends, result });
        }
        // A minute later and with good answers only, it closes.
        now += 61_000;
        for (let second = 0; second < 30; second++) {
          now += 1000;
          breaker.record('ok', now, breaker.allow(now));
        }
        expect(breaker.view(now).state).toBe('closed');
      },
    ),
    { seed: 20_260_504, numRuns: 1000 },
  );
});

test('in every 10 s there are at most six retries and the budget of the first attempts', () => {
  let granted = 0;
  fc.assert(
    fc.property(
      fc.constantFrom(0, 0.1, 0.2, 1),
      fc.array(
        fc.tuple(fc.double({ min: 0, max: 900, noNaN: true }), fc.nat({ max: 20 }), fc.nat({ max: 8 })),
        {
          maxLength: 120,
        },
      ),
      (ratio, bursts) => {
        const budget = new RetryBudget(ratio);
        const events: { readonly at: number; readonly retry: boolean }[] = [];
        let now = 0;
        for (const [gapMs, firsts, wishes] of bursts) {
          now += gapMs;
          for (let request = 0; request < firsts; request++) {
            budget.attempt(now);
            events.push({ at: now, retry: false });
          }
          for (let wish = 0; wish < wishes; wish++) {
            if (!budget.tryRetry(now)) continue;
            granted++;
            events.push({ at: now, retry: true });
            const recent = events.filter(({ at }) => at > now - 10_000);
            const retries = recent.filter(({ retry }) => retry).length;
            expect(retries).toBeLessThanOrEqual(6 + ratio * (recent.length - retries));
          }
        }
      },
    ),
    { seed: 20_260_504, numRuns: 500 },
  );
  expect(granted).toBeGreaterThan(1000);
});
