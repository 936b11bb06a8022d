/** A governor fed by hand, and a queue behind it: what the bench and the simulations are too forgiving to show. */
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import type { PriorityRank } from '../../../src/kernel/priority.ts';
import { Flight } from '../../../src/shedding/flight.ts';
import { Governor } from '../../../src/shedding/governor.ts';
import type { GovernorSettings } from '../../../src/shedding/policy.ts';
import { Queue } from '../../../src/shedding/queue.ts';
import { Strain } from '../../../src/shedding/strain.ts';
import { Caller } from './fixture.ts';

const SETTINGS: GovernorSettings = {
  slaMs: 250,
  workers: 1,
  fixedLimit: 0,
  ceiling: 1000,
  borrowed: 0,
  observing: false,
};

function governor(): Governor {
  return new Governor(SETTINGS, new Flight(0), seededRandom(1), 0);
}

describe('the loop’s own delay', () => {
  /** A service of 2 ms seen through a loop whose turns take `turnMs`; each answer is seen a whole turn late. */
  function seenThrough(turnMs: number): Governor {
    const one = governor();
    for (let turn = 1; turn * turnMs <= 3000; turn += 1) {
      const start = turn * turnMs;
      one.tick(start);
      for (let i = 0; i < 10; i += 1) {
        const now = start + (turnMs * i) / 10;
        one.sample(turnMs + 2, now - turnMs - 2, now);
      }
    }
    return one;
  }

  test('is not the service’s: turns of 60 ms leave most of them off the baseline', () => {
    expect(seenThrough(60).baseline.p50Ms).toBeLessThan(20);
  });

  test('of an idle loop is nothing: its turns of 5 ms are left in', () => {
    expect(seenThrough(5).baseline.p50Ms).toBeCloseTo(7, 0);
  });

  test('stays in what callers felt', () => {
    expect(seenThrough(60).p50Ms).toBeGreaterThan(50);
  });

  test('does not hide a slow service', () => {
    const one = governor();
    for (let now = 5; now <= 3000; now += 5) {
      one.tick(now);
      one.sample(80, now - 80, now);
    }
    expect(one.baseline.p50Ms).toBeCloseTo(80);
  });
});

describe('mostly failures', () => {
  function grown(failuresPerAnswer: number): Governor {
    const one = governor();
    for (let now = 5; now <= 2000; now += 5) {
      one.tick(now);
      one.wanted();
      one.sample(50, now - 50, now);
      for (let i = 0; i < failuresPerAnswer; i += 1) one.failed(1, now);
    }
    return one;
  }

  test('decide nothing, though the few answers are fast and somebody waits', () => {
    const one = grown(2);
    expect(one.limit).toBe(20);
    expect(one.verdict).toBe('failures');
  });

  test('are more than half: with fewer the answers are believed', () => {
    const [some, none] = [0, 1].map(grown);
    expect(none?.verdict).not.toBe('failures');
    expect(some?.verdict).not.toBe('failures');
  });
});

describe('an overloaded line', () => {
  const fill = (rank: PriorityRank): { queue: Queue; callers: Caller[] } => {
    const one = governor();
    one.congestedAtMs = 1000;
    one.p50Ms = 50;
    one.ratePerMs = 0.4;
    const queue = new Queue(one, new Strain(0), 250, 40, seededRandom(1), 0);
    // One that stands until its time is over and is refused, then a line behind it that stands as well.
    const callers = Array.from({ length: 30 }, () => new Caller(rank));
    for (const [i, caller] of callers.entries()) queue.enqueue(caller, 1000 + i * 5);
    for (let now = 1150; now <= 2400; now += 5) {
      one.congestedAtMs = now;
      const late = new Caller(rank);
      callers.push(late);
      queue.enqueue(late, now);
      queue.sweep(now);
    }
    return { queue, callers };
  };

  test('serves the newest first', () => {
    const { queue, callers } = fill(2);
    const waiting = callers.filter((caller) => caller.verdicts === 0);
    expect(waiting.length).toBeGreaterThan(2);
    expect(queue.next(2401, 3)?.who).toBe(waiting.at(-1));
    expect(queue.next(2401, 3)?.who).toBe(waiting.at(-2));
  });

  test('waits no longer than twice the target, give or take a fifth', () => {
    const { callers } = fill(2);
    // 5 ms apart, at most 30 ms each: seven places.
    expect(callers.filter((caller) => caller.verdicts === 0).length).toBeLessThanOrEqual(7);
  });

  test('of critical requests keeps the order in which they came', () => {
    const { queue, callers } = fill(0);
    const first = callers.find((caller) => caller.verdicts === 0);
    expect(first).toBeDefined();
    expect(queue.next(2401, 3)?.who).toBe(first);
  });
});
