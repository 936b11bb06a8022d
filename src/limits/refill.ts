/**
 * A refill of leases in the background: no level vetoes another.
 *
 * One lease is enough to send it when it runs low; every other of the same request that lacks a part comes along.
 */
import type { Charge } from './decision.ts';
import type { Lease } from './lease.ts';
import type { Leases } from './leases.ts';
import { Flight } from './flight.ts';
import { REPLY_PER_LEVEL } from './gcra.ts';
import { RIDES_FROM } from './pending.ts';
import type { SharedCall } from './share-call.ts';
import type { StoreReply } from './store.ts';

/** Who hears what came of it: the limiter. */
export interface RefillListener {
  refilled(refill: Refill, reply: StoreReply, now: number): void;
  asksShare(refill: Refill, now: number): boolean;
}

export class Refill extends Flight implements SharedCall {
  readonly keys: string[] = [];
  readonly terms: number[] = [];
  /** The levels asked, in their order. */
  readonly charges: Charge[] = [];
  readonly leases: Lease[] = [];
  byShare = false;
  readonly #listener: RefillListener;
  readonly #all: Leases;
  readonly #askedMs: number;

  /** `leases` has just taken the units of these charges. */
  constructor(listener: RefillListener, leases: Leases, charges: readonly Charge[], now: number) {
    super();
    this.#listener = listener;
    this.#all = leases;
    this.#askedMs = now;
    for (let place = 0; place < charges.length; place++) {
      const charge = charges[place] as Charge;
      const lease = leases.found(place);
      if (lease === undefined || lease.flight !== undefined || now < lease.restsUntilMs) continue;
      const size = leases.sizeOf(lease);
      const lacking = size - lease.tokens - lease.reserved;
      if (lacking <= 0 || lacking < size * RIDES_FROM) continue;
      const must = Math.min(lacking, Math.ceil(size / 2));
      leases.departed(lease, this, must);
      const { rate } = charge;
      this.charges.push(charge);
      this.leases.push(lease);
      this.keys.push(charge.key);
      this.terms.push(rate.unitTicks, rate.burst, must, lacking, 0);
    }
  }

  answered(reply: StoreReply, now: number): void {
    this.#landed();
    this.#listener.refilled(this, reply, now);
    this.release(true, now);
  }

  chargeOf(asked: number): Charge {
    return this.charges[asked] as Charge;
  }

  needOf(): number {
    return 0;
  }

  unavailable(now: number): void {
    if (this.#listener.asksShare(this, now)) return;
    this.#landed();
    this.release(false, now);
  }

  #landed(): void {
    for (const lease of this.leases) lease.flight = undefined;
  }

  late(reply: StoreReply, now: number): void {
    for (let asked = 0; asked < this.leases.length; asked++) {
      const units = reply[1 + asked * REPLY_PER_LEVEL] as number;
      this.#all.grantedLate(this.leases[asked] as Lease, units, this.#askedMs, now);
    }
  }
}
