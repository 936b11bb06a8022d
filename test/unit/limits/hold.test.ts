import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { compileRate } from '../../../src/limits/gcra.ts';
import type { Charge } from '../../../src/limits/decision.ts';
import { holdRemaining, Holds, holdWaitMs } from '../../../src/limits/hold.ts';
import { Limiter } from '../../../src/limits/limiter.ts';
import { AUTO, charge, decideNow, ScriptedStore } from './fixtures.ts';

const slow = charge('client', compileRate(1, 10)); // 1 s a unit, 10 s to full
const fast = charge('client', compileRate(1000, 100)); // 1 ms a unit, 100 ms to full

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

  test('who got a cheaper request through was limited until then, not for as long as the dear one had to wait', () => {
    const holds = new Holds(seededRandom(1));
    holds.refused('a', 5, slow, 3_600_000, 3_700_000, 0);
    expect(holds.recent('a', 100)).toBeDefined();
    holds.granted('a', 100);
    expect(holds.recent('a', 1100)).toBeDefined();
    expect(holds.recent('a', 1101)).toBeUndefined();
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

/** Workers on one store, each asked at random moments; how long each got nothing at most, and what it got. */
function shared(
  charges: readonly Charge[],
  perSecond: readonly number[],
  seconds: number,
  seed: number,
): Got[] {
  const store = new ScriptedStore();
  store.holders = perSecond.length;
  const random = seededRandom(seed);
  const workers = perSecond.map((demand, index) => {
    const options = { store, onUnavailable: 'local', workers: perSecond.length } as const;
    const limiter = new Limiter({ ...options, random: seededRandom(seed * 100 + index) });
    limiter.configure({ onUnavailable: 'local', leases: AUTO });
    return { limiter, demand, nextMs: 0, lastMs: 0, longestMs: 0, admitted: 0 };
  });
  for (;;) {
    const worker = workers.reduce((first, each) => (each.nextMs < first.nextMs ? each : first));
    const now = worker.nextMs;
    if (now > seconds * 1000) return workers;
    worker.nextMs += (-Math.log(1 - random()) / worker.demand) * 1000;
    if (!decideNow(worker.limiter, charges, now).ok) continue;
    worker.admitted++;
    worker.longestMs = Math.max(worker.longestMs, now - worker.lastMs);
    worker.lastMs = now;
  }
}

interface Got {
  readonly longestMs: number;
  readonly admitted: number;
}

describe('a limit that many share and use up', () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])('leaves no worker without anything for long (seed %i)', (seed) => {
    const limit = charge('global', compileRate(20, 20));
    const got = shared([limit], [40, 40, 40, 40], 30, seed);
    // Fair is 155 each, and a unit each 200 ms.
    for (const { longestMs, admitted } of got) {
      expect(longestMs).toBeLessThan(2500);
      expect(admitted).toBeGreaterThan(100);
    }
  });
});
