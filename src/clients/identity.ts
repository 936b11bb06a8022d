/**
 * Who is calling.
 *
 * Signal: a key in a header or a cookie, and the caller's address. Decision: the first entry of the chain that names a
 * client wins; the address always ends the chain. Keys are compared by their SHA-256, so neither memory nor a dump of the
 * configuration shows one that was given as a digest. A key that nobody has never gets a bucket of its own, since a fresh
 * key would be a fresh quota: it is refused and charged to its address, or the chain goes on.
 *
 * Cost: a known caller is one map lookup for the key (raw values that were found once are remembered; there can be only as
 * many as there are keys) and one for the address where addresses matter. A stranger's key costs one SHA-256, a new
 * address one HMAC. Answers are made once for each client and address, all of one shape.
 *
 * Cold start: empty caches, nothing else. Limits: a shared address is one caller; see `clients.keys`.
 * Source: RFC 9110 §11 for the 401; contract.md §2, `clients`.
 */
import { createHash, createHmac } from 'node:crypto';
import { cookieEnd, cookieValue, findCookie } from '../kernel/cookie.ts';
import { RecentMap } from '../kernel/lru.ts';
import { addressBucket, parseNetworks, withoutTransition, type TrustedNetworks } from './address.ts';
import { parseAddress } from './ip.ts';

export type IdentityEntry =
  | { readonly kind: 'header'; readonly name: string }
  | { readonly kind: 'cookie'; readonly name: string }
  | { readonly kind: 'ip'; readonly ipv6Prefix: number };

export interface ClientKey {
  /** As it is sent, or `sha256:` and 64 hex digits. */
  readonly key: string;
  readonly client: string;
  readonly tier: string;
}

export interface IdentityPolicy {
  readonly chain: readonly IdentityEntry[];
  readonly keys: readonly ClientKey[];
  readonly unknownKeys: 'reject' | 'defaultTier';
  readonly defaultTier: string;
  /** Networks that are never limited. */
  readonly allow: readonly string[];
  /** Networks that are answered 403; they win over `allow` and over any key. */
  readonly deny: readonly string[];
  readonly hashSecret: string;
}

/** What the chain asks of a request. */
export interface IdentityInput {
  /** The value of a header (lower-case name), undefined when absent; lines of `cookie` joined by `; `. */
  header(name: string): string | undefined;
  /** How many lines of that header came. */
  count(name: string): number;
  /** As `clientAddress` returns it. */
  readonly address: string;
}

/** `client` is the configured name or `ip:` + hash, fit for logs; `bucket` the 22 characters that limits count under. */
export type Identity =
  | {
      readonly kind: 'client';
      readonly code: '';
      readonly client: string;
      readonly bucket: string;
      readonly tier: string;
      readonly exempt: boolean;
    }
  | {
      readonly kind: 'refused';
      readonly code: 'SPW_UNKNOWN_KEY' | 'SPW_FORBIDDEN';
      /** The address's: a refusal is charged there. */
      readonly client: string;
      readonly bucket: string;
      readonly tier: string;
      readonly exempt: boolean;
    };

/** Half: long signed keys stop working; double: twice the bytes hashed for each forged key. */
const MAX_KEY_BYTES = 512;
/** About 4 MiB a worker. Half: busy sites compute HMACs again and again; double: memory for nothing else. */
const MAX_ADDRESSES = 10_000;
const DEFAULT_IPV6_PREFIX = 64;
/** 22 characters of base64url hold 132 bits: 128 of the hash and a partly used last character. */
const BUCKET_CHARS = 22;

interface KnownClient {
  readonly limited: Identity;
  readonly exempt: Identity;
}

interface KnownAddress {
  readonly denied: boolean;
  readonly exempt: boolean;
  readonly byAddress: Identity;
  readonly unknownKey: Identity;
}

/** The name under which limits count a client: HMAC-SHA-256(secret, kind ‖ 0 ‖ name), 128 bits, base64url. */
export function clientBucket(hashSecret: string, kind: 'client' | 'ip', name: string): string {
  const digest = createHmac('sha256', hashSecret).update(`${kind}\0${name}`).digest();
  return digest.subarray(0, 16).toString('base64url').slice(0, BUCKET_CHARS);
}

export class IdentityChain {
  readonly #steps: readonly Exclude<IdentityEntry, { kind: 'ip' }>[];
  readonly #ipv6Prefix: number;
  readonly #rejects: boolean;
  readonly #defaultTier: string;
  readonly #secret: string;
  readonly #allow: TrustedNetworks;
  readonly #deny: TrustedNetworks;
  readonly #byDigest = new Map<string, KnownClient>();
  readonly #byKey = new Map<string, KnownClient>();
  readonly #addresses = new RecentMap<string, KnownAddress>(MAX_ADDRESSES);

