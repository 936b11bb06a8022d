/**
 * Where the frames of a WebSocket end, and nothing else of them (RFC 6455 §5.2).
 *
 * A tunnel is never read; but who ends it must not speak into the middle of a frame. So the lengths of the frames from
 * the instance to the caller are followed: a few bytes a frame are looked at, payloads are skipped by arithmetic. Bytes
 * that can't be a frame's head (a length with its first bit set, or beyond what a number holds exactly) lose the place
 * for good: then there is no boundary any more, and the tunnel can only be closed without a word.
 */

const MASK_BIT = 0x80;
const LENGTH_BITS = 0x7f;
const TWO_BYTES = 126;
const EIGHT_BYTES = 127;
const MASK_BYTES = 4;

/** What of a frame comes next. */
type Place = 'first' | 'length' | 'more-length' | 'payload' | 'lost';

export class FrameFollower {
  #place: Place = 'first';
  /** Bytes of an extended length, or of mask and payload, still to come. */
  #left = 0;
  #length = 0;
  #masked = false;

  /** The next byte begins a frame. */
  get atBoundary(): boolean {
    return this.#place === 'first';
  }

  /**
   * Follows bytes up to the end of a frame, or all of them.
   * @returns how many were followed; `atBoundary` says which of the two it was
   */
  toBoundary(bytes: Uint8Array, from = 0): number {
    let at = from;
    while (at < bytes.length) {
      if (this.#place === 'payload') {
        const skipped = Math.min(this.#left, bytes.length - at);
        at += skipped;
        this.#left -= skipped;
        if (this.#left === 0) this.#place = 'first';
      } else if (this.#place === 'lost') {
        return bytes.length;
      } else {
        this.#head(bytes[at] ?? 0);
        at += 1;
      }
      if (this.#place === 'first') return at;
    }
    return at;
  }

  /** Follows all of the bytes. */
  follow(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) at = this.toBoundary(bytes, at);
  }

  #head(byte: number): void {
    switch (this.#place) {
      case 'first':
        this.#place = 'length';
        return;
      case 'length': {
        this.#masked = (byte & MASK_BIT) !== 0;
        const length = byte & LENGTH_BITS;
        if (length < TWO_BYTES) {
          this.#payload(length);
          return;
        }
        this.#place = 'more-length';
        this.#left = length === EIGHT_BYTES ? 8 : 2;
        this.#length = 0;
        return;
      }
      case 'more-length':
        if (this.#left === 8 && byte >= MASK_BIT) {
          this.#place = 'lost';
          return;
        }
        this.#length = this.#length * 256 + byte;
        this.#left -= 1;
        if (this.#left === 0) this.#payload(this.#length);
        return;
      case 'payload':
      case 'lost':
        return;
      default:
        this.#place satisfies never;
    }
  }

  #payload(length: number): void {
    this.#left = length + (this.#masked ? MASK_BYTES : 0);
    if (!Number.isSafeInteger(this.#left)) this.#place = 'lost';
    else this.#place = this.#left === 0 ? 'first' : 'payload';
  }
}

/** A close frame from a server, without a reason: 1001, "going away". */
export const GOING_AWAY: Uint8Array = Uint8Array.of(0x88, 0x02, 0x03, 0xe9);
