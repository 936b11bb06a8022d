/**
 * Sessions that stay with their instance: a signed cookie holds the pin, so no gateway keeps a table of sessions.
 *
 * Form: `v1.<kid>.<payload>.<mac>`. Payload, 32 bytes: service 4, session id 8, instance 8, version 4 (zero: none is
 * pinned), issued 4, seen 4 (seconds since 1970). The mac is HMAC-SHA-256 over the text before it and the service's
 * name, 16 bytes. What is compared is the mac's *text*, in constant time: of the 22 characters the last holds four unused
 * bits, and a comparison of decoded bytes would let them be changed. So a planted cookie picks only what we signed, and
 * the instance is named by a keyed hash that tells no address.
 *
 * `keys[0]` signs, all verify: rotate by putting a key in front and removing the old one when it has been idle. A pin
 * carries the instance's tag under the key that signed it, so rotating moves nobody: look instances up by all `tagsOf`.
 * Anything that does not verify is no pin, never an error. Moments are wall clock, since the cookie outlives a process;
 * a clock that goes back makes sessions live longer by that much and nothing else (a future `seen` counts as now).
 * Limits: whoever copies a cookie shares its session; without keys in the configuration a restart ends all sessions.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { Hmac } from './hmac.ts';
import { cookieEnd, cookieValue, findCookie } from '../kernel/cookie.ts';
import { RecentMap } from '../kernel/lru.ts';

export interface CookieKey {
  /** 1 to 64 characters of A–Z a–z 0–9 . _ -. */
  readonly id: string;
  readonly secret: string;
}

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
const PAYLOAD_CHARS = 43;
const MAC_BYTES = 16;
const MAC_CHARS = 22;
/** As long as a name of the configuration may be. */
const MAX_KID_CHARS = 64;
const NO_VERSION = '00000000';
const KID = /^[A-Za-z0-9._-]{1,64}$/;

const NONE: CookieReading = Object.freeze({ result: 'none' });
const INVALID: CookieReading = Object.freeze({ result: 'invalid' });
const EXPIRED: CookieReading = Object.freeze({ result: 'expired' });

/** Random session ids, drawn from the system by the hundred: one call each would be a tenth of a request's cost. */
class SessionIds {
  #pool = Buffer.alloc(0);
  #at = 0;

  /** 16 hex digits. */
  next(): string {
    if (this.#at >= this.#pool.length) {
      this.#pool = randomBytes(SID_BYTES * SIDS_DRAWN);
      this.#at = 0;
    }
    this.#at += SID_BYTES;
    return this.#pool.toString('hex', this.#at - SID_BYTES, this.#at);
  }
}

const SID_BYTES = 8;
/** Half costs more calls, double keeps more ids waiting than a worker gives away in a second. */
const SIDS_DRAWN = 256;

export class SessionCookies {
  readonly #ids = new SessionIds();
  readonly #macs = new Map<string, Hmac>();
  /** Written anew for each cookie: buffers are memory outside the heap and dear to make. */
  readonly #macBytes = Buffer.alloc(MAC_BYTES);
  readonly #payload = Buffer.alloc(PAYLOAD_BYTES);
  readonly #name: string;
  readonly #keys: readonly CookieKey[];
  readonly #idleMs: number;
  readonly #absoluteMs: number;
  readonly #service: string;
  readonly #serviceMark: number;
  readonly #verified = new RecentMap<string, CookieReading & { readonly pin: Pin }>(MAX_VERIFIED);

