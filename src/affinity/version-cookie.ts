/**
 * The signed cookie that names a version, for services whose callers shall stay with a version and not with an instance.
 *
 * Form: `d1.<kid>.<payload>.<mac>`, the mac that of `cookie-signature.ts`. Payload: service 4 bytes, an id of 8 (random, what
 * canaries are drawn by), the version's name. Being signed, it reaches also a version that is not public: whoever has it
 * was given it. It lasts as long as the browser's session; what it names may be retired before, and then it is as none.
 * A name is no secret, so it is written as it is.
 */
import { CookieSignature, MAC_CHARS, MAX_KID_CHARS, type CookieKey } from './cookie-signature.ts';
import { cookieValue, findCookie } from '../kernel/cookie.ts';
import { RecentMap } from '../kernel/lru.ts';

/** What a valid cookie says. */
export interface VersionPin {
  /** 16 hex digits. */
  readonly id: string;
  readonly version: string;
}

const FORM = 'd1';
const MARK_BYTES = 4;
const HEAD_BYTES = 12;
/** A name of 64 characters and what is before it, in base64url. Longer is none of ours, and is not looked at. */
const MOST_PAYLOAD_CHARS = 102;
/** As for sessions; about 2 MiB a worker. */
const MAX_VERIFIED = 10_000;

export class VersionCookie {
  readonly name: string;
  readonly #signature: CookieSignature;
  readonly #verified = new RecentMap<string, VersionPin>(MAX_VERIFIED);

  /** @param keys the first signs, all verify */
  constructor(name: string, keys: readonly CookieKey[], service: string) {
    this.name = name;
    this.#signature = new CookieSignature(keys, service);
  }

  /** What a request's cookie says; of several with that name the first counts. Undefined: none, or none of ours. */
  read(cookieHeader: string): VersionPin | undefined {
    const start = cookieHeader === '' ? -1 : findCookie(cookieHeader, this.name, 0);
    if (start < 0) return undefined;
    const value = cookieValue(cookieHeader, start);
    const known = this.#verified.get(value);
    if (known !== undefined) return known;
    const pin = this.#verify(value);
    // The value is a window into its whole header; the copy lets that go.
    if (pin !== undefined) this.#verified.set(Buffer.from(value, 'latin1').toString('latin1'), pin);
    return pin;
  }

  /** The `Set-Cookie` value. @param secure whether the caller came over TLS */
  issue({ id, version }: VersionPin, secure: boolean): string {
    const payload = Buffer.alloc(HEAD_BYTES + version.length);
    payload.writeUInt32BE(this.#signature.serviceMark, 0);
    payload.write(id, MARK_BYTES, 'hex');
    payload.write(version, HEAD_BYTES, 'latin1');
    const value = this.#signature.sign(FORM, payload.toString('base64url'));
    return `${this.name}=${value}; Path=/; HttpOnly; SameSite=Lax${secure ? '; Secure' : ''}`;
  }

  #verify(value: string): VersionPin | undefined {
    const macAt = value.length - MAC_CHARS;
    // A key's id may have dots, a payload has none.
    const payloadAt = value.lastIndexOf('.', macAt - 2) + 1;
    const kidAt = FORM.length + 1;
    const kidChars = payloadAt - 1 - kidAt;
    const payloadChars = macAt - 1 - payloadAt;
    if (!value.startsWith(`${FORM}.`) || value[macAt - 1] !== '.') return undefined;
    if (kidChars < 1 || kidChars > MAX_KID_CHARS || payloadChars > MOST_PAYLOAD_CHARS) return undefined;
    const payload = Buffer.from(value.slice(payloadAt, macAt - 1), 'base64url');
    if (payload.length <= HEAD_BYTES || payload.readUInt32BE(0) !== this.#signature.serviceMark)
      return undefined;
    if (!this.#signature.verifies(value, value.slice(kidAt, payloadAt - 1))) return undefined;
    return {
      id: payload.toString('hex', MARK_BYTES, HEAD_BYTES),
      version: payload.toString('latin1', HEAD_BYTES),
    };
  }
}
