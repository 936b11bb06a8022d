import { expect, test } from 'vitest';

import { ProbeLoads } from '../../../src/io/probe-loads.ts';

const FRESH_MS = 10_000;

test('each report is news once, with its age, and also where it says what the one before said', () => {
  const loads = new ProbeLoads();
  expect(loads.takeNews(0)).toEqual([]);
  loads.note('shop', 'a:1', 1.2, 1000);
  loads.note('stock', 'a:1', 0, 1010);
  expect(loads.takeNews(1020)).toEqual([
    { service: 'shop', id: 'a:1', utilization: 1.2, ageMs: 20 },
    { service: 'stock', id: 'a:1', utilization: 0, ageMs: 10 },
  ]);
  expect(loads.takeNews(1040)).toEqual([]);
  loads.note('shop', 'a:1', 1.2, 2000);
  expect(loads.takeNews(2000)).toEqual([{ service: 'shop', id: 'a:1', utilization: 1.2, ageMs: 0 }]);
});

test('a worker that starts is told the last of each that is fresh, and no more', () => {
  const loads = new ProbeLoads();
  loads.note('shop', 'a:1', 1.2, 0);
  loads.note('shop', 'b:1', 0.4, 500);
  loads.note('shop', 'a:1', 0.2, 1000);
  loads.takeNews(1000);
  const told = (now: number): unknown => loads.all(now).map(({ id, utilization }) => [id, utilization]);
  expect(told(1000)).toEqual([
    ['b:1', 0.4],
    ['a:1', 0.2],
  ]);
  expect(told(500 + FRESH_MS)).toEqual([['a:1', 0.2]]);
  expect(told(1000 + FRESH_MS)).toEqual([]);
});
