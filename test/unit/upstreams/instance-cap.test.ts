import { expect, test } from 'vitest';

import { EVEN_PART, InstanceCap, LEAST_PART } from '../../../src/upstreams/instance-cap.ts';

function capOf(limit: number, workers: number): InstanceCap {
  const cap = new InstanceCap();
  cap.configure(limit, workers);
  return cap;
}

/** Of one instance. */
function use(inFlight: number, openCap: number) {
  return { inFlight, mostAtOne: inFlight, openCap };
}

test('until it is told the cap is an equal part of the limit, rounded up', () => {
  expect(capOf(4, 2).at(0)).toBe(2);
  expect(capOf(5, 2).at(0)).toBe(3);
  expect(capOf(1, 16).at(0)).toBe(1);
  expect(capOf(Infinity, 2).at(0)).toBe(Infinity);
});

test('more than an equal part holds for a quarter of a second, less until another is granted', () => {
  const cap = capOf(8, 2);
  cap.take({ grant: 1, part: 14 }, 1000);
  expect([cap.at(1249), cap.at(1250)]).toEqual([7, 4]);
  cap.take({ grant: 1, part: 14 }, 1300);
  expect(cap.at(1300)).toBe(7);
  cap.take({ grant: 2, part: 2 }, 1310);
  expect(cap.at(1e9)).toBe(1);
});

test('an older grant than the last is not taken', () => {
  const cap = capOf(8, 2);
  cap.take({ grant: 2, part: 4 }, 0);
  cap.take({ grant: 1, part: 14 }, 0);
  expect(cap.at(0)).toBe(2);
});

test('where all is in use twice that is claimed, though nobody may wait', () => {
  expect(capOf(8, 4).claim(use(2, 2), 0)).toMatchObject({ need: 13 });
  expect(capOf(8, 4).claim(use(1, 2), 0).need).toBeLessThanOrEqual(EVEN_PART);
});

test('a need fades within two seconds, and is the least then', () => {
  const cap = capOf(8, 2);
  expect(cap.claim(use(4, 4), 0).need).toBe(15);
  const needs: number[] = [];
  for (let now = 50; now <= 2000; now += 50) needs.push(cap.claim(use(0, 4), now).need);
  expect(needs.toSorted((a, b) => b - a)).toEqual(needs);
  expect([needs[5], needs.at(-1)]).toEqual([8, LEAST_PART]);
});

test('without an answer less is an equal part again, and is said to be used', () => {
  const cap = capOf(8, 2);
  cap.take({ grant: 1, part: 2 }, 0);
  cap.lapse();
  expect(cap.at(1)).toBe(4);
  expect(cap.claim(use(0, 4), 1)).toMatchObject({ grant: 1, holds: EVEN_PART });
});

test('what a few requests need changes no claim', () => {
  const cap = capOf(64, 2);
  const claims = [0, 3, 1, 2, 0, 3].map((inFlight, turn) => cap.claim(use(inFlight, 32), 50 * turn));
  expect(new Set(claims.map(({ need }) => need))).toEqual(new Set([LEAST_PART]));
});

test('what runs beyond the part is held until it ends', () => {
  const cap = capOf(8, 2);
  cap.take({ grant: 1, part: 14 }, 0);
  cap.take({ grant: 2, part: 2 }, 10);
  expect(cap.claim(use(7, 1), 50)).toMatchObject({ grant: 2, holds: 13 });
  expect(cap.claim(use(1, 1), 100)).toMatchObject({ grant: 2, holds: 2 });
});

test('with another number of workers it begins anew, with another limit it keeps its part', () => {
  const cap = capOf(8, 2);
  cap.take({ grant: 3, part: 4 }, 0);
  cap.configure(16, 2);
  expect(cap.at(0)).toBe(4);
  cap.configure(16, 4);
  expect(cap.at(0)).toBe(4);
  expect(cap.claim(use(0, 4), 0)).toEqual({ grant: 0, need: LEAST_PART, holds: EVEN_PART });
});
