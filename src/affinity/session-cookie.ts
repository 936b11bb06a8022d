/**
 * Sessions that stay with their instance: a signed cookie holds the pin, so no gateway keeps a table of sessions.
 *
 * Form: `v1.<kid>.<payload>.<mac>`. Payload, 32 bytes: service 4, session id 8, instance 8, version 4 (zero: none is
 * pinned), issued 4, seen 4 (seconds since 1970). The mac is that of `cookie-signature.ts`. So a planted cookie picks only
 * what we signed, and instance and version are named by keyed hashes that tell neither.
 *
 * A pin carries the instance's tag under the key that signed it, so rotating moves nobody: look instances up by all `tagsOf`.
 * Anything that does not verify is no pin, never an error. Moments are wall clock, since the cookie outlives a process;
 * a clock that goes back makes sessions live longer by that much and nothing else (a future `seen` counts as now).
 * Limits: whoever copies a cookie shares its session; without keys in the configuration a restart ends all sessions.
 */
import { CookieSignature, type CookieKey } from './cookie-signature.ts';
import { SessionIds } from './session-ids.ts';
import { cookieEnd, cookieValue, findCookie } from '../kernel/cookie.ts';
import { RecentMap } from '../kernel/lru.ts';

export interface SessionCookieOptions {
  readonly cookieName: string;
  /** The first signs, all verify. */
  readonly keys: readonly CookieKey[];
  /** A session unused for this long has ended. */
  readonly idleMs: number;
  /** A session as old as this has ended, used or not. */
  readonly absoluteMs: number;
  readonly service: string;
}

/** What a valid cookie says. */
export interface Pin {
  /** The session's id: 16 hex digits, uniformly random. */
  readonly sid: string;
  /** The instance's tag under the key that signed the cookie; see `tagsOf`. */
  readonly instance: string;
  /** What the version was called when the cookie was made: 8 hex digits, '' for none. */
  readonly version: string;
  /** Wall clock, whole seconds as ms since 1970. */
  readonly issuedMs: number;
  readonly seenMs: number;
}

export type CookieResult = 'hit' | 'none' | 'invalid' | 'expired';

export interface CookieReading {
  readonly result: CookieResult;
  /** Set for a hit only. */
  readonly pin?: Pin;
}

/** A browser sends two when a path or a domain differs; more is an attack on our hashing. */
const MAX_SAME_NAMED = 4;
/** About 4 MiB a worker. Half: busy sites verify again and again (a few µs each); double: memory for nothing else. */
const MAX_VERIFIED = 10_000;
/** Half: an answer in twenty carries a cookie for nothing; double: a session may end a fifth of its idle time early. */
const REFRESH_SHARE = 0.1;

const PAYLOAD_BYTES = 32;
const FORM = 'v1';
const INSTANCE_CHARS = 16;
const VERSION_CHARS = 8;
const NO_VERSION = '00000000';

const NONE: CookieReading = Object.freeze({ result: 'none' });
const INVALID: CookieReading = Object.freeze({ result: 'invalid' });
const EXPIRED: CookieReading = Object.freeze({ result: 'expired' });

export class SessionCookies {
  readonly #ids = new SessionIds();
  readonly #signature: CookieSignature;
  /** Written anew for each cookie: buffers are memory outside the heap and dear to make. */
  readonly #payload = Buffer.alloc(PAYLOAD_BYTES);
  readonly #name: string;
  readonly #idleMs: number;
  readonly #absoluteMs: number;
  readonly #verified = new RecentMap<string, CookieReading & { readonly pin: Pin }>(MAX_VERIFIED);

  /** @throws RangeError without a key, or for a key id that cannot stand in a cookie. */
  constructor(options: SessionCookieOptions) {
    this.#signature = new CookieSignature(options.keys, options.service);
    this.#name = options.cookieName;
    this.#idleMs = options.idleMs;
    this.#absoluteMs = options.absoluteMs;
  }

