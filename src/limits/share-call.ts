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
import type { CompiledRate } from './gcra.ts';
import type { Shares } from './shares.ts';
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

/** A limit as it falls to one of the gateways; `need` units are more than its dearest request where an operator set it. */
export function shareOf(
  { unitTicks, burst, largestCost }: CompiledRate,
  gateways: number,
  need: number,
): { readonly unitTicks: number; readonly burst: number; readonly depthTicks: number } {
  const share = Math.max(Math.ceil(burst / gateways), largestCost, need);
  return { unitTicks: unitTicks * gateways, burst: share, depthTicks: unitTicks * gateways * share };
}

export class ShareCall implements StoreCall {
  readonly keys: readonly string[];
  readonly terms: readonly number[];
  readonly floors: readonly number[];
  readonly #call: SharedCall;

  /** @param shares what this worker saw of the buckets */
  constructor(call: SharedCall, gateways: number, shares: Pick<Shares, 'missing'>, now: number) {
    const terms: number[] = [];
    const floors: number[] = [];
    for (let asked = 0; asked < call.keys.length; asked++) {
      const { rate } = call.chargeOf(asked);
      const from = asked * TERMS_PER_LEVEL;
      const [, , must = 0, want = 0, veto = 0] = call.terms.slice(from, from + TERMS_PER_LEVEL);
      const need = call.needOf(asked);
      const { unitTicks, burst, depthTicks } = shareOf(rate, gateways, need);
      // More than half of it could be granted from a full bucket alone, and what overflows is lost.
      const least = Math.min(must, Math.max(need, Math.ceil(burst / 2)));
      terms.push(unitTicks, burst, least, Math.min(want, burst), veto);
      floors.push(shares.missing(call.keys[asked] as string, depthTicks, now));
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
