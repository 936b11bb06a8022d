/**
 * Who gets a canary: whoever's hash lies below its weight.
 *
 * Signal: the id of the session, or of the client where there is none. Decision: hash(id, service, version) / 2³² < weight. So
 * it is the same in every worker and gateway without a table, raising a weight sends nobody back to where he came from,
 * and each canary has callers of its own choosing: whoever has met one bad release is not the first at the next one too.
 * Several canaries are asked in the order of the configuration; a later one gets its weight of what those before it left.
 *
 * Cold start, idle gap: nothing is learned. Limits: a weight is a share of sessions, not of requests; what a session has,
 * its pin, is not asked again. Source: Envoy and Flagger weigh each request anew; hashing as in `rendezvous.ts`.
 */
import { markOf, mixBits } from './rendezvous.ts';

export interface CanaryShare {
  readonly version: string;
  /** 0..1, of new sessions. */
  readonly weight: number;
}

/** 0 ≤ place < 1: the caller gets the canary of every weight above it. */
export function canaryPlace(id: string, service: string, version: string): number {
  return mixBits(markOf(id) ^ markOf(`${service}\0${version}`)) / 2 ** 32;
}

/** The canary that a caller gets, '' for none. */
export function canaryOf(id: string, service: string, shares: readonly CanaryShare[]): string {
  for (const { version, weight } of shares) if (canaryPlace(id, service, version) < weight) return version;
  return '';
}