  /**
   * The pin of a request.
   * @param cookieHeader all `Cookie` lines joined by `; `, '' when absent
   * @param nowWallMs ms since 1970
   */
  read(cookieHeader: string, nowWallMs: number): CookieReading {
    if (cookieHeader === '') return NONE;
    let worst = NONE;
    let start = findCookie(cookieHeader, this.#name, 0);
    for (let seen = 0; start >= 0 && seen < MAX_SAME_NAMED; seen++) {
      const reading = this.#check(cookieValue(cookieHeader, start), nowWallMs);
      if (reading.result === 'hit') return reading;
      if (worst !== EXPIRED) worst = reading;
      start = findCookie(cookieHeader, this.#name, cookieEnd(cookieHeader, start));
    }
    return worst;
  }

  /**
   * The `Set-Cookie` value that pins a session to an instance.
   * @param instanceTag of `tagOf`
   * @param versionTag 8 hex digits, '' for none
   * @param previous the session's pin so far; its id and age are kept
   * @param secure whether the caller came over TLS
   * @param newSid the id of a session that begins; of `newSid`
   */
  issue(
    instanceTag: string,
    versionTag: string,
    nowWallMs: number,
    previous: Pin | undefined,
    secure: boolean,
    newSid = '',
  ): { readonly cookie: string; readonly sid: string } {
    const sid = previous?.sid ?? (newSid === '' ? this.newSid() : newSid);
    const payload = this.#payload;
    payload.write(sid, 4, 8, 'hex');
    payload.write(instanceTag, 12, 8, 'hex');
    payload.write(versionTag === '' ? NO_VERSION : versionTag, 20, 4, 'hex');
    const seen = seconds(nowWallMs);
    payload.writeUInt32BE(previous === undefined ? seen : seconds(previous.issuedMs), 24);
    payload.writeUInt32BE(seen, 28);
    return { cookie: this.#signature.issue(this.#name, FORM, payload, secure), sid };
  }

  /** Whether a valid pin should be sent again, so that an active session does not run into its idle time. */
  needsRefresh(pin: Pin, nowWallMs: number): boolean {
    return nowWallMs - pin.seenMs > this.#idleMs * REFRESH_SHARE;
  }

  /** The id of a session that is about to begin: 16 hex digits. */
  newSid(): string {
    return this.#ids.next();
  }

  /** The tag that new cookies carry for an instance: 16 hex digits. @param instanceUid discovery's uid, or host:port */
  tagOf(instanceUid: string): string {
    return this.tagsOf(instanceUid)[0] ?? '';
  }

  /** The tags under which valid cookies may name an instance, one for each key, `tagOf` first. */
  tagsOf(instanceUid: string): readonly string[] {
    return this.#signature.tagsOf('instance', instanceUid, INSTANCE_CHARS);
  }

  /** The same for a version: 8 hex digits. */
  versionTagsOf(version: string): readonly string[] {
    return this.#signature.tagsOf('version', version, VERSION_CHARS);
  }

  #check(value: string, nowWallMs: number): CookieReading {
    let reading = this.#verified.get(value);
    if (reading === undefined) {
      const pin = this.#verify(value);
      if (pin === undefined) return INVALID;
      reading = { result: 'hit', pin };
      // The value is a window into its whole header; the copy lets that go.
      this.#verified.set(Buffer.from(value, 'latin1').toString('latin1'), reading);
    }
    return this.lives(reading, nowWallMs) ? reading : EXPIRED;
  }

  /** Whether the times of a pin that was read before still let it live. */
  lives({ pin }: CookieReading, nowWallMs: number): boolean {
    return (
      pin !== undefined &&
      nowWallMs - pin.seenMs <= this.#idleMs &&
      nowWallMs - pin.issuedMs <= this.#absoluteMs
    );
  }

  #verify(value: string): Pin | undefined {
    const payload = this.#signature.payloadOf(FORM, value, PAYLOAD_BYTES);
    return payload?.length === PAYLOAD_BYTES ? pinOf(payload) : undefined;
  }
}

/**
 * A `Cookie` header without the cookies of one name, so that the gateway's own never goes upstream.
 * Everything else stays byte for byte; '' when nothing else is in it.
 */
export function stripCookie(header: string, name: string): string {
  let start = findCookie(header, name, 0);
  if (start < 0) return header;
  let kept = '';
  let from = 0;
  while (start >= 0) {
    // The pair goes with the semicolon before it; the first one of the header with the one behind it.
    const before = header.lastIndexOf(';', start - 1);
    if (before >= from) kept += header.slice(from, before);
    from = cookieEnd(header, start);
    start = findCookie(header, name, from);
  }
  kept += header.slice(from);
  return withoutLead(kept);
}

/** Drops separators that now lead nowhere: at the beginning, and all of them when no cookie is left. */
function withoutLead(kept: string): string {
  let at = 0;
  while (at < kept.length && (kept[at] === ';' || kept[at] === ' ' || kept[at] === '\t')) at++;
  return kept.slice(at);
}

function pinOf(payload: Buffer): Pin {
  const version = payload.toString('hex', 20, 24);
  return {
    sid: payload.toString('hex', 4, 12),
    instance: payload.toString('hex', 12, 20),
    version: version === NO_VERSION ? '' : version,
    issuedMs: payload.readUInt32BE(24) * 1000,
    seenMs: payload.readUInt32BE(28) * 1000,
  };
}

/** Whole seconds in 32 bits: until the year 2106. */
function seconds(wallMs: number): number {
  return Math.min(0xffff_ffff, Math.max(0, Math.floor(wallMs / 1000)));
}
