/**
 * The worker's decision on rate limits: may this request pass, at all its levels at once?
 *
 * Order: what the worker holds of every bucket is enough, and nobody is asked; a bucket on hold that lacks units refuses
 * here, without a trip; otherwise what is held is kept aside and one call to the store decides over the rest; if the
 * store is unfit or late, the request is decided by what `onUnavailable` says (`local`: this gateway's share of every
 * limit, in the supervisor's memory or, without that, this worker's part of it; `allow`; `deny`). All or nothing: who is
 * refused at one level is charged at none, and what was kept aside comes back. Observed levels are charged and counted but
 * never refuse, also not by the store's absence.
 *
 * A decision is a value where it can be: `decided` is then called inside `decide`.
 */
import type { Random } from '../kernel/random.ts';
import {
  isOwn,
  NOT_ASKED,
  passed,
  type Charge,
  type Level,
  type LevelState,
  type LimitCaller,
  type LimitDecision,
  type OnUnavailable,
} from './decision.ts';
import { Waiting, type Flight } from './flight.ts';
import { REPLY_PER_LEVEL, TICKS_PER_MS } from './gcra.ts';
import { holdRemaining, Holds, holdWaitMs, type Hold } from './hold.ts';
import { Leases, type LeasePolicy, type LeaseTokens } from './leases.ts';
import { PendingDecision } from './pending.ts';
import { Refill } from './refill.ts';
import { denial, Refusals } from './refusals.ts';
import { ShareCall, shareOf } from './share-call.ts';
import { Shares } from './shares.ts';
import type { LimitStore, StoreReply } from './store.ts';

export interface LimiterOptions {
  readonly store: LimitStore;
  readonly onUnavailable: OnUnavailable;
  /** Live workers of this gateway. */
  readonly workers: number;
  readonly random: Random;
}

/** This gateway's own memory, asked for its share of every limit while the store is lost. */
export interface ShareStore {
  readonly store: LimitStore;
  /** A decision that waited for the lost store has the share's word so long after its beginning, or does without; ms. */
  readonly withinMs: number;
}

const NOTHING: readonly never[] = Object.freeze([]);
const ASKED_NOBODY: LimitDecision = Object.freeze(passed('none', NOTHING, NOTHING));
const ALLOWED: LimitDecision = Object.freeze(passed('fallback', NOTHING, NOTHING));
/** Later than this a unit given back could be spent beside the one that time has brought. */
const GIVE_BACK_WITHIN_MS = 1000;

export class Limiter {
  readonly #holds: Holds;
  readonly #part: Shares;
  readonly #refusals = new Refusals();
  readonly #leases = new Leases();
  #store: LimitStore;
  #share: ShareStore | undefined;
  #isWhole = true;
  #onUnavailable: OnUnavailable;

  constructor(options: LimiterOptions) {
    this.#store = options.store;
    this.#onUnavailable = options.onUnavailable;
    this.#holds = new Holds(options.random);
    this.#part = new Shares(options.random);
    this.setWorkers(options.workers, 0);
  }

