/** The small things that remember: the peak of a minute, the least of late, the strain of a second, a standing line. */
import { describe, expect, test } from 'vitest';
import { Line, Waiter } from '../../../src/shedding/line.ts';
import { Peak } from '../../../src/shedding/peak.ts';
import { RecentLeast } from '../../../src/shedding/recent-least.ts';
import { Strain } from '../../../src/shedding/strain.ts';
import { Caller } from './fixture.ts';

describe('the peak of a minute', () => {
  test('allows five times what was in use', () => {
    const peak = new Peak(0);
    peak.note(12, 100);
    peak.note(3, 200);
    expect(peak.limit).toBe(60);
  });

  test('is forgotten after a minute, slice by slice', () => {
    const peak = new Peak(0);
    peak.note(12, 5000);
    peak.note(2, 55_000);
    expect(peak.limit).toBe(60);
    peak.note(2, 65_000);
    expect(peak.limit).toBe(10);
    peak.note(1, 1_000_000);
    expect(peak.limit).toBe(5);
  });
});

describe('the least of late', () => {
  test('is not raised by one large value, however long it took', () => {
    const least = new RecentLeast(200, 10, 3);
    for (let now = 20; now <= 200; now += 20) least.add(0, now);
    least.add(980, 1200);
    expect(least.least(1200)).toBe(0);
  });

  test('is raised when there are no small values left', () => {
    const least = new RecentLeast(200, 10, 3);
    for (let now = 0; now <= 1000; now += 100) least.add(80, now);
    expect(least.least(1000)).toBe(80);
  });

  test('knows nothing before three values', () => {
    const least = new RecentLeast(200, 10, 3);
    least.add(50, 0);
    least.add(50, 20);
    expect(least.least(20)).toBe(0);
  });
});

describe('the strain of a second', () => {
  test('is the share of arrivals refused', () => {
    const strain = new Strain(0);
    for (let i = 0; i < 10; i += 1) strain.arrived();
    for (let i = 0; i < 4; i += 1) strain.refused(500);
    strain.tick(999);
    expect(strain.ratio).toBe(0);
    strain.tick(1000);
    expect(strain.ratio).toBeCloseTo(0.4);
    strain.tick(2000);
    expect(strain.ratio).toBe(0);
  });

  test('lasts from the first refusal until two seconds after the last', () => {
    const strain = new Strain(0);
    expect(strain.lastingMs(5000)).toBe(0);
    strain.refused(10_000);
    strain.refused(11_900);
    strain.refused(13_800);
    expect(strain.lastingMs(14_000)).toBe(4000);
    expect(strain.lastingMs(15_801)).toBe(0);
    strain.refused(20_000);
    expect(strain.lastingMs(20_500)).toBe(500);
  });
});

describe('a line', () => {
  const standing = (patience = 1): Line => {
    const line = new Line(patience, 0);
    line.push(new Waiter(new Caller(1), 0, 1, 1e9, 0));
    line.push(new Waiter(new Caller(1), 0, 1, 1e9, 0));
    return line;
  };
  const watch = (line: Line, fromMs: number, toMs: number, congested: boolean): void => {
    for (let now = fromMs; now <= toMs; now += 5) line.observe(12, congested, 0, now);
  };

  test('that stands, refuses, and waits for a congested service is overloaded', () => {
    const line = standing();
    line.refused(150);
    watch(line, 100, 300, true);
    expect(line.overloaded).toBe(true);
  });

  test('that only stands is a closed loop of patient callers', () => {
    const line = standing();
    watch(line, 100, 600, true);
    expect(line.overloaded).toBe(false);
  });

  test('that stands while the limit is still growing is not overloaded', () => {
    const line = standing();
    line.refused(150);
    watch(line, 100, 600, false);
    expect(line.overloaded).toBe(false);
  });

  test('that is empty is never overloaded', () => {
    const line = standing();
    line.refused(150);
    watch(line, 100, 300, true);
    while (line.oldest !== undefined) line.remove(line.oldest);
    expect(line).toMatchObject({ overloaded: false, length: 0 });
  });

  test('of critical requests must stand for a second', () => {
    const line = standing(10);
    line.refused(500);
    watch(line, 100, 800, true);
    expect(line.overloaded).toBe(false);
    watch(line, 805, 1400, true);
    expect(line.overloaded).toBe(true);
  });

  test('keeps its order when one in the middle leaves', () => {
    const line = new Line(1, 0);
    const waiters = [1, 2, 3].map((since) => new Waiter(new Caller(1), since, 1, 1e9, 0));
    for (const waiter of waiters) line.push(waiter);
    const [first, middle, last] = waiters;
    if (middle === undefined) throw new Error('three were made');
    line.remove(middle);
    expect(line.oldest).toBe(first);
    expect(line.newest).toBe(last);
    expect(first?.younger).toBe(last);
    expect(last?.older).toBe(first);
  });
});
