/**
 * Units of leases on their way from the store, and requests that wait for them.
 *
 * A request that lacks nothing but what is on its way already does not ask on its own: at twenty times a limit the
 * requests that arrive within one trip would otherwise make a trip each. Not more wait than a grant is sure to serve, so
 * after it they are served, or it was refused and so are they. Where the store is lost, the gateway's share is asked for the
 * same; an answer of either that comes too late is kept as far as leases can take it.
 * Limits: another level of the flight may have refused it. Then a request that waited asks for itself, once, unless it
 * has waited so long already that another wait would be felt; then it is decided here, as if the store and the share were lost.
 */
import type { Charge, LimitCaller } from './decision.ts';
import { REPLY_PER_LEVEL } from './gcra.ts';
import type { Lease } from './lease.ts';
import type { Leases } from './leases.ts';
import type { StoreCall, StoreReply } from './store.ts';

/** Past this, what is added to the store's own deadline would be more than callers are promised (limits.md, L6). */
const ASKS_AFTER_MS = 5;

/** Who asks: the limiter. */
export interface Asker {
  /** What the store said, or the share of an outage. */
  heard(flight: Flight, reply: StoreReply, now: number): void;
  /** The store is unfit or late: whether the gateway's share is asked instead. */
  asksShare(flight: Flight, now: number): boolean;
}

/** Who goes on with those that waited: the limiter. */
export interface Resumer {
  /** Everything is there and taken. */
  served(waiting: Waiting, now: number): void;
  /** It did not come; what was kept aside is back. */
  unserved(waiting: Waiting, mayAsk: boolean, now: number): void;
}

export abstract class Flight<A extends Asker = Asker> implements StoreCall {
  readonly keys: string[] = [];
  readonly terms: number[] = [];
  /** What is said of it from now on is said of the share. */
  byShare = false;
  /** The least cost that is refused where a level has too little. */
  abstract readonly cost: number;
  readonly askedMs: number;
  protected readonly asker: A;
  protected readonly all: Leases;
  #waiting: Waiting[] | undefined;

  constructor(asker: A, leases: Leases, now: number) {
    this.asker = asker;
    this.all = leases;
    this.askedMs = now;
  }

  /** The charge behind each bucket asked. */
  abstract chargeOf(asked: number): Charge;
  abstract leaseOf(asked: number): Lease | undefined;
  /** Units of it without which there is no decision. */
  abstract needOf(asked: number): number;
  /** `reply` has been taken in. */
  protected abstract decided(reply: StoreReply, now: number): void;
  /** Nobody has answered in time. */
  protected abstract undecided(now: number): void;

  join(waiting: Waiting): void {
    (this.#waiting ??= []).push(waiting);
  }

  answered(reply: StoreReply, now: number): void {
    this.#landed();
    this.asker.heard(this, reply, now);
    this.decided(reply, now);
    this.#release(true, now);
  }

  unavailable(now: number): void {
    if (!this.asker.asksShare(this, now)) this.decideHere(now);
  }

  /** Without the store and the share: at once. */
  decideHere(now: number): void {
    this.#landed();
    this.undecided(now);
    this.#release(false, now);
  }

  /** It was decided without this answer, by the store or by the share. */
  late(reply: StoreReply, now: number, byShare = false): void {
    for (let asked = 0; asked < this.keys.length; asked++) {
      const lease = this.leaseOf(asked);
      const units = reply[1 + asked * REPLY_PER_LEVEL] as number;
      if (lease !== undefined) this.all.grantedLate(lease, units, byShare, this.askedMs, now);
    }
  }

  /** Nothing is on its way any more: somebody else may ask. */
  #landed(): void {
    for (let asked = 0; asked < this.keys.length; asked++) {
      const lease = this.leaseOf(asked);
      if (lease?.flight === this) lease.flight = undefined;
    }
  }

  /** After the grants have been taken in; `known`: somebody has answered. */
  #release(known: boolean, now: number): void {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    this.#waiting = undefined;
    for (const each of waiting) each.resume(known, now);
  }
}

export class Waiting {
  readonly caller: LimitCaller;
  /** By charge. */
  readonly #held: Lease[] = [];
  readonly #reserved: number[] = [];
  readonly #resumer: Resumer;
  readonly #leases: Leases;
  readonly #sinceMs: number;

  /** `leases` has just looked at the caller's charges and found a flight for them. */
  constructor(resumer: Resumer, caller: LimitCaller, leases: Leases, now: number) {
    this.#resumer = resumer;
    this.#leases = leases;
    this.#sinceMs = now;
    this.caller = caller;
    const { charges, cost } = caller;
    for (let place = 0; place < charges.length; place++) {
      const lease = leases.found(place) as Lease;
      leases.demanded(lease, cost, now);
      const reserved = leases.reserve(lease, cost);
      lease.promised += cost - reserved;
      this.#held.push(lease);
      this.#reserved.push(reserved);
    }
  }

  resume(known: boolean, now: number): void {
    const { cost } = this.caller;
    const served = this.#held.every((lease, i) => lease.tokens >= cost - (this.#reserved[i] as number));
    for (let i = 0; i < this.#held.length; i++) {
      const lease = this.#held[i] as Lease;
      const reserved = this.#reserved[i] as number;
      if (!served) this.#leases.giveBack(lease, reserved, this.#sinceMs, now);
      else {
        this.#leases.reserve(lease, cost - reserved);
        this.#leases.spend(lease, cost);
      }
    }
    if (served) this.#resumer.served(this, now);
    else this.#resumer.unserved(this, known && now - this.#sinceMs <= ASKS_AFTER_MS, now);
  }
}
