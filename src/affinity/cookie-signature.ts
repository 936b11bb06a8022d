/**
 * The mac at the end of our cookies: HMAC-SHA-256 over the text before it and the service's name, 16 bytes.
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
export const MAC_CHARS = 22;
/** As long as a name of the configuration may be. */
export const MAX_KID_CHARS = 64;
const KID = /^[A-Za-z0-9._-]{1,64}$/;

export class CookieSignature {
  readonly #macs = new Map<CookieKey, Hmac>();
  /** Written anew for each mac: buffers are memory outside the heap and dear to make. */
  readonly #macBytes = Buffer.alloc(MAC_BYTES);
  readonly #keys: readonly CookieKey[];
  readonly #signing: CookieKey;
  readonly service: string;
  /** Four bytes of the service's name. */
  readonly serviceMark: number;

  /** @throws RangeError without a key, or for a key id that cannot stand in a cookie. */
  constructor(keys: readonly CookieKey[], service: string) {
    const [signing] = keys;
    if (signing === undefined) throw new RangeError('cookies need a key');
    for (const { id } of keys) {
      if (!KID.test(id)) throw new RangeError(`${id} cannot be a key id: 1 to 64 of A-Z a-z 0-9 . _ -`);
    }
    this.#keys = keys;
    this.#signing = signing;
    this.service = service;
    this.serviceMark = createHash('sha256').update(service).digest().readUInt32BE(0);
  }

  /** `<form>.<kid>.<payload>.<mac>`, signed by the first key. */
  sign(form: string, payload: string): string {
    const signed = `${form}.${this.#signing.id}.${payload}`;
    return `${signed}.${this.#mac(this.#signing, signed)}`;
  }

  /** Whether the mac at the end of a value is that of the key it names. */
  verifies(value: string, kid: string): boolean {
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
      createHmac('sha256', secret).update(`${kind}\0${this.service}\0${name}`).digest('hex').slice(0, chars),
    );
  }

  #mac(key: CookieKey, signed: string): string {
    let mac = this.#macs.get(key);
    if (mac === undefined) {
      mac = new Hmac(key.secret);
      this.#macs.set(key, mac);
    }
    this.#macBytes.write(mac.sign(`${signed}\0${this.service}`), 'latin1');
    return this.#macBytes.toString('base64url');
  }
}
