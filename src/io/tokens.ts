import type { createLocalJWKSet, JSONWebKeySet, JWTPayload, jwtVerify, JWTVerifyOptions } from 'jose';
import type { Configuration } from '../../config/schema.ts';
import type { TokenVerifier, UnverifiedToken } from '../clients/identity.ts';
import { factsOf, TokenMemory, type Era, type TokenFacts } from '../clients/token-memory.ts';
import { tokenHeader } from '../clients/token.ts';
import type { ErrorCode } from '../kernel/errors.ts';
import { allNames } from '../kernel/signature-key.ts';
import { errorMessage } from './error-message.ts';
import { ConfiguredKeys, FetchedKeys, keepsAll, type KeyFinder, type TokenKeys } from './token-keys.ts';

/**
 * Verifies tokens that the worker has not seen lately, with `jose`, away from the event loop.
 *
 * A token is looked at in the order of what it costs: its algorithm must be one of the configured, its key one of the
 * issuer's, then comes the signature, then the claims (`iss`, `aud`, `exp` required; `nbf` kept). Requests with the same
 * unseen token wait for one verification. How many run and how many wait for new keys is bounded, so that a flood of
 * forged tokens can neither fill the thread pool nor keep the good ones waiting; what is beyond is refused as overload.
 * Verifiers outlive a reload that leaves their entry as it was, and with them what they remember.
 *
 * Never rejects: whatever a token does to the library is a bad token. `jose` is loaded with the first entry that needs it.
 */

/** A check of RS256 takes 0.3 ms of a core. Half: a burst of new callers is refused; double: in a flood a good one waits 0.1 s. */
const MOST_CHECKING = 256;
/** Tokens that wait for new keys, at most as long as one fetch. Half: a rotation refuses callers; double: more to forge. */
const MOST_WAITING = 256;
/** Keys tried for a token that names none. Half: an issuer that keeps old keys loses callers; double: twice the work. */
const MOST_KEYS_TRIED = 4;
/** Clocks of issuers run ahead; a token from the next five seconds is good now, one that has expired is not. */
const CLOCK_TOLERANCE_S = 5;

export type JwtEntry = Extract<Configuration['clients']['identify'][number], { jwt: unknown }>['jwt'];

export type TokenVerdict =
  | { readonly kind: 'good'; readonly facts: TokenFacts }
  | { readonly kind: 'bad'; readonly reason: string }
  /** Nobody can tell; no fault of the token. */
  | { readonly kind: 'undecided'; readonly code: ErrorCode; readonly reason: string };

export interface TokensParts {
  readonly now: () => number;
  readonly wallMs: () => number;
  /** Asks the supervisor for the keys of this address; `take` is called with its answer. */
  readonly ask: (url: string) => void;
  readonly onVerdict: (kind: TokenVerdict['kind']) => void;
}

/** What a worker has for all its entries; outlives configurations. */
export class Tokens {
  readonly #parts: TokensParts;
  readonly #keys = new Map<string, FetchedKeys>();
  readonly #verifiers = new Map<string, JwtVerifier>();
  readonly #memory = new TokenMemory();

  constructor(parts: TokensParts) {
    this.#parts = parts;
  }

