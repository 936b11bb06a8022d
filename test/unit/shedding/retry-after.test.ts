import { expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { retryAfterSeconds } from '../../../src/shedding/retry-after.ts';
import { admission, enter } from './fixture.ts';

function draw(underPressureMs: number, rank: 0 | 1 | 2 | 3): number[] {
  const random = seededRandom(5);
  return Array.from({ length: 2000 }, () => retryAfterSeconds(underPressureMs, rank, random));
}

test.each([
  [0, 1, 3],
  [2000, 1, 3],
  [8000, 4, 12],
  [9000, 5, 13],
  [60_000, 30, 90],
  [3_600_000, 30, 90],
])('after %i ms of refusals a critical caller waits whole seconds from %i to %i', (ms, low, high) => {
  const drawn = draw(ms, 0);
  expect(drawn.every(Number.isInteger)).toBe(true);
  expect(Math.min(...drawn)).toBe(low);
  expect(Math.max(...drawn)).toBe(high);
});

test.each([2, 3] as const)('class %i is asked to wait twice as long', (rank) => {
  const drawn = draw(8000, rank);
  expect(Math.min(...drawn)).toBe(8);
  expect(Math.max(...drawn)).toBe(24);
});

test('default is asked for no more than critical', () => {
  expect(draw(8000, 1)).toEqual(draw(8000, 0));
});

test('a crowd refused together comes back spread over all of the seconds', () => {
  const counts = new Map<number, number>();
  for (const seconds of draw(8000, 1)) counts.set(seconds, (counts.get(seconds) ?? 0) + 1);
  expect(counts.size).toBe(9);
  for (const count of counts.values()) expect(count).toBeLessThan((2 * 2000) / 9);
});

test('admission asks for more the longer it refuses, and for little again when that was over for two seconds', () => {
  const gate = admission({ limit: 1, queue: 0 });
  enter(gate, 1, 0);
  for (let now = 0; now <= 20_000; now += 500) enter(gate, 1, now);
  const long = Array.from({ length: 50 }, () => gate.retryAfterSeconds(0, 20_000));
  expect(Math.min(...long)).toBeGreaterThanOrEqual(10);
  expect(Math.max(...long)).toBeLessThanOrEqual(30);
  const after = Array.from({ length: 50 }, () => gate.retryAfterSeconds(0, 22_501));
  expect(Math.max(...after)).toBeLessThanOrEqual(3);
});
