/** The supervisor's part in what workers tell each other, on a given clock. */
import { describe, expect, test } from 'vitest';

import type { NamedShares } from '../../../src/io/ipc.ts';
import { ShareExchange } from '../../../src/io/share-exchange.ts';
import type { Share } from '../../../src/shedding/siblings.ts';

const SHARE: Share = {
  workers: 1,
  limit: 10,
  inFlight: 8,
  critical: 2,
  criticalWaiting: 1,
  bound: 1,
  ended: 5,
  awaitingAreaMs: 400,
};

interface Heard {
  readonly to: number;
  readonly atMs: number;
  readonly generation: number;
  readonly sums: Readonly<Record<string, Share>>;
}

/** Workers are numbers; `at` is the supervisor's clock. */
function bench() {
  const heard: Heard[] = [];
  let atMs = 0;
  const exchange = new ShareExchange<number>((to, generation, sums) => {
    heard.push({ to, atMs, generation, sums: Object.fromEntries(sums) });
  });
  const tell = (at: number, worker: number, changes: Partial<Share> = {}, service = 'shop'): void => {
    tellAll(at, worker, [[service, { ...SHARE, ...changes }]]);
  };
  const tellAll = (at: number, worker: number, shares: NamedShares, generation = 1): void => {
    atMs = at;
    exchange.take(worker, generation, shares, at);
  };
  return { exchange, heard, tell, tellAll };
}

/** All that a worker heard of one service, increments added up. */
function endedHeard(heard: readonly Heard[], to: number, service = 'shop'): number {
  return heard
    .filter((each) => each.to === to)
    .reduce((sum, { sums }) => sum + (sums[service]?.ended ?? 0), 0);
}

describe('two workers', () => {
  test('a share is passed on as it comes, and not to who told it', () => {
    const { heard, tell } = bench();
    tell(0, 1);
    expect(heard).toEqual([]);
    tell(20, 2, { limit: 12.5, ended: 7 });
    expect(heard).toEqual([
      { to: 1, atMs: 20, generation: 1, sums: { shop: { ...SHARE, limit: 12.5, ended: 7 } } },
    ]);
    tell(50, 1, { ended: 3, awaitingAreaMs: 250 });
    expect(heard[1]).toEqual({
      to: 2,
      atMs: 50,
      generation: 1,
      sums: { shop: { ...SHARE, ended: 3, awaitingAreaMs: 250 } },
    });
  });

  test('what ended counts once, also when one tells twice before the other is told', () => {
    const { heard, tell } = bench();
    tell(0, 1);
    tell(1, 2, { ended: 100 });
    tell(30, 2, { ended: 10, awaitingAreaMs: 7 });
    expect(heard).toHaveLength(1);
    tell(60, 2, { ended: 1, awaitingAreaMs: 8, inFlight: 3 });
    expect(heard[1]?.sums['shop']).toEqual({ ...SHARE, ended: 11, awaitingAreaMs: 15, inFlight: 3 });
    tell(100, 2, { ended: 0, awaitingAreaMs: 0 });
    expect(heard[2]?.sums['shop']).toMatchObject({ ended: 0, awaitingAreaMs: 0 });
    expect(endedHeard(heard, 1)).toBe(111);
  });

  test('a service is told of to whoever has traffic there, and each by itself', () => {
    const { heard, tell, tellAll } = bench();
    tellAll(0, 1, [
      ['shop', SHARE],
      ['cart', { ...SHARE, limit: 3 }],
    ]);
    tell(50, 2, { limit: 7 }, 'cart');
    tell(100, 1, { limit: 4 }, 'cart');
    expect(heard.map(({ to, sums }) => [to, Object.keys(sums), sums['cart']?.limit])).toEqual([
      [1, ['cart'], 7],
      [2, ['cart'], 4],
    ]);
  });

  test('a service named like a property of every object is a service', () => {
    const { heard, tell } = bench();
    tell(0, 1, {}, '__proto__');
    tell(1, 2, {}, '__proto__');
    expect(heard).toHaveLength(1);
  });
});

