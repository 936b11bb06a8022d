import { expect, test } from 'vitest';
import { sessionLeavesAt, shareOf, shareThatLeft } from '../../../src/affinity/drain-time.ts';
import { seededRandom } from '../../../src/kernel/random.ts';

function sid(random: () => number): string {
  const half = (): string =>
    Math.floor(random() * 2 ** 32)
      .toString(16)
      .padStart(8, '0');
  return half() + half();
}

test('sessions leave between 0.8 and 1.0 of the session timeout', () => {
  expect(sessionLeavesAt(1000, 60_000, 'ffffffff00000000')).toBe(49_000);
  expect(sessionLeavesAt(1000, 60_000, '00000000ffffffff')).toBeCloseTo(61_000, 3);
});

test('they leave one after the other: no second of the last fifth takes more than its part', () => {
  const random = seededRandom(7);
  const seconds = Array.from({ length: 12 }, () => 0);
  for (let session = 0; session < 12_000; session++) {
    const second = Math.floor((sessionLeavesAt(0, 60_000, sid(random)) - 48_000) / 1000);
    seconds[second] = (seconds[second] ?? 0) + 1;
  }
  expect(seconds).toHaveLength(12);
  expect(Math.min(...seconds)).toBeGreaterThan(850);
  expect(Math.max(...seconds)).toBeLessThan(1150);
});

test('without a session timeout a drain moves everybody at once', () => {
  expect(sessionLeavesAt(10, 0, '00000000ffffffff')).toBe(10);
});

test('who has left is told by the share alone: the same moments, seen from the other side', () => {
  const random = seededRandom(11);
  for (let session = 0; session < 2000; session++) {
    const each = sid(random);
    const leavesAt = sessionLeavesAt(0, 60_000, each);
    expect(shareOf(each)).toBeLessThanOrEqual(shareThatLeft(leavesAt, 60_000) + 1e-9);
    expect(shareOf(each)).toBeGreaterThan(shareThatLeft(leavesAt - 1, 60_000));
  }
  expect(shareThatLeft(-1, 60_000)).toBe(0);
  expect(shareThatLeft(47_999, 60_000)).toBe(0);
  expect(shareThatLeft(60_000, 60_000)).toBe(1);
  expect(shareThatLeft(0, 0)).toBe(1);
});
