/**
 * The limit store in a Redis Cluster: one `RedisLimitStore` for each primary, each with its own connection, deadline and
 * breaker, so that a primary that is lost takes only its own slots to the fallback.
 *
 * All buckets of a client lie in one slot: one call. Buckets shared by many lie in another; a decision over both is split
 * (`split-call.ts`) and asks both at once. A node that sends a call away (MOVED, ASK, TRYAGAIN) is believed: the call goes on,
 * at once, then 20 ms apart, at most three times and never past its deadline, and the map is asked for anew. The map is also
 * asked for when a node is lost, twice a second until all primaries are fit, and each five seconds.
 * Heartbeats tell of this gateway where the key of all gateways lies; every other primary is tried by a write to a key of its
 * own slots, since only writing shows a lack of memory or a primary that was demoted.
 * Limits of the method: nodes must be reachable under the addresses that the cluster gives; one map is believed at a time.
 */
import type { Random } from '../../kernel/random.ts';
import type { FitnessListener } from '../../limits/fitness.ts';
import type { SlotsCall, StoreCall, StoreView } from '../../limits/store.ts';
import { systemNow } from '../system-clock.ts';
import { askForSlots } from './cluster-map.ts';
import type { SlotRange } from './cluster-map.ts';
import type { BucketStore } from './gcra-limiter.ts';
import { keySlot, SLOTS } from './key-slot.ts';
import {
  firstWord,
  MOST_REDIRECTIONS,
  nodeAddress,
  openNode,
  REDIRECTION_APART_MS,
  refusalWord,
} from './redis-options.ts';
import type { NodeAddress, RedisPlace } from './redis-options.ts';
import { RedisLimitStore } from './redis.ts';
import type { RedisLimitStoreOptions } from './redis.ts';
import type { NodeStore, ScriptCall } from './script-call.ts';
import { LIVE_KEY } from './scripts.ts';
import { SplitCall } from './split-call.ts';

/** How often it is looked whether the map is due. */
const TICK_MS = 50;
/** The map is asked for at most this often: half doubles the calls to a cluster in trouble, double delays a failover. */
const LEARN_APART_MS = 100;
/** While a primary is unfit: somebody may have taken its place. 1 s makes two seconds to recover impossible. */
const LEARN_TROUBLED_MS = 500;
/** For slots that moved without a word to us. 1 s is a call a second for nothing; 30 s leaves a dead connection open. */
const LEARN_CALM_MS = 5000;
/** Not in the map so often in a row: a node that has just been believed may not be in a neighbour's map yet. */
const ABSENT_TO_LEAVE = 2;
const LONGEST_PAUSE_MS = 1000;

export interface RedisClusterOptions extends Omit<RedisLimitStoreOptions, 'client' | 'elsewhere'> {
  readonly place: RedisPlace;
}

class Primary {
  readonly store: RedisLimitStore;
  state: 'connecting' | 'fit' | 'unfit' = 'connecting';
  reason = 'connecting';
  absent = 0;

  constructor(open: (changed: FitnessListener) => RedisLimitStore, changed: () => void) {
    this.store = open((state, reason) => {
      this.state = state;
      this.reason = reason;
      changed();
    });
  }
}

export class RedisClusterStore implements BucketStore {
  readonly #options: RedisClusterOptions;
  readonly #random: Random;
  readonly #primaries = new Map<string, Primary>();
  readonly #bySlot: (Primary | undefined)[] = Array.from({ length: SLOTS });
  readonly #liveSlot = keySlot(LIVE_KEY);
  readonly #ticker: NodeJS.Timeout;
  #workers: number;
  #told: 'fit' | 'unfit' | 'nothing' = 'nothing';
  #reason = 'connecting';
  #learning = false;
  #learnedAt: number;
  #learnAt: number;
  #closed = false;

  constructor(options: RedisClusterOptions) {
    this.#options = options;
    this.#random = options.random;
    this.#workers = options.workers;
    this.#learnedAt = -Infinity;
    this.#learnAt = systemNow();
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    this.#ticker.unref();
    this.#tick();
  }

  decide(call: StoreCall, now: number): boolean {
    const { keys } = call;
    const slot = keySlot(keys[0] as string);
    for (let i = 1; i < keys.length; i++)
      if (keySlot(keys[i] as string) !== slot) return this.#split(call, now);
    return this.#bySlot[slot]?.store.decide(call, now) === true;
  }

