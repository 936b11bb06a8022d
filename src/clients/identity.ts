/**
 * Who is calling.
 *
 * Signal: a key in a header or a cookie, a signed token, the subject of a client certificate, and the caller's address.
 * Decision: the first entry of the chain that names a client wins; the address always ends the chain. Names are one space:
 * who is called the same by a key, a token and a certificate is one client with one quota. A key that nobody has
 * never gets a bucket of its own, since a fresh key would be a fresh quota: it is refused, or the chain goes on. A token
 * is good or refused, it never falls through to something weaker. One that has not been seen is `pending`: a stranger, until
 * somebody has verified it. Who guesses is charged for each refusal at its address, and while that is used up nothing
 * unseen is looked at: 429 for a right guess and a wrong one alike.
 *
 * Cost: a known caller is one map lookup for the key, or a SHA-256 and two lookups for a token, and one for the address where
 * addresses matter. A stranger's key costs one SHA-256, a new address or name one HMAC. Answers of callers who
 * are let in are made once; all have one shape.
 *
 * Cold start: empty caches, nothing else. Limits: a shared address is one caller; see `clients.keys`.
 * Source: RFC 9110 §11 for the 401; contract.md §2, `clients`.
 */
import { createHmac } from 'node:crypto';
import { cookieEnd, cookieValue, findCookie } from '../kernel/cookie.ts';
import { RecentMap } from '../kernel/lru.ts';
import { addressBucket, parseNetworks, withoutTransition, type TrustedNetworks } from './address.ts';
import { parseAddress } from './ip.ts';
import { KnownKeys, type ClientKey } from './known-keys.ts';
import type { TokenFacts } from './token-memory.ts';
import { isTokenShaped, NO_TOKEN, tokenDigest, tokenIn, tokenIssuer } from './token.ts';

export type IdentityEntry =
  | { readonly kind: 'header'; readonly name: string }
  | { readonly kind: 'cookie'; readonly name: string }
  | { readonly kind: 'jwt'; readonly header: string; readonly verifier: TokenVerifier }
  | { readonly kind: 'mtls' }
  | { readonly kind: 'ip'; readonly ipv6Prefix: number };

/** Whoever can tell a good token from a bad one; a port. */
export interface TokenVerifier {
  /** Whose tokens it verifies. */
  readonly issuer: string;
  /** What a token says that was found good lately; by its digest. `now`: monotonic ms. */
  find(digest: string, now: number): TokenFacts | undefined;
}

export interface IdentityPolicy {
  readonly chain: readonly IdentityEntry[];
  readonly keys: readonly ClientKey[];
  readonly unknownKeys: 'reject' | 'defaultTier';
  readonly defaultTier: string;
  /** Those that a token may claim. */
  readonly tiers: ReadonlySet<string>;
  /** Networks that are never limited. */
  readonly allow: readonly string[];
  /** Networks that are answered 403; they win over `allow` and over any key. */
  readonly deny: readonly string[];
  readonly hashSecret: string;
  /** Whether the limits refuse this bucket now, without being charged for the question. */
  readonly isHeld: (bucket: string) => boolean;
}

/** What the chain asks of a request. */
export interface IdentityInput {
  readonly facts: {
    /** The value of a header (lower-case name), undefined when absent. */
    lookup(name: string): string | undefined;
    /** Whether several lines of it came. */
    isRepeated(name: string): boolean;
    /** All its lines, joined by `; `. */
    readonly cookie: string;
  };
  /** As `clientAddress` returns it. */
  readonly address: string;
  readonly connection: {
    /** Of the certificate that the listener verified; '' without one. */
    readonly subject: string;
  };
  /** Monotonic ms. */
  readonly startedMs: number;
}

/**
 * `client` is the name by key, token or certificate, or `ip:` + hash, fit for logs and header fields; `bucket` the 22
 * characters that limits count under. Of who was refused or is not verified yet they are the address's.
 */
export interface Identity {
  readonly kind: 'client' | 'pending' | 'refused';
  readonly code: '' | 'SPW_UNKNOWN_KEY' | 'SPW_FORBIDDEN' | 'SPW_RATE_CLIENT';
  readonly client: string;
  readonly bucket: string;
  readonly tier: string;
  readonly exempt: boolean;
  /** How to authenticate, for `www-authenticate`; '' unless the code is a 401. */
  readonly challenge: string;
}

