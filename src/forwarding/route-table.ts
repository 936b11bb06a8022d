import { normalizeTarget } from './target.ts';

/**
 * Which route takes a request.
 *
 * The longest path prefix wins, on segment boundaries: `/api` takes `/api` and `/api/x`, never `/apix`. Routes of equal
 * prefix are tried from the most to the least specific: an exact host before `*.x` before none, then more header conditions,
 * then named methods before all. Host and headers narrow, so that a request they exclude goes on to shorter prefixes. Methods
 * belong to the resource: where the longest fitting prefix has routes for this host and these headers but none for the
 * method, the answer is 405 with all that would do, not a shorter route's idea of the path.
 *
 * Only lengths that some route has are tried, each with one slice and one map lookup, so neither the number of routes nor
 * a caller's many segments cost more than the distinct lengths in the configuration.
 */

export interface RouteRule {
  /** A prefix in normal form. */
  readonly path: string;
  /** Lower case, without port; `*.example.com` takes exactly one label before it; null takes any. */
  readonly host?: string | null | undefined;
  /** Capitals; GET takes HEAD with it; null takes any. */
  readonly methods?: readonly string[] | null | undefined;
  /** Lower-case names and the exact values their first occurrence must have. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

export type RouteMatch =
  /** The rule's place in the list that the table was made from. */
  | { readonly kind: 'route'; readonly index: number }
  | { readonly kind: 'no-route' }
  /** `allow` is the value of the Allow field. */
  | { readonly kind: 'method-not-allowed'; readonly allow: string };

/** Where header conditions look; `RequestFacts` is one. */
export interface FieldLookup {
  lookup(name: string): string | undefined;
}

interface Candidate {
  readonly path: string;
  readonly found: RouteMatch;
  readonly host: string;
  /** `.example.com` for `*.example.com`, else empty. */
  readonly suffix: string;
  readonly methods: ReadonlySet<string> | undefined;
  readonly headers: readonly (readonly [name: string, value: string])[];
}

const NO_ROUTE: RouteMatch = Object.freeze({ kind: 'no-route' });
const SLASH = 47;

export class RouteTable {
  readonly #byPath: ReadonlyMap<string, readonly Candidate[]>;
  /** Distinct prefix lengths, longest first. */
  readonly #lengths: readonly number[];

  constructor(rules: readonly RouteRule[]) {
    const byPath = new Map<string, Candidate[]>();
    for (const [index, rule] of rules.entries()) {
      const candidate = compile(rule, index);
      const others = byPath.get(candidate.path);
      if (others === undefined) byPath.set(candidate.path, [candidate]);
      else others.push(candidate);
    }
    for (const candidates of byPath.values()) candidates.sort(bySpecificity);
    this.#byPath = byPath;
    this.#lengths = [...new Set([...byPath.keys()].map((path) => path.length))].sort((a, b) => b - a);
  }

  /**
   * @param host lower case, without port; empty when the request named none.
   * @param path in normal form, without the query.
   */
  match(host: string, method: string, path: string, fields: FieldLookup): RouteMatch {
    for (const length of this.#lengths) {
      if (!isBoundary(path, length)) continue;
      const candidates = this.#byPath.get(length === path.length ? path : path.slice(0, length));
      if (candidates === undefined) continue;
      const match = choose(candidates, host, method, fields);
      if (match.kind !== 'no-route') return match;
    }
    return NO_ROUTE;
  }
}

function compile(rule: RouteRule, index: number): Candidate {
  const target = normalizeTarget('GET', rule.path);
  const host = rule.host ?? '';
  const wildcard = host.startsWith('*.');
  const methods = rule.methods ?? undefined;
  const allowed = methods?.includes('GET') === true ? [...methods, 'HEAD'] : methods;
  return {
    path: target.code === '' ? target.path : rule.path,
    found: { kind: 'route', index },
    host: wildcard ? '' : host,
    suffix: wildcard ? host.slice(1) : '',
    methods: allowed === undefined ? undefined : new Set(allowed),
    headers: Object.entries(rule.headers ?? {}),
  };
}

/** Positive when `right` is the more specific one; equal ones keep the configuration's order. */
function bySpecificity(left: Candidate, right: Candidate): number {
  return (
    hostRank(right) - hostRank(left) ||
    right.suffix.length - left.suffix.length ||
    right.headers.length - left.headers.length ||
    Number(right.methods !== undefined) - Number(left.methods !== undefined)
  );
}

function hostRank({ host, suffix }: Candidate): number {
  if (host !== '') return 2;
  return suffix === '' ? 0 : 1;
}

/** Whether a prefix of this length ends where a segment does. */
function isBoundary(path: string, length: number): boolean {
  if (length >= path.length) return length === path.length;
  return path.charCodeAt(length) === SLASH || path.charCodeAt(length - 1) === SLASH;
}

function choose(
  candidates: readonly Candidate[],
  host: string,
  method: string,
  fields: FieldLookup,
): RouteMatch {
  let refused: Set<string> | undefined;
  for (const candidate of candidates) {
    if (!takesHost(candidate, host) || !takesFields(candidate, fields)) continue;
    const { methods } = candidate;
    if (methods === undefined || methods.has(method)) return candidate.found;
    refused ??= new Set();
    for (const each of methods) refused.add(each);
  }
  if (refused === undefined) return NO_ROUTE;
  return { kind: 'method-not-allowed', allow: [...refused].join(', ') };
}

function takesHost(candidate: Candidate, host: string): boolean {
  if (candidate.host !== '') return candidate.host === host;
  const { suffix } = candidate;
  if (suffix === '') return true;
  if (!host.endsWith(suffix)) return false;
  const label = host.length - suffix.length;
  return label > 0 && host.lastIndexOf('.', label - 1) < 0;
}

function takesFields(candidate: Candidate, fields: FieldLookup): boolean {
  for (const [name, value] of candidate.headers) if (fields.lookup(name) !== value) return false;
  return true;
}
