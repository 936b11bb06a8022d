/** A worker's copy of the overrides. */
import { expect, test } from 'vitest';
import { Overrides } from '../../../src/limits/overrides.ts';

const A = { bucket: 'a', ratePerSecond: 5, burst: 8, leftMs: 1000 };
const B = { bucket: 'b', ratePerSecond: 1, burst: 1, leftMs: 3000 };

test('has the rate of those it was told of, and nobody else is another', () => {
  const table = new Overrides();
  expect(table.replace([A, B], 0)).toEqual(['a', 'b']);
  expect(table.rateOf('a')).toMatchObject({ ratePerSecond: 5, burst: 8, unitTicks: 2_000_000 });
  expect(table.rateOf('c')).toBeUndefined();
});

test('its version is another with each change, and the same when nothing is', () => {
  const table = new Overrides();
  const seen = [table.version];
  const versionAfter = (work: () => unknown): number => {
    work();
    return table.version;
  };
  seen.push(versionAfter(() => table.replace([A], 0)));
  seen.push(versionAfter(() => table.change([{ ...A, burst: 9 }], [], 0)));
  seen.push(versionAfter(() => table.change([], ['a'], 0)));
  expect(new Set(seen).size).toBe(4);
  const before = table.version;
  expect(table.change([], ['a', 'x'], 0)).toEqual([]);
  table.replace([], 0);
  expect(table.version).toBe(before);
});

test('told again with another end, the rate is the same object and the end the new one', () => {
  const table = new Overrides();
  table.replace([A], 0);
  const rate = table.rateOf('a');
  expect(table.change([{ ...A, leftMs: 5000 }], [], 0)).toEqual([]);
  expect(table.rateOf('a')).toBe(rate);
  expect(table.expire(1000)).toEqual([]);
  expect(table.nextEndMs()).toBe(5000);
});

test('each ends by the clock, without a word', () => {
  const table = new Overrides();
  table.replace([A, B], 100);
  expect(table.nextEndMs()).toBe(1100);
  expect(table.expire(1099)).toEqual([]);
  expect(table.expire(1100)).toEqual(['a']);
  expect([table.rateOf('a'), table.rateOf('b')?.burst]).toEqual([undefined, 1]);
  expect(table.nextEndMs()).toBe(3100);
  expect(table.expire(9000)).toEqual(['b']);
  expect(table.nextEndMs()).toBe(Infinity);
});

test('a complete list takes out what is not in it', () => {
  const table = new Overrides();
  table.replace([A, B], 0);
  expect(table.replace([B], 0)).toEqual(['a']);
  expect(table.rateOf('a')).toBeUndefined();
});
