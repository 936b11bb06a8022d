import { expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { RetryBudget } from '../../../src/upstreams/retry-budget.ts';
import { mayRetry, retryPauseMs, type FailedAttempt } from '../../../src/upstreams/retry-policy.ts';

const SAFE = ['GET', 'HEAD', 'OPTIONS'];
const OTHER = ['POST', 'PUT', 'PATCH', 'DELETE', 'QUERY', 'get', ''];
const STATUSES = [200, 204, 301, 304, 400, 404, 408, 425, 429, 500, 501, 502, 503, 504, 505, 507, 599];

const ATTEMPT: FailedAttempt = {
  phase: 'unsent',
  method: 'GET',
  keyed: false,
  status: 0,
  hasRetryAfter: false,
  bodyUntouched: true,
  attempts: 1,
  max: 1,
  pressure: 0,
  leftMs: 5000,
  p50Ms: 20,
  mostFail: false,
};

/** The table of upstreams.md §5, as pairs of (status, Retry-After) that may be repeated with a safe method. */
const PASSING = new Set(['502 false', '502 true', '504 false', '504 true', '503 false']);

test('nothing was sent: any method is repeated', () => {
  for (const method of [...SAFE, ...OTHER]) expect(mayRetry({ ...ATTEMPT, method })).toBe(true);
});

test.each(['sent-no-byte', 'given-up'] as const)('%s: safe methods only', (phase) => {
  for (const method of SAFE) expect(mayRetry({ ...ATTEMPT, phase, method })).toBe(true);
  for (const method of OTHER) expect(mayRetry({ ...ATTEMPT, phase, method })).toBe(false);
});

test('any method with a key is repeated as a GET is, and no further', () => {
  for (const method of [...SAFE, ...OTHER]) {
    for (const phase of ['unsent', 'unprocessed', 'sent-no-byte', 'given-up', 'response'] as const) {
      for (const status of STATUSES) {
        for (const hasRetryAfter of [false, true]) {
          for (const bodyUntouched of [false, true]) {
            const attempt = { ...ATTEMPT, phase, status, hasRetryAfter, bodyUntouched };
            expect(mayRetry({ ...attempt, method, keyed: true })).toBe(
              mayRetry({ ...attempt, method: 'GET' }),
            );
          }
        }
      }
    }
  }
});

test('while most instances fail only what was not begun anywhere is repeated', () => {
  const attempt = { ...ATTEMPT, status: 502, mostFail: true };
  for (const phase of ['unsent', 'unprocessed'] as const) {
    for (const method of [...SAFE, ...OTHER]) expect(mayRetry({ ...attempt, phase, method })).toBe(true);
  }
  for (const phase of ['sent-no-byte', 'given-up', 'response'] as const) {
    for (const keyed of [false, true]) expect(mayRetry({ ...attempt, phase, keyed })).toBe(false);
  }
});

test('a response is repeated for 502, 504 and 503 without Retry-After, safe methods only', () => {
  for (const status of STATUSES) {
    for (const hasRetryAfter of [false, true]) {
      const wanted = PASSING.has(`${status} ${hasRetryAfter}`);
      for (const method of SAFE) {
        const attempt: FailedAttempt = { ...ATTEMPT, phase: 'response', method, status, hasRetryAfter };
        expect([method, status, hasRetryAfter, mayRetry(attempt)]).toEqual([
          method,
          status,
          hasRetryAfter,
          wanted,
        ]);
      }
      for (const method of OTHER) {
        expect(mayRetry({ ...ATTEMPT, phase: 'response', method, status, hasRetryAfter })).toBe(false);
      }
    }
  }
});

test('a body of which a byte was read is never sent again', () => {
  for (const phase of ['unsent', 'sent-no-byte', 'response'] as const) {
    expect(mayRetry({ ...ATTEMPT, phase, status: 502, bodyUntouched: false })).toBe(false);
  }
});

test.each([
  [0, [false, false, false, false]],
  [1, [true, false, false, false]],
  [2, [true, true, false, false]],
  [9, [true, true, false, false]],
])('with max %i the first, second, third, fourth failure may be retried: %j', (max, wanted) => {
  expect([1, 2, 3, 4].map((attempts) => mayRetry({ ...ATTEMPT, max, attempts }))).toEqual(wanted);
});

test('a gateway under pressure retries nothing', () => {
  expect([0.49, 0.5, 1].map((pressure) => mayRetry({ ...ATTEMPT, pressure }))).toEqual([true, false, false]);
});

test('a request with less time than a usual answer takes is not retried', () => {
  expect([21, 20, 19.9, 0, -5].map((leftMs) => mayRetry({ ...ATTEMPT, leftMs }))).toEqual([
    true,
    true,
    false,
    false,
    false,
  ]);
  expect([1, 0, -1].map((leftMs) => mayRetry({ ...ATTEMPT, leftMs, p50Ms: 0 }))).toEqual([
    true,
    false,
    false,
  ]);
});

test('the pause doubles its range with each attempt and uses all of it', () => {
  const random = seededRandom(3);
  for (const [attempts, most] of [
    [1, 25],
    [2, 75],
    [3, 175],
    [9, 175],
  ] as const) {
    const pauses = Array.from({ length: 2000 }, () => retryPauseMs(attempts, random));
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...pauses)).toBeLessThan(most);
    expect(Math.max(...pauses)).toBeGreaterThan(most * 0.98);
  }
});

function taken(budget: RetryBudget, wishes: number, now: number): number {
  let granted = 0;
  for (let wish = 0; wish < wishes; wish++) granted += budget.tryRetry(now) ? 1 : 0;
  return granted;
}

test('a quiet service has six retries in 10 s, a busy one a fifth of its first attempts more', () => {
  expect(taken(new RetryBudget(0.2), 100, 0)).toBe(6);
  const busy = new RetryBudget(0.2);
  for (let request = 0; request < 1000; request++) busy.attempt(0);
  expect(taken(busy, 1000, 500)).toBe(206);
});

test('retries come back only when those of 10 s ago are forgotten', () => {
  const budget = new RetryBudget(0);
  expect(taken(budget, 10, 999)).toBe(6);
  expect(taken(budget, 10, 10_999)).toBe(0);
  expect(taken(budget, 10, 11_000)).toBe(6);
});

test('a reload changes the share and keeps what was counted', () => {
  const budget = new RetryBudget(0.2);
  for (let request = 0; request < 100; request++) budget.attempt(0);
  expect(taken(budget, 10, 0)).toBe(10);
  budget.configure(0);
  expect(taken(budget, 10, 0)).toBe(0);
  budget.configure(0.5);
  expect(taken(budget, 100, 0)).toBe(46);
});
