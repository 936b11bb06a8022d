/**
 * What was to be asked of a store that is lost, put to the gateway's own memory in the supervisor: this gateway's share of every
 * limit, rate / G and burst / G rounded up, with room for the dearest request. All workers draw on one bucket there, so
 * whoever stays on one connection gets the share like anybody else; leases are taken from it as from the store.
 *
 * A bucket begins as full as this worker last saw it in the lost store (`floors`). A supervisor that is silent too leaves the
 * worker's own part (`shares.ts`).
 */
import type { Charge } from './decision.ts';
import { TERMS_PER_LEVEL } from './gcra.ts';
import type { StoreCall, StoreReply } from './store.ts';

/** A call that may be put to a share when its store is lost. */
export interface SharedCall extends StoreCall {
  /** The charge behind each bucket asked. */
  chargeOf(asked: number): Charge;
  /** Units of it without which there is no decision. */
  needOf(asked: number): number;
  /** What is said of it from now on is said of the share. */
  byShare: boolean;
}

export class ShareCall implements StoreCall {
  readonly keys: readonly string[];
  readonly terms: readonly number[];
  readonly floors: readonly number[];
  readonly #call: SharedCall;

  /** @param floors ticks until each bucket is full, as far as this worker knows */
  constructor(call: SharedCall, gateways: number, floors: readonly number[]) {
    const terms: number[] = [];
    for (let asked = 0; asked < call.keys.length; asked++) {
      const { rate } = call.chargeOf(asked);
      const from = asked * TERMS_PER_LEVEL;
      const [unitTicks = 0, , must = 0, want = 0, veto = 0] = call.terms.slice(from, from + TERMS_PER_LEVEL);
      const burst = Math.max(Math.ceil(rate.burst / gateways), rate.largestCost, call.needOf(asked));
      terms.push(unitTicks * gateways, burst, Math.min(must, burst), Math.min(want, burst), veto);
    }
    this.keys = call.keys;
    this.terms = terms;
    this.floors = floors;
    this.#call = call;
    call.byShare = true;
  }

  answered(reply: StoreReply, now: number): void {
    this.#call.answered(reply, now);
  }

  unavailable(now: number): void {
    this.#call.unavailable(now);
  }
}
