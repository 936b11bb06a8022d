import { EventEmitter } from 'node:events';
import type { TLSSocket } from 'node:tls';

/**
 * What a stream shows where a request of HTTP/1 shows its connection.
 *
 * Addresses are the connection's; ending it means this stream alone, since the others are other people's requests or at
 * least other requests. `destroy` is a reset, an orderly end is the answer's own business.
 */
export class StreamSocket extends EventEmitter {
  readonly encrypted = true;
  readonly #connection: TLSSocket;
  readonly #reset: () => void;
  destroyed = false;

  /** @param reset ends the stream at once */
  constructor(connection: TLSSocket, reset: () => void) {
    super();
    this.#connection = connection;
    this.#reset = reset;
  }

  /** What its streams share. */
  get connection(): TLSSocket {
    return this.#connection;
  }

  get remoteAddress(): string | undefined {
    return this.#connection.remoteAddress;
  }

  get remotePort(): number | undefined {
    return this.#connection.remotePort;
  }

  get localAddress(): string | undefined {
    return this.#connection.localAddress;
  }

  get localPort(): number | undefined {
    return this.#connection.localPort;
  }

  get writable(): boolean {
    return !this.destroyed;
  }

  destroy(): this {
    this.#reset();
    return this;
  }

  /** A connection ends behind its last answer; a stream does so by itself. */
  destroySoon(): void {
    this.end();
  }

  end(): this {
    return this;
  }

  /** The stream is gone. */
  closed(): void {
    this.destroyed = true;
    this.emit('close');
  }
}
