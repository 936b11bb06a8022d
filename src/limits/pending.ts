/**
 * One request on its way to the store and back.
 *
 * What the worker holds of a leased bucket is kept aside for it, and the store is asked for the rest alone: levels
 * without a lease at their cost, leased ones for what is missing and a new lease with it. Asking for half a lease at least
 * is what keeps a worker at the limit from fetching single units, one trip each; a level that is only observed must tell
 * the truth about this request and asks for no more than it needs. A leased level that lacks nothing rides along when a
 * part of it is gone, without a veto: so all leases of a request are filled by one trip instead of each by its own.
 */
import { NOT_ASKED, type Charge, type LevelState, type LimitCaller } from './decision.ts';
import { Flight, type Asker } from './flight.ts';
import { REPLY_PER_LEVEL, TICKS_PER_MS } from './gcra.ts';
import { levelOf, type Lease } from './lease.ts';
import type { Leases } from './leases.ts';
import type { StoreReply } from './store.ts';

/**
 * A lease rides along from this part gone. A level is then never down to half between two trips, whatever its size;
 * at half each would make trips of its own, at an eighth every trip would rewrite every bucket.
 */
export const RIDES_FROM = 0.25;

/** Who settles the question: the limiter. */
export interface Decider extends Asker {
  settle(call: PendingDecision, reply: StoreReply, path: 'store' | 'fallback', now: number): void;
  fallBack(call: PendingDecision, now: number): void;
}

export class PendingDecision extends Flight<Decider> {
  readonly caller: LimitCaller;
  readonly cost: number;
  /** The place among the charges of each level asked. */
  readonly places: number[] = [];
  /** For each charge its lease, and the units of it that are kept aside. */
  readonly leases: (Lease | undefined)[] = [];
  readonly reserved: number[] = [];
  /** Bits of the levels asked that lack nothing. */
  #rides = 0;

  /** `leases` has just looked at the caller's charges. */
  constructor(decider: Decider, caller: LimitCaller, leases: Leases, now: number) {
    super(decider, leases, now);
    this.caller = caller;
    this.cost = caller.cost;
    const { charges, cost } = caller;
    for (let place = 0; place < charges.length; place++) {
      const lease = leases.found(place);
      this.leases.push(lease);
      if (lease === undefined) {
        this.reserved.push(0);
        this.#ask(place, cost, cost, 1);
      } else this.#askLeased(place, lease, now);
    }
  }

  #askLeased(place: number, lease: Lease, now: number): void {
    const { charges, cost } = this.caller;
    const { enforced, rate } = charges[place] as Charge;
    this.all.demanded(lease, cost, now);
    const size = this.all.sizeOf(lease);
    const lacking = Math.max(0, size - lease.tokens - lease.reserved);
    const half = Math.min(Math.ceil(size / 2), rate.burst);
    const reserved = this.all.reserve(lease, cost);
    this.reserved.push(reserved);
    const need = cost - reserved;
    if (need > 0) {
      const must = enforced ? Math.max(need, half) : need;
      const want = lease.flight === undefined ? Math.max(lacking, must) : need;
      if (want > need) this.all.departed(lease, this, want - need, must - need);
      this.#ask(place, must, want, 1);
    } else if (
      lease.flight === undefined &&
      lacking > 0 &&
      lacking >= size * RIDES_FROM &&
      now >= lease.restsUntilMs
    ) {
      this.all.departed(lease, this, lacking, Math.min(lacking, half));
      this.#rides |= 1 << this.keys.length;
      this.#ask(place, Math.min(lacking, half), lacking, 0);
    }
  }

  #ask(place: number, must: number, want: number, veto: 0 | 1): void {
    const { key, rate, enforced } = this.caller.charges[place] as Charge;
    this.places.push(place);
    this.keys.push(key);
    this.terms.push(rate.unitTicks, rate.burst, must, want, enforced ? veto : 0);
  }

  /** Whether the request itself lacked nothing at this level asked. */
  rides(asked: number): boolean {
    return (this.#rides & (1 << asked)) !== 0;
  }

  /** What the request lacks of the charge in this place. */
  need(place: number): number {
    return this.caller.cost - (this.reserved[place] ?? 0);
  }

  charge(place: number): Charge {
    return this.caller.charges[place] as Charge;
  }

  chargeOf(asked: number): Charge {
    return this.charge(this.places[asked] as number);
  }

  leaseOf(asked: number): Lease | undefined {
    return this.leases[this.places[asked] as number];
  }

  needOf(asked: number): number {
    return this.rides(asked) ? 0 : this.need(this.places[asked] as number);
  }

  /** Whether the request lacks something at a level that may refuse it. */
  asksEnforced(): boolean {
    return this.places.some((place, asked) => !this.rides(asked) && this.charge(place).enforced);
  }

  /**
   * What was kept aside is used up, or comes back: all of it when the request is refused, and that of an observed level
   * which did not have the rest. `reply` is empty when nobody decided.
   */
  settle(ok: boolean, reply: StoreReply, now: number): void {
    let short = 0;
    for (let asked = 0; asked < this.places.length; asked++) {
      if ((reply[1 + asked * REPLY_PER_LEVEL] ?? 1) === 0 && !this.rides(asked))
        short |= 1 << (this.places[asked] as number);
    }
    for (let place = 0; place < this.leases.length; place++) {
      const lease = this.leases[place];
      const reserved = this.reserved[place] as number;
      if (lease === undefined || reserved === 0) continue;
      if (ok && (short & (1 << place)) === 0) this.all.spend(lease, reserved);
      else this.all.giveBack(lease, reserved, this.askedMs, now);
    }
  }

  /** The figures of each charge: what `reply` says of it, or what the worker knows. */
  levels(reply: StoreReply): LevelState[] {
    const levels: LevelState[] = [];
    for (const lease of this.leases) levels.push(lease === undefined ? NOT_ASKED : levelOf(lease));
    for (let asked = 0; asked < this.places.length; asked++) {
      const place = this.places[asked] as number;
      const at = 1 + asked * REPLY_PER_LEVEL;
      const remaining = (reply[at + 1] as number) + (this.leases[place]?.tokens ?? 0);
      levels[place] = {
        remaining: Math.min(this.charge(place).rate.burst, remaining),
        waitMs: this.rides(asked) ? 0 : (reply[at + 2] as number) / TICKS_PER_MS,
        fullMs: (reply[at + 3] as number) / TICKS_PER_MS,
      };
    }
    return levels;
  }

  protected decided(reply: StoreReply, now: number): void {
    this.asker.settle(this, reply, this.byShare ? 'fallback' : 'store', now);
  }

  protected undecided(now: number): void {
    this.asker.fallBack(this, now);
  }
}
