import { expect, test } from 'vitest';
import { SliceWindow } from '../../../src/kernel/window.ts';

const OK = 0;
const HARD = 1;

test('counts columns apart and sums what the window holds', () => {
  const window = new SliceWindow(1000, 10, 2);
  window.add(OK, 3, 100);
  window.add(HARD, 1, 900);
  window.add(OK, 2, 5000);
  expect([window.sum(OK, 5000), window.sum(HARD, 5000)]).toEqual([5, 1]);
});

test('a slice leaves as a whole when its place is needed', () => {
  const window = new SliceWindow(1000, 10, 1);
  window.add(OK, 1, 999);
  window.add(OK, 1, 1000);
  expect(window.sum(OK, 9999)).toBe(2);
  expect(window.sum(OK, 10_000)).toBe(1);
  expect(window.sum(OK, 11_000)).toBe(0);
});

test('after a silence of the whole length it is empty, however long the silence was', () => {
  for (const silenceMs of [10_000, 10_001, 25_500, 1e9]) {
    const window = new SliceWindow(1000, 10, 2);
    window.add(OK, 7, 4321);
    window.add(HARD, 7, 4999);
    expect([window.sum(OK, 4999 + silenceMs), window.sum(HARD, 4999 + silenceMs)]).toEqual([0, 0]);
    window.add(OK, 1, 4999 + silenceMs);
    expect(window.sum(OK, 4999 + silenceMs)).toBe(1);
  }
});

test('a moment before the newest slice counts into the newest and loses nothing', () => {
  const window = new SliceWindow(1000, 10, 1);
  window.add(OK, 1, 20_000);
  window.add(OK, 1, 3000);
  expect(window.sum(OK, 20_000)).toBe(2);
  expect(window.sum(OK, 1)).toBe(2);
});

test('clear forgets the counts and goes on', () => {
  const window = new SliceWindow(1000, 3, 1);
  window.add(OK, 4, 1500);
  window.clear();
  expect(window.sum(OK, 1500)).toBe(0);
  window.add(OK, 1, 1600);
  expect(window.sum(OK, 3999)).toBe(1);
});

test('a clock whose origin lies ahead works too', () => {
  const window = new SliceWindow(1000, 4, 1);
  window.add(OK, 1, -3500);
  window.add(OK, 1, -500);
  expect(window.sum(OK, -1)).toBe(2);
  expect(window.sum(OK, 0)).toBe(1);
});

test('a slice without a length is refused', () => {
  expect(() => new SliceWindow(0, 10, 1)).toThrow(RangeError);
  expect(() => new SliceWindow(Number.NaN, 10, 1)).toThrow(RangeError);
});
