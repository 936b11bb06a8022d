import { expect, test } from 'vitest';
import { stripCookie } from '../../../src/affinity/session-cookie.ts';

test.each<[string, string]>([
  ['', ''],
  ['a=1', 'a=1'],
  ['s=1', ''],
  ['s=1; a=1', 'a=1'],
  ['a=1; s=1', 'a=1'],
  ['a=1; s=1; b=2', 'a=1; b=2'],
  ['a=1;s=1;b=2', 'a=1;b=2'],
  ['s=1; s=2', ''],
  ['s=1; a=1; s=2; b=2; s=3', 'a=1; b=2'],
  ['a=s=1; xs=2; s2=3', 'a=s=1; xs=2; s2=3'],
  ['a=1; s =1 ; b=2', 'a=1; b=2'],
  ['a="; s=1; b=2"', 'a="; b=2"'],
  ['s=1;', ''],
  ['; ;s=1', ''],
  ['a=1;', 'a=1;'],
  ['s; a=1', 's; a=1'],
  ['a=\u00e9\u0080; s=1', 'a=\u00e9\u0080'],
])('%j without s is %j', (header, left) => {
  expect(stripCookie(header, 's')).toBe(left);
});
