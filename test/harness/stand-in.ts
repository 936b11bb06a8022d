/** An HTTP server that stands for another program on a port of its own, which it may leave and come back to. */
import { once } from 'node:events';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';

import { listenBelow, listenOn } from './ports.ts';

export abstract class StandIn implements AsyncDisposable {
  readonly #server: Server;
  port = 0;

  protected constructor(server: Server) {
    this.#server = server;
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      this.answer(request, response);
    });
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Nobody is there to ask, until `back`. */
  async away(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async back(): Promise<void> {
    await listenOn(this.#server, this.port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) await this.away();
  }

  protected async listen(): Promise<this> {
    this.port = await listenBelow(this.#server);
    return this;
  }

  protected cutAll(): void {
    this.#server.closeAllConnections();
  }

  protected abstract answer(request: IncomingMessage, response: ServerResponse): void;
}
