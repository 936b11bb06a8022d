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

/** Words are repeated until they are answered; a channel as slow as a lease means that somebody stands still. */
const channel = { loss: fc.constantFrom(0, 0.1), delayMs: fc.constantFrom(2, 100, 250) };

/** What one worker has at the least that has all the work. */
function almostAll(limit: number, workers: number): number {
  return Math.floor(limit * (1 - (workers - 1) / (4 * workers)));
}

describe('parts of a limit', () => {
  test('are never more than the limit and one request a worker, whatever is told, lost, late, and whoever stands still', () => {
    const step = fc.record({
      ms: fc.constantFrom(20, 100, 400, 1500),
      wanted,
      still: fc.option(fc.record({ worker: fc.nat(5), ms: fc.constantFrom(60, 300, 900, 3000) })),
      hangMs: fc.constantFrom(0, 0, 60, 300, 900, 3000),
    });
    fc.assert(
      fc.property(
        fc.record({ ...shape, ...channel }),
        fc.array(step, { maxLength: 12 }),
        ({ seed, ...options }, steps) => {
          const world = new CapWorld({ ...options, random: seededRandom(seed) });
          for (const { ms, still, hangMs, wanted: parts } of steps) {
            if (still !== null) world.standStill(still.worker, still.ms);
            if (hangMs > 0) world.hang(hangMs);
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
      ends: fc.constantFrom(2, 20),
    });
    fc.assert(
      fc.property(
        fc.record({ ...shape, ...channel, instances: fc.constantFrom(1, 2) }),
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
        expect(world.caps[0]).toBeGreaterThanOrEqual(almostAll(limit, workers));
      }),
    );
  });

  test('go to the busy one also when all the others are new, or have taken another configuration than it', () => {
    fc.assert(
      fc.property(fc.record(shape), ({ limit, workers, seed }) => {
        const world = new CapWorld({ limit, workers, random: seededRandom(seed) });
        world.run(500, []);
        for (let each = 1; each < workers; each++) {
          world.die(1);
          world.join();
        }
        world.run(1000, [2 * limit]);
        expect(world.caps[0]).toBeGreaterThanOrEqual(almostAll(limit, workers));
        for (let each = 1; each < workers; each++) world.reload(each, 2);
        world.run(1000, [2 * limit]);
        expect(world.caps[0]).toBeGreaterThanOrEqual(almostAll(limit, workers));
        world.run(200, [0, ...world.caps.slice(1).map(() => 2 * limit)]);
        for (const cap of world.caps.slice(1)) expect(cap).toBeGreaterThanOrEqual(Math.ceil(limit / workers));
      }),
    );
  });

  test('go to the busy one while another takes an idle one’s place, who keeps nothing of them', () => {
    fc.assert(
      fc.property(fc.record(shape), ({ limit, workers, seed }) => {
        const world = new CapWorld({ limit, workers, random: seededRandom(seed) });
        const most = limit + Math.ceil(limit / workers) + workers;
        world.run(500, [2 * limit]);
        world.join();
        const look = (): void => expect(sum(world.caps)).toBeLessThanOrEqual(most);
        world.run(500, [2 * limit], look);
        world.retire(1);
        world.run(1000, [2 * limit], look);
        expect(world.caps[0]).toBeGreaterThanOrEqual(almostAll(limit, workers));
        expect(world.caps[1]).toBe(1);
      }),
    );
  });

  test('are equal within 1.2 s for whoever asks, though another sits on nearly all of one instance', () => {
    fc.assert(
      fc.property(fc.record(shape), ({ limit, workers, seed }) => {
        const world = new CapWorld({ limit, workers, instances: 2, random: seededRandom(seed) });
        world.run(1000, [2 * limit]);
        world.hold(0, 0, world.caps[0] ?? 0);
        world.run(1000, []);
        world.run(
          1200,
          world.caps.map((_, index) => (index === 0 ? 0 : 2 * limit)),
        );
        const asking = world.caps.slice(1);
        expect(Math.min(...asking)).toBeGreaterThanOrEqual(Math.ceil(limit / workers));
        expect(world.inFlight).toBeLessThanOrEqual(2 * limit + workers);
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
        for (const cap of world.caps) expect(cap).toBeGreaterThanOrEqual(Math.ceil(limit / workers));
        world.run(
          200,
          world.caps.map(() => 2 * limit),
        );
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

  test('are equal after a second in which the supervisor stands still, larger ones after a quarter, and move again after it', () => {
    const world = new CapWorld({ limit: 40, workers: 2, random: seededRandom(1) });
    world.run(1000, [80, 0]);
    expect(world.caps).toEqual([35, 5]);
    world.hang(5000);
    world.run(310, [80, 80]);
    expect(world.caps).toEqual([20, 5]);
    world.run(800, [80, 80]);
    expect(world.caps).toEqual([20, 20]);
    world.run(3890, [80, 80], () => expect(world.caps).toEqual([20, 20]));
    world.run(500, [80, 80], () => expect(sum(world.caps)).toBeLessThanOrEqual(40));
    expect(world.caps).toEqual([20, 20]);
    world.run(4000, [80, 0]);
    expect(world.caps).toEqual([35, 5]);
  });
});
