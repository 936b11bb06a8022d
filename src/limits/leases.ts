/**
 * Tokens taken ahead of use, so that most decisions at a large limit need no trip to the store.
 *
 * Signal: this worker's own demand on a bucket, a count that fades with 400 ms. Decision: when a request asks the store
 * anyway, ask for a few more units of each bucket that is worth it; the next requests take those, and a refill leaves in
 * the background when a quarter is left. Leased tokens are charged when they are granted, so the long-run total stays within
 * the limit; what a moment can admit beyond it is what is held: with N workers N · B, and B is chosen such that this
 * stays within `maxOverAdmission` of a second's rate and the burst. A limit too small for that is never leased.
 *
 * A request that lacks something at one level keeps aside what it found at the others: reserved tokens are nobody else's,
 * count as held, and come back when the request is refused. So at each moment granted = spent + expired + refunded + held.
 *
 * While the store is lost, leases are of the gateway's share (`share-call.ts`). Units of the two are never held together: with
 * the first grant of the other what is held ends, so that nothing of a share is ever given back to the store.
 *
 * Cold start: nothing is held, the first decisions ask. Idle gap: tokens end 100 ms after the last grant and are lost,
 * so an idle worker keeps nothing from the others. Limits: with many workers a bucket falls back to asking each time.
 * A reload or a worker more cuts what is held when the bucket is next asked for.
 * Source: limits.md §4, with its simulation; Doorman, "Global distributed client side rate limiting".
 */
import { RecentMap } from '../kernel/lru.ts';
import { NOT_ASKED, type Charge, type LevelState } from './decision.ts';
import type { Flight } from './flight.ts';
import type { CompiledRate } from './gcra.ts';
import { levelOf, newLease, type Lease } from './lease.ts';
import type { LimitStore } from './store.ts';

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
/** Held at most: what is used in half a life. Half of it doubles the trips, double lets tokens expire unused. */
const USEFUL_PER_DEMAND = TTL_MS / 2 / FADE_MS;
/**
 * What is left when a refill is sent, an eighth of a life's use: far more than a trip takes. At half as in limits.md a
 * generous limit at 400/s costs 0.11 trips a request, at a third 0.102, so 0.094; at an eighth requests would begin to wait
 * for slow stores.
 */
const REFILL_BELOW = 1 / 4;
/** A lease below this is not begun: at half crumbs cost more trips than asking, at double small limits never lease. */
const LEAST_BEGUN = 4;
/** Units a second for each worker from which one may end unused while the store is lost: at half it is felt, at double fewer begin. */
const LEAST_LOST_RATE = 20;
/** Below this a lease ends; at the same figure as above a demand at the edge would change its way with each request. */
const LEAST_KEPT = 2;
/**
 * Buckets remembered, some 3 MB; dropping one loses what it holds, nothing is over-admitted. A lease is worth it from 80
 * units a second on, so a busy worker has some hundreds; half would let a spray of addresses push them out between two of
 * their requests, double only keeps more strangers.
 */
const MOST_LEASES = 8192;

/** Of no era that comes: nobody finds this lease any more. */
const GONE = Infinity;

/** Units of all leases so far; what is missing to `granted` is held. */
export interface LeaseTokens {
  /** By the store, or taken over from a request that was not served: those had been spent. */
  granted: number;
  spent: number;
  /** Not used in time, or cut. */
  expired: number;
  /** Given back to the store by a worker that leaves. */
  refunded: number;
}

const EXACT: LeasePolicy = Object.freeze({ enforcement: 'exact', maxOverRatio: 0 });

export class Leases {
  readonly #leases = new RecentMap<string, Lease>(MOST_LEASES, (lease) => this.#forgotten(lease));
  /** The leases of the charges looked at last, in their order: looked up once for a whole decision. */
  readonly #found: (Lease | undefined)[] = [];
  readonly tokens: LeaseTokens = { granted: 0, spent: 0, expired: 0, refunded: 0 };
  #policy: LeasePolicy = EXACT;
  #holders = 1;
  #lost = false;
  #era = 0;

