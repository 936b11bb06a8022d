/**
 * Client keys after reading: hashed, so that no snapshot, message or admin answer ever holds a key, and checked against
 * each other, wherever they stand.
 */
import { createHash } from 'node:crypto';
import type { z } from 'zod';
import type { clientKey } from './client-schema.ts';
import type { Finding } from './findings.ts';
import { isGiven } from './readable.ts';
import { listOf, treeOf } from './tree.ts';

type ClientKey = z.output<typeof clientKey>;

export interface PlacedKey {
  /** What of it can be read. */
  readonly row: Partial<ClientKey>;
  readonly find: (key: keyof ClientKey, message: string) => Finding;
}

/** A row as a configuration in force has it: its key by the digest. */
export type DigestedKey = Pick<ClientKey, 'key' | 'client' | 'tier'>;

/** The rows that can be read whole. */
export function digested(keys: readonly PlacedKey[]): DigestedKey[] {
  return keys.flatMap(({ row }) => {
    const { key, client, tier } = row;
    if (!('key' in row) || client === undefined || tier === undefined) return [];
    return [key === undefined ? { client, tier } : { key: keyDigest(key), client, tier }];
  });
}

/** Whether tokens or certificates may name clients, too. @param identify as it is written */
function namesWithoutKeys(identify: unknown): boolean {
  return listOf(identify).some((entry) => isGiven(treeOf(entry), 'jwt') || isGiven(treeOf(entry), 'mtls'));
}

/** `sha256:` and 64 lower-case hex digits of the key's SHA-256. */
export function keyDigest(key: string): string {
  if (key.startsWith('sha256:')) return key.toLowerCase();
  return `sha256:${createHash('sha256').update(key, 'utf8').digest('hex')}`;
}

/**
 * One key for two clients, and one client in two tiers, have no meaning; nor has a client whom nothing names.
 * @param identify as it is written
 */
export function checkKeys(keys: readonly PlacedKey[], identify: unknown): Finding[] {
  const needKeys = !namesWithoutKeys(identify);
  const findings: Finding[] = [];
  const digests = new Set<string>();
  const tiers = new Map<string, string>();
  for (const { row, find } of keys) {
    if (row.key !== undefined) {
      const digest = keyDigest(row.key);
      if (digests.has(digest)) findings.push(find('key', 'this key stands in the list twice'));
      digests.add(digest);
    } else if ('key' in row && needKeys)
      findings.push(find('key', 'has no `key`, and neither a token nor a certificate names clients here'));
    if (row.client === undefined || row.tier === undefined) continue;
    const tier = tiers.get(row.client) ?? row.tier;
    if (tier !== row.tier)
      findings.push(find('tier', `the client \`${row.client}\` already has the tier \`${tier}\``));
    tiers.set(row.client, tier);
  }
  return findings;
}
