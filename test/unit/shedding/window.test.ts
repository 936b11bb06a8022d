import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { Flight } from '../../../src/shedding/flight.ts';
import { Permit } from '../../../src/shedding/permit.ts';
import { ENOUGH_SAMPLES, enoughSamples, Window } from '../../../src/shedding/window.ts';
import { NOBODY } from './fixture.ts';

function permit(): Permit {
  return new Permit(NOBODY);
}

describe('a window', () => {
  test('closes when it is long enough and full enough, and not before', () => {
    const window = new Window(seededRandom(1), 0);
    for (let i = 0; i < 29; i += 1) window.sample(50);
    expect(window.ripe(50, ENOUGH_SAMPLES, 500)).toBe(false);
    window.sample(50);
    expect(window.ripe(50, ENOUGH_SAMPLES, 199)).toBe(false);
    expect(window.ripe(50, ENOUGH_SAMPLES, 200)).toBe(true);
  });

  test('outlasts a round trip, and 5 s outlast any', () => {
    const window = new Window(seededRandom(1), 0);
    for (let i = 0; i < 30; i += 1) window.sample(50);
    expect(window.ripe(300, ENOUGH_SAMPLES, 599)).toBe(false);
    expect(window.ripe(300, ENOUGH_SAMPLES, 600)).toBe(true);
    expect(window.ripe(60_000, ENOUGH_SAMPLES, 4999)).toBe(false);
    expect(window.ripe(60_000, ENOUGH_SAMPLES, 5000)).toBe(true);
  });

  test('ten samples will do after five times the wait; nine decide nothing, ever', () => {
    const window = new Window(seededRandom(1), 0);
    for (let i = 0; i < 9; i += 1) window.sample(50);
    expect(window.ripe(50, ENOUGH_SAMPLES, 60_000)).toBe(false);
    window.sample(50);
    expect(window.ripe(50, ENOUGH_SAMPLES, 999)).toBe(false);
    expect(window.ripe(50, ENOUGH_SAMPLES, 1000)).toBe(true);
  });

  test('of one worker among others closes with its share of the samples, never with fewer than twelve', () => {
    expect([1, 2, 3, 16].map(enoughSamples)).toEqual([30, 15, 12, 12]);
    const window = new Window(seededRandom(1), 0);
    for (let i = 0; i < 11; i += 1) window.sample(50);
    expect(window.ripe(50, enoughSamples(4), 999)).toBe(false);
    window.sample(50);
    expect(window.ripe(50, enoughSamples(4), 199)).toBe(false);
    expect(window.ripe(50, enoughSamples(4), 200)).toBe(true);
    expect(window.ripe(50, enoughSamples(1), 999)).toBe(false);
  });

  test('has the median and the 95th percentile of what it saw', () => {
    const window = new Window(seededRandom(1), 0);
    for (let i = 100; i >= 1; i -= 1) window.sample(i);
    const read = window.read(new Flight(0), 200);
    expect(read).toMatchObject({ samples: 100, p50Ms: 51, p95Ms: 96 });
  });

  test('keeps a fair share of ten thousand samples', () => {
    const window = new Window(seededRandom(3), 0);
    for (let i = 0; i < 10_000; i += 1) window.sample(i);
    const read = window.read(new Flight(0), 200);
    expect(read.samples).toBe(10_000);
    expect(Math.abs(read.p50Ms - 5000)).toBeLessThan(700);
  });

  test('counts drops among the outcomes, and a late one also as a latency', () => {
    const window = new Window(seededRandom(1), 0);
    for (let i = 0; i < 15; i += 1) window.sample(50);
    for (let i = 0; i < 4; i += 1) window.drop(0);
    window.drop(1000);
    const read = window.read(new Flight(0), 200);
    expect(read).toMatchObject({ samples: 16, drops: 5, dropRatio: 0.25 });
  });

  test('is steady when those who left had spent what those who were there add up to (Little)', () => {
    const flight = new Flight(0);
    const window = new Window(seededRandom(1), 0);
    window.restart(flight, 0);
    // One at a time, each 50 ms: in flight 1, twenty a second.
    for (let at = 0; at < 200; at += 50) {
      const one = permit();
      flight.take(one, at);
      flight.begin(one, at);
      window.ended(flight.end(one, at + 50));
      flight.giveBack(one, at + 50);
    }
    const read = window.read(flight, 200);
    expect(read.steady).toBe(true);
    expect(read.inFlight).toBeCloseTo(1);
    expect(read.ratePerMs).toBeCloseTo(4 / 200);
  });

  test('is in transition while what is under way piles up', () => {
    const flight = new Flight(0);
    const window = new Window(seededRandom(1), 0);
    window.restart(flight, 0);
    const waiting = Array.from({ length: 20 }, permit);
    for (const one of waiting) flight.begin(one, 0);
    const [first] = waiting;
    if (first === undefined) throw new Error('twenty were made');
    window.ended(flight.end(first, 50));
    expect(window.read(flight, 200).steady).toBe(false);
  });

  test('forgets everything when it is restarted', () => {
    const flight = new Flight(0);
    const window = new Window(seededRandom(1), 0);
    window.sample(10);
    window.failure();
    window.drop(0);
    window.bound = true;
    window.refused = true;
    window.restart(flight, 100);
    const read = window.read(flight, 300);
    expect(read).toMatchObject({
      elapsedMs: 200,
      samples: 0,
      drops: 0,
      failureRatio: 0,
      bound: false,
      refused: false,
    });
  });
});

describe('what is in flight', () => {
  test('is old only when clearly more than half of it is', () => {
    const flight = new Flight(0);
    const permits = Array.from({ length: 16 }, permit);
    for (const [i, one] of permits.entries()) {
      flight.take(one, i < 11 ? 0 : 180);
      flight.begin(one, i < 11 ? 0 : 180);
    }
    // Eleven of sixteen are old; half and a root would be twelve.
    expect(flight.mostlyOlderThan(175, 200)).toBe(false);
    expect(flight.mostlyOlderThan(175, 400)).toBe(true);
  });

  test('is not old when its heads have come and bodies flow', () => {
    const flight = new Flight(0);
    for (let i = 0; i < 10; i += 1) {
      const one = permit();
      flight.take(one, 0);
      flight.begin(one, 0);
      if (i < 5) flight.end(one, 10);
    }
    expect(flight.mostlyOlderThan(175, 1000)).toBe(false);
  });

  test('a single request is never a crowd unless it is all there is', () => {
    const flight = new Flight(0);
    const one = permit();
    flight.take(one, 0);
    flight.begin(one, 0);
    expect(flight.mostlyOlderThan(175, 100)).toBe(false);
    expect(flight.mostlyOlderThan(175, 1000)).toBe(true);
  });
});
