/**
 * Client keys after reading: hashed, so that no snapshot, message or admin answer ever holds a key, and checked against
 * each other, wherever they stand.
 */
import { createHash } from 'node:crypto';
import type { z } from 'zod';
import type { clientKey } from './client-schema.ts';
import type { Finding } from './findings.ts';

type ClientKey = z.output<typeof clientKey>;

export interface PlacedKey {
  /** What of it can be read. */
  readonly row: Partial<ClientKey>;
  readonly find: (key: keyof ClientKey, message: string) => Finding;
}

/** A key as a configuration in force has it: by its digest. */
export type DigestedKey = Pick<ClientKey, 'key' | 'client' | 'tier'>;

/** The rows that can be read whole. */
export function digested(keys: readonly PlacedKey[]): DigestedKey[] {
  return keys.flatMap(({ row: { key, client, tier } }) =>
    key === undefined || client === undefined || tier === undefined
      ? []
      : [{ key: keyDigest(key), client, tier }],
  );
}

/** `sha256:` and 64 lower-case hex digits of the key's SHA-256. */
export function keyDigest(key: string): string {
  if (key.startsWith('sha256:')) return key.toLowerCase();
  return `sha256:${createHash('sha256').update(key, 'utf8').digest('hex')}`;
}

/** One key for two clients, and one client in two tiers, have no meaning. */
export function checkKeys(keys: readonly PlacedKey[]): Finding[] {
  const findings: Finding[] = [];
  const digests = new Set<string>();
  const tiers = new Map<string, string>();
  for (const { row, find } of keys) {
    if (row.key !== undefined) {
      const digest = keyDigest(row.key);
      if (digests.has(digest)) findings.push(find('key', 'this key stands in the list twice'));
      digests.add(digest);
    }
    if (row.client === undefined || row.tier === undefined) continue;
    const tier = tiers.get(row.client) ?? row.tier;
    if (tier !== row.tier)
      findings.push(find('tier', `the client \`${row.client}\` already has the tier \`${tier}\``));
    tiers.set(row.client, tier);
  }
  return findings;
}