  /** The verifier of an entry: the same for the same entry. */
  verifierOf(entry: JwtEntry): TokenVerifier {
    const mark = JSON.stringify(entry);
    let verifier = this.#verifiers.get(mark);
    if (verifier === undefined) {
      verifier = new JwtVerifier(entry, this.#keysOf(entry), this.#memory, this.#parts);
      this.#verifiers.set(mark, verifier);
    }
    return verifier;
  }

  /** Forgets what the configuration in force no longer names. */
  keepOnly({ clients }: Configuration): void {
    const entries = clients.identify.flatMap((entry) => ('jwt' in entry ? [entry.jwt] : []));
    const marks = new Set(entries.map((entry) => JSON.stringify(entry)));
    const urls = new Set(entries.map(({ jwksUrl }) => jwksUrl));
    for (const mark of this.#verifiers.keys()) if (!marks.has(mark)) this.#verifiers.delete(mark);
    for (const url of this.#keys.keys()) if (!urls.has(url)) this.#keys.delete(url);
  }

  /** Keys from the supervisor. */
  take(url: string, keys: JSONWebKeySet['keys'] | null, retryMs: number): void {
    this.#fetched(url).take(keys, retryMs);
  }

  /** Never rejects. */
  async verify({ verifier, token, digest }: UnverifiedToken): Promise<TokenVerdict> {
    const verdict =
      verifier instanceof JwtVerifier ? await verifier.verify(token, digest) : bad('no verifier');
    this.#parts.onVerdict(verdict.kind);
    return verdict;
  }

  #keysOf({ keys, jwksUrl }: JwtEntry): TokenKeys {
    return jwksUrl === null ? new ConfiguredKeys(keys ?? []) : this.#fetched(jwksUrl);
  }

  #fetched(url: string): FetchedKeys {
    let keys = this.#keys.get(url);
    if (keys === undefined) {
      const { now, ask } = this.#parts;
      keys = new FetchedKeys(now, () => {
        ask(url);
      });
      this.#keys.set(url, keys);
    }
    return keys;
  }
}

/** What of the library is used. */
interface Jose {
  readonly jwtVerify: typeof jwtVerify;
  readonly createLocalJWKSet: typeof createLocalJWKSet;
}

async function loadJose(): Promise<Jose> {
  const [verify, local] = await Promise.all([import('jose/jwt/verify'), import('jose/jwks/local')]);
  return { jwtVerify: verify.jwtVerify, createLocalJWKSet: local.createLocalJWKSet };
}

class JwtVerifier implements TokenVerifier {
  readonly issuer: string;
  readonly #entry: JwtEntry;
  readonly #keys: TokenKeys;
  readonly #parts: TokensParts;
  readonly #algorithms: readonly string[];
  readonly #memory: TokenMemory;
  readonly #running = new Map<string, Promise<TokenVerdict>>();
  readonly #jose: Promise<Jose>;
  #finder: { readonly set: JSONWebKeySet; readonly find: KeyFinder } | undefined = undefined;
  /** Another one begins when what is in memory may have been signed with a key that went. */
  #era: Era = {};
  /** The set that everything of this era was verified with. */
  #trusted: JSONWebKeySet | undefined = undefined;
  #checking = 0;
  #waiting = 0;

  constructor(entry: JwtEntry, keys: TokenKeys, memory: TokenMemory, parts: TokensParts) {
    this.issuer = entry.issuer;
    this.#entry = entry;
    this.#keys = keys;
    this.#memory = memory;
    this.#parts = parts;
    this.#algorithms = allNames(entry.algorithms);
    this.#jose = loadJose();
    this.#jose.catch(ignore);
  }

  find(digest: string, now: number): TokenFacts | undefined {
    this.#followKeys();
    return this.#memory.find(digest, this.#era, now);
  }

