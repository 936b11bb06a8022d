import { REPLY_PER_LEVEL, TICKS_PER_MS } from './gcra.ts';
import type { Leases, RefillTerm } from './leases.ts';
import type { StoreCall, StoreReply } from './store.ts';

/** Leases on their way from the store: nobody waits for them, and no level vetoes another. */
export class Refill implements StoreCall {
  readonly keys: readonly string[];
  readonly terms: readonly number[];
  readonly #leases: Leases;
  readonly #wanted: readonly RefillTerm[];

  constructor(leases: Leases, wanted: readonly RefillTerm[]) {
    this.#leases = leases;
    this.#wanted = wanted;
    this.keys = wanted.map(({ charge }) => charge.key);
    this.terms = wanted.flatMap(({ charge, least, most }) => [
      charge.rate.unitTicks,
      charge.rate.burst,
      least,
      most,
      0,
    ]);
  }

  answered(reply: StoreReply, now: number): void {
    for (const [index, { charge }] of this.#wanted.entries()) {
      const at = 1 + index * REPLY_PER_LEVEL;
      const fullMs = (reply[at + 3] as number) / TICKS_PER_MS;
      this.#leases.refilled(charge);
      this.#leases.granted(charge, reply[at] as number, reply[at + 1] as number, fullMs, now);
    }
  }

  unavailable(): void {
    for (const { charge } of this.#wanted) this.#leases.refilled(charge);
  }
}
