import { expect, test } from 'vitest';
import { ExplainRing, EXPLAIN_RECORDS } from '../../../src/io/explain-ring.ts';

test('a request is found until as many others have come after it', () => {
  const ring = new ExplainRing<number>(3);
  ring.add('a', 1);
  ring.add('b', 2);
  ring.add('c', 3);
  expect([ring.find('a'), ring.find('b'), ring.find('c')]).toStrictEqual([1, 2, 3]);
  ring.add('d', 4);
  expect([ring.find('a'), ring.find('b'), ring.find('d')]).toStrictEqual([undefined, 2, 4]);
});

test('of two requests with one id the newest is told', () => {
  const ring = new ExplainRing<string>(4);
  ring.add('same', 'old');
  ring.add('other', 'between');
  ring.add('same', 'new');
  expect(ring.find('same')).toBe('new');
});

test('an empty ring knows nothing, not even the empty id', () => {
  const ring = new ExplainRing<string>();
  expect(ring.find('')).toBeUndefined();
  expect(ring.find('a')).toBeUndefined();
});

test('the ring of a worker keeps the last 4096', () => {
  const ring = new ExplainRing<number>();
  for (let n = 0; n < 3 * EXPLAIN_RECORDS; n += 1) ring.add(`r${n}`, n);
  expect(EXPLAIN_RECORDS).toBe(4096);
  expect(ring.find(`r${2 * EXPLAIN_RECORDS}`)).toBe(2 * EXPLAIN_RECORDS);
  expect(ring.find(`r${2 * EXPLAIN_RECORDS - 1}`)).toBeUndefined();
});
