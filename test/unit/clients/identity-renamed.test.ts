import { expect, test } from 'vitest';
import { clientBucket } from '../../../src/clients/client-name.ts';
import { IdentityChain } from '../../../src/clients/identity.ts';

const NOW = 'the secret in force';
const BEFORE = 'the one before';

test('under another secret whoever is named is told by both hashes: clients with keys at once, others when they come', () => {
  const told = new Map<string, string>();
  const identities = new IdentityChain({
    chain: [{ kind: 'ip', ipv6Prefix: 64 }],
    keys: ['acme', 'bolt'].map((client) => ({ key: `key of ${client}`, client, tier: 'default' })),
    unknownKeys: 'defaultTier',
    defaultTier: 'default',
    allow: [],
    deny: [],
    tiers: new Set(['default']),
    hashSecret: NOW,
    before: { hashSecret: BEFORE, renamed: (was, is) => void told.set(was, is) },
    isHeld: () => false,
  });
  const both = (kind: 'client' | 'ip', name: string): string[] => [
    clientBucket(BEFORE, kind, name),
    clientBucket(NOW, kind, name),
  ];
  expect([...told]).toEqual([both('client', 'acme'), both('client', 'bolt')]);
  const facts = { lookup: () => undefined, isRepeated: () => false, cookie: '' };
  const caller = { facts, address: '2001:db8::7', connection: { subject: '' }, startedMs: 0 };
  const { bucket } = identities.identify(caller);
  expect([...told].at(-1)).toEqual(both('ip', identities.nameOfAddress('2001:db8::7') ?? ''));
  expect([...told].at(-1)?.[1]).toBe(bucket);
});
