/**
 * The worker's decision on rate limits: may this request pass, at all its levels at once?
 *
 * Order: a bucket on hold refuses here, without a trip; otherwise one call to the store decides over all levels; if the
 * store is unfit or late, the request is decided by what `onUnavailable` says (`local`: this worker's share of every
 * limit, limit / (gateways × workers), in memory that outlives the outage; `allow`; `deny`). All or nothing: who is
 * refused at one level is charged at none. Observed levels are charged and counted but never refuse.
 *
 * A decision is a value where it can be: `decided` is then called inside `decide`.
 * Limits of the method: while the store is lost, connections that cluster on one worker get only that worker's share.
 */
import type { ErrorCode } from '../kernel/errors.ts';
import type { Random } from '../kernel/random.ts';
import { EmbeddedStore, WORKER_BUCKETS } from './embedded-store.ts';
import type { CompiledRate } from './gcra.ts';
import { REPLY_PER_LEVEL, TERMS_PER_LEVEL, TICKS_PER_MS } from './gcra.ts';
import { holdRemaining, Holds, holdWaitMs } from './hold.ts';
import { Leases, type LeasePolicy } from './leases.ts';
import { Refill } from './refill.ts';
import { Refusals } from './refusals.ts';
import type { LimitStore, StoreCall, StoreReply } from './store.ts';

/** In order of precedence when several refuse. The first two are a caller's own, the others are shared by many. */
const LEVELS = ['client', 'route', 'tier', 'route-total', 'global'] as const;

export type Level = (typeof LEVELS)[number];

/** Whether the bucket is the caller's own and not shared with others. */
export function isOwn({ level }: { readonly level: Level }): boolean {
  return level === 'client' || level === 'route';
}

export interface Charge {
  /** The bucket, see `keys.ts`. */
  readonly key: string;
  readonly level: Level;
  readonly rate: CompiledRate;
  /** False: observed, so charged and counted, but it never refuses. */
  readonly enforced: boolean;
}

/** What a request asks; the exchange itself, so that nothing is made for the question. */
export interface LimitCaller {
  /** At most one of each level, no bucket twice. */
  readonly charges: readonly Charge[];
  /** Whole units, charged at every level; 0 = free. */
  readonly cost: number;
  /** Exactly once, inside `decide` or later. */
  decided(decision: LimitDecision): void;
}

export interface LevelState {
  /** Whole units left after this decision; -1 when this level was not asked. */
  readonly remaining: number;
  /** Until this request would fit, ms; 0 when it does. */
  readonly waitMs: number;
  /** Until the bucket is full again, ms. */
  readonly fullMs: number;
}

export interface LimitDecision {
  readonly ok: boolean;
  /** The first refusing level in the order of precedence. */
  readonly refusedBy: Level | '';
  /** Empty when ok. */
  readonly code: ErrorCode | '';
  /** The longest wait of the refusing levels, ms. */
  readonly retryAfterMs: number;
  /** Whole seconds of chance to be added to `Retry-After`, at most. */
  readonly jitterSeconds: number;
  readonly path: 'none' | 'lease' | 'store' | 'hold' | 'fallback';
  /** In the order of the charges; empty when no level was asked. */
  readonly levels: readonly LevelState[];
  /** Observed levels that would have refused. */
  readonly observed: readonly Level[];
}

export type OnUnavailable = 'local' | 'allow' | 'deny';

export interface LimiterOptions {
  readonly store: LimitStore;
  readonly onUnavailable: OnUnavailable;
  /** Live workers of this gateway. */
  readonly workers: number;
  readonly random: Random;
}

const NOTHING: readonly never[] = Object.freeze([]);
const NOT_ASKED: LevelState = Object.freeze({ remaining: -1, waitMs: 0, fullMs: 0 });
const ASKED_NOBODY: LimitDecision = Object.freeze(passed('none', NOTHING, NOTHING));
const ALLOWED: LimitDecision = Object.freeze(passed('fallback', NOTHING, NOTHING));
/** `deny`: a second more than the pause, so that the store has been tried when the caller is back. */
const DENY_EXTRA_MS = 1000;
const DENY_JITTER_SECONDS = 2;
/** No charge has this rank, so the first refusing level is always before it. */
const NO_RANK: number = LEVELS.length;

export class Limiter {
  readonly #random: Random;
  readonly #holds: Holds;
  readonly #local: EmbeddedStore;
  readonly #refusals = new Refusals();
  readonly #leases = new Leases();
  #store: LimitStore;
  #onUnavailable: OnUnavailable;
  #workers: number;

  constructor(options: LimiterOptions) {
    this.#random = options.random;
    this.#store = options.store;
    this.#onUnavailable = options.onUnavailable;
    this.#workers = options.workers;
    this.#holds = new Holds(options.random);
    this.#local = new EmbeddedStore(WORKER_BUCKETS, this.#random);
  }

