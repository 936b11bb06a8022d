/**
 * The keys that are known, and the clients they belong to.
 *
 * Keys are compared by their SHA-256, so neither memory nor a dump of the configuration shows one that was given as a
 * digest. Raw values that were found once are remembered; there can be only as many as there are keys. A renewed list is a
 * new table, and what was found in the old one is looked up in it: who was known stays so while the key does. All keys of a client have one tier, which also is the tier of
 * the client of that name however else it is recognised.
 *
 * What stands for a client costs an HMAC and is made when its key is first found: a list is renewed on the event loop that
 * carries the traffic, and ten thousand of them would stop that for 0.2 s.
 */
import { createHash } from 'node:crypto';

export interface ClientKey {
  /** As it is sent, or `sha256:` and 64 hex digits; undefined where only a token or a certificate names the client. */
  readonly key?: string | undefined;
  readonly client: string;
  readonly tier: string;
}

interface Row<C> {
  readonly digest: string;
  readonly client: string;
  readonly tier: string;
  /** What stands for the client; undefined before its key was found. */
  known: C | undefined;
}

export class KnownKeys<C> {
  readonly #clientOf: (client: string, tier: string) => C;
  readonly #byDigest = new Map<string, Row<C>>();
  readonly #byKey = new Map<string, Row<C>>();
  readonly #tiers = new Map<string, string>();

  /**
   * @param clientOf what stands for a client of a tier
   * @param before the list that this one takes the place of
   * @throws RangeError for a digest that is none; the loader refuses such a configuration before.
   */
  constructor(
    keys: readonly ClientKey[],
    clientOf: (client: string, tier: string) => C,
    before?: KnownKeys<C>,
  ) {
    this.#clientOf = clientOf;
    for (const { key, client, tier } of keys) {
      if (key !== undefined) {
        const digest = digestOf(key);
        this.#byDigest.set(digest, { digest, client, tier, known: undefined });
      }
      this.#tiers.set(client, tier);
    }
    for (const [key, row] of before === undefined ? [] : before.#byKey) {
      const now = this.#byDigest.get(row.digest);
      if (now === undefined) continue;
      const isSame = now.client === row.client && now.tier === row.tier;
      now.known = isSame ? row.known : clientOf(now.client, now.tier);
      this.#byKey.set(key, now);
    }
  }

  /** One that was found before: a lookup, no digest. */
  seen(key: string): C | undefined {
    return this.#byKey.get(key)?.known;
  }

  /** @param key as header text, one character a byte; anything else would be cut to a byte and could meet another key */
  find(key: string): C | undefined {
    for (let at = 0; at < key.length; at++) if (key.charCodeAt(at) > 255) return undefined;
    const row = this.#byDigest.get(createHash('sha256').update(key, 'latin1').digest('hex'));
    if (row === undefined) return undefined;
    // A cookie's value is a window into its whole header; the copy lets that go.
    this.#byKey.set(Buffer.from(key, 'latin1').toString('latin1'), row);
    row.known ??= this.#clientOf(row.client, row.tier);
    return row.known;
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
