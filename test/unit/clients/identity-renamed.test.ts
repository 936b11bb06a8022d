import { expect, test } from 'vitest';
import { clientBucket } from '../../../src/clients/client-name.ts';
import { IdentityChain } from '../../../src/clients/identity.ts';
import { IDENTITY_POLICY } from './identity-policy.ts';

const NOW = 'the secret in force';
const BEFORE = 'the one before';

test('under another secret a client is told by both hashes when it comes, and nobody for being listed', () => {
  const told = new Map<string, string>();
  const keys = ['acme', 'bolt'].map((client) => ({ key: `key of ${client}`, client, tier: 'default' }));
  const identities = new IdentityChain({
    ...IDENTITY_POLICY,
    chain: [
      { kind: 'header', name: 'x-api-key' },
      { kind: 'ip', ipv6Prefix: 64 },
    ],
    keys,
    unknownKeys: 'defaultTier',
    hashSecret: NOW,
    before: { hashSecret: BEFORE, renamed: (was, is) => void told.set(was, is) },
  });
  const both = (kind: 'client' | 'ip', name: string): string[] => [
    clientBucket(BEFORE, kind, name),
    clientBucket(NOW, kind, name),
  ];
  const comes = (key: string | undefined): string => {
    const facts = { lookup: () => key, isRepeated: () => false, cookie: '' };
    const caller = { facts, address: '2001:db8::7', connection: { subject: '' }, startedMs: 0 };
    return identities.identify(caller).bucket;
  };
  identities.replaceKeys(keys.toReversed());
  expect(told.size).toBe(0);
  const acme = comes('key of acme');
  expect([...told]).toEqual([both('client', 'acme')]);
  expect([...told.values()]).toEqual([acme]);
  told.clear();
  // Of those that have come nobody is named again for a list with the same row.
  identities.replaceKeys(keys);
  expect(comes('key of acme')).toBe(acme);
  expect(told.size).toBe(0);
  const address = comes(undefined);
  expect([...told]).toEqual([both('ip', identities.nameOfAddress('2001:db8::7') ?? '')]);
  expect([...told.values()]).toEqual([address]);
});
