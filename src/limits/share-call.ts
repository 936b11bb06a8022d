/**
 * What was to be asked of a store that is lost, put to the gateway's own memory in the supervisor: this gateway's share of every
 * limit, rate / G and burst / G rounded up, with room for the dearest request. All workers draw on one bucket there, so
 * whoever stays on one connection gets the share like anybody else; leases are taken from it as from the store.
 *
 * A bucket begins as full as this worker last saw it in the lost store (`floors`). A supervisor that is silent too leaves the
 * worker's own part (`shares.ts`).
 */
import type { Flight } from './flight.ts';
import { TERMS_PER_LEVEL } from './gcra.ts';
import type { CompiledRate } from './gcra.ts';
import type { Shares } from './shares.ts';
import type { StoreCall, StoreReply } from './store.ts';

/** A limit as it falls to one of the gateways; `need` units are more than its dearest request where an operator set it. */
export function shareOf(
  { unitTicks, burst, largestCost }: CompiledRate,
  gateways: number,
  need: number,
): { readonly unitTicks: number; readonly burst: number; readonly depthTicks: number } {
  const share = Math.max(Math.ceil(burst / gateways), largestCost, need);
  return { unitTicks: unitTicks * gateways, burst: share, depthTicks: unitTicks * gateways * share };
}

/**
 * The longest that a decision waits for the share. At half a supervisor whose caches are cold, or that is scheduled late, counts
 * as silent; double is felt by every caller where it is silent indeed.
 */
const WAITS_MS = 5;

export class ShareCall implements StoreCall {
  readonly keys: readonly string[];
  readonly terms: readonly number[];
  readonly floors: readonly number[];
  readonly dueMs: number;
  readonly #flight: Flight;
  #told = false;

  /**
   * @param part what this worker saw of the buckets
   * @param withinMs of its beginning a flight has to be told something, the store's own deadline and a little more
   */
  constructor(
    flight: Flight,
    gateways: number,
    part: Pick<Shares, 'missing'>,
    withinMs: number,
    now: number,
  ) {
    const terms: number[] = [];
    const floors: number[] = [];
    for (let asked = 0; asked < flight.keys.length; asked++) {
      const { rate } = flight.chargeOf(asked);
      const from = asked * TERMS_PER_LEVEL;
      const [, , must = 0, want = 0, veto = 0] = flight.terms.slice(from, from + TERMS_PER_LEVEL);
      const need = flight.needOf(asked);
      const { unitTicks, burst, depthTicks } = shareOf(rate, gateways, need);
      // More than half of it could be granted from a full bucket alone, and what overflows is lost.
      const least = Math.min(must, Math.max(need, Math.ceil(burst / 2)));
      terms.push(unitTicks, burst, least, Math.min(want, burst), veto);
      floors.push(part.missing(flight.keys[asked] as string, depthTicks, now));
    }
    this.keys = flight.keys;
    this.terms = terms;
    this.floors = floors;
    this.dueMs = Math.min(now + WAITS_MS, flight.askedMs + withinMs);
    this.#flight = flight;
  }

  answered(reply: StoreReply, now: number): void {
    if (this.#told) {
      this.late(reply, now);
      return;
    }
    this.#told = true;
    this.#flight.answered(reply, now);
  }

  unavailable(now: number): void {
    if (this.#told) return;
    this.#told = true;
    this.#flight.decideHere(now);
  }

  late(reply: StoreReply, now: number): void {
    this.#flight.late(reply, now, true);
  }
}
