import type { JSONWebKeySet } from 'jose';
import type { Configuration } from '../../config/schema.ts';
import { algorithmsOf } from '../kernel/signature-key.ts';
import { errorMessage } from './error-message.ts';
import { maskAddress } from './mask-secrets.ts';

/**
 * The keys that issuers publish (`jwksUrl`, RFC 7517), fetched by the supervisor for all workers.
 *
 * Signal: time, and workers that met a token of an unknown key. Decision: each set is fetched at once and then every five
 * minutes, in the background, so no token waits for it; a fetch that fails is repeated after 1 s, 2 s, … 60 s, and until
 * then the last good set stays. For unknown keys it is fetched again at most once a minute, whatever is sent. Why here and
 * not in the workers: one fetch for all, one line in the log, and a worker that starts while the issuer is away knows what
 * the others know.
 *
 * What comes is not trusted with memory: a time limit, a size limit, no redirects, and of each key only the public members
 * that a signature needs. A set without a usable key counts as a failure.
 */

/** Half: twice the fetches; double: a key that was taken back is believed for ten minutes. */
const REFRESH_MS = 5 * 60_000;
/** Half: made-up key ids cost the issuer twice as much; double: a key that is used at once is unknown for two minutes. */
const ON_DEMAND_MS = 60_000;
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 60_000;
/** Half: an issuer far away is never heard; double: callers with new keys wait ten seconds for one that hangs. */
const FETCH_MS = 5000;
/** A key has some 600 bytes, a certificate chain in it several thousand. Double is memory for mischief. */
const MOST_BYTES = 256 * 1024;
const MOST_KEYS = 64;
/** What of a key is public and of use. */
const MEMBERS = ['kty', 'kid', 'use', 'alg', 'key_ops', 'n', 'e', 'crv', 'x', 'y'] as const;

type Keys = JSONWebKeySet['keys'];

/** What workers are told of one address. */
export interface JwksNews {
  readonly url: string;
  /** Null before the first set. */
  readonly keys: Keys | null;
  /** It is not fetched again for an unknown key before that. */
  readonly retryMs: number;
}

export interface JwksParts {
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
  readonly now: () => number;
  /** To all workers. */
  readonly tell: (news: JwksNews) => void;
  readonly onResult: (result: 'ok' | 'failed') => void;
}

interface Source {
  readonly url: string;
  readonly gone: AbortController;
  keys: Keys | null;
  running: boolean;
  failures: number;
  /** When an unknown key last made it fetch. */
  askedMs: number;
  timer: NodeJS.Timeout | undefined;
}

export class Jwks {
  readonly #parts: JwksParts;
  readonly #sources = new Map<string, Source>();

  constructor(parts: JwksParts) {
    this.#parts = parts;
  }