/** A token that somebody has to verify. */
export interface UnverifiedToken {
  readonly verifier: TokenVerifier;
  readonly token: string;
  readonly digest: string;
}

/** Half: long signed keys stop working; double: twice the bytes hashed for each forged key. */
const MAX_KEY_BYTES = 512;
/** About 3 MiB a worker. Half: busy sites compute HMACs again and again; double: memory for nothing else. */
const MAX_ADDRESSES = 10_000;
/** Subjects whose client is remembered; the same trade. */
const MAX_SUBJECTS = 4096;
const DEFAULT_IPV6_PREFIX = 64;
/** 22 characters of base64url hold 132 bits: 128 of the hash and a partly used last character. */
const BUCKET_CHARS = 22;

const KEY_CHALLENGE = 'ApiKey realm="api"';
const TOKEN_CHALLENGE = 'Bearer realm="api", error="invalid_token"';

interface KnownClient {
  readonly limited: Identity;
  readonly exempt: Identity;
}

interface KnownAddress {
  readonly denied: boolean;
  readonly exempt: boolean;
  readonly byAddress: Identity;
}

/** All entries that read one header are one step: a token is verified by whoever issued it. */
interface TokenStep {
  readonly kind: 'jwt';
  readonly header: string;
  readonly verifiers: readonly TokenVerifier[];
}

type Step = Extract<IdentityEntry, { kind: 'header' | 'cookie' | 'mtls' }> | TokenStep;

/** The name under which limits count a client: HMAC-SHA-256(secret, kind ‖ 0 ‖ name), 128 bits, base64url. */
export function clientBucket(hashSecret: string, kind: 'client' | 'ip', name: string): string {
  const digest = createHmac('sha256', hashSecret).update(`${kind}\0${name}`).digest();
  return digest.subarray(0, 16).toString('base64url').slice(0, BUCKET_CHARS);
}

export class IdentityChain {
  readonly #policy: IdentityPolicy;
  readonly #steps: readonly Step[];
  readonly #ipv6Prefix: number;
  readonly #allow: TrustedNetworks;
  readonly #deny: TrustedNetworks;
  readonly #addresses = new RecentMap<string, KnownAddress>(MAX_ADDRESSES);
  #keys: KnownKeys<KnownClient>;
  #bySubject = new RecentMap<string, KnownClient>(MAX_SUBJECTS);
  #byToken = new WeakMap<TokenFacts, KnownClient>();

  /** @throws RangeError for a network or a digest that is none; the loader refuses such a configuration before. */
  constructor(policy: IdentityPolicy) {
    this.#policy = policy;
    this.#allow = parseNetworks(policy.allow);
    this.#deny = parseNetworks(policy.deny);
    // Every caller has an address, so nothing behind that entry can be reached.
    const last = policy.chain.findIndex(({ kind }) => kind === 'ip');
    const ip = policy.chain[last];
    this.#ipv6Prefix = ip?.kind === 'ip' ? ip.ipv6Prefix : DEFAULT_IPV6_PREFIX;
    this.#steps = stepsOf(last < 0 ? policy.chain : policy.chain.slice(0, last));
    this.#keys = this.#known(policy.keys);
  }

  /** Other keys from now on; everything else stays. @throws RangeError as the constructor, and nothing has changed */
  replaceKeys(keys: readonly ClientKey[]): void {
    this.#keys = this.#known(keys);
    this.#bySubject = new RecentMap<string, KnownClient>(MAX_SUBJECTS);
    this.#byToken = new WeakMap<TokenFacts, KnownClient>();
  }

  /** The tier of a client that has keys; undefined for any other name. */
  tierOfClient(name: string): string | undefined {
    return this.#keys.tierOf(name);
  }

