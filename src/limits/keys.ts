/**
 * Names of buckets. A name holds who and what, never numbers, so that a reload with other rates keeps every bucket.
 * The braces are Redis Cluster's hash tag: all buckets of one client lie in one slot. Clients come as a keyed hash and
 * routes as a digest: no key, token or address ever reaches the store.
 */
import { createHash } from 'node:crypto';

/** Eight characters are 48 bits: two of a thousand routes share a bucket in one of 10^9 configurations. */
const ROUTE_DIGEST_LENGTH = 8;

/** The route's part of a bucket's name; computed once when a configuration is compiled. */
export function routeDigest(route: string): string {
  return createHash('sha256').update(route).digest('base64url').slice(0, ROUTE_DIGEST_LENGTH);
}

/** @param hash the client's keyed hash, 22 characters. */
export function clientKey(hash: string): string {
  return `spw:{c.${hash}}:t`;
}

/** @param route from `routeDigest`. */
export function routeKey(hash: string, route: string): string {
  return `spw:{c.${hash}}:r.${route}`;
}

/** The client's concurrency slots, a hash. @param hash the client's keyed hash */
export function slotsKey(hash: string): string {
  return `spw:{c.${hash}}:n`;
}

export function tierKey(tier: string): string {
  return `spw:{g}:tier.${tier}`;
}

/** @param route from `routeDigest`. */
export function routeTotalKey(route: string): string {
  return `spw:{g}:rt.${route}`;
}

export function globalKey(): string {
  return 'spw:{g}:global';
}
