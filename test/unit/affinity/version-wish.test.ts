/** The version that a request asks for by itself, from texts that strangers write. */
import { expect, test } from 'vitest';

import { fieldWish, queryWish } from '../../../src/affinity/version-wish.ts';

test.each([
  ['', ''],
  ['?dpl=v2', 'v2'],
  ['?a=1&dpl=v2&b=2', 'v2'],
  ['?dpl=1.4.2-rc_1', '1.4.2-rc_1'],
  ['?dpl=', ''],
  ['?dpl', ''],
  ['?xdpl=v2', ''],
  ['?a=dpl=v2', ''],
  ['?xdpl=v1&dpl=v2', 'v2'],
  ['?dpl=v1&dpl=v2', 'v1'],
  // The first counts, also if it is none.
  ['?dpl=v%31&dpl=v2', ''],
  ['?dpl=v 1', ''],
  ['?dpl=v1/..', ''],
  [`?dpl=${'a'.repeat(64)}`, 'a'.repeat(64)],
  [`?dpl=${'a'.repeat(65)}`, ''],
  ['?DPL=v2', ''],
  ['dpl=v2', ''],
])('the query %j asks for %j', (query, wish) => {
  expect(queryWish(query)).toBe(wish);
});

test.each([
  [undefined, ''],
  ['', ''],
  ['v2', 'v2'],
  ['v2, v3', ''],
  ['"v2"', ''],
  ['\u00e9', ''],
  ['a'.repeat(65), ''],
])('the field value %j asks for %j', (value, wish) => {
  expect(fieldWish(value)).toBe(wish);
});

test('a query full of beginnings is read in linear time', () => {
  const query = `?${'xdpl='.repeat(1600)}`;
  const startedMs = performance.now();
  for (let n = 0; n < 100; n++) expect(queryWish(query)).toBe('');
  // 8 KiB, as long as a target may be: about 20 µs each. Quadratic would be seconds.
  expect(performance.now() - startedMs).toBeLessThan(1000);
});