  /** One verification at a time for a token. */
  async verify(token: string, digest: string): Promise<TokenVerdict> {
    const running = this.#running.get(digest);
    if (running !== undefined) return await running;
    const header = tokenHeader(token);
    if (header === undefined) return bad('no token header');
    if (!this.#algorithms.includes(header.alg)) return bad('algorithm');
    const started = this.#verify(token, digest, header.kid);
    this.#running.set(digest, started);
    try {
      return await started;
    } finally {
      this.#running.delete(digest);
    }
  }

  async #verify(token: string, digest: string, kid: string): Promise<TokenVerdict> {
    try {
      if (this.#keys.set === undefined) await this.#newKeys();
      const { set } = this.#keys;
      if (set === undefined)
        return { kind: 'undecided', code: 'SPW_TOKEN_KEYS_DOWN', reason: 'no keys from jwksUrl yet' };
      const first = isNamed(set, kid) ? await this.#check(token, digest, set) : NO_KEY;
      if (first !== NO_KEY) return first;
      // The issuer may have begun to sign with a key that is younger than our set.
      await this.#newKeys();
      const { set: next } = this.#keys;
      return next === set || next === undefined ? first : await this.#check(token, digest, next);
    } catch (error) {
      return { kind: 'undecided', code: 'SPW_INTERNAL', reason: errorMessage(error) };
    }
  }

  async #newKeys(): Promise<void> {
    if (this.#waiting >= MOST_WAITING) return;
    this.#waiting++;
    try {
      await this.#keys.renewed();
    } finally {
      this.#waiting--;
    }
  }

  async #check(token: string, digest: string, set: JSONWebKeySet): Promise<TokenVerdict> {
    const jose = await this.#jose;
    if (this.#checking >= MOST_CHECKING)
      return { kind: 'undecided', code: 'SPW_SHED_OVERLOAD', reason: 'too many tokens to verify' };
    this.#checking++;
    try {
      const payload = await this.#payload(token, jose, set);
      return this.#judge(payload, digest, set);
    } catch (error) {
      return verdictOf(error);
    } finally {
      this.#checking--;
    }
  }

  /** @throws what the library does of a bad token */
  async #payload(token: string, jose: Jose, set: JSONWebKeySet): Promise<JWTPayload> {
    const { issuer, audience, claim } = this.#entry;
    const options: JWTVerifyOptions = {
      issuer,
      audience,
      algorithms: [...this.#algorithms],
      requiredClaims: ['exp', claim],
      clockTolerance: CLOCK_TOLERANCE_S,
      currentDate: new Date(this.#parts.wallMs()),
    };
    const find = this.#find(jose, set);
    try {
      return (await jose.jwtVerify(token, find, options)).payload;
    } catch (error) {
      if (codeOf(error) !== 'ERR_JWKS_MULTIPLE_MATCHING_KEYS') throw error;
      return await this.#tryEach(token, jose, options, error as AsyncIterable<CryptoKey>);
    }
  }

  /** A token that does not say which of several keys has signed it. */
  async #tryEach(
    token: string,
    jose: Jose,
    options: JWTVerifyOptions,
    keys: AsyncIterable<CryptoKey>,
  ): Promise<JWTPayload> {
    let tried = 0;
    let last: unknown = new Error('no key fits');
    for await (const key of keys) {
      if (++tried > MOST_KEYS_TRIED) break;
      try {
        return (await jose.jwtVerify(token, key, options)).payload;
      } catch (error) {
        if (codeOf(error) !== BAD_SIGNATURE) throw error;
        last = error;
      }
    }
    throw last;
  }

  #judge(payload: JWTPayload, digest: string, set: JSONWebKeySet): TokenVerdict {
    const lifeMs = (payload.exp ?? 0) * 1000 - this.#parts.wallMs();
    if (!(lifeMs > 0)) return bad('expired');
    const facts = factsOf(payload, this.#entry.claim, this.#entry.tierClaim ?? '');
    if (facts === undefined) return bad(`claim ${this.#entry.claim}`);
    this.#followKeys();
    // Keys that came while this one was verified may lack the one that has signed it: good now, and not remembered.
    if (set !== this.#trusted) return { kind: 'good', facts };
    return {
      kind: 'good',
      facts: this.#memory.keep(digest, this.#era, facts, lifeMs, this.#parts.now()),
    };
  }

  #find(jose: Jose, set: JSONWebKeySet): KeyFinder {
    if (this.#finder?.set !== set) this.#finder = { set, find: jose.createLocalJWKSet(set) };
    return this.#finder.find;
  }

  /** A set that lost a key forgets what may have been signed with it, before any token is found. */
  #followKeys(): void {
    const { set } = this.#keys;
    if (set === this.#trusted) return;
    if (this.#trusted !== undefined && set !== undefined && !keepsAll(this.#trusted, set)) this.#era = {};
    this.#trusted = set;
  }
}

const BAD_SIGNATURE = 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED';
/** One object, so that it can be told from other bad tokens. */
const NO_KEY: TokenVerdict = Object.freeze(bad('unknown key'));

/** Whether the set has the key that a token names, or the token names none. */
function isNamed({ keys }: JSONWebKeySet, kid: string): boolean {
  return kid === '' || keys.some((key) => key.kid === kid);
}

function bad(reason: string): TokenVerdict {
  return { kind: 'bad', reason: `token: ${reason}` };
}

function verdictOf(error: unknown): TokenVerdict {
  switch (codeOf(error)) {
    case 'ERR_JWKS_NO_MATCHING_KEY':
      return NO_KEY;
    case BAD_SIGNATURE:
      return bad('signature');
    case 'ERR_JWT_EXPIRED':
      return bad('expired');
    case 'ERR_JWT_CLAIM_VALIDATION_FAILED':
      return bad(`claim ${claimOf(error)}`);
    default:
      return bad('not valid');
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : '';
}

/** A word of the configuration or of the standard, never one of the token's. */
function claimOf(error: unknown): string {
  return error instanceof Error && 'claim' in error ? String(error.claim) : '';
}

function ignore(): void {
  // Whoever verifies meets the failure.
}