  refund(
    keys: readonly string[],
    units: readonly number[],
    unitTicks: readonly number[],
    now: number,
  ): boolean {
    const bySlot = new Map<number, [string[], number[], number[]]>();
    for (const [i, key] of keys.entries()) {
      const slot = keySlot(key);
      let part = bySlot.get(slot);
      if (part === undefined) bySlot.set(slot, (part = [[], [], []]));
      part[0].push(key);
      part[1].push(units[i] as number);
      part[2].push(unitTicks[i] as number);
    }
    let taken = true;
    for (const [slot, part] of bySlot) {
      if (this.#bySlot[slot]?.store.refund(...part, now) !== true) taken = false;
    }
    return taken;
  }

  slots(call: SlotsCall, now: number): boolean {
    return this.#bySlot[keySlot(call.key)]?.store.slots(call, now) === true;
  }

  /** Forgets a bucket, see `RedisLimitStore`. */
  async forget(key: string): Promise<boolean> {
    const slot = keySlot(key);
    const primary = this.#bySlot[slot];
    if (primary === undefined) throw new Error(this.#reason);
    try {
      return await primary.store.forget(key);
    } catch (error) {
      const moved = error instanceof Error && error.message.startsWith('MOVED ');
      if (!moved) throw error;
      const next = this.#believe(error.message, primary.store);
      return await next.store.forget(key);
    }
  }

  setWorkers(workers: number): void {
    this.#workers = workers;
    for (const { store } of this.#primaries.values()) store.setWorkers(workers);
  }

  gateways(): number {
    return this.#bySlot[this.#liveSlot]?.store.gateways() ?? this.#options.gateways;
  }

  workers(): number {
    return this.#bySlot[this.#liveSlot]?.store.workers() ?? this.#options.gateways * this.#workers;
  }

  pauseMs(now: number): number {
    if (this.#primaries.size === 0) return LONGEST_PAUSE_MS;
    return Math.max(...[...this.#primaries.values()].map(({ store }) => store.pauseMs(now)));
  }

  view(now: number): StoreView {
    const views = [...this.#primaries.values()].map(({ store }) => store.view(now));
    const unfit = views.find(({ state }) => state !== 'fit');
    const sum = (of: (view: StoreView) => number): number => views.reduce((all, view) => all + of(view), 0);
    return {
      kind: 'redis',
      state: unfit?.state ?? (this.#told === 'fit' ? 'fit' : 'connecting'),
      reason: unfit?.reason ?? (this.#told === 'fit' ? '' : this.#reason),
      gateways: this.gateways(),
      workers: this.workers(),
      calls: sum(({ calls }) => calls),
      batches: sum(({ batches }) => batches),
      missed: sum(({ missed }) => missed),
      failed: sum(({ failed }) => failed),
    };
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#ticker);
    for (const { store } of this.#primaries.values()) store.close();
  }

  #split(call: StoreCall, now: number): boolean {
    const slots = call.keys.map(keySlot);
    for (const slot of slots) if (this.#bySlot[slot]?.store.mayAsk(now) !== true) return false;
    const { parts } = new SplitCall(call, slots, (...refund) => this.refund(...refund));
    for (const part of parts) {
      if (this.#bySlot[part.slot]?.store.decide(part, now) !== true) part.unavailable(now);
    }
    return true;
  }

  /** A node has sent a call away; see `elsewhere` of its options. */
  #elsewhere(message: string, call: ScriptCall): boolean {
    const word = firstWord(message);
    if (word === 'CLUSTERDOWN') this.#learnSoon();
    if (word !== 'MOVED' && word !== 'ASK' && word !== 'TRYAGAIN') return false;
    const { batch, hops, store, via } = call;
    let next: NodeStore = via;
    if (word === 'MOVED') next = this.#believe(message, via).store;
    if (word === 'ASK') next = this.#primaryAt(addressIn(message, via)).store;
    const asking = word === 'ASK';
    // A heartbeat is about the node that was asked, nobody else can answer it.
    if (batch.expired || batch.beat || hops >= MOST_REDIRECTIONS) store.abandon(batch);
    else if (hops === 0 && word !== 'TRYAGAIN') {
      if (!next.sendFor(call, asking)) store.abandon(batch);
    } else {
      setTimeout(() => {
        if (batch.expired || !next.sendFor(call, asking)) store.abandon(batch);
      }, REDIRECTION_APART_MS);
    }
    return true;
  }

  /** The slot lies where the error says, whatever the map said. */
  #believe(moved: string, by: NodeStore): Primary {
    const primary = this.#primaryAt(addressIn(moved, by));
    this.#bySlot[Number(moved.split(' ')[1])] = primary;
    this.#learnSoon();
    return primary;
  }

  #primaryAt(address: NodeAddress): Primary {
    const name = `${address.host}:${address.port}`;
    const known = this.#primaries.get(name);
    if (known !== undefined) return known;
    const { place, ...options } = this.#options;
    const primary = new Primary(
      (onState) =>
        new RedisLimitStore({
          ...options,
          client: openNode(place, address, this.#random),
          workers: this.#workers,
          gateways: this.gateways(),
          onState,
          elsewhere: (message, call) => this.#elsewhere(message, call),
        }),
      () => this.#changed(),
    );
    primary.store.tryBy(this.#trialKey(primary));
    this.#primaries.set(name, primary);
    return primary;
  }

  #learnSoon(): void {
    this.#learnAt = Math.min(this.#learnAt, this.#learnedAt + LEARN_APART_MS);
  }

  #tick(): void {
    const now = systemNow();
    if (this.#learning || now < this.#learnAt) return;
    this.#learning = true;
    void this.#learn();
  }

  async #learn(): Promise<void> {
    const fit = [...this.#primaries.values()].filter(({ state }) => state === 'fit');
    try {
      const clients = fit.map(({ store }) => store.client);
      const ranges = await askForSlots(clients, this.#options.place, this.#random);
      if (!this.#closed) this.#take(ranges);
    } catch (error) {
      this.#reason = wordOf(error);
      if (!this.#closed) this.#changed();
    }
    this.#learning = false;
    this.#learnedAt = systemNow();
    this.#learnAt = this.#learnedAt + (this.#troubled() === '' ? LEARN_CALM_MS : LEARN_TROUBLED_MS);
  }

  #take(ranges: readonly SlotRange[]): void {
    this.#reason = '';
    const kept = new Set<Primary>();
    const next: (Primary | undefined)[] = Array.from({ length: SLOTS });
    for (const { first, last, primary: address } of ranges) {
      const primary = this.#primaryAt(address);
      kept.add(primary);
      next.fill(primary, first, last + 1);
    }
    for (let slot = 0; slot < SLOTS; slot++) this.#bySlot[slot] = next[slot];
    for (const [name, primary] of this.#primaries) {
      primary.absent = kept.has(primary) ? 0 : primary.absent + 1;
      if (primary.absent < ABSENT_TO_LEAVE) primary.store.tryBy(this.#trialKey(primary));
      else {
        this.#primaries.delete(name);
        primary.store.close();
      }
    }
    this.#changed();
  }

  /** Empty where the key of all gateways lies; else one of the node's own slots, the same for all gateways. */
  #trialKey(primary: Primary): string {
    if (this.#bySlot[this.#liveSlot] === primary) return '';
    for (let i = 0; i < SLOTS; i++) {
      const key = `spw:{try.${i}}:try`;
      if (this.#bySlot[keySlot(key)] === primary) return key;
    }
    return 'spw:{try}:try';
  }

  /** Told once a change: fit is a cluster of which every slot is. */
  #changed(): void {
    const reason = this.#troubled();
    if (reason === 'connecting') return;
    const state = reason === '' ? 'fit' : 'unfit';
    if (state === this.#told) return;
    this.#told = state;
    if (state === 'unfit') this.#learnSoon();
    this.#options.onState(state, reason);
  }

  #troubled(): string {
    const mapped = [...this.#primaries.values()].filter(({ absent }) => absent === 0);
    const unfit = mapped.find(({ state }) => state === 'unfit');
    if (unfit !== undefined) return unfit.reason;
    if (mapped.length === 0) return this.#reason;
    if (this.#bySlot.includes(undefined)) return 'CLUSTERDOWN';
    return mapped.some(({ state }) => state === 'connecting') ? 'connecting' : '';
  }
}

/** `MOVED 3999 10.0.0.1:6379`; without a host, the node itself at another port. */
function addressIn(message: string, by: NodeStore): NodeAddress {
  const { host, port } = nodeAddress(message.split(' ')[2] ?? '');
  return { host: host === '' ? (by.client.options.host ?? '') : host, port };
}

function wordOf(error: unknown): string {
  if (!(error instanceof Error)) return 'error';
  const code: unknown = 'code' in error ? error.code : undefined;
  return refusalWord(error.message) || (typeof code === 'string' ? code : error.message);
}