  /** @throws RangeError without a key, or for a key id that cannot stand in a cookie. */
  constructor(options: SessionCookieOptions) {
    if (options.keys.length === 0) throw new RangeError('session cookies need a key');
    for (const { id } of options.keys) {
      if (!KID.test(id)) throw new RangeError(`${id} cannot be a key id: 1 to 64 of A-Z a-z 0-9 . _ -`);
    }
    this.#name = options.cookieName;
    this.#keys = options.keys;
    this.#idleMs = options.idleMs;
    this.#absoluteMs = options.absoluteMs;
    this.#service = options.service;
    this.#serviceMark = createHash('sha256').update(options.service).digest().readUInt32BE(0);
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
   */
  issue(
    instanceTag: string,
    versionTag: string,
    nowWallMs: number,
    previous: Pin | undefined,
    secure: boolean,
  ): { readonly cookie: string; readonly sid: string } {
    const key = this.#keys[0];
    if (key === undefined) throw new RangeError('session cookies need a key');
    const sid = previous?.sid ?? this.#ids.next();
    const payload = this.#payload;
    payload.writeUInt32BE(this.#serviceMark, 0);
    payload.write(sid, 4, 8, 'hex');
    payload.write(instanceTag, 12, 8, 'hex');
    payload.write(versionTag === '' ? NO_VERSION : versionTag, 20, 4, 'hex');
    const seen = seconds(nowWallMs);
    payload.writeUInt32BE(previous === undefined ? seen : seconds(previous.issuedMs), 24);
    payload.writeUInt32BE(seen, 28);
    const signed = `v1.${key.id}.${payload.toString('base64url')}`;
    const cookie = `${this.#name}=${signed}.${this.#mac(key, signed)}; Path=/; HttpOnly; SameSite=Lax`;
    return { cookie: secure ? `${cookie}; Secure` : cookie, sid };
  }

  /** Whether a valid pin should be sent again, so that an active session does not run into its idle time. */
  needsRefresh(pin: Pin, nowWallMs: number): boolean {
    return nowWallMs - pin.seenMs > this.#idleMs * REFRESH_SHARE;
  }

  /** The tag that new cookies carry for an instance: 16 hex digits. @param instanceUid discovery's uid, or host:port */
  tagOf(instanceUid: string): string {
    return this.#tag(this.#keys[0]?.secret ?? '', instanceUid);
  }

  /** The tags under which valid cookies may name an instance, one for each key, `tagOf` first. */
  tagsOf(instanceUid: string): readonly string[] {
    return this.#keys.map(({ secret }) => this.#tag(secret, instanceUid));
  }

  #tag(secret: string, instanceUid: string): string {
    // Begins unlike any cookie, so that no signature is ever a tag.
    const mac = createHmac('sha256', secret)
      .update(`instance\0${this.#service}\0${instanceUid}`)
      .digest('hex');
    return mac.slice(0, 16);
  }

  #macOf(key: CookieKey): Hmac {
    let mac = this.#macs.get(key.id);
    if (mac === undefined) {
      mac = new Hmac(key.secret);
      this.#macs.set(key.id, mac);
    }
    return mac;
  }

  #mac(key: CookieKey, signed: string): string {
    this.#macBytes.write(this.#macOf(key).sign(`${signed}\0${this.#service}`), 'latin1');
    return this.#macBytes.toString('base64url');
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
    const macAt = value.length - MAC_CHARS;
    const payloadAt = macAt - 1 - PAYLOAD_CHARS;
    const kidChars = payloadAt - 4;
    // Cheap tests of the form first: most of what is not ours ends here, before anything is hashed.
    if (kidChars < 1 || kidChars > MAX_KID_CHARS || !value.startsWith('v1.')) return undefined;
    if (value[payloadAt - 1] !== '.' || value[macAt - 1] !== '.') return undefined;
    const kid = value.slice(3, payloadAt - 1);
    const payload = Buffer.from(value.slice(payloadAt, macAt - 1), 'base64url');
    if (payload.length !== PAYLOAD_BYTES || payload.readUInt32BE(0) !== this.#serviceMark) return undefined;
    const signed = value.slice(0, macAt - 1);
    const given = Buffer.from(value.slice(macAt));
    for (const key of this.#keys) {
      if (key.id !== kid) continue;
      const wanted = Buffer.from(this.#mac(key, signed));
      if (given.length === wanted.length && timingSafeEqual(given, wanted)) return pinOf(payload);
    }
    return undefined;
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