describe('what is not believed', () => {
  test('a worker that fell silent is left out after 250 ms, and told nothing', () => {
    const { heard, tell } = bench();
    for (let at = 0; at <= 1000; at += 50) {
      tell(at, 1);
      tell(at + 1, 2);
      if (at <= 300) tell(at + 2, 3);
    }
    const last = (to: number, at: number): Share | undefined =>
      heard.findLast((each) => each.to === to && each.atMs <= at)?.sums['shop'];
    expect(last(1, 552)?.workers).toBe(2);
    expect(last(1, 560)?.workers).toBe(2);
    expect(last(1, 602)?.workers).toBe(1);
    expect(heard.filter(({ to, atMs }) => to === 3 && atMs > 552)).toEqual([]);
  });

  test('whoever comes back hears of the present, not of what ended meanwhile', () => {
    const { heard, tell } = bench();
    tell(0, 1);
    for (let at = 0; at <= 1000; at += 50) tell(at + 1, 2);
    const before = heard.length;
    tell(1010, 1);
    tell(1051, 2, { ended: 4 });
    expect(heard.slice(before).filter(({ to }) => to === 1)).toMatchObject([
      { sums: { shop: { ended: 4 } } },
    ]);
  });

  test('a worker that died is gone at once', () => {
    const { exchange, heard, tell } = bench();
    for (const worker of [1, 2, 3]) tell(worker, worker);
    exchange.gone(2);
    tell(50, 3, { limit: 30 });
    expect(heard.at(-1)).toMatchObject({ to: 1, sums: { shop: { workers: 1, limit: 30 } } });
    tell(55, 1);
    expect(heard.filter(({ to, atMs }) => to === 2 && atMs >= 50)).toEqual([]);
  });

  test('shares under another configuration than the newest are neither summed nor answered', () => {
    const { heard, tell, tellAll } = bench();
    tell(0, 1);
    tell(1, 2);
    tellAll(50, 1, [['shop', { ...SHARE, limit: 5 }]], 2);
    tell(51, 2, { limit: 99 });
    expect(heard.filter(({ atMs }) => atMs >= 50)).toEqual([]);
    tellAll(100, 2, [['shop', { ...SHARE, limit: 6, ended: 1 }]], 2);
    tellAll(101, 1, [['shop', { ...SHARE, limit: 5, ended: 2 }]], 2);
    expect(heard.filter(({ atMs }) => atMs >= 50)).toMatchObject([
      { to: 1, generation: 2, sums: { shop: { limit: 6, ended: 1 } } },
      { to: 2, generation: 2, sums: { shop: { limit: 5, ended: 2 } } },
    ]);
  });

  test('a second in the channel, because the supervisor stood still, is no pace', () => {
    const { heard, tell } = bench();
    tell(0, 1);
    tell(1, 2);
    for (let lain = 0; lain < 20; lain += 1) {
      tell(1000, 1);
      tell(1000.5, 2);
    }
    tell(1050, 2);
    const late = heard.filter(({ to, atMs }) => to === 1 && atMs >= 1000);
    expect(late.length).toBeGreaterThan(0);
    expect(Math.max(...late.map(({ sums }) => sums['shop']?.ended ?? 0))).toBeLessThanOrEqual(10);
  });
});

describe('sixteen workers', () => {
  const WORKERS = Array.from({ length: 16 }, (_, index) => index);
  const DEAD = 5;
  const SILENT = 9;

  /** Each tells each 50 ms at a moment of its own; one dies, another stops to tell, both after a second. */
  function run(): { readonly heard: readonly Heard[]; readonly told: readonly number[] } {
    const { exchange, heard, tell } = bench();
    const told = WORKERS.map(() => 0);
    for (let at = 0; at < 3000; at += 1) {
      if (at === 1000) exchange.gone(DEAD);
      for (const worker of WORKERS) {
        if (at % 50 !== (worker * 7) % 50) continue;
        if (at >= 1000 && (worker === DEAD || worker === SILENT)) continue;
        told[worker] = (told[worker] ?? 0) + 1 + (worker % 3);
        tell(at, worker, { limit: worker, ended: 1 + (worker % 3) });
      }
    }
    return { heard, told };
  }

  test('hear each other at most 25 times a second', () => {
    const { heard } = run();
    for (const worker of WORKERS) {
      const moments = heard.filter(({ to }) => to === worker).map(({ atMs }) => atMs);
      const gaps = moments.slice(1).map((atMs, index) => atMs - (moments[index] ?? 0));
      expect(Math.min(...gaps)).toBeGreaterThanOrEqual(40);
      if (worker !== DEAD && worker !== SILENT) expect(Math.max(...gaps)).toBeLessThanOrEqual(60);
    }
  });

  test('hear the sum of the others who live and speak', () => {
    const { heard } = run();
    const all = WORKERS.reduce((sum, worker) => sum + worker, 0);
    for (const { to, atMs, sums } of heard) {
      if (atMs > 100 && atMs < 1000)
        expect(sums['shop']).toMatchObject({ workers: 15, limit: all - to, inFlight: 15 * 8 });
      if (atMs > 1300)
        expect(sums['shop']).toMatchObject({ workers: 13, limit: all - to - DEAD - SILENT, bound: 13 });
    }
  });

  test('count what ended once each, up to what is still to be told', () => {
    const { heard, told } = run();
    const all = told.reduce((sum, count) => sum + count, 0);
    for (const worker of WORKERS) {
      if (worker === DEAD || worker === SILENT) continue;
      const ended = endedHeard(heard, worker);
      const others = all - (told[worker] ?? 0);
      // What came before its own first word was not for it; of the end a round may be under way.
      expect(ended).toBeLessThanOrEqual(others);
      expect(ended).toBeGreaterThanOrEqual(others - 2 * 3 * 15);
    }
  });
});
