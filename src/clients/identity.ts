/**
 * Who is calling.
 *
 * Signal: a key in a header or a cookie, a signed token, the subject of a client certificate, and the caller's address.
 * Decision: the first entry of the chain that names a client wins; the address always ends the chain. Names are one space:
 * who is called the same by a key, a token and a certificate is one client with one quota. A key that nobody has
 * never gets a bucket of its own, since a fresh key would be a fresh quota: it is refused, or the chain goes on. A token
 * is good or refused, it never falls through to something weaker. One that has not been seen is `pending`: a stranger, until
 * somebody has verified it. Who guesses is charged for each refusal at its address, and while that is used up nothing
 * unseen is looked at: 429 for a right guess and a wrong one alike. Where unknown keys are let in, a key opens nothing
 * and there is no refusal to guess by: it is looked up in any case, so strangers cannot use up what it stands for.
 *
 * Cost: a known caller is one map lookup for the key, or a SHA-256 and two lookups for a token, and one for the address where
 * addresses matter. A stranger's key costs one SHA-256, a new address or name one HMAC. Answers of callers who
 * are let in are made once; all have one shape.
 *
 * Cold start: empty caches, nothing else. Limits: a shared address is one caller; see `clients.keys`.
 * Source: RFC 9110 §11 for the 401; contract.md §2, `clients`.
 */
import { RecentMap } from '../kernel/lru.ts';
import { addressBucket, parseNetworks, withoutTransition, type TrustedNetworks } from './address.ts';
import { clientBucket, shownName } from './client-name.ts';
import { cookieKey, headerKey, tokenOf, UNUSABLE, type CredentialFacts } from './credentials.ts';
import { parseAddress } from './ip.ts';
import { KnownKeys, type ClientKey } from './known-keys.ts';
import type { TokenFacts } from './token-memory.ts';
import { isTokenShaped, NO_TOKEN, tokenDigest, tokenIssuer } from './token.ts';

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
  /** The secret before, and who is told what its hash of a name was and which it is now, when the name comes up. */
  readonly before?: {
    readonly hashSecret: string;
    readonly renamed: (before: string, bucket: string) => void;
  };
  /** Whether the limits refuse this bucket now, without being charged for the question. */
  readonly isHeld: (bucket: string) => boolean;
}

