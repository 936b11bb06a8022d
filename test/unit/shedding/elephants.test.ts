import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { ELEPHANT_GRADES, Elephants } from '../../../src/shedding/elephants.ts';

const GREEDY = 0xabc;

/** `count` arrivals within `ms`; the greedy client sends `share` of them, `crowd` others the rest. Its last grade. */
function offer(
  elephants: Elephants,
  fromMs: number,
  options: { count: number; share: number; crowd: number; ms?: number },
): { greedy: number; others: number } {
  const random = seededRandom(17);
  let greedy = 0;
  let others = 0;
  for (let i = 0; i < options.count; i += 1) {
    const now = fromMs + ((options.ms ?? 1000) * i) / options.count;
    if (random() < options.share) greedy = elephants.arrived(GREEDY, now);
    else others = Math.max(others, elephants.arrived(1_000_000 + Math.floor(random() * options.crowd), now));
  }
  return { greedy, others };
}

describe('a client that sends more than its share', () => {
  test.each([
    [0.04, 1000, 0],
    [0.1, 1000, 1],
    [0.3, 1000, 1],
    [0.9, 1000, 1],
  ])('with a share of %f beside %i others it is found: %i', (share, crowd, found) => {
    const { greedy, others } = offer(new Elephants(0), 0, { count: 5000, share, crowd });
    expect(Math.sign(greedy)).toBe(found);
    expect(others).toBe(0);
    expect(greedy).toBeLessThanOrEqual(ELEPHANT_GRADES);
  });

  test('the larger the share the higher the grade', () => {
    const grades = [0.1, 0.2, 0.4, 0.8].map(
      (share) => offer(new Elephants(0), 0, { count: 9000, share, crowd: 300 }).greedy,
    );
    expect([...grades].sort((a, b) => a - b)).toEqual(grades);
    expect(new Set(grades).size).toBe(4);
  });

  test('ten equal clients are no elephants although each sends a tenth', () => {
    const { others } = offer(new Elephants(0), 0, { count: 20_000, share: 0, crowd: 10 });
    expect(others).toBe(0);
  });

  test('one among ten is found where it sends over four times their mean', () => {
    expect(offer(new Elephants(0), 0, { count: 5000, share: 0.3, crowd: 10 }).greedy).toBe(0);
    expect(offer(new Elephants(0), 0, { count: 5000, share: 0.5, crowd: 10 }).greedy).toBeGreaterThan(0);
  });

  test('before there is evidence nobody is one', () => {
    const elephants = new Elephants(0);
    for (let i = 0; i < 255; i += 1) {
      expect(elephants.arrived(GREEDY, i)).toBe(0);
      expect(elephants.arrived(i % 40, i)).toBe(0);
    }
  });

  test('nobody is taken for one because of what others sent: ten thousand strangers in a row', () => {
    const elephants = new Elephants(0);
    for (let i = 0; i < 10_000; i += 1) expect(elephants.arrived(i + 1, i / 10)).toBe(0);
  });

  test('its grade stays from halving to halving, goes with its greed, and is forgotten after a minute of silence', () => {
    const elephants = new Elephants(0);
    const first = offer(elephants, 0, { count: 5000, share: 0.3, crowd: 500, ms: 5000 }).greedy;
    expect(first).toBeGreaterThan(0);
    for (let now = 5000; now < 9999; now += 500) expect(elephants.arrived(GREEDY, now)).toBe(first);
    // Modest for three halvings: it is one of many again.
    const modest = offer(elephants, 10_000, { count: 30_000, share: 0.002, crowd: 500, ms: 30_000 });
    expect(modest.greedy).toBe(0);
    offer(elephants, 41_000, { count: 5000, share: 0.3, crowd: 500, ms: 1000 });
    expect(elephants.arrived(GREEDY, 42_000)).toBeGreaterThan(0);
    expect(elephants.arrived(GREEDY, 110_000)).toBe(0);
  });
});
