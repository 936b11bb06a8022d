import { describe, expect, test } from 'vitest';
import { Siblings, sumOf, type Share } from '../../../src/shedding/siblings.ts';
import { admission, Bench, enter } from './fixture.ts';

const SHARE: Share = {
  workers: 1,
  limit: 10,
  inFlight: 6,
  critical: 2,
  criticalWaiting: 0,
  bound: 1,
  ended: 30,
  awaitingAreaMs: 600,
};

describe('what the others told', () => {
  test('is believed for a quarter of a second', () => {
    const siblings = new Siblings();
    expect(siblings.fresh(0)).toBeUndefined();
    siblings.hear(SHARE, 1000);
    expect(siblings.fresh(1250)).toBe(SHARE);
    expect(siblings.fresh(1251)).toBeUndefined();
    siblings.hear(SHARE, 1300);
    expect(siblings.fresh(1301)).toBe(SHARE);
  });

  test('of waiting critical requests counts for a tenth of one', () => {
    const siblings = new Siblings();
    expect(siblings.criticalWaits(0)).toBe(false);
    siblings.hear({ ...SHARE, criticalWaiting: 1 }, 1000);
    expect(siblings.criticalWaits(1100)).toBe(true);
    expect(siblings.criticalWaits(1101)).toBe(false);
    siblings.hear(SHARE, 1102);
    expect(siblings.criticalWaits(1102)).toBe(false);
  });

  test('is summed number by number, and of nobody is nothing', () => {
    const other: Share = {
      ...SHARE,
      limit: 7,
      inFlight: 1,
      critical: 0,
      criticalWaiting: 4,
      bound: 0,
      ended: 5,
    };
    expect(sumOf([SHARE, other])).toEqual({
      workers: 2,
      limit: 17,
      inFlight: 7,
      critical: 2,
      criticalWaiting: 4,
      bound: 1,
      ended: 35,
      awaitingAreaMs: 1200,
    });
    expect(Object.values(sumOf([])).every((value) => value === 0)).toBe(true);
    expect(sumOf([SHARE])).toEqual(SHARE);
  });
});

describe('what a worker tells', () => {
  test('is what it holds now, and what ended since it told last', () => {
    const gate = admission({ limit: 4 });
    const callers = [0, 1, 1].map((rank) => enter(gate, rank as 0 | 1, 0));
    for (const { permit } of callers) permit?.attempt(0);
    callers[1]?.permit?.head(40, 'sample');
    callers[1]?.permit?.release(40);
    expect(gate.share(50)).toEqual({
      workers: 1,
      limit: 4,
      inFlight: 2,
      critical: 1,
      criticalWaiting: 0,
      bound: 0,
      ended: 1,
      awaitingAreaMs: 40 + 2 * 50,
    });
    expect(gate.share(60)).toMatchObject({ ended: 0, awaitingAreaMs: 2 * 10, inFlight: 2 });
  });

  test('is that somebody waited, also one who waits no more', () => {
    const gate = admission({ limit: 1 });
    const running = enter(gate, 1, 0);
    const critical = enter(gate, 0, 0);
    expect(gate.share(5)).toMatchObject({ bound: 1, criticalWaiting: 1 });
    enter(gate, 1, 6);
    gate.leave(critical, 6);
    running.permit?.release(7);
    expect(gate.share(10)).toMatchObject({ bound: 1, criticalWaiting: 0 });
    expect(gate.share(15)).toMatchObject({ bound: 0 });
  });
});