/** What the chain asks of a request. */
export interface IdentityInput {
  readonly facts: CredentialFacts;
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

/** About 3 MiB a worker. Half: busy sites compute HMACs again and again; double: memory for nothing else. */
const MAX_ADDRESSES = 10_000;
/** Subjects whose client is remembered; the same trade. */
const MAX_SUBJECTS = 4096;
/** Names whose claimed tier is remembered, as many as tokens are: half, and that of a caller goes before its token; double is never filled. */
const MAX_CLAIMED = 10_000;
const DEFAULT_IPV6_PREFIX = 64;

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
  /** What tokens claimed, for operators, who name a client and have no token of it. */
  readonly #claimed = new RecentMap<string, string>(MAX_CLAIMED);

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
    this.#keys = this.#known(keys, this.#keys);
    this.#bySubject = new RecentMap<string, KnownClient>(MAX_SUBJECTS);
    this.#byToken = new WeakMap<TokenFacts, KnownClient>();
  }

  /** The tier of a client that has keys; undefined for any other name. */
  tierOfClient(name: string): string | undefined {
    return this.#keys.tierOf(name);
  }

  /** The tier that the last token of this name claimed; undefined where none did, or it is forgotten. */
  tierClaimed(name: string): string | undefined {
    return this.#claimed.get(name);
  }

  /** What limits count a client of this name under, however it is recognised. */
  bucketOfClient(name: string): string {
    return this.#hash('client', name);
  }

  /** The part of an address that is hashed for it; undefined for a text that is none. */
  nameOfAddress(address: string): string | undefined {
    return parseAddress(address) === undefined ? undefined : addressBucket(address, this.#ipv6Prefix);
  }

  /** What they count an address under; undefined for a text that is none. */
  bucketOfAddress(address: string): string | undefined {
    return parseAddress(address) === undefined ? undefined : this.#address(address).byAddress.bucket;
  }

  /**
   * Never throws and makes nothing new for a caller it has seen lately.
   * @param isReleased the hold of its address is over by the limiter's word: what is unseen is looked at
   */
  identify(input: IdentityInput, isReleased = false): Identity {
    // Only where the lists could change the answer is the address looked at before the key.
    const listed = this.#allow.isEmpty && this.#deny.isEmpty ? undefined : this.#address(input.address);
    if (listed?.denied === true) return listed.byAddress;
    for (const step of this.#steps) {
      let known: KnownClient | undefined;
      if (step.kind === 'mtls') known = this.#certified(input.connection.subject);
      else if (step.kind === 'jwt') {
        const token = tokenOf(input.facts, step.header);
        if (token === undefined) continue;
        known = this.#bearer(step, token, input.startedMs);
        if (known === undefined) return this.#unseenToken(token, input.address, isReleased);
      } else {
        const { facts } = input;
        const key = step.kind === 'header' ? headerKey(facts, step.name) : cookieKey(facts, step.name);
        if (key === undefined) continue;
        known = this.#keys.seen(key);
        if (known === undefined) {
          const rejects = this.#policy.unknownKeys === 'reject';
          if (rejects && !isReleased && this.#isHeld(input.address))
            return this.#refusal(input.address, 'SPW_RATE_CLIENT', '');
          if (key !== UNUSABLE) known = this.#keys.find(key);
          if (known === undefined && rejects)
            return this.#refusal(input.address, 'SPW_UNKNOWN_KEY', KEY_CHALLENGE);
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
      const token = tokenOf(input.facts, step.header);
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
    return this.#refusal(address, 'SPW_UNKNOWN_KEY', TOKEN_CHALLENGE);
  }

  #hash(kind: 'client' | 'ip', name: string): string {
    const { hashSecret, before } = this.#policy;
    const bucket = clientBucket(hashSecret, kind, name);
    before?.renamed(clientBucket(before.hashSecret, kind, name), bucket);
    return bucket;
  }

  #known(keys: readonly ClientKey[], before?: KnownKeys<KnownClient>): KnownKeys<KnownClient> {
    return new KnownKeys(keys, (client, tier) => this.#client(client, tier), before);
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

  #unseenToken(token: string, address: string, isReleased: boolean): Identity {
    if (!isReleased && this.#isHeld(address)) return this.#refusal(address, 'SPW_RATE_CLIENT', '');
    if (!isTokenShaped(token)) return this.badToken(address);
    const { byAddress, exempt } = this.#address(address);
    return identity('pending', '', byAddress, exempt, '');
  }

  /** A tier that is not configured is none: the client's own by its keys, or the default. */
  #named(facts: TokenFacts): KnownClient {
    let known = this.#byToken.get(facts);
    if (known === undefined) {
      const { client, tier } = facts;
      const isClaimed = this.#policy.tiers.has(tier);
      if (isClaimed) this.#claimed.set(client, tier);
      else this.#claimed.delete(client);
      known = this.#client(client, isClaimed ? tier : this.#tierOf(client));
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
      bucket: this.bucketOfClient(name),
      tier,
    };
    return {
      limited: identity('client', '', facts, false, ''),
      exempt: identity('client', '', facts, true, ''),
    };
  }

  #isHeld(address: string): boolean {
    const { exempt, byAddress } = this.#address(address);
    return !exempt && this.#policy.isHeld(byAddress.bucket);
  }

  #refusal(address: string, code: Identity['code'], challenge: string): Identity {
    const { byAddress, exempt } = this.#address(address);
    return identity('refused', code, byAddress, exempt, challenge);
  }

  #address(address: string): KnownAddress {
    const seen = this.#addresses.get(address);
    if (seen !== undefined) return seen;
    const parsed = parseAddress(address);
    const { defaultTier } = this.#policy;
    const bucket = this.#hash('ip', addressBucket(address, this.#ipv6Prefix));
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
