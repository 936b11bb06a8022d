import { describe, expect, test } from 'vitest';
import { concurrencyWords, guardWords, rateWords } from '../../../src/limits/words.ts';

describe('a rate in words', () => {
  test.each([
    [10 / 60, 'This client may ask 10 times a minute.'],
    [600 / 60, 'This client may ask 10 times a second.'],
    [5000 / 3600, 'This client may ask 5000 times an hour.'],
    [1, 'This client may ask once a second.'],
    [1 / 86_400, 'This client may ask once a day.'],
    [0.5, 'This client may ask 30 times a minute.'],
    [1e6, 'This client may ask 1000000 times a second.'],
    [Math.PI, 'This client may ask 3.14 times a second.'],
    [1 / (7 * 86_400), 'This client may ask 0.143 times a day.'],
  ])('%d a second', (rate, words) => {
    expect(rateWords(rate, 1, false)).toBe(words);
  });

  test('every rate that is written as a whole number in some unit is told as one', () => {
    for (const seconds of [1, 60, 3600, 86_400]) {
      for (let count = 1; count < 500; count++) {
        const told = rateWords(count / seconds, 1, false);
        expect(told, `${count} in ${seconds} s`).toMatch(
          /ask (once|\d+ times) an? (second|minute|hour|day)\.$/,
        );
      }
    }
  });

  test('on a route, and at a cost', () => {
    expect(rateWords(5, 1, true)).toBe('This client may ask 5 times a second on this route.');
    expect(rateWords(10 / 60, 5, false)).toBe(
      'This client may use 10 units a minute, and this request costs 5.',
    );
  });
});

test('requests in flight in words', () => {
  expect(concurrencyWords(1)).toBe('This client may have 1 request in flight.');
  expect(concurrencyWords(50)).toBe('This client may have 50 requests in flight.');
});

test('a block in words', () => {
  const rule = { strikes: 5, windowSeconds: 900, blockSeconds: 900, enforced: true };
  expect(guardWords({ kind: 'guard', ...rule })).toBe(
    'This client failed more than 5 times in 15 minutes on this route and is blocked for 15 minutes.',
  );
  expect(guardWords({ kind: 'penalty', ...rule, strikes: 1, windowSeconds: 60, blockSeconds: 3600 })).toBe(
    'This client was refused more than once in a minute and is blocked for an hour.',
  );
  expect(guardWords({ kind: 'penalty', ...rule, windowSeconds: 90, blockSeconds: 2 * 86_400 })).toBe(
    'This client was refused more than 5 times in 90 seconds and is blocked for 2 days.',
  );
});
