import { RateLimiterRes, type RateLimiterAbstract } from 'rate-limiter-flexible';
import type { GuardRule, Tally } from '../../limits/guard.ts';

/**
 * The port to whatever counts strikes: Redis for all gateways, or the supervisor for its workers. Counting is beside the
 * request's path: nobody waits for it, and what is told later is believed then.
 */

/** One guard of a route, or the penalty of a tier. */
export interface GuardName {
  /** Of this gateway; the same after a reload. */
  readonly name: string;
  /** Ends the key of each client in the store: guards of one suffix count together. */
  readonly suffix: string;
  readonly rule: GuardRule;
}

export interface GuardStore {
  /** Counts one strike of a client; whoever made the store is told the tally. */
  count(guard: GuardName, client: string): void;
  /** Forgets what was counted of a client, strikes under way included; resolves when it is done, or cannot be. */
  forgive(guards: readonly GuardName[], client: string): Promise<void>;
  close(): void;
}

/** Told by a store, once for each strike that it counted. */
export type TallyListener = (name: string, client: string, tally: Tally) => void;

/** All of one client lies in one slot of a cluster; no key, address or route in clear. The library puts a colon between. */
const KEY_PREFIX = 'spw';

/** @param client its keyed hash */
export function guardKey({ suffix }: GuardName, client: string): string {
  return `{c.${client}}:${suffix}`;
}

/** Figures of a rule as the library has them. */
export function figuresOf({ strikes, windowSeconds, blockSeconds }: GuardRule): {
  keyPrefix: string;
  points: number;
  duration: number;
  blockDuration: number;
} {
  return { keyPrefix: KEY_PREFIX, points: strikes, duration: windowSeconds, blockDuration: blockSeconds };
}

/** A reload with other figures keeps what was counted. */
export function refigure(limiter: RateLimiterAbstract, rule: GuardRule): void {
  limiter.points = rule.strikes;
  limiter.duration = rule.windowSeconds;
  limiter.blockDuration = rule.blockSeconds;
}

/** One strike; the library refuses by rejecting, which is an answer here. */
export async function strike(limiter: RateLimiterAbstract, key: string): Promise<RateLimiterRes> {
  try {
    return await limiter.consume(key);
  } catch (refused) {
    if (refused instanceof RateLimiterRes) return refused;
    throw refused;
  }
}
