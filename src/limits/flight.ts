/**
 * Units of leases on their way from the store, and requests that wait for them.
 *
 * A request that lacks nothing but what is on its way already does not ask on its own: at twenty times a limit the
 * requests that arrive within one trip would otherwise make a trip each. Not more wait than a grant is sure to serve, so
 * after it they are served, or it was refused and so are they.
 * Limits: another level of the flight may have refused it. Then a request that waited asks for itself, once, unless it
 * has waited so long already that another wait would be felt; then it is decided as if the store were lost.
 */
import type { LimitCaller } from './decision.ts';
import type { Lease } from './lease.ts';
import type { Leases } from './leases.ts';

/** Past this, what is added to the store's own deadline would be more than callers are promised (limits.md, L6). */
const ASKS_AFTER_MS = 5;

/** Who goes on with those that waited: the limiter. */
export interface Resumer {
  /** Everything is there and taken. */
  served(waiting: Waiting, now: number): void;
  /** It did not come; what was kept aside is back. */
  unserved(waiting: Waiting, mayAsk: boolean, now: number): void;
}

export class Flight {
  #waiting: Waiting[] | undefined;

  join(waiting: Waiting): void {
    (this.#waiting ??= []).push(waiting);
  }

  /** After the grants have been taken in; `known`: the store has answered. */
  protected release(known: boolean, now: number): void {
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
      if (!served) this.#leases.giveBack(lease, reserved, now);
      else {
        this.#leases.reserve(lease, cost - reserved);
        this.#leases.spend(lease, cost);
      }
    }
    if (served) this.#resumer.served(this, now);
    else this.#resumer.unserved(this, known && now - this.#sinceMs <= ASKS_AFTER_MS, now);
  }
}
