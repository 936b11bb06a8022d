/**
 * What callers without a cookie are told apart by: the value of a field, or a claim of the token that they bear.
 *
 * The claim is read, not verified: it decides where a request goes and nothing else, and whoever may not be here is refused by
 * the identity chain before. Neither is ever an address: half a company would be one caller. Costs about 3 µs a request with a
 * token, at the services that ask for it. Source: RFC 6750 §2.1, RFC 7519 §3.
 */
import { markOf } from './rendezvous.ts';

export type CallerKeyPolicy = { readonly header: string } | { readonly jwt: string };

/** More than any honest token or key has. Half: large tokens name nobody; double: a stranger has us parse as much. */
const MOST_CHARS = 8192;
const SCHEME = 'bearer ';

/**
 * The key's 32 bits, or -1 without one.
 * @param lookup the first value of a field, by its name in lower case
 */
export function callerKey(
  policy: CallerKeyPolicy,
  facts: { lookup(name: string): string | undefined },
): number {
  const text = 'header' in policy ? facts.lookup(policy.header) : claimOf(facts, policy.jwt);
  return text === undefined || text === '' || text.length > MOST_CHARS ? -1 : markOf(text);
}

function claimOf(facts: { lookup(name: string): string | undefined }, claim: string): string | undefined {
  const given = facts.lookup('authorization') ?? '';
  if (given.length > MOST_CHARS || given.slice(0, SCHEME.length).toLowerCase() !== SCHEME) return undefined;
  const [, payload = ''] = given.slice(SCHEME.length).trim().split('.', 3);
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
    if (typeof claims !== 'object' || claims === null || !Object.hasOwn(claims, claim)) return undefined;
    const value: unknown = (claims as Readonly<Record<string, unknown>>)[claim];
    return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined;
  } catch {
    return undefined;
  }
}
