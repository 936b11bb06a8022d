/**
 * What the frames of a session come to, looked at once a second: floods that no event tells of.
 *
 * *Bytes*: signal, what was read against what it was good for: bodies, heads, and updates of windows for what was sent.
 * Decision: a balance of two MiB of noise ends the session; so do padding, tiny frames and frames nobody knows, which cost
 * most for their size. Idle gap: the balance is zero again. nginx keeps one like it.
 *
 * *Heads*: nghttp2 drops a header section with too many fields and tells nobody; it is seen by the last stream that was
 * begun, when no request came of it. One that still trickles in has the time that any head has; when nothing comes
 * at all it is soon given up. Limit of the method: streams refused for their number leave gaps too, so only the stream
 * begun last is looked at.
 */

/** Half: an upload's bytes on their way through the windows look like noise; double: twice the flood. */
const MOST_NOISE_BYTES = 2 * 1024 * 1024;
/** Each second. Half: a chatty but honest caller pays for pings and priorities; double: a flood of it lasts longer. */
const FREE_BYTES = 64 * 1024;
/** A window update of 13 bytes for each few hundred bytes is the smallest that callers send. */
const SENT_FOR_READ = 32;
/** A head, and what of a body may be under way when the stream is over: one window. */
const STREAM_BYTES = 96 * 1024;

export class ByteBalance {
  #noise = 0;
  #before = 0;

  /**
   * @param read of the connection, since it began, as the next three
   * @param bodies bytes of request bodies
   * @returns false when too much was good for nothing
   */
  holds(read: number, sent: number, bodies: number, streams: number): boolean {
    const noise = read - bodies - streams * STREAM_BYTES - sent / SENT_FOR_READ;
    this.#noise = Math.max(0, this.#noise + noise - this.#before - FREE_BYTES);
    this.#before = noise;
    return this.#noise <= MOST_NOISE_BYTES;
  }
}

/** Half: a caller who lost a segment in the middle of a head is sent away; double: those who stall are seen a second later. */
const QUIET_MS = 1000;

export class HeadWatch {
  readonly #headMs: number;
  /** The last stream of which a request came. */
  #seen = 0;
  #pending = 0;
  #pendingSinceMs = 0;
  #read = 0;
  #readAtMs: number;

  /** @param headMs the longest that a head may take */
  constructor(headMs: number, now: number) {
    this.#headMs = headMs;
    this.#readAtMs = now;
  }

  /** A head has begun that has not come to its end. */
  get pending(): boolean {
    return this.#pending > this.#seen;
  }

  /** A request came on this stream. */
  came(stream: number): void {
    this.#seen = stream;
  }

  /**
   * @param begun the last stream whose head began
   * @param read bytes of the connection so far
   * @returns true when a head was dropped, or will not come to an end
   */
  lost(begun: number, read: number, now: number): boolean {
    if (read !== this.#read) {
      this.#read = read;
      this.#readAtMs = now;
    }
    if (begun <= this.#seen) {
      this.#pending = 0;
      return false;
    }
    if (this.#pending <= this.#seen) {
      this.#pending = begun;
      this.#pendingSinceMs = now;
    } else if (begun > this.#pending) {
      // Another head began behind it, so it is complete, and no request came of it.
      return true;
    }
    return now - this.#readAtMs >= QUIET_MS || now - this.#pendingSinceMs >= this.#headMs;
  }
}
