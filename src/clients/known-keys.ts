/**
 * The keys that are known, and the clients they belong to.
 *
 * Keys are compared by their SHA-256, so neither memory nor a dump of the configuration shows one that was given as a
 * digest. Raw values that were found once are remembered; there can be only as many as there are keys. A renewed list is a
 * new table: what was known of the old one goes with it. All keys of a client have one tier, which also is the tier of
 * the client of that name however else it is recognised.
 */
import { createHash } from 'node:crypto';

export interface ClientKey {
  /** As it is sent, or `sha256:` and 64 hex digits. */
  readonly key: string;
  readonly client: string;
  readonly tier: string;
}

export class KnownKeys<C> {
  readonly #byDigest = new Map<string, C>();
  readonly #byKey = new Map<string, C>();
  readonly #tiers = new Map<string, string>();

  /**
   * @param clientOf what stands for a client of a tier
   * @throws RangeError for a digest that is none; the loader refuses such a configuration before.
   */
  constructor(keys: readonly ClientKey[], clientOf: (client: string, tier: string) => C) {
    for (const { key, client, tier } of keys) {
      this.#byDigest.set(digestOf(key), clientOf(client, tier));
      this.#tiers.set(client, tier);
    }
  }

  /** One that was found before: a lookup, no digest. */
  seen(key: string): C | undefined {
    return this.#byKey.get(key);
  }

  /** @param key one character a byte */
  find(key: string): C | undefined {
    const known = this.#byDigest.get(createHash('sha256').update(key, 'latin1').digest('hex'));
    // A cookie's value is a window into its whole header; the copy lets that go.
    if (known !== undefined) this.#byKey.set(Buffer.from(key, 'latin1').toString('latin1'), known);
    return known;
  }

  /** The tier of a client that has keys. */
  tierOf(client: string): string | undefined {
    return this.#tiers.get(client);
  }
}

function digestOf(key: string): string {
  if (!key.startsWith('sha256:')) return createHash('sha256').update(key, 'utf8').digest('hex');
  const digest = key.slice(7).toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(digest)) throw new RangeError('a key digest is `sha256:` and 64 hex digits');
  return digest;
}
