import { checkHost } from './host.ts';

/**
 * `Location` that names an instance: inner addresses are no use to a caller and none of its business.
 *
 * Such a URI is made relative, and on a rewriting route the public prefix is put back where the instance's stood. Any other
 * value stays as it is, relative ones included: an instance that writes its own paths knows where it is mounted.
 */

export interface RouteAddress {
  /** The route's public path. */
  readonly prefix: string;
  /** What replaces it upstream; null: nothing does. */
  readonly rewrite: string | null;
  /** `http://host:port` of every instance that is configured; by a name, if that is how it was written. */
  readonly instances: readonly string[];
  /** Whether `host:port` is an instance that was found, by an address. */
  readonly isInstance?: (place: string) => boolean;
}

export class LocationRewriter {
  readonly #authorities: ReadonlySet<string>;
  readonly #isInstance: (place: string) => boolean;
  readonly #prefix: string;
  readonly #rewrite: string | null;

  constructor({ prefix, rewrite, instances, isInstance = () => false }: RouteAddress) {
    this.#isInstance = isInstance;
    this.#authorities = new Set(instances.map((url) => splitUri(url)?.place ?? ''));
    this.#prefix = prefix;
    this.#rewrite = rewrite;
  }

  rewrite(location: string): string {
    const first = location.charCodeAt(0);
    // Most are relative: `/…` but not `//…`.
    if (first === 47 && location.charCodeAt(1) !== 47) return location;
    const split = splitUri(location);
    if (split === undefined) return location;
    if (!this.#authorities.has(split.place) && !this.#isInstance(split.place)) return location;
    const rest = split.rest.startsWith('/') ? split.rest : `/${split.rest}`;
    return singleSlash(this.#rewrite === null ? rest : publicPath(rest, this.#rewrite, this.#prefix));
  }
}

/** Puts the public prefix where the instance's stands; a path outside of it cannot be reached by this route. */
function publicPath(rest: string, rewrite: string, prefix: string): string {
  const inner = withoutEndSlash(rewrite);
  if (!rest.startsWith(inner)) return rest;
  const tail = rest.slice(inner.length);
  if (tail !== '' && !tail.startsWith('/') && !tail.startsWith('?') && !tail.startsWith('#')) return rest;
  const path = withoutEndSlash(prefix) + tail;
  return path.startsWith('/') ? path : `/${path}`;
}

function withoutEndSlash(path: string): string {
  return path.endsWith('/') ? path.slice(0, -1) : path;
}

/** A relative reference that begins with `//`, or with `/\\` as browsers read it, would name a host. */
function singleSlash(path: string): string {
  let start = 0;
  while (path.charCodeAt(start + 1) === 47 || path.charCodeAt(start + 1) === 92) start++;
  return start === 0 ? path : `/${path.slice(start + 1)}`;
}

/** `http://A:1/x` → place `a:1` (with the scheme's port where none is named) and rest `/x`; undefined for other URIs. */
function splitUri(uri: string): { place: string; rest: string } | undefined {
  const head = uri.slice(0, 8).toLowerCase();
  const start = head.startsWith('http://') ? 7 : head === 'https://' ? 8 : head.startsWith('//') ? 2 : 0;
  if (start === 0) return undefined;
  let end = start;
  while (end < uri.length && !isDelimiter(uri.charCodeAt(end))) end++;
  const check = checkHost(uri.slice(start, end));
  if (!check.ok) return undefined;
  const port = check.port < 0 ? (head.startsWith('https') ? 443 : 80) : check.port;
  return { place: `${check.host}:${port}`, rest: uri.slice(end) };
}

function isDelimiter(code: number): boolean {
  return code === 47 || code === 63 || code === 35 || code === 92;
}
