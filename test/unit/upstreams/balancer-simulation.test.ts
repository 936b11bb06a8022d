import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { view } from '../../harness/instance-view.ts';
import { quantile, runModel, type ModelInstance, type ModelResult } from './queueing-model.ts';

/** Ten instances of eight slots, 20 ms exponential: 4 000 requests a second at load 1. */
const GOOD: ModelInstance = { slots: 8, meanMs: 20 };
const SLOW: ModelInstance = { slots: 8, meanMs: 60 };
const GOOD_PER_SECOND = 400;

function good(count: number): ModelInstance[] {
  return Array.from({ length: count }, () => GOOD);
}

function shareOf(result: ModelResult, instance: number, from = 0, to = Infinity): number {
  const answers = result.answers.filter(({ at }) => at >= from && at < to);
  return answers.filter((answer) => answer.instance === instance).length / answers.length;
}

describe('the balancer in a simulated service', () => {
  it.each([
    [1, 0.005],
    [4, 0.005],
    [16, 0.01],
  ])(
    'one of ten fails in half a millisecond: %i workers, errors after the first second ≤ %f',
    (workers, bound) => {
      for (const seed of [1, 2, 3]) {
        const { answers } = runModel({
          instances: [{ ...GOOD, fails: { status: 500, afterMs: 0.5 } }, ...good(9)],
          workers,
          ratePerSecond: 10 * GOOD_PER_SECOND * 0.7,
          durationMs: 6000,
          random: seededRandom(seed),
        });
        const later = answers.filter(({ at }) => at >= 1000);
        expect(later.length).toBeGreaterThan(10_000);
        expect(later.filter(({ status }) => status >= 500).length / later.length).toBeLessThanOrEqual(bound);
      }
    },
  );

  it.each([1, 4, 16])('two of ten three times slower at load 0.85: %i workers, p99 ≤ 160 ms', (workers) => {
    const { answers } = runModel({
      instances: [SLOW, SLOW, ...good(8)],
      workers,
      ratePerSecond: 0.85 * (8 + 2 / 3) * GOOD_PER_SECOND,
      durationMs: 8000,
      random: seededRandom(3),
    });
    expect(
      quantile(
        answers.map(({ latencyMs }) => latencyMs),
        0.99,
      ),
    ).toBeLessThanOrEqual(160);
  });

  it.each([0.1, 0.3, 0.5, 0.7, 0.85])(
    'a three times slower one gets a tenth to a third of a fast one at load %f',
    (loadRatio) => {
      const result = runModel({
        instances: [SLOW, ...good(9)],
        workers: 2,
        ratePerSecond: loadRatio * (9 + 1 / 3) * GOOD_PER_SECOND,
        durationMs: 8000 / loadRatio,
        random: seededRandom(5),
      });
      const slow = shareOf(result, 0);
      const ofAFastOne = slow / ((1 - slow) / 9);
      expect(ofAFastOne).toBeGreaterThan(0.1);
      expect(ofAFastOne).toBeLessThan(0.35);
    },
  );

  it.each([3, 5, 10])(
    'a three times slower one of %i keeps a tenth to a third of a fast one at 1 000 requests/s',
    (count) => {
      const result = runModel({
        instances: [
          { slots: 16, meanMs: 60 },
          ...Array.from({ length: count - 1 }, () => ({ slots: 16, meanMs: 20 })),
        ],
        workers: 2,
        ratePerSecond: 1000,
        durationMs: 60_000,
        random: seededRandom(7),
      });
      const slow = shareOf(result, 0, 10_000);
      const ofAFastOne = slow / ((1 - slow) / (count - 1));
      expect(ofAFastOne).toBeGreaterThan(0.1);
      expect(ofAFastOne).toBeLessThan(0.35);
    },
  );

  it.each([2, 3, 10])('%i equal instances get equal shares, within 15 in a hundred', (count) => {
    for (const loadRatio of [0.05, 0.5, 0.9]) {
      const result = runModel({
        instances: good(count),
        workers: 2,
        ratePerSecond: loadRatio * count * GOOD_PER_SECOND,
        durationMs: 60_000 / (loadRatio * count),
        random: seededRandom(11),
      });
      for (let instance = 0; instance < count; instance++) {
        expect(Math.abs(shareOf(result, instance) * count - 1)).toBeLessThan(0.15);
      }
    }
  });

  it('stray 500s of one in a hundred on two instances do not move the tail', () => {
    const p99 = [0, 0.01].map((strayRatio) => {
      const stray = { ...GOOD, strayRatio };
      const { answers } = runModel({
        instances: [stray, stray, ...good(8)],
        workers: 4,
        ratePerSecond: 10 * GOOD_PER_SECOND * 0.7,
        durationMs: 8000,
        random: seededRandom(3),
      });
      return quantile(
        answers.map(({ latencyMs }) => latencyMs),
        0.99,
      );
    });
    expect(p99[1]).toBeLessThan((p99[0] ?? 0) * 1.1);
  });

  it('a hung instance holds less than its cap: what was never measured counts by its queue', () => {
    const { answers, balancers, refused } = runModel({
      instances: [{ slots: 8, meanMs: 1e12 }, ...good(4)],
      workers: 2,
      ratePerSecond: 4 * GOOD_PER_SECOND * 0.5,
      durationMs: 20_000,
      random: seededRandom(2),
      policy: { maxConcurrencyPerInstance: 64 },
    });
    for (const balancer of balancers) expect(balancer.inFlight(0)).toBeLessThan(16);
    expect(refused).toBe(0);
    expect(answers.length).toBeGreaterThan(15_000);
  });

  /** What a restarted instance gets of what it should at its age, in spans of three seconds; mean of four runs. */
  function warmUp(count: number, loadRatio: number, workers: number): number[] {
    const peers = Array.from({ length: count - 1 }, (_, index) => view(index + 1));
    const down = view(0, { state: 'down', opensNew: false, keepsPinned: false, readyForMs: 0 });
    const back = view(0, { state: 'warming', readyForMs: 0 });
    const spans = Array.from({ length: 11 }, () => 0);
    for (const seed of [1, 2, 3, 4]) {
      const result = runModel({
        instances: good(count),
        views: [view(0), ...peers],
        updates: [
          { at: 5000, views: [down, ...peers] },
          { at: 8000, views: [back, ...peers] },
        ],
        workers,
        ratePerSecond: loadRatio * count * GOOD_PER_SECOND,
        durationMs: 42_000,
        random: seededRandom(seed),
      });
      expect(shareOf(result, 0, 5000, 8000)).toBe(0);
      for (const span of spans.keys()) {
        const from = 8000 + 3000 * span;
        const wanted = Math.min(1, (3 * span + 1.5) / 30) / count;
        spans[span]! += shareOf(result, 0, from, from + 3000) / wanted / 4;
      }
    }
    return spans;
  }

  it.each([
    [5, 0.7, 1],
    [5, 0.7, 4],
    [10, 0.7, 2],
    [5, 0.3, 2],
    [10, 0.85, 4],
  ])(
    'a restarted one of %i gets t / 30 s of its share within a quarter, and then all of it: load %f, %i workers',
    (count, loadRatio, workers) => {
      // In the first three seconds it gets the least that warms it, a tenth.
      const [, ...spans] = warmUp(count, loadRatio, workers);
      expect(Math.max(...spans)).toBeLessThan(1.25);
      expect(Math.min(...spans)).toBeGreaterThan(0.8);
      expect(spans.at(-1)).toBeGreaterThan(0.9);
    },
  );

  it('a newcomer hands nothing on to slow ones: they keep their small share while it is young', () => {
    const peers = Array.from({ length: 9 }, (_, index) => view(index + 1));
    const { answers } = runModel({
      instances: [GOOD, SLOW, SLOW, ...good(7)],
      views: [view(0), ...peers],
      updates: [
        {
          at: 5000,
          views: [view(0, { state: 'down', opensNew: false, keepsPinned: false, readyForMs: 0 }), ...peers],
        },
        { at: 8000, views: [view(0, { state: 'warming', readyForMs: 0 }), ...peers] },
      ],
      workers: 2,
      ratePerSecond: 0.5 * 10 * GOOD_PER_SECOND,
      durationMs: 38_000,
      random: seededRandom(9),
    });
    const young = answers.filter(({ at }) => at >= 8000);
    const sent = (from: number, count: number): number =>
      young.filter(({ instance }) => instance >= from && instance < from + count).length / count;
    expect(sent(1, 2) / sent(3, 7)).toBeLessThan(0.1);
  });

  it('a grown one alone does not drown beside an idle newcomer', () => {
    // Of two at load 0.7 one has 1.4 times what it can do: the newcomer gets twice its share at once.
    const [, ...spans] = warmUp(2, 0.7, 2);
    for (const share of spans.slice(0, 4)) expect(share).toBeGreaterThan(1.5);
  });
});