describe('a worker among others', () => {
  const urgent: Share = { ...SHARE, criticalWaiting: 3 };

  test('leaves free permits to critical requests while some wait elsewhere, for a tenth of a second', () => {
    const gate = admission({ workers: 2 });
    gate.tick(5);
    gate.hear(urgent, 5);
    const waiting = enter(gate, 1, 6);
    expect(waiting.verdicts).toBe(0);
    expect(enter(gate, 0, 6).permit).toBeDefined();
    for (let now = 10; now <= 105; now += 5) gate.tick(now);
    expect(waiting.verdicts).toBe(0);
    gate.tick(110);
    expect(waiting.permit).toBeDefined();
  });

  test('withholds nothing of a fixed limit', () => {
    const gate = admission({ workers: 2, limit: 8 });
    gate.hear(urgent, 0);
    expect(enter(gate, 3, 1).permit).toBeDefined();
  });

  test('refuses nobody for the want of a permit that is free', () => {
    const gate = admission({ workers: 2, queue: 0 });
    gate.hear(urgent, 0);
    expect(enter(gate, 1, 1).code).not.toBe('SPW_SHED_CONCURRENCY');
  });

  /** A full worker with a line, and a limit of twenty. */
  function full(): ReturnType<typeof admission> {
    const gate = admission();
    for (let i = 0; i < 21; i += 1) enter(gate, 1, 0);
    return gate;
  }

  test('takes a tenth of the way to the mean of the others where all have a line', () => {
    const gate = full();
    gate.hear({ ...SHARE, workers: 3, bound: 3, limit: 30 }, 0);
    expect(gate.share(0).limit).toBeCloseTo(19);
    const bench = new Bench();
    bench.run(3000, { callers: 200, latencyMs: () => 50 });
    enter(bench.gate, 1, bench.now);
    const { limit } = bench.gate.share(bench.now);
    while (bench.gate.view(bench.now).queueDepth === 0) enter(bench.gate, 1, bench.now);
    bench.gate.hear({ ...SHARE, limit: limit + 50 }, bench.now);
    expect(bench.gate.share(bench.now).limit).toBeCloseTo(limit + 5);
  });

  test('keeps its limit where one of the others has no line, or it has none itself', () => {
    const gate = full();
    gate.hear({ ...SHARE, workers: 3, bound: 2, limit: 30 }, 0);
    expect(gate.share(0).limit).toBe(20);
    const idle = admission();
    idle.hear({ ...SHARE, workers: 3, bound: 3, limit: 30 }, 0);
    expect(idle.share(0).limit).toBe(20);
  });

  test('that hears nothing decides alone, and so does one that is alone', () => {
    const gate = full();
    gate.hear(sumOf([]), 0);
    expect(gate.share(0).limit).toBe(20);
  });

  test('keeps the last good limit when what it hears is no number', () => {
    const gate = full();
    gate.hear({ ...SHARE, limit: Number.NaN }, 0);
    expect(gate.share(0).limit).toBe(20);
  });

  test('is not shut by a count or an area that is no number', () => {
    for (const broken of [{ awaitingAreaMs: Number.NaN }, { ended: Number.NaN }, { limit: Number.NaN }]) {
      const gate = full();
      gate.tick(5);
      gate.hear({ ...SHARE, ...broken, bound: 0 }, 5);
      gate.tick(10);
      expect([broken, gate.view(10).limit]).toEqual([broken, 20]);
    }
  });
});

test('many workers told of each other end with even limits, however they began', () => {
  const gates = [10, 20, 40].map((grownTo) => {
    const bench = new Bench();
    bench.run(3000, { callers: grownTo, latencyMs: () => 50 });
    return bench;
  });
  const now = Math.max(...gates.map((bench) => bench.now));
  for (const { gate } of gates) {
    for (let i = 0; i < 200 && gate.view(now).queueDepth === 0; i += 1) enter(gate, 1, now);
  }
  for (let round = 0; round < 60; round += 1) {
    const shares = gates.map(({ gate }) => gate.share(now));
    for (const [index, { gate }] of gates.entries()) {
      gate.hear(sumOf(shares.filter((_, other) => other !== index)), now);
    }
  }
  const limits = gates.map(({ gate }) => gate.share(now).limit);
  expect(Math.max(...limits) / Math.min(...limits)).toBeLessThan(1.01);
});
