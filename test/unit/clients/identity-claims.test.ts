import { expect, test } from 'vitest';
import { IdentityChain, type IdentityInput } from '../../../src/clients/identity.ts';
import { tokenDigest } from '../../../src/clients/token.ts';
import { IDENTITY_POLICY } from './identity-policy.ts';

/** Tokens of one client, and the tier that each of them claims. */
const CLAIMS = { first: 'gold', second: 'of another platform', third: 'free' };

function bearing(token: string): IdentityInput {
  return {
    address: '203.0.113.9',
    facts: { lookup: () => token, isRepeated: () => false, cookie: '' },
    connection: { subject: '' },
    startedMs: 0,
  };
}

test('the tier that the last token of a name claimed is remembered for operators, one that is none is not', () => {
  const known = new Map(
    Object.entries(CLAIMS).map(([token, tier]) => [tokenDigest(token), { client: 'alice', tier }]),
  );
  const identities = new IdentityChain({
    ...IDENTITY_POLICY,
    chain: [
      {
        kind: 'jwt',
        header: 'authorization',
        verifier: { issuer: '', find: (digest) => known.get(digest) },
      },
    ],
    keys: [{ client: 'alice', tier: 'free' }],
  });
  expect(identities.tierClaimed('alice')).toBeUndefined();
  for (const [token, tier, claimed] of [
    ['first', 'gold', 'gold'],
    ['second', 'free', undefined],
    ['third', 'free', 'free'],
  ] as const) {
    expect(identities.identify(bearing(token)).tier).toBe(tier);
    expect(identities.tierClaimed('alice')).toBe(claimed);
  }
  expect(identities.tierClaimed('bob')).toBeUndefined();
});
