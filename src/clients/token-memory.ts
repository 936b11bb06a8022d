/**
 * Tokens that were found good, and what they say.
 *
 * Signal: a verification that succeeded. Decision: for a while the same token is good without another one. It is kept by
 * its digest, so nothing here can be used as a token, until it expires, at most five minutes: that is also how long a token
 * outlives its revocation. Bad tokens are never kept: they would push out the good ones, and may become good when keys
 * are renewed.
 *
 * Cold start: empty; each token costs one verification. Recovery: when a key goes, everything that may have been signed
 * with it is forgotten (`clear`). Limits: 10,000 tokens a worker, the least used go first. Time is an argument.
 */
import { RecentMap } from '../kernel/lru.ts';

/** Some 3 MB a worker. Half: large sites verify again and again; double: memory for tokens that nobody sends. */
const MOST_TOKENS = 10_000;
/** Half: twice the verifications; double: a stolen token that was revoked works for ten minutes. */
const LONGEST_MS = 5 * 60_000;
/** Half: addresses as names are too long; double: longer header fields for every instance. */
const MOST_NAME_CHARS = 256;

/** What a verified token says: who its bearer is, and which tier it claims ('' = none). */
export interface TokenFacts {
  readonly client: string;
  readonly tier: string;
}

interface Kept extends TokenFacts {
  readonly untilMs: number;
}

export class TokenMemory {
  #known = new RecentMap<string, Kept>(MOST_TOKENS);

  /** `now`: monotonic ms. */
  find(digest: string, now: number): TokenFacts | undefined {
    const kept = this.#known.get(digest);
    return kept !== undefined && now < kept.untilMs ? kept : undefined;
  }

  /** @param lifeMs until it expires */
  keep(digest: string, { client, tier }: TokenFacts, lifeMs: number, now: number): TokenFacts {
    const kept = { client, tier, untilMs: now + Math.min(lifeMs, LONGEST_MS) };
    this.#known.set(digest, kept);
    return kept;
  }

  clear(): void {
    this.#known = new RecentMap<string, Kept>(MOST_TOKENS);
  }
}

/**
 * What the claims of a verified token say; undefined when they name nobody, or with a name that could pass for an
 * address's (`ip:…`) in logs and at the instances.
 * @param tierClaim '' when tokens name no tier
 */
export function factsOf(
  claims: Readonly<Record<string, unknown>>,
  claim: string,
  tierClaim: string,
): TokenFacts | undefined {
  const client = Object.hasOwn(claims, claim) ? claims[claim] : undefined;
  if (typeof client !== 'string' || client === '' || client.length > MOST_NAME_CHARS) return undefined;
  if (client.startsWith('ip:')) return undefined;
  const tier = tierClaim !== '' && Object.hasOwn(claims, tierClaim) ? claims[tierClaim] : '';
  return { client, tier: typeof tier === 'string' ? tier : '' };
}
