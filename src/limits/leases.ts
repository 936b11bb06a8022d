import { RecentMap } from '../kernel/lru.ts';
import type { Charge, LevelState } from './limiter.ts';

/**
 * Tokens taken ahead of use, so that most decisions at a large limit need no trip to the store.
 *
 * Signal: this worker's own demand on a bucket, a count that fades with 400 ms. Decision: when a request asks the store
 * anyway, ask for a few more units of each bucket that is worth it; the next requests take those, and a refill leaves in
 * the background when half is gone. Leased tokens are charged when they are granted, so the long-run total stays within
 * the limit; what a moment can admit beyond it is what is held: with N workers N · B, and B is chosen such that this
 * stays within `maxOverAdmission` of a second's rate and the burst. A limit too small for that is never leased.
 *
 * Cold start: nothing is held, the first decisions ask. Idle gap: tokens end 100 ms after the last grant and are lost,
 * so an idle worker keeps nothing from the others. Limits: with many workers a bucket falls back to asking each time.
 * Source: limits.md §4, with its simulation; Doorman, "Global distributed client side rate limiting".
 */

export interface LeasePolicy {
  /** `auto`: where the rate makes it worth it; `exact`: never; `leased`: from two tokens on. */
  readonly enforcement: 'auto' | 'exact' | 'leased';
  /** What leases may admit beyond a limit, 0..1 of a second's rate and the burst. */
  readonly maxOverRatio: number;
}

/** Half: idle tokens are lost sooner, twice the trips; double: twice as much is held by workers that need none. */
const TTL_MS = 100;
/** Demand fades so fast. Half follows single bursts, double is late when a client falls silent. */
const FADE_MS = 400;
/** A lease below this saves too little; at half crumbs cost more trips than asking, at double small limits never lease. */
const LEAST_AUTO = 4;
const LEAST_FORCED = 2;
/** As many buckets as the worker remembers; dropping one loses what it holds, nothing is over-admitted. */
const MOST_LEASES = 50_000;

interface Lease {
  tokens: number;
  expiresMs: number;
  /** Units asked for lately, fading. */
  demand: number;
  demandMs: number;
  /** The store's last word on the bucket. */
  remaining: number;
  fullMs: number;
  refilling: boolean;
}

/** A refill of one bucket. */
export interface RefillTerm {
  readonly charge: Charge;
  readonly least: number;
  readonly most: number;
}

const NONE: readonly never[] = Object.freeze([]);

export class Leases {
  readonly #leases = new RecentMap<string, Lease>(MOST_LEASES);
  /** The leases of the charges that were taken last, in their order: looked up once for a whole decision. */
  readonly #taken: Lease[] = [];
  #policy: LeasePolicy = { enforcement: 'exact', maxOverRatio: 0 };
  #holders = 1;

  configure(policy: LeasePolicy): void {
    this.#policy = policy;
  }

  /** Live workers of all gateways: together they hold no more than the policy allows. */
  setHolders(holders: number): void {
    this.#holders = Math.max(1, holders);
  }

