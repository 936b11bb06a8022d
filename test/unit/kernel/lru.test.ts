import { expect, test } from 'vitest';
import { RecentMap } from '../../../src/kernel/lru.ts';

test('never holds more than its capacity, whatever is put in', () => {
  const map = new RecentMap<number, number>(100);
  let most = 0;
  for (let key = 0; key < 10_000; key++) {
    map.set(key, key);
    if (key % 3 === 0) map.get(key - 40);
    most = Math.max(most, map.size);
  }
  expect(most).toBeLessThanOrEqual(100);
  expect(most).toBeGreaterThan(50);
});

test('what is used in each generation survives a flood of strangers', () => {
  const map = new RecentMap<string, number>(20);
  map.set('regular', 1);
  for (let stranger = 0; stranger < 1000; stranger++) {
    map.set(`stranger ${stranger}`, stranger);
    if (stranger % 5 === 0) expect(map.get('regular')).toBe(1);
  }
  expect(map.get('stranger 3')).toBeUndefined();
});

test('a second value for a key replaces the first in either generation', () => {
  const map = new RecentMap<string, number>(4);
  map.set('a', 1);
  map.set('b', 1);
  map.set('c', 1); // a and b are old now
  map.set('a', 2);
  map.set('c', 2);
  expect([map.get('a'), map.get('b'), map.get('c')]).toEqual([2, 1, 2]);
});

test('each entry that goes to make room is told, once, and none that was used meanwhile', () => {
  const gone: number[] = [];
  const map = new RecentMap<number, number>(4, (value) => gone.push(value));
  for (let i = 0; i < 4; i++) map.set(i, i);
  map.get(1);
  expect(gone).toEqual([0]);
  for (let i = 4; i < 7; i++) map.set(i, i);
  const kept = [...map.values()];
  expect(kept.length).toBeLessThanOrEqual(4);
  expect([...gone, ...kept].toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6]);
});
