import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';

/**
 * The client's body as the upstream client reads it.
 *
 * undici destroys the stream it was given when an attempt fails; were that the client's own request, the refusal could
 * no longer be delivered and a failed connect would eat the body. This reader stands between: it pulls from the request
 * only when asked, counts bytes against the listener's limit, and its end never ends the request. As long as nothing was
 * pulled, another attempt may start with a new reader.
 */
export class RequestBody extends Readable {
  readonly #source: IncomingMessage;
  readonly #limitBytes: number;
  readonly #onTooLarge: () => void;
  readonly #onChunk = (chunk: Buffer): void => this.#take(chunk);
  readonly #onEnd = (): void => {
    this.endedMs = performance.now();
    this.push(null);
  };
  /** Moment of the last byte, 0 before. */
  endedMs = 0;
  /** Bytes handed on so far; 0 means that the body is untouched. */
  bytes = 0;
  #attached = false;
  /** Moment since which the instance takes no more, 0 while it does. */
  #pausedMs = 0;

  /** @param limitBytes 0 = no limit; past it `onTooLarge` is called once and nothing more is read. */
  constructor(source: IncomingMessage, limitBytes: number, onTooLarge: () => void) {
    super({ highWaterMark: 64 * 1024 });
    this.#source = source;
    this.#limitBytes = limitBytes;
    this.#onTooLarge = onTooLarge;
  }

  /** Whether bytes have been waiting for so long without anybody taking them. */
  stalledFor(now: number, spanMs: number): boolean {
    return this.#pausedMs > 0 && now - this.#pausedMs >= spanMs;
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
    if (this.#source.readableEnded) this.push(null);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#detach();
    callback(error);
  }

  #take(chunk: Buffer): void {
    this.bytes += chunk.length;
    if (this.#limitBytes > 0 && this.bytes > this.#limitBytes) {
      this.#detach();
      this.#onTooLarge();
      return;
    }
    if (this.push(chunk)) return;
    this.#pausedMs = performance.now();
    this.#source.pause();
  }

  #detach(): void {
    if (!this.#attached) return;
    this.#source.off('data', this.#onChunk);
    this.#source.off('end', this.#onEnd);
    this.#source.pause();
  }
}
