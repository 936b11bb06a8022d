/**
 * What a worker holds and knows of one bucket; `leases.ts` says what becomes of it.
 */
import type { Charge, LevelState } from './decision.ts';
import type { Flight } from './flight.ts';
import type { CompiledRate } from './gcra.ts';

export interface Lease {
  readonly key: string;
  rate: CompiledRate;
  /** Units that the next request may take. */
  tokens: number;
  /** Units kept aside for requests that wait for another level. */
  reserved: number;
  expiresMs: number;
  /** Units asked for lately, fading. */
  demand: number;
  demandMs: number;
  /** The store's last word on the bucket. */
  remaining: number;
  fullMs: number;
  /** Units are on their way: one asks at a time, or a crowd that misses together would be granted a lease each. */
  flight: Flight | undefined;
  /** Units that a grant brings beyond what was asked for its own request, at most and for sure, and those promised of them. */
  coming: number;
  sure: number;
  promised: number;
  /** What is held is of the share of an outage and not of the store, or the other way round, since this moment. */
  byShare: boolean;
  changedMs: number;
  /** The store had too few; no refill before this moment. */
  restsUntilMs: number;
  /** Big enough to be worth it (hysteresis). */
  worth: boolean;
  /** The most that this worker may hold, under the policy and the number of workers of `era`. */
  most: number;
  era: number;
}

export function newLease({ key, rate }: Charge, most: number, era: number, now: number): Lease {
  return {
    key,
    rate,
    tokens: 0,
    reserved: 0,
    expiresMs: 0,
    demand: 0,
    demandMs: now,
    remaining: 0,
    fullMs: 0,
    flight: undefined,
    coming: 0,
    sure: 0,
    promised: 0,
    byShare: false,
    changedMs: 0,
    restsUntilMs: 0,
    worth: false,
    most,
    era,
  };
}

/** A level that needed nothing from the store: its last figure, and what is held. */
export function levelOf({ rate, remaining, tokens, fullMs }: Lease): LevelState {
  return { remaining: Math.min(rate.burst, remaining + tokens), waitMs: 0, fullMs };
}