  /** @throws RangeError for a network or a digest that is none; the loader refuses such a configuration before. */
  constructor(policy: IdentityPolicy) {
    this.#rejects = policy.unknownKeys === 'reject';
    this.#defaultTier = policy.defaultTier;
    this.#secret = policy.hashSecret;
    this.#allow = parseNetworks(policy.allow);
    this.#deny = parseNetworks(policy.deny);
    const steps: Exclude<IdentityEntry, { kind: 'ip' }>[] = [];
    let prefix = DEFAULT_IPV6_PREFIX;
    for (const entry of policy.chain) {
      if (entry.kind === 'ip') {
        // Every caller has an address, so nothing behind this entry can be reached.
        prefix = entry.ipv6Prefix;
        break;
      }
      steps.push(entry.kind === 'header' ? { kind: 'header', name: entry.name.toLowerCase() } : entry);
    }
    this.#steps = steps;
    this.#ipv6Prefix = prefix;
    for (const { key, client, tier } of policy.keys) {
      const bucket = clientBucket(policy.hashSecret, 'client', client);
      this.#byDigest.set(digestOf(key), {
        limited: { kind: 'client', code: '', client, bucket, tier, exempt: false },
        exempt: { kind: 'client', code: '', client, bucket, tier, exempt: true },
      });
    }
  }

  /** Never throws and makes nothing new for a caller it has seen lately. */
  identify(input: IdentityInput): Identity {
    // Only where the lists could change the answer is the address looked at before the key.
    const listed = this.#allow.isEmpty && this.#deny.isEmpty ? undefined : this.#address(input.address);
    if (listed?.denied === true) return listed.byAddress;
    for (const step of this.#steps) {
      const key = step.kind === 'header' ? headerKey(input, step.name) : cookieKey(input, step.name);
      if (key === undefined) continue;
      const known = this.#client(key);
      if (known !== undefined) return listed?.exempt === true ? known.exempt : known.limited;
      if (this.#rejects) return this.#address(input.address).unknownKey;
    }
    return this.#address(input.address).byAddress;
  }

  #client(key: string): KnownClient | undefined {
    const seen = this.#byKey.get(key);
    if (seen !== undefined || key === UNUSABLE) return seen;
    const known = this.#byDigest.get(createHash('sha256').update(key, 'latin1').digest('hex'));
    // A cookie's value is a window into its whole header; the copy lets that go.
    if (known !== undefined) this.#byKey.set(Buffer.from(key, 'latin1').toString('latin1'), known);
    return known;
  }

  #address(address: string): KnownAddress {
    const seen = this.#addresses.get(address);
    if (seen !== undefined) return seen;
    const parsed = parseAddress(address);
    const bucket = clientBucket(this.#secret, 'ip', addressBucket(address, this.#ipv6Prefix));
    const client = `ip:${bucket}`;
    const tier = this.#defaultTier;
    // An IPv4 caller behind NAT64 or 6to4 is denied as IPv4, but anybody may write such an address, so it opens nothing.
    const denied =
      parsed !== undefined && (this.#deny.has(parsed) || this.#deny.has(withoutTransition(parsed)));
    const exempt = parsed !== undefined && !denied && this.#allow.has(parsed);
    const facts: KnownAddress = {
      denied,
      exempt,
      byAddress: denied
        ? { kind: 'refused', code: 'SPW_FORBIDDEN', client, bucket, tier, exempt: false }
        : { kind: 'client', code: '', client, bucket, tier, exempt },
      unknownKey: { kind: 'refused', code: 'SPW_UNKNOWN_KEY', client, bucket, tier, exempt },
    };
    this.#addresses.set(address, facts);
    return facts;
  }
}

/** A value that is present and cannot be anybody's key: too long, sent twice, or not bytes. Never in the map of keys. */
const UNUSABLE = '';

function headerKey(input: IdentityInput, name: string): string | undefined {
  const value = input.header(name);
  if (value === undefined) return undefined;
  return input.count(name) > 1 ? UNUSABLE : usable(value);
}

function cookieKey(input: IdentityInput, name: string): string | undefined {
  const header = input.header('cookie');
  if (header === undefined) return undefined;
  const start = findCookie(header, name, 0);
  if (start < 0) return undefined;
  const twice = findCookie(header, name, cookieEnd(header, start)) >= 0;
  return twice ? UNUSABLE : usable(cookieValue(header, start));
}

function usable(value: string): string {
  if (value.length > MAX_KEY_BYTES) return UNUSABLE;
  // Header text is one byte a character; anything else would be cut to a byte when hashed and could meet another key.
  for (let at = 0; at < value.length; at++) {
    if (value.charCodeAt(at) > 255) return UNUSABLE;
  }
  return value;
}

function digestOf(key: string): string {
  if (!key.startsWith('sha256:')) return createHash('sha256').update(key, 'utf8').digest('hex');
  const digest = key.slice(7).toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(digest)) throw new RangeError('a key digest is `sha256:` and 64 hex digits');
  return digest;
}
