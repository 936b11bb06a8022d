import { hash } from 'node:crypto';

/**
 * HMAC-SHA-256 (RFC 2104) over two one-shot digests with the padded key prepared once.
 *
 * A `createHmac` object costs about two microseconds of setting up, more than the two digests themselves, and every
 * buffer it hands out is memory outside the heap; each caller without a cookie gets one, so it is worth it here. Compared
 * with `createHmac` by a property test.
 */

const BLOCK_BYTES = 64;
const DIGEST_BYTES = 32;

export class Hmac {
  readonly #inner: Buffer;
  readonly #outer: Buffer;
  #message = Buffer.alloc(BLOCK_BYTES + 256);

  constructor(secret: string) {
    const bytes = Buffer.from(secret);
    const key = Buffer.alloc(BLOCK_BYTES);
    (bytes.length > BLOCK_BYTES ? hash('sha256', bytes, 'buffer') : bytes).copy(key);
    this.#inner = Buffer.from(key.map((byte) => byte ^ 0x36));
    this.#outer = Buffer.alloc(BLOCK_BYTES + DIGEST_BYTES);
    for (let at = 0; at < BLOCK_BYTES; at++) this.#outer[at] = (key[at] ?? 0) ^ 0x5c;
    this.#inner.copy(this.#message);
  }

  /** @returns the 32 bytes as a string of one character a byte */
  sign(text: string): string {
    const length = BLOCK_BYTES + Buffer.byteLength(text);
    if (length > this.#message.length) {
      this.#message = Buffer.alloc(length * 2);
      this.#inner.copy(this.#message);
    }
    this.#message.write(text, BLOCK_BYTES);
    this.#outer.write(hash('sha256', this.#message.subarray(0, length), 'latin1'), BLOCK_BYTES, 'latin1');
    return hash('sha256', this.#outer, 'latin1');
  }
}
