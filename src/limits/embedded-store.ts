/**
 * Buckets in this process's memory: the store of a gateway without Redis (in the supervisor) and the fallback of a
 * worker whose store is lost. The same arithmetic as in Redis, on a monotonic clock that the caller passes.
 *
 * Bounded, without timers: a TAT in the past is an absent bucket; each new bucket pays for looking at a few places of the
 * table and throwing out such ones. At the capacity, of eight buckets drawn at random the one nearest to full goes, so
 * that a spray of addresses evicts itself; what is forgotten is at most that bucket's missing units.
 */
import type { Random } from '../kernel/random.ts';
import { BucketTable } from './bucket-table.ts';
import { decideLevels, refundedTat, TERMS_PER_LEVEL, TICKS_PER_MS } from './gcra.ts';
import { SlotTable } from './slot-table.ts';
import type { LimitStore, SlotsCall, StoreCall, StoreView } from './store.ts';

/** Four MB of buckets in the supervisor. Half would forget real clients of a large site; double doubles the time in which the table grows, 3 ms. */
export const SUPERVISOR_BUCKETS = 200_000;
/** A worker's own share lives only while the store is lost: a quarter is enough for the clients that one worker sees. */
export const WORKER_BUCKETS = 50_000;
/** Places looked at for each new bucket, a third or more of them taken: half would just keep pace with a spray; double doubles the price. */
const LOOKED_AT_PER_NEW = 10;
/** Sample of the eviction, as Redis does (5) and a little better; 16 costs more than it finds. */
const SAMPLED = 8;
/** Half would forget clients that hold slots on a large site until they are renewed; double is another 20 MB in the supervisor. */
const MOST_SLOT_CLIENTS = 50_000;

export class EmbeddedStore implements LimitStore {
  readonly #capacity: number;
  readonly #random: Random;
  readonly #buckets = new BucketTable();
  readonly #slots: SlotTable;
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
  }

  decide(call: StoreCall, now: number): boolean {
    const { keys, floors } = call;
    if (floors !== undefined)
      for (let i = 0; i < keys.length; i++) this.raise(keys[i] as string, floors[i] as number, now);
    const reply: number[] = [];
    this.decideInto(keys, call.terms, 0, keys.length, now, reply);
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
      const place = this.#buckets.find(keys[first + i] as string);
      before[i] = tats[i] = place < 0 ? nowTicks : this.#buckets.tatAt(place);
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
    const place = this.#buckets.find(key);
    if (place < 0) return;
    const tat = refundedTat(this.#buckets.tatAt(place), units, unitTicks);
    if (tat <= Math.floor(now * TICKS_PER_MS)) this.#buckets.remove(place);
    else this.#buckets.setAt(place, tat);
  }

  slots(call: SlotsCall, now: number): boolean {
    call.answered(this.grantSlots(call.key, call.worker, call.need, call.keep, call.most, now), now);
    return true;
  }

  /** See `grantSlots` of `slot-table.ts`. `now`: monotonic ms. */
  grantSlots(key: string, worker: string, need: number, keep: number, most: number, now: number): number {
    return this.#slots.grant(key, worker, need, keep, most, Math.floor(now * TICKS_PER_MS));
  }

  /** Charges a bucket until it is at least so far from full, what another store knew of it. `now`: monotonic ms. */
  raise(key: string, missingTicks: number, now: number): void {
    const nowTicks = Math.floor(now * TICKS_PER_MS);
    const tat = nowTicks + missingTicks;
    const place = this.#buckets.find(key);
    if (place < 0 ? tat > nowTicks : tat > this.#buckets.tatAt(place)) this.#put(key, tat, nowTicks);
  }

  /**
   * Ticks until a bucket is full; 0 when it is, or is not known. One beyond its depth is brought back to it, once: a limit was
   * changed, and told again and again it would keep the bucket empty. `now`: monotonic ms.
   */
  missing(key: string, depthTicks: number, now: number): number {
    const place = this.#buckets.find(key);
    if (place < 0) return 0;
    const nowTicks = Math.floor(now * TICKS_PER_MS);
    const tat = Math.min(this.#buckets.tatAt(place), nowTicks + depthTicks);
    if (tat > 0) this.#buckets.setAt(place, tat);
    return Math.max(0, tat - nowTicks);
  }

  /** Forgets a bucket: it is full again. False when there was none. */
  forget(key: string): boolean {
    const place = this.#buckets.find(key);
    if (place < 0) return false;
    this.#buckets.remove(place);
    return true;
  }

  /** Throws out buckets that are full again, at the next `count` places; for the owner's idle moments. */
  sweep(now: number, count = 4000): void {
    const nowTicks = Math.floor(now * TICKS_PER_MS);
    this.#sweepTo(nowTicks, count);
    this.#slots.sweep(nowTicks, count);
  }

  #sweepTo(nowTicks: number, count: number): void {
    const buckets = this.#buckets;
    for (let i = 0; i < count && buckets.size > 0; i++) {
      if (this.#cursor >= buckets.places) this.#cursor = 0;
      const tat = buckets.tatAt(this.#cursor);
      // Another bucket may come to the place of a removed one, and is looked at next.
      if (tat > 0 && tat <= nowTicks) buckets.remove(this.#cursor);
      else this.#cursor++;
    }
  }

  /** Buckets held now. */
  size(): number {
    return this.#buckets.size;
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

  /** @param tat above `nowTicks` */
  #put(key: string, tat: number, nowTicks: number): void {
    const known = this.#buckets.find(key);
    if (known >= 0) {
      this.#buckets.setAt(known, tat);
      return;
    }
    this.#sweepTo(nowTicks, LOOKED_AT_PER_NEW);
    if (this.#buckets.size >= this.#capacity) this.#evict();
    this.#buckets.add(key, tat);
  }

  #evict(): void {
    const { places } = this.#buckets;
    let nearest = 0;
    let earliest = Infinity;
    for (let i = 0; i < SAMPLED; i++) {
      let place = Math.floor(this.#random() * places);
      while (this.#buckets.tatAt(place) === 0) place = (place + 1) % places;
      const tat = this.#buckets.tatAt(place);
      if (tat < earliest) {
        earliest = tat;
        nearest = place;
      }
    }
    this.#buckets.remove(nearest);
  }
}
