import { describe, expect, it } from 'vitest';

import { FRAME_BURST, FRAMES_PER_SECOND, FrameBudget } from '../../../src/forwarding/http2-budget.ts';
import { ByteBalance, HeadWatch } from '../../../src/forwarding/http2-watch.ts';

function spendUntilRefused(budget: FrameBudget, now: number): number {
  for (let count = 0; count < 10_000; count += 1) if (!budget.spend(now)) return count;
  return Infinity;
}

describe('frames that do nothing', () => {
  it('are free up to the burst, then at the rate', () => {
    const budget = new FrameBudget(0);
    expect(spendUntilRefused(budget, 0)).toBe(FRAME_BURST);
    expect(spendUntilRefused(budget, 1000)).toBe(FRAMES_PER_SECOND);
    expect(spendUntilRefused(budget, 1000 + 10_000_000)).toBe(FRAME_BURST);
  });

  it('a ping for each chunk that was sent is no flood', () => {
    const budget = new FrameBudget(0);
    for (let count = 0; count < 10_000; count += 1) {
      budget.earn();
      expect(budget.spend(1)).toBe(true);
    }
  });

  it('a costly one takes more', () => {
    const budget = new FrameBudget(0);
    let count = 0;
    while (budget.spend(0, 10)) count += 1;
    expect(count).toBe(FRAME_BURST / 10);
  });
});

const MIB = 1024 * 1024;

describe('bytes that were good for nothing', () => {
  it('end the session past two MiB', () => {
    const balance = new ByteBalance();
    expect(balance.holds(1 * MIB, 0, 0, 0)).toBe(true);
    expect(balance.holds(2 * MIB, 0, 0, 0)).toBe(true);
    expect(balance.holds(3 * MIB, 0, 0, 0)).toBe(false);
  });

  it('bodies, heads and a slow trickle are none', () => {
    const balance = new ByteBalance();
    for (let second = 1; second < 1000; second += 1) {
      const [read, bodies, streams] = [second * (50 * MIB + 60_000), second * 50 * MIB, second * 10];
      expect(balance.holds(read, 0, bodies, streams)).toBe(true);
    }
  });

  it('updates of windows for a download are none', () => {
    const balance = new ByteBalance();
    for (let second = 1; second < 100; second += 1) {
      const sent = second * 100 * MIB;
      expect(balance.holds((sent / 512) * 13, sent, 0, 1)).toBe(true);
    }
  });

  it('are forgiven with time', () => {
    const balance = new ByteBalance();
    balance.holds(2 * MIB, 0, 0, 0);
    for (let second = 0; second < 40; second += 1) balance.holds(2 * MIB, 0, 0, 0);
    expect(balance.holds(4 * MIB, 0, 0, 0)).toBe(true);
  });
});

describe('a head that never became a request', () => {
  it('is lost when another begins behind it', () => {
    const watch = new HeadWatch(10_000, 0);
    watch.came(1);
    expect(watch.lost(3, 100, 1000)).toBe(false);
    expect(watch.lost(7, 200, 2000)).toBe(true);
  });

  it('is lost when nothing comes any more', () => {
    const watch = new HeadWatch(10_000, 0);
    expect(watch.lost(1, 100, 1000)).toBe(false);
    expect(watch.pending).toBe(true);
    expect(watch.lost(1, 100, 2000)).toBe(true);
  });

  it('may trickle in for as long as a head may', () => {
    const watch = new HeadWatch(10_000, 0);
    for (let second = 1; second <= 10; second += 1) expect(watch.lost(1, second, second * 1000)).toBe(false);
    expect(watch.lost(1, 11, 11_000)).toBe(true);
  });

  it('is none when it came in the end', () => {
    const watch = new HeadWatch(10_000, 0);
    watch.lost(5, 100, 1000);
    watch.came(5);
    expect([watch.lost(5, 100, 60_000), watch.pending]).toEqual([false, false]);
    expect(watch.lost(7, 200, 61_000)).toBe(false);
  });

  it('streams refused for their number are none: only begun ones are looked at', () => {
    const watch = new HeadWatch(10_000, 0);
    watch.came(99);
    expect(watch.lost(99, 100, 1000)).toBe(false);
    watch.came(301);
    expect(watch.lost(301, 200, 2000)).toBe(false);
  });
});
