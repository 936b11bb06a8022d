/** What every test of the identity chain begins with; each adds its chain and keys. */
import type { IdentityPolicy } from '../../../src/clients/identity.ts';

export const IDENTITY_POLICY: Omit<IdentityPolicy, 'chain' | 'keys'> = {
  unknownKeys: 'reject',
  defaultTier: 'default',
  allow: [],
  deny: [],
  tiers: new Set(['default', 'free', 'gold']),
  hashSecret: 'a secret of the test',
  isHeld: () => false,
};
