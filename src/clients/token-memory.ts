/**
 * Tokens that were found good, and what they say.
 *
 * Signal: a verification that succeeded. Decision: for a while the same token is good without another one. It is kept by
 * its digest, so nothing here can be used as a token, until it expires, at most five minutes: that is also how long a token
 * outlives its revocation. Bad tokens are never kept: they would push out the good ones, and may become good when keys
 * are renewed.
 *
 * One memory for all that verify in a worker, each with an era of its own: what was kept in another era is not found. So
 * a verifier whose key goes forgets everything that may have been signed with it by beginning another.
 *
 * Cold start: empty; each token costs one verification. Limits: 10,000 tokens a worker, the least used go first; of one
 * token that is good for two entries the last is known. Time is an argument.
 */
import { RecentMap } from '../kernel/lru.ts';
import { isClientName, MOST_NAME_CHARS } from './client-name.ts';

/** With the clients made of them 5 MB a worker, 7 MB with the longest names. Half: large sites verify again and again; double: memory for tokens that nobody sends. */
const MOST_TOKENS = 10_000;
/** Half: twice the verifications; double: a stolen token that was revoked works for ten minutes. */
const LONGEST_MS = 5 * 60_000;

/** What a verified token says: who its bearer is, and which tier it claims ('' = none). */
export interface TokenFacts {
  readonly client: string;
  readonly tier: string;
}

/** What a token was verified under; compared by identity. */
export type Era = object;

interface Kept extends TokenFacts {
  readonly era: Era;
  readonly untilMs: number;
}

export class TokenMemory {
  readonly #known = new RecentMap<string, Kept>(MOST_TOKENS);

  /** `now`: monotonic ms. */
  find(digest: string, era: Era, now: number): TokenFacts | undefined {
    const kept = this.#known.get(digest);
    return kept !== undefined && kept.era === era && now < kept.untilMs ? kept : undefined;
  }

  /** @param lifeMs until it expires */
  keep(digest: string, era: Era, { client, tier }: TokenFacts, lifeMs: number, now: number): TokenFacts {
    const kept = { client, tier, era, untilMs: now + Math.min(lifeMs, LONGEST_MS) };
    this.#known.set(digest, kept);
    return kept;
  }
}

/**
 * What the claims of a verified token say; undefined when they name nobody.
 * @param tierClaim '' when tokens name no tier
 */
export function factsOf(
  claims: Readonly<Record<string, unknown>>,
  claim: string,
  tierClaim: string,
): TokenFacts | undefined {
  const client = Object.hasOwn(claims, claim) ? claims[claim] : undefined;
  if (typeof client !== 'string' || !isClientName(client)) return undefined;
  const tier = tierClaim !== '' && Object.hasOwn(claims, tierClaim) ? claims[tierClaim] : '';
  // Longer than any tier's name, it names none and would only be kept.
  return { client, tier: typeof tier === 'string' && tier.length <= MOST_NAME_CHARS ? tier : '' };
}
