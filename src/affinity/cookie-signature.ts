/**
 * What our cookies have in common: `<form>.<kid>.<payload>.<mac>`, the payload in base64url and four bytes of the service's name
 * first, the mac HMAC-SHA-256 over the text before it and the service's name, 16 bytes.
 *
 * `keys[0]` signs, all verify: rotate by putting a key in front and removing the old one when it has been idle. What is
 * compared is the mac's *text*, in constant time: of the 22 characters the last holds four unused bits, and a comparison of
 * decoded bytes would let them be changed.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { Hmac } from './hmac.ts';

export interface CookieKey {
  /** 1 to 64 characters of A–Z a–z 0–9 . _ -. */
  readonly id: string;
  readonly secret: string;
}

const MAC_BYTES = 16;
const MAC_CHARS = 22;
/** As long as a name of the configuration may be. */
const MAX_KID_CHARS = 64;
const MARK_BYTES = 4;
const KID = /^[A-Za-z0-9._-]{1,64}$/;

export class CookieSignature {
  readonly #macs = new Map<CookieKey, Hmac>();
  /** Written anew for each mac: buffers are memory outside the heap and dear to make. */
  readonly #macBytes = Buffer.alloc(MAC_BYTES);
  readonly #keys: readonly CookieKey[];
  readonly #signing: CookieKey;
  readonly #service: string;
  readonly #serviceMark: number;

  /** @throws RangeError without a key, or for a key id that cannot stand in a cookie. */
  constructor(keys: readonly CookieKey[], service: string) {
    const [signing] = keys;
    if (signing === undefined) throw new RangeError('cookies need a key');
    for (const { id } of keys) {
      if (!KID.test(id)) throw new RangeError(`${id} cannot be a key id: 1 to 64 of A-Z a-z 0-9 . _ -`);
    }
    this.#keys = keys;
    this.#signing = signing;
    this.#service = service;
    this.#serviceMark = createHash('sha256').update(service).digest().readUInt32BE(0);
  }

  /**
   * The `Set-Cookie` value, signed by the first key.
   * @param payload its first four bytes are written here
   * @param secure whether the caller came over TLS
   */
  issue(name: string, form: string, payload: Buffer, secure: boolean): string {
    payload.writeUInt32BE(this.#serviceMark, 0);
    const signed = `${form}.${this.#signing.id}.${payload.toString('base64url')}`;
    const value = `${signed}.${this.#mac(this.#signing, signed)}`;
    return `${name}=${value}; Path=/; HttpOnly; SameSite=Lax${secure ? '; Secure' : ''}`;
  }

  /**
   * The payload of a cookie's value, undefined when it is none of ours.
   * @param mostBytes longer is none of ours either, and is not looked at
   */
  payloadOf(form: string, value: string, mostBytes: number): Buffer | undefined {
    const macAt = value.length - MAC_CHARS;
    // A key's id may have dots, a payload has none.
    const payloadAt = value.lastIndexOf('.', macAt - 2) + 1;
    const kidAt = form.length + 1;
    const kidChars = payloadAt - 1 - kidAt;
    // Cheap tests of the form first: most of what is not ours ends here, before anything is hashed.
    if (!value.startsWith(form) || value[form.length] !== '.' || value[macAt - 1] !== '.') return undefined;
    if (kidChars < 1 || kidChars > MAX_KID_CHARS) return undefined;
    if (macAt - 1 - payloadAt > Math.ceil((mostBytes * 4) / 3)) return undefined;
    const payload = Buffer.from(value.slice(payloadAt, macAt - 1), 'base64url');
    if (payload.length < MARK_BYTES || payload.readUInt32BE(0) !== this.#serviceMark) return undefined;
    return this.#verifies(value, value.slice(kidAt, payloadAt - 1)) ? payload : undefined;
  }

  /** Whether the mac at the end of a value is that of the key it names. */
  #verifies(value: string, kid: string): boolean {
    const signed = value.slice(0, -MAC_CHARS - 1);
    const given = Buffer.from(value.slice(-MAC_CHARS));
    for (const key of this.#keys) {
      if (key.id !== kid) continue;
      const wanted = Buffer.from(this.#mac(key, signed));
      if (given.length === wanted.length && timingSafeEqual(given, wanted)) return true;
    }
    return false;
  }

  /** What a cookie calls a thing that callers shall not know by its name; one for each key, that of new cookies first. */
  tagsOf(kind: 'instance' | 'version', name: string, chars: number): readonly string[] {
    // Begins unlike any cookie, so that no signature is ever a tag.
    return this.#keys.map(({ secret }) =>
      createHmac('sha256', secret).update(`${kind}\0${this.#service}\0${name}`).digest('hex').slice(0, chars),
    );
  }

  #mac(key: CookieKey, signed: string): string {
    let mac = this.#macs.get(key);
    if (mac === undefined) {
      mac = new Hmac(key.secret);
      this.#macs.set(key, mac);
    }
    this.#macBytes.write(mac.sign(`${signed}\0${this.#service}`), 'latin1');
    return this.#macBytes.toString('base64url');
  }
}
