/**
 * Names of buckets. A name holds who and what, never numbers, so that a reload with other rates keeps every bucket.
 * The braces are Redis Cluster's hash tag: all buckets of one client lie in one slot. Clients come as a keyed hash and
 * routes as a digest: no key, token or address ever reaches the store.
 */
import { createHash } from 'node:crypto';

/** Eight characters are 48 bits: two of a thousand routes share a bucket in one of 10^9 configurations. */
const ROUTE_DIGEST_LENGTH = 8;

/** What names a route in a bucket's name. */
export interface RouteNames {
  readonly host: string | null;
  readonly path: string;
  readonly methods: readonly string[] | null;
  readonly match: { readonly headers: Readonly<Record<string, string>> };
}

/** The route's part of a bucket's name; computed once when a configuration is compiled. */
export function routeDigest(route: string): string {
  return createHash('sha256').update(route).digest('base64url').slice(0, ROUTE_DIGEST_LENGTH);
}

/**
 * The digest of a configured route. Routes that differ in methods or headers only are other limits: on one bucket the
 * larger would bring the smaller back.
 */
export function digestOfRoute({ host, path, methods, match: { headers } }: RouteNames): string {
  const name = `${host ?? ''}${path}`;
  const isPlain = methods === null && Object.keys(headers).length === 0;
  return routeDigest(isPlain ? name : JSON.stringify([name, methods, headers]));
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
