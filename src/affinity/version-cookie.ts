/**
 * The signed cookie that names a version, for services whose callers shall stay with a version and not with an instance.
 *
 * Form: `d1.<kid>.<payload>.<mac>`, the mac that of `cookie-signature.ts`. Payload: service 4 bytes, an id of 8 (random, what
 * canaries are drawn by), the version's name. Being signed, it reaches also a version that is not public: whoever has it
 * was given it. It lasts as long as the browser's session; what it names may be retired before, and then it is as none.
 * A name is no secret, so it is written as it is.
 */
import { CookieSignature, type CookieKey } from './cookie-signature.ts';
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
/** With a name of 64 characters. */
const MOST_BYTES = HEAD_BYTES + 64;
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
    payload.write(id, MARK_BYTES, 'hex');
    payload.write(version, HEAD_BYTES, 'latin1');
    return this.#signature.issue(this.name, FORM, payload, secure);
  }

  #verify(value: string): VersionPin | undefined {
    const payload = this.#signature.payloadOf(FORM, value, MOST_BYTES);
    if (payload === undefined || payload.length <= HEAD_BYTES) return undefined;
    return {
      id: payload.toString('hex', MARK_BYTES, HEAD_BYTES),
      version: payload.toString('latin1', HEAD_BYTES),
    };
  }
}
