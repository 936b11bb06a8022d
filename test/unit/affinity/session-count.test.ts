import { expect, test } from 'vitest';
import { shareOf } from '../../../src/affinity/drain-time.ts';
import { SessionCount, sessionsOf } from '../../../src/affinity/session-count.ts';
import { seededRandom } from '../../../src/kernel/random.ts';

const PERIOD = 60_000;

/** As the supervisor sees it. */
function estimateOf(count: SessionCount, now: number): number {
  return sessionsOf([count.snapshot(now)]);
}

function sids(count: number, seed: number): string[] {
  const random = seededRandom(seed);
  const half = (): string =>
    Math.floor(random() * 2 ** 32)
      .toString(16)
      .padStart(8, '0');
  return Array.from({ length: count }, () => half() + half());
}

function counted(sessions: readonly string[], now = 0): SessionCount {
  const count = new SessionCount(PERIOD);
  for (const sid of sessions) count.add(sid, now);
  return count;
}

test.each([
  [0, 0],
  [1, 0],
  [100, 3],
  [1000, 25],
  [10_000, 250],
  [50_000, 2500],
])('%i sessions are counted to within %i', (sessions, error) => {
  const estimate = estimateOf(counted(sids(sessions, 11)), 0);
  expect(Math.abs(estimate - sessions)).toBeLessThanOrEqual(error);
});

test('a session that comes again is one', () => {
  const count = counted(sids(500, 3));
  const before = estimateOf(count, 0);
  for (const sid of sids(500, 3)) expect(count.add(sid, 10)).toBe(false);
  expect(estimateOf(count, 10)).toBe(before);
});

test('workers are joined, and a session that both have seen is one', () => {
  const all = sids(3000, 5);
  const left = counted(all.slice(0, 2000)).snapshot(0);
  const right = counted(all.slice(1000)).snapshot(0);
  expect(Math.abs(sessionsOf([left, '', right]) - 3000)).toBeLessThan(90);
});

test('a session unseen for two periods is not counted, one seen in the last period is', () => {
  const count = counted(sids(100, 1));
  for (const sid of sids(40, 2)) count.add(sid, PERIOD);
  expect(estimateOf(count, PERIOD)).toBeGreaterThan(130);
  expect(Math.abs(estimateOf(count, 2 * PERIOD) - 40)).toBeLessThan(3);
  expect(estimateOf(count, 3 * PERIOD)).toBe(0);
});

test('after a silence of two periods nobody is counted', () => {
  const count = counted(sids(100, 1));
  expect(estimateOf(count, 2 * PERIOD)).toBe(0);
  expect(count.snapshot(2 * PERIOD)).toBe('');
});

test('a full bitmap stays a finite figure', () => {
  const estimate = estimateOf(counted(sids(400_000, 9)), 0);
  expect(estimate).toBeGreaterThan(100_000);
  expect(Number.isFinite(estimate)).toBe(true);
});

test('a snapshot of another size is left out', () => {
  expect(sessionsOf(['AAAA', counted(sids(10, 1)).snapshot(0)])).toBe(10);
});

test('clear forgets all', () => {
  const count = counted(sids(10, 1));
  count.clear();
  expect(estimateOf(count, 0)).toBe(0);
});

test.each([0.25, 0.5, 0.9, 1])('those whose turn to leave came first are not counted: %f of them', (left) => {
  const all = sids(4000, 21);
  const staying = all.filter((sid) => shareOf(sid) >= left).length;
  const estimate = sessionsOf([counted(all).snapshot(0)], left);
  // A stratum is counted whole, a sixty-fourth of all.
  expect(estimate - staying).toBeGreaterThan(-120);
  expect(estimate - staying).toBeLessThan(4000 / 64 + 120);
});

test('sessions that were taken over from one that leaves are counted as well as any: they stand close together', () => {
  const own = sids(3000, 31);
  const takenOver = sids(20_000, 33).filter((sid) => shareOf(sid) < 0.1);
  const estimate = estimateOf(counted([...own, ...takenOver]), 0);
  expect(Math.abs(estimate - own.length - takenOver.length)).toBeLessThan(150);
});

test('of three sessions each is counted until its own turn', () => {
  const three = ['0000000000000001', '0000000080000000', '00000000ffffffff'];
  const bits = [counted(three).snapshot(0)];
  expect([0, 0.1, 0.51, 0.99, 1].map((left) => sessionsOf(bits, left))).toEqual([3, 2, 2, 1, 0]);
});