  /**
   * Never throws and makes nothing new for a caller it has seen lately.
   * @param isPaid the limits have let the address's guess pass: what is unseen is looked at
   */
  identify(input: IdentityInput, isPaid = false): Identity {
    // Only where the lists could change the answer is the address looked at before the key.
    const listed = this.#allow.isEmpty && this.#deny.isEmpty ? undefined : this.#address(input.address);
    if (listed?.denied === true) return listed.byAddress;
    for (const step of this.#steps) {
      let known: KnownClient | undefined;
      if (step.kind === 'mtls') known = this.#certified(input.connection.subject);
      else if (step.kind === 'jwt') {
        const token = tokenOf(input, step.header);
        if (token === undefined) continue;
        known = this.#bearer(step, token, input.startedMs);
        if (known === undefined) return this.#unseenToken(token, input.address, isPaid);
      } else {
        const key = step.kind === 'header' ? headerKey(input, step.name) : cookieKey(input, step.name);
        if (key === undefined) continue;
        known = this.#keys.seen(key);
        if (known === undefined) {
          const address = this.#address(input.address);
          if (!isPaid && this.#isHeld(address)) return refusal(address, 'SPW_RATE_CLIENT', '');
          if (key !== UNUSABLE) known = this.#keys.find(key);
          if (known === undefined && this.#policy.unknownKeys === 'reject')
            return refusal(address, 'SPW_UNKNOWN_KEY', KEY_CHALLENGE);
        }
      }
      if (known !== undefined) return listed?.exempt === true ? known.exempt : known.limited;
    }
    return this.#address(input.address).byAddress;
  }

  /** The token for which `identify` answered `pending`. */
  unverified(input: IdentityInput): UnverifiedToken | undefined {
    for (const step of this.#steps) {
      if (step.kind !== 'jwt') continue;
      const token = tokenOf(input, step.header);
      if (token === undefined || token === NO_TOKEN) continue;
      const [first, ...others] = step.verifiers;
      const issuer = others.length === 0 ? '' : tokenIssuer(token);
      const verifier = others.find((each) => each.issuer === issuer) ?? first;
      return verifier === undefined ? undefined : { verifier, token, digest: tokenDigest(token) };
    }
    return undefined;
  }

  /** Whom a verified token names, at this address. */
  verified(facts: TokenFacts, address: string): Identity {
    const known = this.#named(facts);
    const exempt = !this.#allow.isEmpty && this.#address(address).exempt;
    return exempt ? known.exempt : known.limited;
  }

  badToken(address: string): Identity {
    return refusal(this.#address(address), 'SPW_UNKNOWN_KEY', TOKEN_CHALLENGE);
  }

  #known(keys: readonly ClientKey[]): KnownKeys<KnownClient> {
    return new KnownKeys(keys, (client, tier) => this.#client(client, tier));
  }

  #bearer(step: TokenStep, token: string, now: number): KnownClient | undefined {
    if (token === NO_TOKEN) return undefined;
    const digest = tokenDigest(token);
    for (const verifier of step.verifiers) {
      const facts = verifier.find(digest, now);
      if (facts !== undefined) return this.#named(facts);
    }
    return undefined;
  }

  #unseenToken(token: string, from: string, isPaid: boolean): Identity {
    const address = this.#address(from);
    if (!isPaid && this.#isHeld(address)) return refusal(address, 'SPW_RATE_CLIENT', '');
    if (!isTokenShaped(token)) return refusal(address, 'SPW_UNKNOWN_KEY', TOKEN_CHALLENGE);
    return identity('pending', '', address.byAddress, address.exempt, '');
  }

  /** A tier that is not configured is none: the client's own by its keys, or the default. */
  #named(facts: TokenFacts): KnownClient {
    let known = this.#byToken.get(facts);
    if (known === undefined) {
      const { client, tier } = facts;
      known = this.#client(client, this.#policy.tiers.has(tier) ? tier : this.#tierOf(client));
      this.#byToken.set(facts, known);
    }
    return known;
  }

  #certified(subject: string): KnownClient | undefined {
    if (subject === '') return undefined;
    let known = this.#bySubject.get(subject);
    if (known === undefined) {
      known = this.#client(subject, this.#tierOf(subject));
      this.#bySubject.set(subject, known);
    }
    return known;
  }

