import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { blockedRetryAfterSeconds, Strikes, type GuardRule } from '../../../src/limits/guard.ts';

const RULE: GuardRule = { kind: 'guard', strikes: 5, windowSeconds: 900, blockSeconds: 600, enforced: true };
const BLOCK_MS = RULE.blockSeconds * 1000;
const WINDOW_MS = RULE.windowSeconds * 1000;

/** As the store answers: the tally, with what is left of the window or of the block. */
function shared(strikes: number, restMs: number) {
  return { strikes, restMs, shared: true };
}

describe('a worker alone', () => {
  test('so many strikes are forgiven in a window, the next one blocks', () => {
    const strikes = new Strikes();
    for (let i = 0; i < RULE.strikes; i++) {
      expect(strikes.strike('c', RULE, 0)).toBe(true);
      expect(strikes.blockedMs('c', 0)).toBe(0);
    }
    strikes.strike('c', RULE, 0);
    expect(strikes.blockedMs('c', 0)).toBe(BLOCK_MS);
    expect(strikes.blockedMs('d', 0)).toBe(0);
  });

  test('a caller who is quicker than the store is blocked in time', () => {
    const strikes = new Strikes();
    strikes.strike('c', RULE, 0);
    strikes.counted('c', RULE, shared(4, WINDOW_MS), 1);
    strikes.strike('c', RULE, 2);
    expect(strikes.blockedMs('c', 2)).toBe(0);
    // Three elsewhere and one here are told, one is on its way, and this is the sixth.
    strikes.strike('c', RULE, 2);
    expect(strikes.blockedMs('c', 2)).toBe(BLOCK_MS);
  });

  test('the block ends by itself, and then a new window begins', () => {
    const strikes = new Strikes();
    for (let i = 0; i <= RULE.strikes; i++) strikes.strike('c', RULE, 0);
    expect(strikes.blockedMs('c', BLOCK_MS - 1)).toBe(1);
    expect(strikes.blockedMs('c', BLOCK_MS)).toBe(0);
    for (let i = 0; i < RULE.strikes; i++) strikes.strike('c', RULE, WINDOW_MS + 1);
    expect(strikes.blockedMs('c', WINDOW_MS + 1)).toBe(0);
  });

  test('a window that is over counts for nothing, nor do strikes that the store never answered', () => {
    const strikes = new Strikes();
    for (let i = 0; i < RULE.strikes; i++) strikes.strike('c', RULE, 0);
    strikes.strike('c', RULE, WINDOW_MS);
    expect(strikes.blockedMs('c', WINDOW_MS)).toBe(0);
  });

  test('while a client is blocked its strikes are not counted: hammering costs the store nothing', () => {
    const strikes = new Strikes();
    for (let i = 0; i <= RULE.strikes; i++) strikes.strike('c', RULE, 0);
    expect(strikes.strike('c', RULE, 1)).toBe(false);
    expect(strikes.blockedMs('c', BLOCK_MS)).toBe(0);
  });
});

describe("the store's word", () => {
  test('a block made elsewhere is learned with the next strike, and lasts as long as it does there', () => {
    const strikes = new Strikes();
    strikes.strike('c', RULE, 0);
    strikes.counted('c', RULE, shared(9, 1234), 5);
    expect(strikes.blockedMs('c', 5)).toBe(1234);
  });

  test('takes back what the worker feared: the window had begun anew there', () => {
    const strikes = new Strikes();
    for (let i = 0; i < 6; i++) strikes.strike('c', RULE, 0);
    expect(strikes.blockedMs('c', 0)).toBeGreaterThan(0);
    for (let i = 1; i <= 6; i++) strikes.counted('c', RULE, shared(i > 3 ? i - 3 : i, WINDOW_MS), 1);
    expect(strikes.blockedMs('c', 1)).toBe(0);
  });

  test('of a stand-in only adds, for it knows less', () => {
    const strikes = new Strikes();
    strikes.strike('c', RULE, 0);
    strikes.counted('c', RULE, shared(4, WINDOW_MS), 0);
    // Redis is lost; the insurance begins at 1.
    strikes.strike('c', RULE, 1);
    strikes.counted('c', RULE, { strikes: 1, restMs: WINDOW_MS, shared: false }, 1);
    expect(strikes.blockedMs('c', 1)).toBe(0);
    strikes.strike('c', RULE, 2);
    strikes.counted('c', RULE, { strikes: 2, restMs: WINDOW_MS, shared: false }, 2);
    expect(strikes.blockedMs('c', 2)).toBe(BLOCK_MS);
  });

  test('a block outlives the store that told it', () => {
    const strikes = new Strikes();
    strikes.strike('c', RULE, 0);
    strikes.counted('c', RULE, shared(6, BLOCK_MS), 0);
    expect(strikes.blockedMs('c', BLOCK_MS - 1)).toBe(1);
  });

  test('an operator lifts the block, and an answer that was under way does not bring it back', () => {
    const strikes = new Strikes();
    for (let i = 0; i <= RULE.strikes; i++) strikes.strike('c', RULE, 0);
    strikes.forgive('c');
    expect(strikes.blockedMs('c', 0)).toBe(0);
    strikes.counted('c', RULE, shared(3, WINDOW_MS), 0);
    expect(strikes.blockedMs('c', 0)).toBe(0);
    expect(strikes.strike('c', RULE, 0)).toBe(true);
  });

  test('a client under another name is what it was, also where both are known, and is forgiven under both', () => {
    const strikes = new Strikes();
    strikes.blocked('old', 700, 0);
    strikes.blocked('new', 300, 0);
    strikes.rename('old', 'new');
    expect(strikes.blockedMs('new', 0)).toBe(700);
    strikes.rename('nobody', 'new');
    strikes.rename('new', 'newer');
    expect(strikes.blockedMs('newer', 0)).toBe(700);
    strikes.forgive('new');
    // As often as the list of names is compiled again.
    strikes.rename('old', 'new');
    strikes.rename('new', 'newer');
    for (const name of ['old', 'new', 'newer']) expect(strikes.blockedMs(name, 0)).toBe(0);
  });

  test('the supervisor tells every worker of a block', () => {
    const strikes = new Strikes();
    strikes.blocked('c', 700, 0);
    expect(strikes.blockedMs('c', 0)).toBe(700);
  });
});

test('workers that share a store admit at most the failures and one each', () => {
  const random = seededRandom(11);
  for (let round = 0; round < 300; round++) {
    const workers = Array.from({ length: 1 + Math.floor(random() * 8) }, () => new Strikes());
    let store = 0;
    let tries = 0;
    for (let now = 0; now < 200; now++) {
      const worker = workers[Math.floor(random() * workers.length)] as Strikes;
      if (worker.blockedMs('c', now) > 0) continue;
      tries++;
      if (worker.strike('c', RULE, now))
        worker.counted('c', RULE, shared(++store, store > RULE.strikes ? BLOCK_MS : WINDOW_MS), now);
    }
    expect(tries).toBeGreaterThan(RULE.strikes);
    expect(tries).toBeLessThanOrEqual(RULE.strikes + workers.length);
  }
});

test('retry-after is never before the end of the block, and at most half a minute after it', () => {
  const random = seededRandom(5);
  const seen = new Set<number>();
  for (let i = 0; i < 2000; i++) seen.add(blockedRetryAfterSeconds(600_001, random));
  expect(Math.min(...seen)).toBe(601);
  expect(Math.max(...seen)).toBe(631);
  expect(blockedRetryAfterSeconds(1, () => 0)).toBe(1);
});
