/**
 * A refill of leases in the background: no level vetoes another.
 *
 * One lease is enough to send it when it runs low; every other of the same request that lacks a part comes along.
 */
import type { Charge } from './decision.ts';
import type { Lease } from './lease.ts';
import type { Leases } from './leases.ts';
import { Flight, type Asker } from './flight.ts';
import { RIDES_FROM } from './pending.ts';

export class Refill extends Flight {
  readonly cost = 1;
  /** The levels asked, in their order. */
  readonly charges: Charge[] = [];
  readonly leases: Lease[] = [];

  /** `leases` has just taken the units of these charges. */
  constructor(asker: Asker, leases: Leases, charges: readonly Charge[], now: number) {
    super(asker, leases, now);
    for (let place = 0; place < charges.length; place++) {
      const charge = charges[place] as Charge;
      const lease = leases.found(place);
      if (lease === undefined || lease.flight !== undefined || now < lease.restsUntilMs) continue;
      const size = leases.sizeOf(lease);
      const lacking = size - lease.tokens - lease.reserved;
      if (lacking <= 0 || lacking < size * RIDES_FROM) continue;
      const must = Math.min(lacking, Math.ceil(size / 2));
      leases.departed(lease, this, lacking, must);
      const { rate } = charge;
      this.charges.push(charge);
      this.leases.push(lease);
      this.keys.push(charge.key);
      this.terms.push(rate.unitTicks, rate.burst, must, lacking, 0);
    }
  }

  chargeOf(asked: number): Charge {
    return this.charges[asked] as Charge;
  }

  leaseOf(asked: number): Lease {
    return this.leases[asked] as Lease;
  }

  needOf(): number {
    return 0;
  }

  protected decided(): void {
    // Nobody waits for it but those who joined.
  }

  protected undecided(): void {
    // The next request tries again.
  }
}
