import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../src/kernel/random.ts';
import { EmbeddedStore } from '../../src/limits/embedded-store.ts';
import { compileRate } from '../../src/limits/gcra.ts';
import { Limiter, type Charge, type LimitDecision } from '../../src/limits/limiter.ts';
import type { LimitStore, StoreCall, StoreView } from '../../src/limits/store.ts';

/**
 * Several workers with leases on one store, on a virtual clock with a delay to the store. Bounds, stated first: in any
 * second at most r + b and `maxOverAdmission` of both (L2); at full demand at least 98 % of the rate is used (L3); trips
 * a decision stay below 0.25 (L5); limits too small for leases are exact (L1).
 */

const DELAY_MS = 0.6;
const OVER = 0.05;

class World {
  now = 0;
  readonly store = new EmbeddedStore(1000, seededRandom(1));
  readonly #events: { at: number; order: number; run: () => void }[] = [];
  #order = 0;
  trips = 0;

  after(delayMs: number, run: () => void): void {
    const event = { at: this.now + delayMs, order: this.#order++, run };
    let index = this.#events.length;
    while (index > 0 && (this.#events[index - 1]?.at ?? 0) > event.at) index--;
    this.#events.splice(index, 0, event);
  }

  runUntil(endMs: number): void {
    for (let next = this.#events[0]; next !== undefined && next.at <= endMs; next = this.#events[0]) {
      this.#events.shift();
      this.now = next.at;
      next.run();
    }
    this.now = endMs;
  }
}

/** The store as a worker sees it: half the way there, half the way back. */
class RemoteStore implements LimitStore {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  decide(call: StoreCall): boolean {
    this.#world.trips++;
    this.#world.after(DELAY_MS / 2, () => {
      const reply: number[] = [];
      this.#world.store.decideInto(call.keys, call.terms, 0, call.keys.length, this.#world.now, reply);
      this.#world.after(DELAY_MS / 2, () => {
        call.answered(reply, this.#world.now);
      });
    });
    return true;
  }

  gateways(): number {
    return 1;
  }

  pauseMs(): number {
    return 0;
  }

  view(): StoreView {
    return this.#world.store.view();
  }
}

interface Run {
  readonly admittedMs: readonly number[];
  readonly offered: number;
  readonly trips: number;
  readonly paths: Readonly<Record<string, number>>;
}

function simulate(rate: number, burst: number, workers: number, offeredPerSecond: number, seed: number): Run {
  const world = new World();
  const random = seededRandom(seed);
  const charge: Charge = { key: 'k', level: 'global', rate: compileRate(rate, burst), enforced: true };
  const limiters = Array.from({ length: workers }, () => {
    const limiter = new Limiter({ store: new RemoteStore(world), onUnavailable: 'local', workers, random });
    limiter.configure({ onUnavailable: 'local', leases: { enforcement: 'auto', maxOverRatio: OVER } });
    limiter.setWorkers(workers);
    return limiter;
  });
  const admittedMs: number[] = [];
  const paths: Record<string, number> = {};
  let offered = 0;
  const arrive = (): void => {
    offered++;
    limiters[Math.floor(random() * workers)]?.decide(
      {
        charges: [charge],
        cost: 1,
        decided: (decision: LimitDecision) => {
          paths[decision.path] = (paths[decision.path] ?? 0) + 1;
          if (decision.ok) admittedMs.push(world.now);
        },
      },
      world.now,
    );
    world.after((-Math.log(1 - random()) * 1000) / offeredPerSecond, arrive);
  };
  world.after(0, arrive);
  world.runUntil(10_000);
  return { admittedMs, offered, trips: world.trips, paths };
}

/** The most that any window of a second admitted. */
function worstSecond(admittedMs: readonly number[]): number {
  let worst = 0;
  let first = 0;
  for (let last = 0; last < admittedMs.length; last++) {
    while ((admittedMs[last] ?? 0) - (admittedMs[first] ?? 0) >= 1000) first++;
    worst = Math.max(worst, last - first + 1);
  }
  return worst;
}

describe.each([1, 2, 3])('seed %i', (seed) => {
  test.each([
    [1000, 100, 4, 4000],
    [1000, 100, 4, 20_000],
    [20_000, 2000, 8, 40_000],
    [2000, 2000, 2, 3000],
  ])('at %i/s, burst %i, %i workers, %i/s offered', (rate, burst, workers, offeredPerSecond) => {
    const { admittedMs, offered, trips, paths } = simulate(rate, burst, workers, offeredPerSecond, seed);
    expect(worstSecond(admittedMs)).toBeLessThanOrEqual(Math.floor((rate + burst) * (1 + OVER)));
    const wanted = Math.min(offeredPerSecond, rate) * 10;
    expect(admittedMs.length).toBeGreaterThanOrEqual(0.98 * wanted);
    expect(trips / offered).toBeLessThan(0.25);
    expect(paths['lease'] ?? 0).toBeGreaterThan(0);
  });

  test('a limit too small to be worth it stays exact', () => {
    const { admittedMs, paths } = simulate(20, 10, 4, 400, seed);
    expect(paths['lease'] ?? 0).toBe(0);
    expect(worstSecond(admittedMs)).toBeLessThanOrEqual(30);
  });

  test('below the limit everybody is admitted', () => {
    const { admittedMs, offered } = simulate(5000, 1000, 2, 2000, seed);
    expect(admittedMs.length).toBeGreaterThanOrEqual(offered - 5);
  });
});
