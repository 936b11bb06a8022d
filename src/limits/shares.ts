/**
 * This worker's share of every limit, while the store is lost: the rate through all workers of all gateways, the burst
 * too, but room for any one request. Its buckets are local, so nobody waits and nothing fails.
 *
 * A bucket begins as full as it was last seen in the store, in whole units of the share: who had just used up a burst is
 * not given another. It outlives the outage, so that a store that comes and goes gives no burst each time. Nothing is told
 * to the store afterwards. Limits of the method: connections that cluster on one worker get only that worker's share.
 */
import type { Random } from '../kernel/random.ts';
import { EmbeddedStore, WORKER_BUCKETS } from './embedded-store.ts';
import { TICKS_PER_MS, type CompiledRate } from './gcra.ts';
import type { PendingDecision } from './pending.ts';

export class Shares {
  readonly #buckets: EmbeddedStore;

  constructor(random: Random) {
    this.#buckets = new EmbeddedStore(WORKER_BUCKETS, random);
  }

  /** The store's figure for a bucket: full again in `fullTicks`. `shares`: workers of all gateways. */
  seen(key: string, rate: CompiledRate, fullTicks: number, shares: number, now: number): void {
    const missing = Math.floor((fullTicks / rate.depthTicks) * shareOf(rate, shares, rate.largestCost));
    if (missing <= 0) return;
    const nowTicks = Math.floor(now * TICKS_PER_MS);
    this.#buckets.raise(key, nowTicks + missing * rate.unitTicks * shares, nowTicks);
  }

  /** Decides what was to be asked of the store; levels that only rode along are granted nothing. */
  decide(call: PendingDecision, shares: number, now: number): readonly number[] {
    const terms: number[] = [];
    for (let asked = 0; asked < call.keys.length; asked++) {
      const place = call.places[asked] as number;
      const { rate, enforced } = call.charge(place);
      const need = call.rides(asked) ? 0 : call.need(place);
      const burst = shareOf(rate, shares, Math.max(rate.largestCost, need));
      terms.push(rate.unitTicks * shares, burst, need, need, enforced ? 1 : 0);
    }
    const reply: number[] = [];
    this.#buckets.decideInto(call.keys, terms, 0, call.keys.length, now, reply);
    return reply;
  }

  forget(key: string): void {
    this.#buckets.forget(key);
  }
}

function shareOf(rate: CompiledRate, shares: number, least: number): number {
  return Math.max(Math.ceil(rate.burst / shares), least);
}
