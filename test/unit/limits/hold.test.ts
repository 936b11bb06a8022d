import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { compileRate } from '../../../src/limits/gcra.ts';
import { holdRemaining, Holds, holdWaitMs } from '../../../src/limits/hold.ts';

const slow = compileRate(1, 10); // 1 s a unit, 10 s to full
const fast = compileRate(1000, 100); // 1 ms a unit, 100 ms to full

describe('the hold after a refusal', () => {
  test('a wait above 500 ms is held for as long as it lasts and not longer, however often it was refused', () => {
    const holds = new Holds(seededRandom(1));
    for (let i = 0; i < 5; i++) holds.refused('a', 1, slow, 900, 9900, 0);
    expect(holds.find('a', 1, 899)).toBeDefined();
    expect(holds.find('a', 1, 900)).toBeUndefined();
  });

  test('a short wait is stretched with each refusal in a row, up to half the bucket', () => {
    const holds = new Holds(() => 0);
    const spans: number[] = [];
    for (let i = 0; i < 8; i++) {
      holds.refused('a', 1, fast, 1, 100, 0);
      spans.push(holds.find('a', 1, 0)?.until ?? 0);
    }
    expect(spans).toEqual([1, 2, 4, 8, 16, 32, 50, 50]);
  });

  test('chance stretches by up to half', () => {
    const holds = new Holds(() => 0.5);
    holds.refused('a', 1, fast, 2, 100, 10);
    expect(holds.find('a', 1, 10)?.until).toBe(10 + 2 * 1.25);
  });

  test('the stretch never reaches the least retry-after of a second', () => {
    const holds = new Holds(() => 0.999);
    for (let i = 0; i < 9; i++) holds.refused('a', 1, slow, 20, 9900, 0);
    expect(holds.find('a', 1, 0)?.until).toBe(500);
  });

  test('a grant forgets the refusals in a row', () => {
    const holds = new Holds(() => 0);
    for (let i = 0; i < 4; i++) holds.refused('a', 1, fast, 1, 100, 0);
    holds.granted('a', 0);
    holds.refused('a', 1, fast, 1, 100, 0);
    expect(holds.find('a', 1, 0)?.until).toBe(1);
  });

  test('a cheaper request still asks', () => {
    const holds = new Holds(seededRandom(1));
    holds.refused('a', 5, slow, 2000, 7000, 0);
    expect(holds.find('a', 4, 0)).toBeUndefined();
    expect(holds.find('a', 5, 0)).toBeDefined();
    expect(holds.find('a', 6, 0)).toBeDefined();
  });

  test('it knows what is left and how long each cost waits', () => {
    const holds = new Holds(seededRandom(1));
    holds.refused('a', 5, slow, 2000, 7000, 0); // 3 of 10 units left
    const hold = holds.find('a', 5, 500);
    if (hold === undefined) throw new Error('not held');
    expect(holdRemaining(hold, 500)).toBe(3);
    expect(holdRemaining(hold, 1000)).toBe(4);
    expect(holdWaitMs(hold, 5, 500)).toBe(1500);
    expect(holdWaitMs(hold, 7, 500)).toBe(3500);
  });

  test('a hundred thousand refused clients keep the cache at its bound, the latest ones in it', () => {
    const holds = new Holds(seededRandom(1));
    for (let i = 0; i < 100_000; i++) holds.refused(`k${i}`, 1, slow, 900, 9900, 0);
    expect(holds.size()).toBe(40_000);
    expect(holds.find('k99999', 1, 0)).toBeDefined();
    expect(holds.find('k0', 1, 0)).toBeUndefined();
  });
});
