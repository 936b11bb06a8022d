/**
 * Parts of the instances' limits move between workers: never is more given out than there is, nobody is left without, and
 * whoever needs an equal part has it within a bounded time, whatever the others want.
 */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../src/kernel/random.ts';
import { CapWorld } from './cap-world.ts';

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

const shape = {
  limit: fc.integer({ min: 1, max: 300 }),
  workers: fc.integer({ min: 2, max: 6 }),
  seed: fc.integer(),
};

/** What the workers want, as a part of the limit: often nothing, often more than there is. */
const wanted = fc.array(fc.oneof(fc.constant(0), fc.double({ min: 0, max: 2, noNaN: true })), {
  minLength: 6,
  maxLength: 6,
});

describe('parts of a limit', () => {
  test('are never more than the limit and one request a worker, whatever is told, lost, late, and whoever stands still', () => {
    const step = fc.record({
      ms: fc.constantFrom(20, 100, 400, 1500),
      wanted,
      still: fc.option(fc.record({ worker: fc.nat(5), ms: fc.constantFrom(60, 300, 900, 3000) })),
    });
    fc.assert(
      fc.property(
        fc.record({ ...shape, loss: fc.constantFrom(0, 0.1, 0.7), delayMs: fc.constantFrom(2, 100, 600) }),
        fc.array(step, { maxLength: 12 }),
        ({ seed, ...options }, steps) => {
          const world = new CapWorld({ ...options, random: seededRandom(seed) });
          for (const { ms, still, wanted: parts } of steps) {
            if (still !== null) world.standStill(still.worker, still.ms);
            world.run(
              ms,
              parts.map((part) => Math.ceil(part * options.limit)),
              () => {
                expect(sum(world.caps)).toBeLessThanOrEqual(options.limit + options.workers - 1);
                expect(Math.min(...world.caps)).toBeGreaterThanOrEqual(1);
              },
            );
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test('are not given out while somebody still uses them: no instance has more in flight than its limit and one a worker', () => {
    const step = fc.record({
      ms: fc.constantFrom(20, 100, 400, 1500),
      wanted,
      ends: fc.constantFrom(2, 20, 400),
    });
    fc.assert(
      fc.property(
        fc.record({ ...shape, loss: fc.constantFrom(0, 0.1, 0.7), delayMs: fc.constantFrom(2, 100, 600) }),
        fc.array(step, { maxLength: 12 }),
        ({ seed, ...options }, steps) => {
          const world = new CapWorld({ ...options, random: seededRandom(seed) });
          for (const { ms, ends, wanted: parts } of steps) {
            world.run(
              ms,
              parts.map((part) => Math.ceil(part * options.limit)),
              () => expect(world.inFlight).toBeLessThanOrEqual(options.limit + options.workers - 1),
              ends,
            );
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test('go to the one worker that has all the work, but for a quarter of an equal part each', () => {
    fc.assert(
      fc.property(fc.record(shape), ({ limit, workers, seed }) => {
        const world = new CapWorld({ limit, workers, random: seededRandom(seed) });
        world.run(1000, [2 * limit]);
        expect(world.caps[0]).toBeGreaterThanOrEqual(Math.floor(limit * (1 - (workers - 1) / (4 * workers))));
      }),
    );
  });

  test('follow the work: an equal part within 200 ms of the first request, however greedy the one before stays', () => {
    fc.assert(
      fc.property(fc.record(shape), ({ limit, workers, seed }) => {
        const world = new CapWorld({ limit, workers, random: seededRandom(seed) });
        const greedy = Array.from({ length: workers }, (_, index) => (index === 0 ? 2 * limit : 0));
        world.run(1000, greedy);
        world.run(200, [2 * limit, ...greedy.slice(1).map(() => 2 * limit)]);
        for (const cap of world.caps) expect(cap).toBe(Math.ceil(limit / workers));
      }),
    );
  });

  test('are equal again four seconds after the last request, and then nothing is said', () => {
    fc.assert(
      fc.property(fc.record(shape), wanted, ({ limit, workers, seed }, parts) => {
        const world = new CapWorld({ limit, workers, random: seededRandom(seed) });
        world.run(
          1000,
          parts.map((part) => Math.ceil(part * limit)),
        );
        world.run(4000, []);
        const { messages } = world;
        world.run(1000, []);
        expect(world.messages).toBe(messages);
        for (const cap of world.caps) expect(cap).toBe(Math.ceil(limit / workers));
      }),
    );
  });

  test('of a worker that died are not used before another has an equal one', () => {
    fc.assert(
      fc.property(fc.record(shape), wanted, ({ limit, workers, seed }, parts) => {
        const world = new CapWorld({ limit, workers, random: seededRandom(seed) });
        const requests = parts.map((part) => Math.ceil(part * limit));
        world.run(1000, requests);
        world.die(1);
        world.run(200, requests);
        world.join();
        world.run(2000, requests, () => expect(sum(world.caps)).toBeLessThanOrEqual(limit + workers - 1));
      }),
    );
  });

  test('stay equal where nobody hears of the others', () => {
    const world = new CapWorld({ limit: 40, workers: 4, random: seededRandom(1), loss: 1 });
    world.run(2000, [80, 0, 0, 0], () => expect(world.caps).toEqual([10, 10, 10, 10]));
  });

  test('are equal again a quarter of a second after the supervisor falls silent', () => {
    const world = new CapWorld({ limit: 40, workers: 2, random: seededRandom(1) });
    world.run(1000, [80, 0]);
    expect(world.caps[0]).toBe(35);
    world.silence();
    world.run(310, [80, 0]);
    expect(world.caps[0]).toBe(20);
  });
});
