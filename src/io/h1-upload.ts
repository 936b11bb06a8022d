import type { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';

/**
 * A request with a body on its way to an instance: head and bytes as they come, with back pressure.
 *
 * Of known length it goes as it is, else chunked. Head and what of the body is there already leave in one write.
 */
export class H1Upload {
  readonly #socket: Socket;
  readonly #body: Readable;
  readonly #bodyBytes: number;
  #sentBytes = 0;
  #stopped = false;
  /** The last byte was handed to the socket. */
  done = false;

  /**
   * @param head the request's head without framing of a chunked body and without its end
   * @param bodyBytes -1: not known
   */
  constructor(socket: Socket, head: string, body: Readable, bodyBytes: number) {
    this.#socket = socket;
    this.#body = body;
    this.#bodyBytes = bodyBytes;
    socket.cork();
    const framing = bodyBytes < 0 ? 'transfer-encoding: chunked\r\n' : '';
    socket.write(`${head}${framing}connection: keep-alive\r\n\r\n`, 'latin1');
    body.on('data', this.#onChunk);
    body.once('end', this.#onEnd);
    setImmediate(() => {
      socket.uncork();
    });
  }

  /** The socket takes bytes again. */
  drained(): void {
    if (!this.#stopped) this.#body.resume();
  }

  /** Nothing more is written. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#body.off('data', this.#onChunk);
    this.#body.off('end', this.#onEnd);
  }

  readonly #onChunk = (chunk: Buffer): void => {
    this.#sentBytes += chunk.length;
    if (!this.#write(chunk)) this.#body.pause();
  };

  #write(chunk: Buffer): boolean {
    if (this.#bodyBytes >= 0) return this.#socket.write(chunk);
    this.#socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1');
    this.#socket.write(chunk);
    return this.#socket.write('\r\n', 'latin1');
  }

  readonly #onEnd = (): void => {
    if (this.#bodyBytes >= 0 && this.#sentBytes !== this.#bodyBytes) {
      // Half a message must not look whole, and what follows it would be read as its rest.
      this.stop();
      this.#socket.destroy();
      return;
    }
    if (this.#bodyBytes < 0) this.#socket.write('0\r\n\r\n', 'latin1');
    this.done = true;
  };
}