  /** Begins to fetch what is new in the configuration, ends what it no longer names. */
  configure({ clients }: Configuration): void {
    const wanted = new Set(
      clients.identify.flatMap((entry) =>
        'jwt' in entry && entry.jwt.jwksUrl !== null ? [entry.jwt.jwksUrl] : [],
      ),
    );
    for (const [url, source] of this.#sources) {
      if (wanted.has(url)) continue;
      this.#end(source);
      this.#sources.delete(url);
    }
    for (const url of wanted) {
      if (this.#sources.has(url)) continue;
      const source: Source = {
        url,
        gone: new AbortController(),
        keys: null,
        running: false,
        failures: 0,
        askedMs: -Infinity,
        timer: undefined,
      };
      this.#sources.set(url, source);
      void this.#fetch(source);
    }
  }

  /** What a worker that starts is told first. */
  news(): JwksNews[] {
    return [...this.#sources.values()]
      .filter(({ keys }) => keys !== null)
      .map((source) => this.#newsOf(source));
  }

  /**
   * A worker met a token whose key it does not know.
   * @returns the answer, when no fetch is made that will bring one
   */
  wanted(url: string): JwksNews | undefined {
    const source = this.#sources.get(url);
    if (source === undefined) return { url, keys: null, retryMs: FIRST_RETRY_MS };
    if (source.running) return undefined;
    if (this.#retryMs(source) > 0) return this.#newsOf(source);
    source.askedMs = this.#parts.now();
    void this.#fetch(source);
    return undefined;
  }

  stop(): void {
    for (const source of this.#sources.values()) this.#end(source);
    this.#sources.clear();
  }

  #end(source: Source): void {
    clearTimeout(source.timer);
    source.gone.abort();
  }

  #newsOf(source: Source): JwksNews {
    return { url: source.url, keys: source.keys, retryMs: this.#retryMs(source) };
  }

  /** Without any keys it is the schedule of failures that counts. */
  #retryMs({ keys, askedMs }: Source): number {
    if (keys === null) return FIRST_RETRY_MS;
    return Math.max(0, askedMs + ON_DEMAND_MS - this.#parts.now());
  }

  async #fetch(source: Source): Promise<void> {
    const { log, tell, onResult } = this.#parts;
    const { gone } = source;
    const url = maskAddress(source.url);
    source.running = true;
    clearTimeout(source.timer);
    try {
      const keys = await fetchKeys(source.url, gone.signal);
      if (gone.signal.aborted) return;
      const isNew = JSON.stringify(keys) !== JSON.stringify(source.keys);
      if (isNew || source.failures > 0) log.info({ url, keys: keys.length }, 'token keys fetched');
      source.keys = keys;
      source.failures = 0;
      onResult('ok');
    } catch (error) {
      if (gone.signal.aborted) return;
      source.failures++;
      onResult('failed');
      const stays = source.keys === null ? 'there are none yet' : 'the last ones stay';
      if (source.failures === 1)
        log.warn({ url, reason: reasonOf(error) }, `token keys could not be fetched: ${stays}`);
    } finally {
      source.running = false;
      if (!gone.signal.aborted) {
        this.#later(source);
        tell(this.#newsOf(source));
      }
    }
  }

  #later(source: Source): void {
    const { failures } = source;
    const pauseMs =
      failures === 0
        ? REFRESH_MS
        : Math.min(FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 16), LONGEST_RETRY_MS);
    source.timer = setTimeout(() => {
      void this.#fetch(source);
    }, pauseMs).unref();
  }
}

/** `fetch failed` says nothing; its cause does, by its code where several addresses were tried. */
function reasonOf(error: unknown): string {
  const { cause } = error instanceof Error ? error : {};
  if (!(cause instanceof Error)) return errorMessage(error);
  const code = 'code' in cause ? String(cause.code) : '';
  return `${errorMessage(error)}: ${cause.message === '' ? code : cause.message}`;
}

/** @throws Error saying why there is no set that can be used */
async function fetchKeys(url: string, gone: AbortSignal): Promise<Keys> {
  const response = await fetch(url, {
    redirect: 'error',
    headers: { accept: 'application/jwk-set+json, application/json' },
    signal: AbortSignal.any([gone, AbortSignal.timeout(FETCH_MS)]),
  });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`status ${response.status}`);
  }
  const keys = publicKeys(JSON.parse(await textOf(response)) as unknown);
  if (keys.length === 0) throw new Error('no key that verifies signatures');
  return keys;
}

async function textOf(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    // Leaving the loop cancels the rest.
    if (bytes > MOST_BYTES) throw new Error(`larger than ${MOST_BYTES / 1024} KiB`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** The keys of a set that may verify; everything else in it is passed over, as RFC 7517 §5 asks for. */
export function publicKeys(set: unknown): Keys {
  const list = typeof set === 'object' && set !== null && 'keys' in set ? set.keys : undefined;
  if (!Array.isArray(list)) throw new Error('no JWK set');
  return list.filter(isVerifying).slice(0, MOST_KEYS).map(publicPart);
}

function isVerifying(entry: unknown): entry is Readonly<Record<string, unknown>> {
  return typeof entry === 'object' && entry !== null && algorithmsOf({ ...entry }).length > 0;
}

function publicPart(key: Readonly<Record<string, unknown>>): Keys[number] {
  const members = MEMBERS.flatMap((name) => {
    const value = key[name];
    const fits = name === 'key_ops' ? isWords(value) : typeof value === 'string';
    return fits ? [[name, value] as const] : [];
  });
  return Object.fromEntries(members);
}

function isWords(value: unknown): boolean {
  return Array.isArray(value) && value.every((word) => typeof word === 'string');
}