  #tierOf(client: string): string {
    return this.#keys.tierOf(client) ?? this.#policy.defaultTier;
  }

  #client(name: string, tier: string): KnownClient {
    const facts = {
      client: shownName(name),
      bucket: clientBucket(this.#policy.hashSecret, 'client', name),
      tier,
    };
    return {
      limited: identity('client', '', facts, false, ''),
      exempt: identity('client', '', facts, true, ''),
    };
  }

  #isHeld({ exempt, byAddress }: KnownAddress): boolean {
    return !exempt && this.#policy.isHeld(byAddress.bucket);
  }

  #address(address: string): KnownAddress {
    const seen = this.#addresses.get(address);
    if (seen !== undefined) return seen;
    const parsed = parseAddress(address);
    const { hashSecret, defaultTier } = this.#policy;
    const bucket = clientBucket(hashSecret, 'ip', addressBucket(address, this.#ipv6Prefix));
    // An IPv4 caller behind NAT64 or 6to4 is denied as IPv4, but anybody may write such an address, so it opens nothing.
    const denied =
      parsed !== undefined && (this.#deny.has(parsed) || this.#deny.has(withoutTransition(parsed)));
    const exempt = parsed !== undefined && !denied && this.#allow.has(parsed);
    const facts = { client: `ip:${bucket}`, bucket, tier: defaultTier };
    const known: KnownAddress = {
      denied,
      exempt,
      byAddress: denied
        ? identity('refused', 'SPW_FORBIDDEN', facts, false, '')
        : identity('client', '', facts, exempt, ''),
    };
    this.#addresses.set(address, known);
    return known;
  }
}

type Named = Pick<Identity, 'client' | 'bucket' | 'tier'>;

function identity(
  kind: Identity['kind'],
  code: Identity['code'],
  { client, bucket, tier }: Named,
  exempt: boolean,
  challenge: string,
): Identity {
  return { kind, code, client, bucket, tier, exempt, challenge };
}

function refusal({ byAddress, exempt }: KnownAddress, code: Identity['code'], challenge: string): Identity {
  return identity('refused', code, byAddress, exempt, challenge);
}

function stepsOf(chain: readonly IdentityEntry[]): readonly Step[] {
  const steps: (Step & { readonly verifiers?: TokenVerifier[] })[] = [];
  for (const entry of chain) {
    if (entry.kind === 'ip') continue;
    if (entry.kind === 'jwt') {
      const header = entry.header.toLowerCase();
      const before = steps.find((step) => step.kind === 'jwt' && step.header === header);
      if (before === undefined) steps.push({ kind: 'jwt', header, verifiers: [entry.verifier] });
      else before.verifiers?.push(entry.verifier);
    } else steps.push(entry.kind === 'header' ? { kind: 'header', name: entry.name.toLowerCase() } : entry);
  }
  return steps;
}

/** A value that is present and cannot be anybody's key: too long, sent twice, or not bytes. Never in the map of keys. */
const UNUSABLE = '';

function headerKey(input: IdentityInput, name: string): string | undefined {
  const value = fieldOf(input, name);
  if (value === undefined) return undefined;
  return input.facts.isRepeated(name) ? UNUSABLE : usable(value);
}

function cookieKey(input: IdentityInput, name: string): string | undefined {
  const { cookie: header } = input.facts;
  const start = findCookie(header, name, 0);
  if (start < 0) return undefined;
  const twice = findCookie(header, name, cookieEnd(header, start)) >= 0;
  return twice ? UNUSABLE : usable(cookieValue(header, start));
}

function tokenOf(input: IdentityInput, name: string): string | undefined {
  const value = fieldOf(input, name);
  if (value === undefined) return undefined;
  return input.facts.isRepeated(name) ? NO_TOKEN : tokenIn(value);
}

function fieldOf({ facts }: IdentityInput, name: string): string | undefined {
  if (name === 'cookie') return facts.cookie === '' ? undefined : facts.cookie;
  return facts.lookup(name);
}

function usable(value: string): string {
  if (value.length > MAX_KEY_BYTES) return UNUSABLE;
  // Header text is one byte a character; anything else would be cut to a byte when hashed and could meet another key.
  for (let at = 0; at < value.length; at++) {
    if (value.charCodeAt(at) > 255) return UNUSABLE;
  }
  return value;
}

/** What logs and header fields can hold of any name: other bytes than printable ASCII, and `%`, as in a URL. */
function shownName(name: string): string {
  if (/^[\x21-\x24\x26-\x7e](?:[\x20-\x24\x26-\x7e]*[\x21-\x24\x26-\x7e])?$/.test(name)) return name;
  return Array.from(Buffer.from(name, 'utf8'), (byte) =>
    byte > 0x20 && byte < 0x7f && byte !== 0x25
      ? String.fromCharCode(byte)
      : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`,
  ).join('');
}