  /** `now`: monotonic ms. */
  decide(caller: LimitCaller, now: number): void {
    if (caller.charges.length === 0 || caller.cost === 0) {
      caller.decided(ASKED_NOBODY);
      return;
    }
    if (this.#holds.size() > 0 && this.#onHold(caller, now)) return;
    if (this.#leases.take(caller.charges, caller.cost, now)) {
      // Before the refill: a store may answer inside `decide`, and its answer may decide another request.
      const levels = this.#leases.levels(caller.charges);
      this.#refill(caller.charges, now);
      caller.decided(passed('lease', levels, NOTHING));
      return;
    }
    const call = new PendingDecision(this, caller, this.#leases, now);
    if (!this.#store.decide(call, now)) this.fallBack(call, now);
  }

  /** A reload: keys hold no numbers, so buckets stay; holds were computed from the old limits and go. */
  configure(policy: { onUnavailable: OnUnavailable; store?: LimitStore; leases?: LeasePolicy }): void {
    this.#onUnavailable = policy.onUnavailable;
    if (policy.leases !== undefined) this.#leases.configure(policy.leases);
    if (policy.store !== undefined) this.#store = policy.store;
    this.#holds.clear();
    this.#refusals.clear();
  }

  setWorkers(workers: number): void {
    this.#workers = Math.max(1, workers);
    this.#leases.setHolders(this.#store.gateways() * this.#workers);
  }

  /** Units of this bucket that the worker holds as a lease: charged in the store already, not yet used. */
  leased(key: string, now: number): number {
    return this.#leases.held(key, now);
  }

  /**
   * An operator filled these buckets: what was learned here from their old figures goes, the lease, the hold and the
   * share of an outage. Leased units go too, so that nothing is admitted beyond the burst that was just given.
   */
  forget(keys: readonly string[]): void {
    for (const key of keys) {
      this.#leases.drop(key);
      this.#holds.granted(key);
      this.#local.forget(key);
    }
  }

  /** For `PendingDecision`: the store has decided. */
  storeDecided(call: PendingDecision, reply: StoreReply, now: number): void {
    const { charges, cost } = call.caller;
    for (let i = 0; i < charges.length; i++) {
      const charge = charges[i] as Charge;
      const { key, rate, enforced } = charge;
      const at = 1 + i * REPLY_PER_LEVEL;
      if (call.asksMore(i)) this.#leases.refilled(charge);
      this.#leases.granted(
        charge,
        (reply[at] as number) - cost,
        reply[at + 1] as number,
        (reply[at + 3] as number) / TICKS_PER_MS,
        now,
      );
      const waitTicks = reply[at + 2] as number;
      if (waitTicks > 0 && enforced) {
        const fullMs = (reply[at + 3] as number) / TICKS_PER_MS;
        this.#holds.refused(key, cost, rate, waitTicks / TICKS_PER_MS, fullMs, now);
      } else if (this.#holds.size() > 0 && (reply[at] as number) > 0) this.#holds.granted(key);
    }
    this.#finish(call.caller, reply, 'store', now);
  }

  /** For `PendingDecision`: the store is unfit or late. */
  fallBack(call: PendingDecision, now: number): void {
    const { caller } = call;
    for (const [i, charge] of caller.charges.entries()) if (call.asksMore(i)) this.#leases.refilled(charge);
    switch (this.#onUnavailable) {
      case 'allow':
        caller.decided(ALLOWED);
        return;
      case 'deny':
        caller.decided(this.#denial(now));
        return;
      case 'local': {
        const shares = Math.max(1, this.#store.gateways() * this.#workers);
        const reply: number[] = [];
        const { keys } = call;
        this.#local.decideInto(keys, shareTerms(caller, shares), 0, keys.length, now, reply);
        this.#finish(caller, reply, 'fallback', now);
      }
    }
  }

  /** Asks for what leases lack, in the background; a store that is unfit is asked again with the next request. */
  #refill(charges: readonly Charge[], now: number): void {
    this.#leases.setHolders(this.#store.gateways() * this.#workers);
    const terms = this.#leases.refills(charges);
    if (terms.length === 0) return;
    const refill = new Refill(this.#leases, terms);
    if (!this.#store.decide(refill, now)) refill.unavailable();
  }

  #onHold(caller: LimitCaller, now: number): boolean {
    const { charges, cost } = caller;
    let held = false;
    for (const charge of charges) {
      if (charge.enforced && this.#holds.find(charge.key, cost, now) !== undefined) held = true;
    }
    if (!held) return false;
    const levels: LevelState[] = [];
    for (const charge of charges) {
      const hold = charge.enforced ? this.#holds.find(charge.key, cost, now) : undefined;
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

  #finish(caller: LimitCaller, reply: StoreReply, path: 'store' | 'fallback', now: number): void {
    const { charges } = caller;
    const levels: LevelState[] = [];
    let observed: Level[] | undefined;
    for (let i = 0; i < charges.length; i++) {
      const at = 1 + i * REPLY_PER_LEVEL;
      const waitMs = (reply[at + 2] as number) / TICKS_PER_MS;
      levels.push({
        remaining: reply[at + 1] as number,
        waitMs,
        fullMs: (reply[at + 3] as number) / TICKS_PER_MS,
      });
      const charge = charges[i] as Charge;
      if (waitMs > 0 && !charge.enforced) (observed ??= []).push(charge.level);
    }
    caller.decided(
      reply[0] === 1
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
    const { charges } = caller;
    let first: Charge | undefined;
    let firstRank = NO_RANK;
    let longestMs = 0;
    for (let i = 0; i < charges.length; i++) {
      const charge = charges[i] as Charge;
      const { waitMs } = levels[i] as LevelState;
      if (!charge.enforced || waitMs <= 0) continue;
      if (waitMs > longestMs) longestMs = waitMs;
      const rank = LEVELS.indexOf(charge.level);
      if (rank < firstRank) {
        firstRank = rank;
        first = charge;
      }
    }
    // Only a reply that contradicts itself refuses without a level; it is told as a store that cannot be relied on.
    if (first === undefined) return this.#denial(now);
    return {
      ok: false,
      refusedBy: first.level,
      code: CODES[first.level],
      retryAfterMs: longestMs,
      jitterSeconds: this.#jitterSeconds(first, longestMs, now),
      path,
      levels,
      observed,
    };
  }

  #denial(now: number): LimitDecision {
    return {
      ok: false,
      refusedBy: '',
      code: 'SPW_RATE_STORE_DOWN',
      retryAfterMs: this.#store.pauseMs(now) + DENY_EXTRA_MS,
      jitterSeconds: DENY_JITTER_SECONDS,
      path: 'fallback',
      levels: NOTHING,
      observed: NOTHING,
    };
  }

  /** One's own limit: a quarter of the wait. A shared one: as long as it takes to serve those refused in a second. */
  #jitterSeconds(charge: Charge, waitMs: number, now: number): number {
    if (isOwn(charge)) return Math.max(1, Math.ceil(Math.ceil(waitMs / 1000) / 4));
    const refused = this.#refusals.count(charge.key, now);
    return Math.min(30, Math.max(1, Math.ceil(refused / charge.rate.ratePerSecond)));
  }
}

/** One request on its way to the store and back. */
export class PendingDecision implements StoreCall {
  readonly caller: LimitCaller;
  readonly keys: readonly string[];
  readonly terms: readonly number[];
  readonly #limiter: Limiter;

  constructor(limiter: Limiter, caller: LimitCaller, leases: Leases, now: number) {
    this.#limiter = limiter;
    this.caller = caller;
    const { charges, cost } = caller;
    const keys: string[] = [];
    const terms: number[] = [];
    for (const charge of charges) {
      const { key, rate, enforced } = charge;
      keys.push(key);
      const least = leases.least(charge, cost, now);
      terms.push(rate.unitTicks, rate.burst, least, leases.wanted(charge, cost, now), enforced ? 1 : 0);
    }
    this.keys = keys;
    this.terms = terms;
  }

  /** Whether more than the request's cost was asked of a level, for the worker's lease. */
  asksMore(level: number): boolean {
    return (this.terms[level * TERMS_PER_LEVEL + 3] ?? 0) > this.caller.cost;
  }

  answered(reply: StoreReply, now: number): void {
    this.#limiter.storeDecided(this, reply, now);
  }

  unavailable(now: number): void {
    this.#limiter.fallBack(this, now);
  }
}

/** This worker's share of every limit: the rate through `shares`, the burst too, but room for any one request. */
function shareTerms(caller: LimitCaller, shares: number): number[] {
  const terms: number[] = [];
  for (const { rate, enforced } of caller.charges) {
    const burst = Math.max(Math.ceil(rate.burst / shares), rate.largestCost, caller.cost);
    terms.push(rate.unitTicks * shares, burst, caller.cost, caller.cost, enforced ? 1 : 0);
  }
  return terms;
}

function passed(
  path: LimitDecision['path'],
  levels: readonly LevelState[],
  observed: readonly Level[],
): LimitDecision {
  return { ok: true, refusedBy: '', code: '', retryAfterMs: 0, jitterSeconds: 0, path, levels, observed };
}

const CODES: Readonly<Record<Level, ErrorCode>> = {
  client: 'SPW_RATE_CLIENT',
  route: 'SPW_RATE_ROUTE',
  tier: 'SPW_RATE_GLOBAL',
  'route-total': 'SPW_RATE_GLOBAL',
  global: 'SPW_RATE_GLOBAL',
};
