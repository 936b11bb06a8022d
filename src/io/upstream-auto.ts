import { H1Pool } from './h1-pool.ts';
import { H2Pool } from './upstream-h2.ts';
import type { PoolOptions, UpstreamHandler, UpstreamPool, UpstreamRequest } from './upstream-pool.ts';

/**
 * `protocol: auto` over TLS: the instance chooses by ALPN (RFC 7301).
 *
 * The first connection offers both. Where the instance prefers HTTP/2 it stays; else it is closed, and from then on
 * connections are opened for HTTP/1.1 alone: one handshake too many in the life of a worker. An instance that no longer speaks
 * HTTP/2 is noticed at its next connection; one that has learned it, as its next incarnation.
 */
export class AutoPool implements UpstreamPool {
  readonly #h2: H2Pool;
  readonly #h1: H1Pool;
  #speaksH1 = false;

  constructor(url: string, options: PoolOptions) {
    this.#h1 = new H1Pool(url, options);
    this.#h2 = new H2Pool(url, options, (waiting) => {
      this.#speaksH1 = true;
      for (const { request, handler } of waiting) this.#h1.dispatch(request, handler);
    });
  }

  dispatch(request: UpstreamRequest, handler: UpstreamHandler): void {
    (this.#speaksH1 ? this.#h1 : this.#h2).dispatch(request, handler);
  }

  async close(): Promise<void> {
    await Promise.all([this.#h1.close(), this.#h2.close()]);
  }

  async destroy(): Promise<void> {
    await Promise.all([this.#h1.destroy(), this.#h2.destroy()]);
  }
}
