import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';

/**
 * The client's body as the upstream client reads it.
 *
 * An attempt that fails destroys the stream it was given; were that the client's own request, the refusal could
 * no longer be delivered and a failed connect would eat the body. This reader stands between: it pulls from the request
 * only when asked, counts bytes against the listener's limit, and its end never ends the request. As long as nothing was
 * pulled, another attempt may start with a new reader. An instance that speaks HTTP/2 may refuse a stream whose body is on
 * its way already, without having looked at it; for those the first bytes are kept (no copies, the buffers as they came).
 */

/** Half: uploads of a usual form are lost to a restart; double: as much again is held for every upload under way. */
const KEPT_BYTES = 64 * 1024;

export class RequestBody extends Readable {
  readonly #source: IncomingMessage;
  readonly #limitBytes: number;
  readonly #onTooLarge: () => void;
  readonly #onRead: ((bytes: number) => void) | undefined;
  readonly #onChunk = (chunk: Buffer): void => this.#take(chunk);
  readonly #onEnd = (): void => {
    this.endedMs = performance.now();
    this.push(null);
  };
  /** Moment of the last byte, 0 before. */
  endedMs = 0;
  /** Bytes handed on so far; 0 means that the body is untouched. */
  bytes = 0;
  /** How often the instance took no more. */
  pauses = 0;
  #attached = false;
  /** What was handed on, while it may be handed on once more. */
  #kept: Buffer[] | undefined = undefined;
  /** Moment since which the instance takes no more, 0 while it does. */
  #pausedMs = 0;

  /** @param limitBytes 0 = no limit; past it `onTooLarge` is called once and nothing more is read. */
  constructor(
    source: IncomingMessage,
    limitBytes: number,
    onTooLarge: () => void,
    onRead?: (bytes: number) => void,
  ) {
    super({ highWaterMark: 64 * 1024 });
    this.#source = source;
    this.#limitBytes = limitBytes;
    this.#onTooLarge = onTooLarge;
    this.#onRead = onRead;
  }

  /** Remembers what it hands on, as long as that is little. */
  keep(): void {
    this.#kept = [];
  }

  /** Another reader can hand on the whole body from its beginning. */
  get repeatable(): boolean {
    return this.bytes === 0 || this.#kept !== undefined;
  }

  /** Begins with what an earlier reader handed on; that one must be destroyed. */
  repeat(earlier: RequestBody): void {
    this.#kept = [...(earlier.#kept ?? [])];
    this.bytes = earlier.bytes;
    this.endedMs = earlier.endedMs;
    for (const chunk of this.#kept) this.push(chunk);
  }

  /** Whether bytes have been waiting for so long without anybody taking them. */
  stalledFor(now: number, spanMs: number): boolean {
    return this.#pausedMs > 0 && now - this.#pausedMs >= spanMs;
  }

  /** Bytes are taken as they come, and it is the caller who has not sent them all. */
  get wanting(): boolean {
    return this.#attached && this.#pausedMs === 0 && this.endedMs === 0 && !this.destroyed;
  }

  override _read(): void {
    this.#pausedMs = 0;
    if (this.#attached) {
      this.#source.resume();
      return;
    }
    this.#attached = true;
    this.#source.on('data', this.#onChunk);
    this.#source.on('end', this.#onEnd);
    // Another reader may have left it paused.
    this.#source.resume();
    if (this.#source.readableEnded) this.push(null);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#detach();
    callback(error);
  }

  #take(chunk: Buffer): void {
    this.bytes += chunk.length;
    this.#onRead?.(chunk.length);
    if (this.#limitBytes > 0 && this.bytes > this.#limitBytes) {
      this.#detach();
      this.#onTooLarge();
      return;
    }
    if (this.#kept !== undefined) {
      if (this.bytes <= KEPT_BYTES) this.#kept.push(chunk);
      else this.#kept = undefined;
    }
    if (this.push(chunk)) return;
    this.#pausedMs = performance.now();
    this.pauses += 1;
    this.#source.pause();
  }

  #detach(): void {
    if (!this.#attached) return;
    this.#source.off('data', this.#onChunk);
    this.#source.off('end', this.#onEnd);
    this.#source.pause();
  }
}
