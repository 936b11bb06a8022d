/**
 * Several workers on one store, on a virtual clock with a delay to the store: what simulations of the limiter share.
 * A run keeps what was admitted at each bucket, so that bounds are judged on what happened and not on what was meant.
 */
import type { Charge, LimitDecision } from '../../src/limits/decision.ts';
import { seededRandom, type Random } from '../../src/kernel/random.ts';
import { EmbeddedStore } from '../../src/limits/embedded-store.ts';
import type { LeasePolicy, LeaseTokens } from '../../src/limits/leases.ts';
import { Limiter } from '../../src/limits/limiter.ts';
import type { LimitStore, StoreCall, StoreView } from '../../src/limits/store.ts';

/** Round trip to the store; half of it each way. */
const DELAY_MS = 0.6;

class World {
  now = 0;
  readonly store = new EmbeddedStore(1000, seededRandom(1));
  readonly #events: { at: number; run: () => void }[] = [];
  trips = 0;
  /** Units that the store has given out, by bucket. */
  readonly charged = new Map<string, number>();
  /** What a store's heartbeat tells. */
  liveWorkers = 1;

  after(delayMs: number, run: () => void): void {
    const event = { at: this.now + delayMs, run };
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

/** The store as a worker sees it. */
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
      for (const [i, key] of call.keys.entries())
        this.#world.charged.set(key, (this.#world.charged.get(key) ?? 0) + (reply[1 + 4 * i] ?? 0));
      this.#world.after(DELAY_MS / 2, () => {
        call.answered(reply, this.#world.now);
      });
    });
    return true;
  }

  refund(keys: readonly string[], units: readonly number[], unitTicks: readonly number[]): boolean {
    this.#world.after(DELAY_MS / 2, () => {
      this.#world.store.refund(keys, units, unitTicks, this.#world.now);
    });
    return true;
  }

  slots(): boolean {
    return false;
  }

  gateways(): number {
    return 1;
  }

  workers(): number {
    return this.#world.liveWorkers;
  }

  pauseMs(): number {
    return 0;
  }

  view(): StoreView {
    return this.#world.store.view();
  }
}

export interface Admission {
  readonly at: number;
  readonly units: number;
}

export interface Scene {
  /** What a request is charged at and costs, drawn anew for each. */
  readonly request: (random: Random) => { readonly charges: readonly Charge[]; readonly cost: number };
  readonly offeredPerSecond: number;
  readonly workers: number;
  readonly seed: number;
  readonly seconds?: number;
  readonly policy?: LeasePolicy;
  /** How many workers there are from this second on; those beyond leave and give back what they hold. */
  readonly changes?: readonly { readonly atSecond: number; readonly workers: number }[];
}

export interface Run {
  /** By bucket. */
  readonly admitted: ReadonlyMap<string, readonly Admission[]>;
  /** Units that the store has given out, by bucket. */
  readonly charged: ReadonlyMap<string, number>;
  readonly decisions: number;
  /** Answers with yes. */
  readonly passed: number;
  readonly offeredUnits: number;
  readonly trips: number;
  readonly paths: Readonly<Record<string, number>>;
  readonly tokens: LeaseTokens;
  readonly limiters: readonly Limiter[];
  readonly endMs: number;
}

export const AUTO: LeasePolicy = { enforcement: 'auto', maxOverRatio: 0.05 };

export function simulate(scene: Scene): Run {
  const world = new World();
  const random = seededRandom(scene.seed);
  const endMs = (scene.seconds ?? 10) * 1000;
  let workers = scene.workers;
  world.liveWorkers = workers;
  const limiters: Limiter[] = [];
  const grow = (): void => {
    while (limiters.length < workers) {
      const limiter = new Limiter({
        store: new RemoteStore(world),
        onUnavailable: 'local',
        workers: 1,
        random,
      });
      limiter.configure({ onUnavailable: 'local', leases: scene.policy ?? AUTO });
      limiters.push(limiter);
    }
  };
  grow();
  const left: Limiter[] = [];
  for (const change of scene.changes ?? []) {
    world.after(change.atSecond * 1000, () => {
      workers = change.workers;
      for (const limiter of limiters.splice(workers)) {
        limiter.drain(world.now);
        left.push(limiter);
      }
      grow();
      // The heartbeat is a second late.
      world.after(1000, () => {
        world.liveWorkers = change.workers;
      });
    });
  }
  const admitted = new Map<string, Admission[]>();
  const paths: Record<string, number> = {};
  let decisions = 0;
  let passed = 0;
  let offeredUnits = 0;
  const arrive = (): void => {
    const { charges, cost } = scene.request(random);
    offeredUnits += cost;
    limiters[Math.floor(random() * workers)]?.decide(
      {
        charges,
        cost,
        decided: ({ path, ok }: LimitDecision) => {
          decisions++;
          paths[path] = (paths[path] ?? 0) + 1;
          if (!ok) return;
          passed++;
          for (const { key } of charges) {
            const list = admitted.get(key) ?? [];
            if (list.length === 0) admitted.set(key, list);
            list.push({ at: world.now, units: cost });
          }
        },
      },
      world.now,
    );
    world.after((-Math.log(1 - random()) * 1000) / scene.offeredPerSecond, arrive);
  };
  world.after(0, arrive);
  world.runUntil(endMs);
  const tokens: LeaseTokens = { granted: 0, spent: 0, expired: 0, refunded: 0 };
  for (const leaseTokens of [...limiters, ...left].map((each) => each.leaseTokens(endMs)))
    for (const event of ['granted', 'spent', 'expired', 'refunded'] as const)
      tokens[event] += leaseTokens[event];
  const { charged } = world;
  return {
    admitted,
    charged,
    decisions,
    passed,
    offeredUnits,
    trips: world.trips,
    paths,
    tokens,
    limiters,
    endMs,
  };
}

export function unitsOf(list: readonly Admission[] | undefined): number {
  return (list ?? []).reduce((sum, { units }) => sum + units, 0);
}

/** The most that any window of this length admitted. */
export function worstWindow(list: readonly Admission[] | undefined, windowMs = 1000): number {
  const all = list ?? [];
  let worst = 0;
  let first = 0;
  let units = 0;
  for (const { at, units: more } of all) {
    units += more;
    while (at - (all[first]?.at ?? 0) >= windowMs) units -= all[first++]?.units ?? 0;
    worst = Math.max(worst, units);
  }
  return worst;
}
