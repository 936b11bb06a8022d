/**
 * Buckets in this process's memory: the store of a gateway without Redis (in the supervisor) and the fallback of a
 * worker whose store is lost. The same arithmetic as in Redis, on a monotonic clock that the caller passes.
 *
 * Bounded, without timers: buckets lie densely in arrays and a map finds them by key. A TAT in the past is an absent
 * bucket; each new bucket pays for looking at a few others and throwing out those. When all places are taken, of eight
 * drawn at random the one nearest to full goes, so that a spray of addresses evicts itself; what is forgotten is at
 * most that bucket's missing units. A dense array makes the draw fair, which a map's own order would not be.
 */
import type { Random } from '../kernel/random.ts';
import { decideLevels, TERMS_PER_LEVEL, TICKS_PER_MS } from './gcra.ts';
import type { LimitStore, StoreCall, StoreView } from './store.ts';

/** About 26 MB of buckets in the supervisor. Half would forget real clients of a large site; double doubles the heap. */
export const SUPERVISOR_BUCKETS = 200_000;
/** A worker's own share lives only while the store is lost: a quarter is enough for the clients that one worker sees. */
export const WORKER_BUCKETS = 50_000;
/** Buckets looked at for each new one. 2 would just keep pace with a steady spray; 8 would double the price of a key. */
const LOOKED_AT_PER_NEW = 4;
/** Sample of the eviction, as Redis does (5) and a little better; 16 costs more than it finds. */
const SAMPLED = 8;
/** Places made at first; the arrays double up to the capacity, so that an idle worker holds almost nothing. */
const FIRST_PLACES = 1024;

export class EmbeddedStore implements LimitStore {
  readonly #capacity: number;
  readonly #random: Random;
  readonly #places = new Map<string, number>();
  readonly #keys: string[] = [];
  #tats: Float64Array;
  #cursor = 0;
  #calls = 0;
  /** TATs of the decision at hand. */
  readonly #scratch: number[] = [];

  /** @param capacity the most buckets kept. */
  constructor(capacity: number, random: Random) {
    this.#capacity = capacity;
    this.#random = random;
    this.#tats = new Float64Array(Math.min(FIRST_PLACES, capacity));
  }

  decide(call: StoreCall, now: number): boolean {
    const reply: number[] = [];
    this.decideInto(call.keys, call.terms, 0, call.keys.length, now, reply);
    call.answered(reply, now);
    return true;
  }

  /**
   * Decides over `keys[first … first + levels - 1]` with the terms at the same place and appends to `reply`, see
   * `decideLevels`. `now`: monotonic ms.
   */
  decideInto(
    keys: readonly string[],
    terms: readonly number[],
    first: number,
    levels: number,
    now: number,
    reply: number[],
  ): void {
    this.#calls++;
    const nowTicks = Math.floor(now * TICKS_PER_MS);
    const tats = this.#scratch;
    for (let i = 0; i < levels; i++) {
      const place = this.#places.get(keys[first + i] as string);
      tats[i] = place === undefined ? nowTicks : (this.#tats[place] as number);
    }
    const granted = reply.length + 1;
    decideLevels(tats, terms, first * TERMS_PER_LEVEL, levels, nowTicks, reply);
    for (let i = 0; i < levels; i++) {
      if ((reply[granted + 4 * i] as number) > 0)
        this.#put(keys[first + i] as string, tats[i] as number, nowTicks);
    }
  }

  /** Forgets a bucket: it is full again. False when there was none. */
  forget(key: string): boolean {
    const place = this.#places.get(key);
    if (place === undefined) return false;
    this.#remove(place);
    return true;
  }

  /** Throws out buckets that are full again, among the next `count`; for the owner's idle moments. */
  sweep(now: number, count = 1000): void {
    this.#sweepTo(Math.floor(now * TICKS_PER_MS), count);
  }

  #sweepTo(nowTicks: number, count: number): void {
    for (let i = 0; i < count && this.#keys.length > 0; i++) {
      if (this.#cursor >= this.#keys.length) this.#cursor = 0;
      // A removed bucket's place is taken by the last one, which is looked at next.
      if ((this.#tats[this.#cursor] as number) <= nowTicks) this.#remove(this.#cursor);
      else this.#cursor++;
    }
  }

  /** Buckets held now. */
  size(): number {
    return this.#keys.length;
  }

  gateways(): number {
    return 1;
  }

  pauseMs(): number {
    return 0;
  }

  view(): StoreView {
    return {
      kind: 'memory',
      state: 'fit',
      reason: '',
      gateways: 1,
      workers: 1,
      calls: this.#calls,
      batches: this.#calls,
      missed: 0,
      failed: 0,
    };
  }

  #put(key: string, tat: number, nowTicks: number): void {
    const known = this.#places.get(key);
    if (known !== undefined) {
      this.#tats[known] = tat;
      return;
    }
    this.#sweepTo(nowTicks, LOOKED_AT_PER_NEW);
    if (this.#keys.length >= this.#capacity) this.#evict();
    const place = this.#keys.length;
    if (place >= this.#tats.length) this.#grow();
    this.#keys.push(key);
    this.#tats[place] = tat;
    this.#places.set(key, place);
  }

  #grow(): void {
    const grown = new Float64Array(Math.min(this.#capacity, this.#tats.length * 2));
    grown.set(this.#tats);
    this.#tats = grown;
  }

  #evict(): void {
    let nearest = 0;
    let earliest = Infinity;
    for (let i = 0; i < SAMPLED; i++) {
      const place = Math.floor(this.#random() * this.#keys.length);
      const tat = this.#tats[place] as number;
      if (tat < earliest) {
        earliest = tat;
        nearest = place;
      }
    }
    this.#remove(nearest);
  }

  /** The last bucket takes the place of the removed one, so that the arrays stay dense. */
  #remove(place: number): void {
    const last = this.#keys.length - 1;
    this.#places.delete(this.#keys[place] as string);
    const moved = this.#keys.pop() as string;
    if (place === last) return;
    this.#keys[place] = moved;
    this.#tats[place] = this.#tats[last] as number;
    this.#places.set(moved, place);
  }
}
