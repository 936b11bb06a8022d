import { trimOws, wholeNumber } from './tokens.ts';

/**
 * How long a request may take, as a span from its first byte.
 *
 * The shortest of what the route allows, what the service allows and what a trusted peer says its own caller still waits
 * (`x-request-deadline-ms`): work that nobody waits for any more is the first that an overloaded system can save. Strangers
 * are not believed: a tiny deadline would be a cheap way to make us call and abort.
 */

/** A request with less time than this is answered without a call: a connection alone takes about as long. */
export const LEAST_CALL_MS = 5;

/** A claim of more than a day means nothing; it is read as none. */
const LONGEST_CLAIM_MS = 86_400_000;

/** Milliseconds a peer claims, -1 when the value is empty or no whole number of at most a day. */
function claimedMs(value: string): number {
  return value === '' ? -1 : wholeNumber(trimOws(value), LONGEST_CLAIM_MS);
}

/**
 * The whole span in ms: the shortest of what route and service allow and what a trusted peer claims.
 * @param claimed the value of `x-request-deadline-ms`; empty when absent or when the peer is a stranger.
 */
export function tighterLimitMs(ownMs: number, claimed: string): number {
  const claim = claimedMs(claimed);
  return claim < 0 ? ownMs : Math.min(ownMs, claim);
}
