/**
 * This worker's part of every limit, while the store is lost and the supervisor, which keeps the gateway's share, is silent too
 * (`share-call.ts`). Its buckets are local, so nobody waits and nothing fails.
 *
 * The limit falls into equal shares of the gateways, rate / G and burst / G rounded up, and a gateway's share into parts of
 * its workers, by their index: whole lumps that a request can be paid with, so that the parts never come to more than the
 * share. Where there are fewer lumps than workers the others have none, and the rate is divided among those that have one;
 * which they are depends on the bucket, so that no worker goes without all of them. The first of a bucket's workers has
 * room for its dearest request c, or nobody could serve it. So all workers of all gateways together admit at most
 * rW + b + G·c in any window W.
 *
 * A bucket begins as full as it was last seen in the store or the share: who had just used up a burst is not given another. It outlives
 * the outage, so that a store that comes and goes gives no burst each time. Nothing is told to the store afterwards.
 * Limits of the method: connections that cluster on one worker get only that worker's part, and where that is none they are
 * refused until the store is back; gateways are equal, whatever their workers.
 */
import type { Random } from '../kernel/random.ts';
import type { Charge } from './decision.ts';
import { EmbeddedStore, WORKER_BUCKETS } from './embedded-store.ts';
import type { PendingDecision } from './pending.ts';

export class Shares {
  readonly #buckets: EmbeddedStore;
  #workers = 1;
  #index = 0;

  constructor(random: Random) {
    this.#buckets = new EmbeddedStore(WORKER_BUCKETS, random);
  }

  /** Live workers of this gateway. */
  get workers(): number {
    return this.#workers;
  }

  /** @param index of this worker among them, from 0 */
  setWorkers(workers: number, index: number): void {
    this.#workers = Math.max(1, workers);
    this.#index = index;
  }

  /**
   * The figure of the store, or of the gateway's share, for a bucket: full again in `fullTicks`. So is a part of it, which is smaller and fills as much
   * slower, whatever the number of gateways and workers comes to be.
   */
  seen(key: string, fullTicks: number, now: number): void {
    if (fullTicks > 0) this.#buckets.raise(key, fullTicks, now);
  }

  /** Ticks until a bucket is full, by what was seen of it and given here since; never more than its depth from now on. */
  missing(key: string, depthTicks: number, now: number): number {
    return this.#buckets.missing(key, depthTicks, now);
  }

  /** Decides what was to be asked of the store; levels that only rode along are granted nothing. */
  decide(call: PendingDecision, gateways: number, now: number): readonly number[] {
    const terms: number[] = [];
    for (let asked = 0; asked < call.keys.length; asked++) {
      const place = call.places[asked] as number;
      const charge = call.charge(place);
      const need = call.needOf(asked);
      const lumps = lumpsOf(charge, gateways);
      const burst = this.#burstOf(charge, lumps, need);
      // The rate falls into as many parts as have a lump.
      const unitTicks = charge.rate.unitTicks * gateways * Math.min(this.#workers, lumps);
      terms.push(unitTicks, burst, need, need, charge.enforced ? 1 : 0);
    }
    const reply: number[] = [];
    this.#buckets.decideInto(call.keys, terms, 0, call.keys.length, now, reply);
    return reply;
  }

  forget(key: string): void {
    this.#buckets.forget(key);
  }

  /** Units that this worker may give at once to a request that needs so many; 0 where others have all. */
  #burstOf(charge: Charge, lumps: number, need: number): number {
    const rank = (this.#index + offsetOf(charge.key)) % this.#workers;
    const own = Math.floor(lumps / this.#workers) + (rank < lumps % this.#workers ? 1 : 0);
    const burst = own * lumpOf(charge);
    return rank === 0 ? Math.max(burst, charge.rate.largestCost, need) : burst;
  }
}

/** What a gateway's share of a burst is divided into, at least one. */
function lumpsOf(charge: Charge, gateways: number): number {
  return Math.max(1, Math.floor(Math.ceil(charge.rate.burst / gateways) / lumpOf(charge)));
}

/** The cheapest request of a limit: on a route all cost the same, anywhere else some may cost one. */
function lumpOf({ level, rate }: Charge): number {
  return level === 'route' || level === 'route-total' ? rate.largestCost : 1;
}

/** Two characters of a client's hash, or of whatever stands there: the same in all workers, and another for other clients. */
function offsetOf(key: string): number {
  return (key.charCodeAt(8) * 7 + key.charCodeAt(10)) | 0;
}
