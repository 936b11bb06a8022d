/**
 * Workers that share slots over a slow, forgetful way to the store: whatever is delayed or lost, no moment sees more
 * requests in flight than the limit, and when all have ended every slot is free again.
 */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { seededRandom } from '../../src/kernel/random.ts';
import { EmbeddedStore } from '../../src/limits/embedded-store.ts';
import { SLOT_TTL_MS } from '../../src/limits/slot-table.ts';
import { Slots } from '../../src/limits/slots.ts';
import type { ClientSlots, SlotCaller, SlotLimit } from '../../src/limits/slots.ts';
import type { LimitStore, SlotsCall, StoreView } from '../../src/limits/store.ts';

const KEY = 'spw:{c.x}:n';
const DEADLINE_MS = 25;
const TICK_MS = 5;

class World {
  now = 0;
  readonly store = new EmbeddedStore(100, seededRandom(5));
  readonly random: () => number;
  readonly #events: { at: number; run: () => void }[] = [];

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  after(ms: number, run: () => void): void {
    const event = { at: this.now + ms, run };
    const later = this.#events.findIndex(({ at }) => at > event.at);
    this.#events.splice(later < 0 ? this.#events.length : later, 0, event);
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

/** Questions of one worker arrive in their order; some are lost before the store, some answers after it. */
class Way implements LimitStore {
  readonly #world: World;
  readonly #lossRatio: () => number;
  #arrives = 0;

  constructor(world: World, lossRatio: () => number) {
    this.#world = world;
    this.#lossRatio = lossRatio;
  }

  slots(call: SlotsCall): boolean {
    const world = this.#world;
    const { key, worker, need, keep, most } = call;
    const sentMs = world.now;
    let told = false;
    this.#arrives = Math.max(this.#arrives, sentMs + 0.2 + 3 * world.random());
    const fate = world.random();
    const loss = this.#lossRatio();
    if (fate >= loss / 2) {
      world.after(this.#arrives - sentMs, () => {
        const granted = world.store.grantSlots(key, worker, need, keep, most, world.now);
        if (fate < loss) return;
        world.after(0.2 + 3 * world.random(), () => {
          if (told) return;
          told = true;
          call.answered(granted, world.now);
        });
      });
    }
    world.after(DEADLINE_MS, () => {
      if (told) return;
      told = true;
      call.unavailable(world.now);
    });
    return true;
  }

  decide(): boolean {
    return false;
  }

  refund(): boolean {
    return false;
  }

  gateways(): number {
    return 1;
  }

  workers(): number {
    return 0;
  }

  pauseMs(): number {
    return 0;
  }

  view(): StoreView {
    return this.#world.store.view();
  }
}

class Request implements SlotCaller {
  readonly limit: SlotLimit;
  readonly #granted: (slots: ClientSlots) => void;
  readonly #refused: () => void;

  constructor(most: number, granted: (slots: ClientSlots) => void, refused: () => void) {
    this.limit = { key: KEY, most, enforced: true };
    this.#granted = granted;
    this.#refused = refused;
  }

  slotGranted(slots: ClientSlots): void {
    this.#granted(slots);
  }

  slotRefused(): void {
    this.#refused();
  }
}

interface Outcome {
  readonly most: number;
  readonly granted: number;
  readonly refused: number;
  readonly asked: number;
  /** Free at the store, and clients that a worker still knows, long after the last request. */
  readonly free: number;
  readonly known: number;
}

function simulate(limit: number, workers: number, demand: number, lossRatio: number, seed: number): Outcome {
  const world = new World(seed);
  let loss = lossRatio;
  const way = (): Way => new Way(world, () => loss);
  const slots = Array.from({ length: workers }, (_, i) => {
    const store = way();
    const each = new Slots(`w${i}`, store, 'deny');
    each.configure({ store, onUnavailable: 'deny', workers });
    return each;
  });
  let [inFlight, most, granted, refused, asked] = [0, 0, 0, 0, 0];
  const endMs = 3000;
  const meanMs = 30;
  const arrive = (): void => {
    if (world.now >= endMs) return;
    asked++;
    const request = new Request(
      limit,
      (held) => {
        granted++;
        inFlight++;
        most = Math.max(most, inFlight);
        world.after(-Math.log(1 - world.random()) * meanMs, () => {
          inFlight--;
          held.release(world.now);
        });
      },
      () => refused++,
    );
    slots[Math.floor(world.random() * workers)]?.take(request, world.now);
    world.after((-Math.log(1 - world.random()) * meanMs) / demand, arrive);
  };
  world.after(0, arrive);
  const tick = (): void => {
    for (const each of slots) each.tick(world.now);
    if (world.now < endMs + 3 * SLOT_TTL_MS) world.after(TICK_MS, tick);
  };
  world.after(0, tick);
  world.runUntil(endMs + SLOT_TTL_MS);
  loss = 0;
  world.runUntil(endMs + 3 * SLOT_TTL_MS);
  expect(inFlight).toBe(0);
  return {
    most,
    granted,
    refused,
    asked,
    free: world.store.grantSlots(KEY, 'looks', limit, 0, limit, world.now),
    known: slots.reduce((sum, each) => sum + each.size(), 0),
  };
}

test('never more in flight than the limit, each request told once, and every slot free at the end', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(1, 2, 5, 16, 40, 100),
      fc.integer({ min: 1, max: 8 }),
      fc.double({ min: 0.2, max: 3, noNaN: true }),
      fc.constantFrom(0, 0, 0.02, 0.3),
      fc.integer({ min: 1, max: 1_000_000 }),
      (limit, workers, demand, loss, seed) => {
        const seen = simulate(limit, workers, limit * demand, loss, seed);
        expect(seen.most).toBeLessThanOrEqual(limit);
        expect(seen.granted + seen.refused).toBe(seen.asked);
        expect([seen.free, seen.known]).toEqual([limit, 0]);
      },
    ),
    { numRuns: 120 },
  );
});

/** Share of requests that find all places taken (Erlang B), the best that anybody could do. */
function erlang(offered: number, places: number): number {
  let blocked = 1;
  for (let n = 1; n <= places; n++) blocked = (offered * blocked) / (n + offered * blocked);
  return blocked;
}

test("nearly as much is let in as by one counter for all: at twice and at a third of what fits, by Erlang's formula", () => {
  for (const [limit, workers] of [
    [4, 2],
    [16, 4],
    [40, 4],
    [100, 8],
  ] as const) {
    const full = simulate(limit, workers, limit * 2, 0, 11);
    expect(full.most).toBe(limit);
    const best = 1 - erlang(limit * 2, limit);
    expect(full.granted / full.asked, `${limit} over ${workers}`).toBeGreaterThan(0.9 * best);
    const easy = simulate(limit, workers, limit / 3, 0, 12);
    const least = erlang(limit / 3, limit);
    expect(easy.refused / easy.asked, `${limit} over ${workers}`).toBeLessThan(least + 0.02);
  }
});