  /**
   * Takes `cost` of every bucket if all of them hold it, of none otherwise; notes the demand in any case. After a yes
   * `refills` and `levels` speak of these charges.
   */
  take(charges: readonly Charge[], cost: number, now: number): boolean {
    if (this.#policy.enforcement === 'exact') return false;
    const taken = this.#taken;
    taken.length = 0;
    let all = true;
    for (const charge of charges) {
      const lease = this.#leaseOf(charge, now);
      if (lease === undefined) {
        all = false;
        continue;
      }
      lease.demand = lease.demand * Math.exp((lease.demandMs - now) / FADE_MS) + cost;
      lease.demandMs = now;
      if (lease.tokens < cost) all = false;
      taken.push(lease);
    }
    if (!all) return false;
    for (const lease of taken) lease.tokens -= cost;
    return true;
  }

  /**
   * The fewest units worth having from a bucket, at least the cost: half a lease where there is one. At the limit a
   * store has one unit at a time, and taking each as it comes would cost a trip each.
   */
  least(charge: Charge, cost: number, now: number): number {
    const lease = this.#policy.enforcement === 'exact' ? undefined : this.#leaseOf(charge, now);
    if (lease === undefined) return cost;
    return Math.max(cost, Math.min(Math.ceil(this.#size(charge, lease) / 2), charge.rate.burst));
  }

  /**
   * How many units a request should ask the store for: its cost, and what the lease lacks. One asks at a time, or a
   * crowd that misses together would be granted a lease each; `refilled` must follow.
   */
  wanted(charge: Charge, cost: number, now: number): number {
    const lease = this.#policy.enforcement === 'exact' ? undefined : this.#leaseOf(charge, now);
    if (lease === undefined || lease.refilling) return cost;
    const lacking = this.#size(charge, lease) - lease.tokens;
    if (lacking <= 0) return cost;
    lease.refilling = true;
    return cost + lacking;
  }

  /** Units that the store granted beyond what a request used, and its figures for the bucket. */
  granted(charge: Charge, units: number, remaining: number, fullMs: number, now: number): void {
    const lease = this.#leases.get(charge.key);
    if (lease === undefined) return;
    lease.remaining = remaining;
    lease.fullMs = fullMs;
    if (units <= 0) return;
    lease.tokens += units;
    lease.expiresMs = now + TTL_MS;
  }

  /**
   * Of the charges that were taken last: the buckets that are under half of their lease and not being refilled; they
   * count as being refilled from now on.
   */
  refills(charges: readonly Charge[]): readonly RefillTerm[] {
    let terms: RefillTerm[] | undefined;
    for (let i = 0; i < charges.length; i++) {
      const charge = charges[i] as Charge;
      const lease = this.#taken[i] as Lease;
      if (lease.refilling) continue;
      const size = this.#size(charge, lease);
      if (size === 0 || lease.tokens * 2 > size) continue;
      lease.refilling = true;
      const least = Math.min(Math.ceil(size / 2), charge.rate.burst);
      (terms ??= []).push({ charge, least, most: Math.max(size - lease.tokens, least) });
    }
    return terms ?? NONE;
  }

  /** The store has answered, or will not: somebody else may ask. */
  refilled(charge: Charge): void {
    const lease = this.#leases.get(charge.key);
    if (lease !== undefined) lease.refilling = false;
  }

  /** Units held of a bucket that have not ended. */
  held(key: string, now: number): number {
    const lease = this.#leases.get(key);
    return lease === undefined || now >= lease.expiresMs ? 0 : lease.tokens;
  }

  /** Lets go of what is held of a bucket; the demand that was seen stays true. */
  drop(key: string): void {
    const lease = this.#leases.get(key);
    if (lease !== undefined) lease.tokens = 0;
  }

  /** Figures for the answer of the request whose charges were taken last. */
  levels(charges: readonly Charge[]): LevelState[] {
    const levels: LevelState[] = [];
    for (let i = 0; i < charges.length; i++) {
      const { tokens, remaining, fullMs } = this.#taken[i] as Lease;
      const { burst } = (charges[i] as Charge).rate;
      levels.push({ remaining: Math.min(burst, remaining + tokens), waitMs: 0, fullMs });
    }
    return levels;
  }

  #leaseOf(charge: Charge, now: number): Lease | undefined {
    let lease = this.#leases.get(charge.key);
    if (lease === undefined) {
      if (this.#most(charge) < this.#least) return undefined;
      lease = {
        tokens: 0,
        expiresMs: 0,
        demand: 0,
        demandMs: now,
        remaining: 0,
        fullMs: 0,
        refilling: false,
      };
      this.#leases.set(charge.key, lease);
    } else if (now >= lease.expiresMs) lease.tokens = 0;
    return lease;
  }

  get #least(): number {
    return this.#policy.enforcement === 'leased' ? LEAST_FORCED : LEAST_AUTO;
  }

  /** The most that one worker may hold of a bucket. */
  #most({ rate }: Charge): number {
    const over = (this.#policy.maxOverRatio * (rate.ratePerSecond + rate.burst)) / this.#holders;
    return Math.floor(Math.min(rate.burst / 2, over));
  }

  /** What this worker should hold now: half of what it uses while tokens live, 0 where that is not worth it. */
  #size(charge: Charge, lease: Lease): number {
    const most = this.#most(charge);
    const useful = Math.floor(((lease.demand / FADE_MS) * TTL_MS) / 2);
    const size =
      this.#policy.enforcement === 'leased'
        ? Math.min(most, Math.max(useful, LEAST_FORCED))
        : Math.min(most, useful);
    return size < this.#least ? 0 : size;
  }
}
