/**
 * The deny cache: what a worker may refuse by itself.
 *
 * Signal: a bucket of the store refused. Decision: until the bucket can have room again, requests that cost as much or
 * more are refused here, without a trip. The wait is stretched by 2^k with k the refusals in a row, so that many
 * workers do not ask for each single unit (2^k off: 12,512 trips a second instead of 4,445 at 20 times the limit), but
 * never past the time in which half the bucket comes back, or it would overflow and units would be lost, nor past
 * 500 ms, which is below every `retry-after`: who waits as told is asked for. A bucket that many callers share is tried
 * again sooner, or a worker that was refused a few times would stand aside for seconds while the others take all. A cheaper
 * request still asks; a grant ends hold and row. Bounded: the oldest refusals go first, and losing one costs a trip, never an admission too many.
 */
import { RecentMap } from '../kernel/lru.ts';
import type { Random } from '../kernel/random.ts';
import { between } from '../kernel/random.ts';
import { isOwn, type Charge } from './decision.ts';
import type { CompiledRate } from './gcra.ts';
import { TICKS_PER_MS } from './gcra.ts';

/** About 7 MB when full. Half would cost trips in an attack from 40,000 addresses; double only memory. */
const MOST_HOLDS = 40_000;
/** 2^6 times a wait is past 500 ms for every wait above 8 ms already. */
const MOST_DOUBLINGS = 6;
/** Below the least `retry-after` of 1 s with room for the way back; at 1 s honest callers would be refused unheard. */
const LONGEST_STRETCH_MS = 500;
/**
 * Where callers share the bucket, for each worker that may ask for it: some 60 questions a second in all, however many there are.
 * Simulated, four workers with Poisson arrivals at eight times a limit of 20/s, twelve seeds: one gets nothing for 2 s at most
 * (5.8 s at 500 ms), for 70 trips a second (51). Half doubles the trips of a large fleet; at double it is 2.4 s.
 */
const STRETCH_PER_WORKER_MS = 16;
/** The share of an outage is asked again so often: double would refuse callers of a part of a cluster that is back. */
const LONGEST_BY_SHARE_MS = 1000;
/** The design's second; double would keep refunds from honest callers for longer than they remember. */
const RECENT_MS = 1000;

export interface Hold {
  readonly rate: Pick<CompiledRate, 'unitTicks' | 'depthTicks'>;
  /** The least cost that is refused. */
  cost: number;
  /** Until then, monotonic ms. */
  until: number;
  /** When the bucket is full again as far as known here, monotonic ms. */
  readonly fullAt: number;
  /** Refusals in a row before this one. */
  row: number;
  /** By the share of an outage: it ends when the store is back. */
  readonly byShare: boolean;
}

export class Holds {
  readonly #random: Random;
  #longestSharedMs = STRETCH_PER_WORKER_MS;
  readonly #holds = new RecentMap<string, Hold>(MOST_HOLDS);

  constructor(random: Random) {
    this.#random = random;
  }

  /** Workers of all gateways that ask for shared buckets. */
  setWorkers(workers: number): void {
    this.#longestSharedMs = Math.min(LONGEST_STRETCH_MS, STRETCH_PER_WORKER_MS * workers);
  }

  /** The live hold on `key` for a request of this cost. */
  find(key: string, cost: number, now: number): Hold | undefined {
    const hold = this.#holds.get(key);
    return hold !== undefined && now < hold.until && cost >= hold.cost ? hold : undefined;
  }

  /**
   * The store refused `cost` units of this bucket: they fit in `waitMs`, it is full in `fullMs`.
   * @returns until when it is on hold
   */
  refused(
    key: string,
    cost: number,
    { rate, level }: { readonly rate: Hold['rate']; readonly level: Charge['level'] },
    waitMs: number,
    fullMs: number,
    now: number,
    byShare = false,
  ): number {
    const before = this.#holds.get(key);
    const row = before === undefined ? 0 : Math.min(before.row + 1, MOST_DOUBLINGS);
    const stretched = waitMs * 2 ** row * between(this.#random, 1, 1.5);
    const longest = isOwn({ level }) ? LONGEST_STRETCH_MS : this.#longestSharedMs;
    const half = rate.depthTicks / 2 / TICKS_PER_MS;
    const span = Math.min(stretched, Math.max(waitMs, Math.min(half, longest)));
    const until = now + (byShare ? Math.min(span, LONGEST_BY_SHARE_MS) : span);
    this.#holds.set(key, { rate, cost, until, fullAt: now + fullMs, row, byShare });
    return until;
  }

  /** The bucket has room again: nothing is refused and the row is over, but that it was limited stays known a while. */
  granted(key: string, now: number): void {
    const hold = this.#holds.get(key);
    if (hold === undefined) return;
    if (now - hold.until > RECENT_MS) this.#holds.delete(key);
    else {
      hold.cost = Infinity;
      hold.row = -1;
      hold.until = Math.min(hold.until, now);
    }
  }

  /** The hold by which the bucket refused in the last second. */
  recent(key: string, now: number): Hold | undefined {
    const hold = this.#holds.get(key);
    return hold !== undefined && now - hold.until <= RECENT_MS ? hold : undefined;
  }

  forget(key: string): void {
    this.#holds.delete(key);
  }

  clear(): void {
    this.#holds.clear();
  }

  size(): number {
    return this.#holds.size;
  }
}

/** How long a request of this cost has to wait by what the hold knows, at least until it ends; ms. */
export function holdWaitMs(hold: Hold, cost: number, now: number): number {
  const missing =
    Math.max(0, hold.fullAt - now) + (cost * hold.rate.unitTicks - hold.rate.depthTicks) / TICKS_PER_MS;
  return Math.max(missing, hold.until - now);
}

/** Whole units left in the bucket by what the hold knows. */
export function holdRemaining(hold: Hold, now: number): number {
  const free = hold.rate.depthTicks - Math.max(0, hold.fullAt - now) * TICKS_PER_MS;
  return Math.max(0, Math.floor(free / hold.rate.unitTicks));
}
