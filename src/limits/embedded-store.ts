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
import { SplitMap } from '../kernel/split-map.ts';
import { decideLevels, refundedTat, TERMS_PER_LEVEL, TICKS_PER_MS } from './gcra.ts';
import { SlotTable } from './slot-table.ts';
import type { LimitStore, SlotsCall, StoreCall, StoreView } from './store.ts';

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

/** Half would forget clients that hold slots on a large site until they are renewed; double is another 20 MB in the supervisor. */
const MOST_SLOT_CLIENTS = 50_000;

export class EmbeddedStore implements LimitStore {
  readonly #capacity: number;
  readonly #random: Random;
  readonly #places = new SplitMap<number>();
  readonly #keys: string[] = [];
  readonly #slots: SlotTable;
  #tats: Float64Array;
  #cursor = 0;
  #calls = 0;
  /** TATs of the decision at hand, after it and before. */
  readonly #scratch: number[] = [];
  readonly #before: number[] = [];

  /** @param capacity the most buckets kept. */
  constructor(capacity: number, random: Random) {
    this.#capacity = capacity;
    this.#random = random;
    this.#slots = new SlotTable(Math.min(capacity, MOST_SLOT_CLIENTS));
    this.#tats = new Float64Array(Math.min(FIRST_PLACES, capacity));
  }

  decide(call: StoreCall, now: number): boolean {
    const reply: number[] = [];
    this.decideInto(call.keys, call.terms, 0, call.keys.length, now, reply);
    call.answered(reply, now);
    return true;
  }

  /**
   * Decides over `keys[first … first + levels - 1]`, whose terms begin at `from`, and appends to `reply`, see
   * `decideLevels`. `now`: monotonic ms.
   */
  decideInto(
    keys: readonly string[],
    terms: readonly number[],
    first: number,
    levels: number,
    now: number,
    reply: number[],
    from = first * TERMS_PER_LEVEL,
  ): void {
    this.#calls++;
    const nowTicks = Math.floor(now * TICKS_PER_MS);
    const tats = this.#scratch;
    const before = this.#before;
    for (let i = 0; i < levels; i++) {
      const place = this.#places.get(keys[first + i] as string);
      before[i] = tats[i] = place === undefined ? nowTicks : (this.#tats[place] as number);
    }
    const granted = reply.length + 1;
    decideLevels(tats, terms, from, levels, nowTicks, reply);
    for (let i = 0; i < levels; i++) {
      const isWanted = (terms[from + i * TERMS_PER_LEVEL + 3] as number) > 0;
      if ((reply[granted + 4 * i] as number) > 0 || (isWanted && (tats[i] as number) < (before[i] as number)))
        this.#put(keys[first + i] as string, tats[i] as number, nowTicks);
    }
  }

  refund(
    keys: readonly string[],
    units: readonly number[],
    unitTicks: readonly number[],
    now: number,
  ): boolean {
    for (let i = 0; i < keys.length; i++)
      this.refundOne(keys[i] as string, units[i] as number, unitTicks[i] as number, now);
    return true;
  }

  /** Gives units back to one bucket. `now`: monotonic ms. */
  refundOne(key: string, units: number, unitTicks: number, now: number): void {
    const place = this.#places.get(key);
    if (place === undefined) return;
    const tat = refundedTat(this.#tats[place] as number, units, unitTicks);
    if (tat <= Math.floor(now * TICKS_PER_MS)) this.#remove(place);
    else this.#tats[place] = tat;
  }

  slots(call: SlotsCall, now: number): boolean {
    call.answered(this.grantSlots(call.key, call.worker, call.need, call.keep, call.most, now), now);
    return true;
  }

  /** See `grantSlots` of `slot-table.ts`. `now`: monotonic ms. */
  grantSlots(key: string, worker: string, need: number, keep: number, most: number, now: number): number {
    return this.#slots.grant(key, worker, need, keep, most, Math.floor(now * TICKS_PER_MS));
  }

  /** Charges a bucket until its TAT is at least this one, what another store knew of it; ticks. */
  raise(key: string, tat: number, nowTicks: number): void {
    const place = this.#places.get(key);
    if (place === undefined) this.#put(key, tat, nowTicks);
    else if ((this.#tats[place] as number) < tat) this.#tats[place] = tat;
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
    const nowTicks = Math.floor(now * TICKS_PER_MS);
    this.#sweepTo(nowTicks, count);
    this.#slots.sweep(nowTicks, count);
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

  workers(): number {
    return 0;
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
