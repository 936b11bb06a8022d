import { expect, test } from 'vitest';
import { cookieEnd, cookieValue, findCookie } from '../../../src/kernel/cookie.ts';

function all(header: string, name: string): string[] {
  const values: string[] = [];
  let start = findCookie(header, name, 0);
  while (start >= 0) {
    values.push(cookieValue(header, start));
    start = findCookie(header, name, cookieEnd(header, start));
  }
  return values;
}

test.each<[string, string[]]>([
  ['', []],
  ['s=1', ['1']],
  ['a=0; s=1; s=2', ['1', '2']],
  ['s = 1 ;\ts=2', ['1', '2']],
  ['xs=1; s2=2; sx=3; S=4', []],
  ['a=s=1', []],
  ['a="; s=1"', ['1"']],
  ['s', []],
  ['s; s=1', ['1']],
  ['s==1', ['=1']],
  ['ss=1; s=', ['']],
  [';;;s=1', ['1']],
  ['a s=1', []],
])('cookies named s of %j', (header, values) => {
  expect(all(header, 's')).toEqual(values);
});

test('a header of nothing but near misses is read in linear time', () => {
  const header = `${'session'.repeat(2000)} `.repeat(10);
  const started = performance.now();
  for (let round = 0; round < 20; round++) expect(findCookie(header, 'session', 0)).toBe(-1);
  const spaces = `session${' '.repeat(100_000)}`;
  expect(findCookie(spaces + spaces, 'session', 0)).toBe(-1);
  // 2.8 MB of text: a quadratic reader would need hours.
  expect(performance.now() - started).toBeLessThan(5000);
});

test('no name finds no cookie', () => {
  expect(findCookie('=1; a=2', '', 0)).toBe(-1);
});