  configure(policy: LeasePolicy): void {
    this.#policy = policy;
    this.#era++;
    this.#found.length = 0;
  }

  /**
   * The store is lost: leases come from the gateway's share, under any policy. What `exact` promises only the store can
   * keep, and without leases each request would wait for a message to the supervisor.
   */
  setLost(lost: boolean): void {
    if (lost === this.#lost) return;
    this.#lost = lost;
    this.#found.length = 0;
  }

  /** Live workers of all gateways: together they hold no more than the policy allows. */
  setHolders(holders: number): void {
    if (holders === this.#holders) return;
    this.#holders = Math.max(1, holders);
    this.#era++;
  }

  /**
   * Takes `cost` of every bucket if all of them hold it, of none otherwise. Like `look`: `found`, `lacks` and
   * `levels` speak of these charges from then on.
   */
  take(charges: readonly Charge[], cost: number, now: number): boolean {
    this.look(charges, now);
    for (let i = 0; i < charges.length; i++) if (this.lacks(i, cost)) return false;
    for (let i = 0; i < charges.length; i++) {
      const lease = this.#found[i] as Lease;
      lease.tokens -= cost;
      this.demanded(lease, cost, now);
    }
    this.tokens.spent += cost * charges.length;
    return true;
  }

  /** Looks up the leases of these charges. */
  look(charges: readonly Charge[], now: number): void {
    if (this.#policy.enforcement === 'exact' && !this.#lost) return;
    for (let i = 0; i < charges.length; i++) this.#found[i] = this.#leaseOf(charges[i] as Charge, now);
  }

  /** The lease of the charge in this place; undefined where its limit is too small for one. */
  found(place: number): Lease | undefined {
    return this.#found[place];
  }

  /** Whether the charge in this place has to be asked for. */
  lacks(place: number, cost: number): boolean {
    const lease = this.#found[place];
    return lease === undefined || lease.tokens < cost;
  }

  /** What brings all that a request with these charges lacks, if one flight does. */
  flightFor(charges: readonly Charge[], cost: number): Flight | undefined {
    let flight: Flight | undefined;
    for (let place = 0; place < charges.length; place++) {
      const lease = this.#found[place];
      if (lease === undefined) return undefined;
      const need = cost - lease.tokens;
      if (need <= 0) continue;
      if (lease.flight === undefined || need > lease.sure - lease.promised) return undefined;
      if (flight !== undefined && flight !== lease.flight) return undefined;
      ({ flight } = lease);
    }
    return flight;
  }

  /** Units have been asked for: `most`, and if any come `sure` at least. */
  departed(lease: Lease, flight: Flight, most: number, sure: number): void {
    lease.flight = flight;
    lease.coming = most;
    lease.sure = sure;
    lease.promised = 0;
  }

  /** Whether some bucket of the charges taken last should be refilled. */
  isDue(charges: readonly Charge[], now: number): boolean {
    for (let i = 0; i < charges.length; i++) {
      const lease = this.#found[i] as Lease;
      if (lease.flight !== undefined || now < lease.restsUntilMs) continue;
      const size = this.sizeOf(lease);
      if (size > 0 && lease.tokens < size * REFILL_BELOW) return true;
    }
    return false;
  }

  /** Counts what a request asks for, whatever becomes of it. */
  demanded(lease: Lease, cost: number, now: number): void {
    if (now !== lease.demandMs) {
      lease.demand *= Math.exp((lease.demandMs - now) / FADE_MS);
      lease.demandMs = now;
    }
    lease.demand += cost;
  }

  /** What this worker should hold now: half of what it uses while tokens live, 0 where that is not worth it. */
  sizeOf(lease: Lease): number {
    const size = Math.min(lease.most, Math.floor(lease.demand * USEFUL_PER_DEMAND));
    // While the store is lost nobody waits until the demand is known: a token that ends unused is less than a wait.
    const begins =
      this.#lost && lease.most >= LEAST_BEGUN && lease.rate.ratePerSecond >= LEAST_LOST_RATE * this.#holders;
    if (begins || this.#policy.enforcement === 'leased')
      return Math.max(size, Math.min(LEAST_KEPT, lease.most));
    lease.worth = size >= (lease.worth ? LEAST_KEPT : LEAST_BEGUN);
    return lease.worth ? size : 0;
  }

  /** Keeps up to `cost` aside for a request that must ask elsewhere; `spend` or `giveBack` must follow. */
  reserve(lease: Lease, cost: number): number {
    const units = Math.min(lease.tokens, cost);
    lease.tokens -= units;
    lease.reserved += units;
    return units;
  }

  /** The request was admitted. */
  spend(lease: Lease, reserved: number): void {
    lease.reserved -= reserved;
    this.tokens.spent += reserved;
  }

  /** The request was refused elsewhere, for which they were kept aside at `keptMs`. */
  giveBack(lease: Lease, reserved: number, keptMs: number, now: number): void {
    lease.reserved -= reserved;
    lease.tokens += reserved;
    if (keptMs < lease.changedMs) this.#expire(lease, reserved);
    this.#trim(lease, now);
  }

  /** The store's figures for a bucket; until `restsUntilMs` it has too few. */
  heard(lease: Lease, remaining: number, fullMs: number, restsUntilMs: number): void {
    lease.remaining = remaining;
    lease.fullMs = fullMs;
    lease.restsUntilMs = restsUntilMs;
  }

  /** Units that the store, or the share of an outage, granted beyond what a request used. */
  granted(lease: Lease, units: number, byShare: boolean, now: number): void {
    if (units <= 0) return;
    this.#change(lease, byShare, now);
    if (now >= lease.expiresMs) this.#expire(lease, lease.tokens);
    lease.tokens += units;
    lease.expiresMs = now + TTL_MS;
    this.tokens.granted += units;
    // Not cut to the measure of today: some may wait for these, who are told next.
    if (lease.era === GONE) this.#expire(lease, lease.tokens);
  }

  /** A grant that came after its deadline: kept up to what may be held, for what is left of its life. */
  grantedLate(lease: Lease, units: number, byShare: boolean, askedMs: number, now: number): void {
    const expiresMs = askedMs + TTL_MS;
    if (units <= 0) return;
    this.tokens.granted += units;
    this.#trim(lease, now);
    // The store is back with it; a share that is late may be over, and what is held of the store is worth more.
    if (now < expiresMs && (!byShare || lease.tokens === 0)) this.#change(lease, byShare, now);
    const kept = now < expiresMs && lease.byShare === byShare ? Math.min(units, this.#room(lease)) : 0;
    this.tokens.expired += units - kept;
    if (kept === 0) return;
    lease.tokens += kept;
    lease.expiresMs = Math.max(lease.expiresMs, expiresMs);
  }

  /**
   * Units of a request that came to nothing, put with what is held; false when they are the store's and have no place here.
   * Of a share they go nowhere: it is over, or will be.
   */
  returned(key: string, units: number, admittedMs: number, now: number): boolean {
    const lease = this.#leases.get(key);
    if (lease === undefined) return false;
    if (admittedMs < lease.changedMs) return true;
    const ofShare = lease.byShare && admittedMs < lease.expiresMs;
    this.#trim(lease, now);
    if (now >= lease.expiresMs || units > this.#room(lease)) return ofShare;
    lease.tokens += units;
    this.tokens.granted += units;
    return true;
  }

  /** Units held of a bucket that have not ended. */
  held(key: string, now: number): number {
    const lease = this.#leases.get(key);
    return lease === undefined || now >= lease.expiresMs ? 0 : lease.tokens;
  }

  /** Lets go of what is held of a bucket; the demand that was seen stays true. */
  drop(key: string): void {
    const lease = this.#leases.get(key);
    if (lease !== undefined) this.#expire(lease, lease.tokens);
  }

  /** Lets go of what has ended in leases that nobody asks for any more, so that it is told. */
  sweep(now: number): void {
    const { granted, spent, expired, refunded } = this.tokens;
    if (granted === spent + expired + refunded) return;
    for (const lease of this.#leases.values()) if (lease.tokens > 0) this.#trim(lease, now);
  }

  /** This worker leaves: what it holds goes back to the store, if that takes it, and nothing is leased from now on. */
  drain(store: Pick<LimitStore, 'refund'>, now: number): void {
    this.sweep(now);
    const held = [...this.#leases.values()].filter(({ tokens, byShare }) => tokens > 0 && !byShare);
    const taken =
      held.length > 0 &&
      store.refund(
        held.map(({ key }) => key),
        held.map(({ tokens }) => tokens),
        held.map(({ rate }) => rate.unitTicks),
        now,
      );
    for (const lease of taken ? held : []) {
      this.tokens.refunded += lease.tokens;
      lease.tokens = 0;
    }
    for (const lease of this.#leases.values()) this.#expire(lease, lease.tokens);
    this.configure(EXACT);
  }

  /** Figures for the answer of the request whose charges were taken last. */
  levels(charges: readonly Charge[]): LevelState[] {
    const levels: LevelState[] = [];
    for (let i = 0; i < charges.length; i++) {
      const lease = this.#found[i];
      // A reload to `exact` or a drain came while it waited: it is served, and no lease is found any more.
      levels.push(lease === undefined ? NOT_ASKED : levelOf(lease));
    }
    return levels;
  }

  #leaseOf(charge: Charge, now: number): Lease | undefined {
    let lease = this.#leases.get(charge.key);
    if (lease === undefined) {
      const most = this.#most(charge.rate);
      if (this.#policy.enforcement !== 'leased' && most < LEAST_BEGUN) return undefined;
      lease = newLease(charge, most, this.#era, now);
      this.#leases.set(charge.key, lease);
      return lease;
    }
    if (lease.rate !== charge.rate) {
      lease.rate = charge.rate;
      lease.era = -1;
    }
    this.#trim(lease, now);
    return lease;
  }

  /** Lets go of what has ended, and after another policy, other limits or more workers of what is beyond the new measure. */
  #trim(lease: Lease, now: number): void {
    if (lease.tokens > 0 && now >= lease.expiresMs) this.#expire(lease, lease.tokens);
    if (lease.era < this.#era) {
      lease.era = this.#era;
      lease.most = this.#most(lease.rate);
    }
    if (lease.tokens > lease.most) this.#expire(lease, lease.tokens - lease.most);
  }

  /** A lease has gone to make room: requests under way may still have its units, nobody else will. */
  #forgotten(lease: Lease): void {
    lease.era = GONE;
    lease.most = 0;
    this.#expire(lease, lease.tokens);
  }

  /** Units that may be held beside what is held, kept aside or on its way. */
  #room(lease: Lease): number {
    const coming = lease.flight === undefined ? 0 : lease.coming;
    return Math.max(0, this.sizeOf(lease) - lease.tokens - lease.reserved - coming);
  }

  /** What comes is of the share of an outage, or no more. */
  #change(lease: Lease, byShare: boolean, now: number): void {
    if (byShare === lease.byShare) return;
    this.#expire(lease, lease.tokens);
    lease.byShare = byShare;
    lease.changedMs = now;
    lease.expiresMs = 0;
  }

  #expire(lease: Lease, units: number): void {
    lease.tokens -= units;
    this.tokens.expired += units;
  }

  /** The most that one worker may hold of a bucket. */
  #most(rate: CompiledRate): number {
    const over = (this.#policy.maxOverRatio * (rate.ratePerSecond + rate.burst)) / this.#holders;
    const most = Math.floor(Math.min(rate.burst / 2, over));
    return this.#policy.enforcement === 'leased' ? Math.max(LEAST_KEPT, most) : most;
  }
}