  /** `now`: monotonic ms. */
  decide(caller: LimitCaller, now: number): void {
    const { charges, cost } = caller;
    if (charges.length === 0 || cost === 0) {
      caller.decided(ASKED_NOBODY);
      return;
    }
    if (this.#leases.take(charges, cost, now)) {
      // Before the refill: a store may answer inside `decide`, and its answer may decide another request.
      const levels = this.#leases.levels(charges);
      if (this.#leases.isDue(charges, now)) this.#refill(charges, now);
      caller.decided(passed('lease', levels, NOTHING));
      return;
    }
    if (this.#holds.size() > 0 && this.#onHold(caller, now)) return;
    const flight = this.#leases.flightFor(charges, cost);
    if (flight === undefined) this.#ask(caller, true, now);
    else flight.join(new Waiting(this, caller, this.#leases, now));
  }

  /**
   * Charges without letting anybody wait, for a request that is refused anyhow; true: it was within the limits, as far
   * as is known now.
   */
  chargeOnly(charges: readonly Charge[], cost: number, now: number): boolean {
    const bystander = new Bystander(charges, cost);
    this.decide(bystander, now);
    return bystander.within;
  }

  /**
   * A request that was admitted by `decision` ends before anything was done for it: its units go back to the lease or to
   * the store, those of a share to the lease alone. Not later than a second after, and not to a client that was itself limited in the last second, or a flood
   * would be rewarded.
   */
  giveBack({ charges, cost }: LimitCaller, decision: LimitDecision, admittedMs: number, now: number): void {
    const { ok, path, observed } = decision;
    if (!ok || cost === 0 || (path !== 'lease' && path !== 'store')) return;
    if (now - admittedMs > GIVE_BACK_WITHIN_MS) return;
    for (const charge of charges)
      if (isOwn(charge) && this.#isInForce(this.#holds.recent(charge.key, now), now)) return;
    const keys: string[] = [];
    const units: number[] = [];
    const unitTicks: number[] = [];
    for (const { key, level, rate } of charges) {
      // A level that would have refused was not charged.
      if (observed.includes(level) || this.#leases.returned(key, cost, admittedMs, now)) continue;
      keys.push(key);
      units.push(cost);
      unitTicks.push(rate.unitTicks);
    }
    if (keys.length > 0) this.#store.refund(keys, units, unitTicks, now);
  }

  /** This worker leaves: what it holds goes back to the store, and it asks for each unit from now on. */
  drain(now: number): void {
    this.#leases.drain(this.#store, now);
  }

  /** A reload: keys hold no numbers, so buckets stay; holds were computed from the old limits and go. */
  configure(policy: {
    onUnavailable: OnUnavailable;
    store?: LimitStore;
    share?: ShareStore | undefined;
    /** False: a part of the store may be lost while the rest serves. */
    isWhole?: boolean;
    leases?: LeasePolicy;
  }): void {
    this.#onUnavailable = policy.onUnavailable;
    if (policy.leases !== undefined) this.#leases.configure(policy.leases);
    if (policy.store !== undefined) {
      this.#store = policy.store;
      this.#share = policy.share;
      this.#isWhole = policy.isWhole ?? true;
    }
    this.#holds.clear();
    this.#refusals.clear();
  }

  /** @param index of this worker among those of its gateway: it says which part of a limit is its own without the store */
  setWorkers(workers: number, index: number): void {
    this.#part.setWorkers(workers, index);
  }

  /** Whether a bucket is known here to have no room for this cost; asks nobody and charges nothing. */
  isOnHold(key: string, cost: number, now: number): boolean {
    return this.#holds.size() > 0 && this.#liveHold(key, cost, now) !== undefined;
  }

  /** Refuses the caller, uncharged, if a bucket that it would have to ask for is on hold; false: it has been told nothing. */
  refuseOnHold(caller: LimitCaller, now: number): boolean {
    this.#leases.look(caller.charges, now);
    return this.#onHold(caller, now);
  }

  /** Units of this bucket that the worker holds as a lease: charged in the store already, not yet used. */
  leased(key: string, now: number): number {
    return this.#leases.held(key, now);
  }

  /** What became of leased units so far; only grows. */
  leaseTokens(now: number): Readonly<LeaseTokens> {
    this.#leases.sweep(now);
    return this.#leases.tokens;
  }

  /**
   * An operator filled these buckets: what was learned here from their old figures goes, the lease, the hold and this
   * worker's part. Leased units go too, so that nothing is admitted beyond the burst that was just given.
   */
  forget(keys: readonly string[]): void {
    for (const key of keys) {
      this.#leases.drop(key);
      this.#holds.forget(key);
      this.#part.forget(key);
    }
  }

  /** For `Waiting`: the lease it waited for has come. */
  served({ caller }: Waiting, now: number): void {
    this.#leases.look(caller.charges, now);
    caller.decided(passed('lease', this.#leases.levels(caller.charges), NOTHING));
  }

  /** For `Waiting`: it has not. */
  unserved({ caller }: Waiting, mayAsk: boolean, now: number): void {
    this.#leases.look(caller.charges, now);
    if (!this.#onHold(caller, now)) this.#ask(caller, mayAsk, now);
  }

  /** For `Flight`: takes in what the store said of each level asked, or the share of an outage. */
  heard(flight: Flight, reply: StoreReply, now: number): void {
    if (!flight.byShare) this.#leases.setLost(false);
    for (let asked = 0; asked < flight.keys.length; asked++) this.#heardOf(flight, asked, reply, now);
  }

  /** For `Flight`: whether the gateway's share is asked instead of a store that is unfit or late. */
  asksShare(flight: Flight, now: number): boolean {
    const share = this.#share;
    if (share === undefined || this.#onUnavailable !== 'local') return false;
    if (this.#isWhole) this.#leases.setLost(true);
    flight.byShare = true;
    const gateways = this.#store.gateways();
    return share.store.decide(new ShareCall(flight, gateways, this.#part, share.withinMs, now), now);
  }

  /** For `PendingDecision`: nobody is there to decide. */
  fallBack(call: PendingDecision, now: number): void {
    switch (this.#onUnavailable) {
      case 'allow':
        call.settle(true, NOTHING, now);
        call.caller.decided(ALLOWED);
        return;
      case 'deny': {
        const denied = call.asksEnforced();
        call.settle(!denied, NOTHING, now);
        call.caller.decided(denied ? denial(this.#store.pauseMs(now)) : ALLOWED);
        return;
      }
      case 'local':
        this.settle(call, this.#part.decide(call, this.#store.gateways(), now), 'fallback', now);
    }
  }

  #heardOf(flight: Flight, asked: number, reply: StoreReply, now: number): void {
    const { byShare, cost } = flight;
    const charge = flight.chargeOf(asked);
    const { key, enforced } = charge;
    const at = 1 + asked * REPLY_PER_LEVEL;
    const granted = reply[at] as number;
    const waitMs = (reply[at + 2] as number) / TICKS_PER_MS;
    const fullTicks = reply[at + 3] as number;
    const fullMs = fullTicks / TICKS_PER_MS;
    if (this.#onUnavailable === 'local') this.#part.seen(key, fullTicks, now);
    let restsUntilMs = waitMs > 0 ? now + waitMs : 0;
    if (waitMs > 0 && enforced) {
      const rate = byShare ? shareOf(charge.rate, this.#store.gateways(), cost) : charge.rate;
      restsUntilMs = this.#holds.refused(
        key,
        cost,
        { rate, level: charge.level },
        waitMs,
        fullMs,
        now,
        byShare,
      );
    } else if (this.#holds.size() > 0 && granted > 0) this.#holds.granted(key, now);
    const lease = flight.leaseOf(asked);
    if (lease === undefined) return;
    this.#leases.heard(lease, reply[at + 1] as number, fullMs, restsUntilMs);
    // What the request itself did not need is the lease's.
    this.#leases.granted(lease, granted - flight.needOf(asked), byShare, now);
  }

  /** For `PendingDecision`: tells the request what was decided. */
  settle(call: PendingDecision, reply: StoreReply, path: 'store' | 'fallback', now: number): void {
    const { caller } = call;
    const ok = reply[0] === 1;
    call.settle(ok, reply, now);
    const levels = call.levels(reply);
    let observed: Level[] | undefined;
    for (let i = 0; i < levels.length; i++) {
      const { enforced, level } = call.charge(i);
      if ((levels[i] as LevelState).waitMs > 0 && !enforced) (observed ??= []).push(level);
    }
    caller.decided(
      ok
        ? passed(path, levels, observed ?? NOTHING)
        : this.#refusal(caller, levels, observed ?? NOTHING, path, now),
    );
  }

  #refusal(
    caller: LimitCaller,
    levels: readonly LevelState[],
    observed: readonly Level[],
    path: LimitDecision['path'],
    now: number,
  ): LimitDecision {
    const refusal = this.#refusals.refusal(caller.charges, levels, observed, path, now);
    // Only a reply that contradicts itself refuses without a level; it is told as a store that cannot be relied on.
    return refusal ?? denial(this.#store.pauseMs(now));
  }

  /** Looks how many workers of all gateways there are, who all ask and may hold leases. */
  #countHolders(): void {
    const told = this.#store.workers();
    const workers = told > 0 ? told : this.#store.gateways() * this.#part.workers;
    this.#leases.setHolders(workers);
    this.#holds.setWorkers(workers);
  }

  /** Asks the store for what is not held here; the leases have just been looked at. */
  #ask(caller: LimitCaller, mayAsk: boolean, now: number): void {
    this.#countHolders();
    const call = new PendingDecision(this, caller, this.#leases, now);
    if (!mayAsk) call.decideHere(now);
    else if (!this.#store.decide(call, now)) call.unavailable(now);
  }

  /** Asks for what leases lack, in the background; where nobody can be asked it is tried again with the next request. */
  #refill(charges: readonly Charge[], now: number): void {
    this.#countHolders();
    const refill = new Refill(this, this.#leases, charges, now);
    if (!this.#store.decide(refill, now)) refill.unavailable(now);
  }

  /** Refuses by what is known here, if a bucket that the request would have to ask for is on hold. */
  #onHold(caller: LimitCaller, now: number): boolean {
    const { charges, cost } = caller;
    let held = false;
    for (let i = 0; i < charges.length && !held; i++)
      held = this.#holdOf(i, charges, cost, now) !== undefined;
    if (!held) return false;
    const levels: LevelState[] = [];
    for (let i = 0; i < charges.length; i++) {
      const hold = this.#holdOf(i, charges, cost, now);
      if (hold === undefined) levels.push(NOT_ASKED);
      else {
        levels.push({
          remaining: holdRemaining(hold, now),
          waitMs: holdWaitMs(hold, cost, now),
          fullMs: Math.max(0, hold.fullAt - now),
        });
      }
    }
    caller.decided(this.#refusal(caller, levels, NOTHING, 'hold', now));
    return true;
  }

  #holdOf(place: number, charges: readonly Charge[], cost: number, now: number): Hold | undefined {
    const { key, enforced } = charges[place] as Charge;
    if (!enforced || !this.#leases.lacks(place, cost)) return undefined;
    return this.#liveHold(key, cost, now);
  }

  #liveHold(key: string, cost: number, now: number): Hold | undefined {
    const hold = this.#holds.find(key, cost, now);
    return this.#isInForce(hold, now) ? hold : undefined;
  }

  /** One by the share counts for nothing once the store is back. */
  #isInForce(hold: Hold | undefined, now: number): hold is Hold {
    return hold !== undefined && !(hold.byShare && this.#store.pauseMs(now) === 0);
  }
}

/** A request that hears nothing of its decision. */
class Bystander implements LimitCaller {
  readonly charges: readonly Charge[];
  readonly cost: number;
  within = true;

  constructor(charges: readonly Charge[], cost: number) {
    this.charges = charges;
    this.cost = cost;
  }

  decided({ ok, refusedBy }: LimitDecision): void {
    // A store that is lost says nothing about the caller.
    this.within = ok || refusedBy === '';
  }
}
