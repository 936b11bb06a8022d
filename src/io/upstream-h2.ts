import type { Socket } from 'node:net';
import { H2Connection, type H2Keeper } from './upstream-h2-connection.ts';
import { H2Error } from './upstream-h2-error.ts';
import type { PoolOptions, UpstreamHandler, UpstreamPool, UpstreamRequest } from './upstream-pool.ts';
import { connectTimeout, openSocket, upstreamAddress, type UpstreamAddress } from './upstream-socket.ts';

/**
 * HTTP/2 to an instance: as few connections as its limit of streams allows, opened when requests need them.
 *
 * Over TLS by ALPN, in clear text with prior knowledge (RFC 9113 §3.3). A request waits only while a connection is being
 * opened, as it would over HTTP/1.1, or finds room sooner in another one; one connect at a time. When it fails, all that
 * wait for it fail: nothing of them was sent. It repeats nothing: whether a request that the instance has not begun goes
 * elsewhere is the forwarding's to say. node:http2 directly, since the client of undici replays requests by itself, merges
 * fields of one name, and hides the codes of resets, which gRPC tells its callers by.
 */

/** Takes a connected socket that speaks HTTP/1.1 after all; `auto` only. */
export type OtherProtocol = (waiting: readonly Waiting[]) => void;

export interface Waiting {
  readonly request: UpstreamRequest;
  readonly handler: UpstreamHandler;
}

export class H2Pool implements UpstreamPool, H2Keeper {
  readonly #address: UpstreamAddress;
  readonly #options: PoolOptions;
  readonly #otherwise: OtherProtocol | undefined;
  /** Those that may take requests. */
  readonly #open: H2Connection[] = [];
  readonly #all = new Set<H2Connection>();
  #connecting: Socket | undefined = undefined;
  #opening: H2Connection | undefined = undefined;
  #waiting: Waiting[] = [];
  #closed = false;
  #onEmpty: (() => void) | undefined = undefined;

  /** @param otherwise gets those that wait when ALPN agrees on HTTP/1.1; without it that is a fault of the instance */
  constructor(url: string, options: PoolOptions, otherwise?: OtherProtocol) {
    this.#address = upstreamAddress(url);
    this.#options = options;
    this.#otherwise = otherwise;
  }

  dispatch(request: UpstreamRequest, handler: UpstreamHandler): void {
    if (this.#closed) {
      handler.onResponseError(undefined, new H2Error('H2_CLOSED'));
      return;
    }
    for (const connection of this.#open) {
      if (!connection.hasRoom) continue;
      connection.start(request, handler);
      return;
    }
    this.#waiting.push({ request, handler });
    this.#connect();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#abandonConnect();
    for (const connection of this.#all) connection.close();
    await this.#emptied();
  }

  async destroy(): Promise<void> {
    this.#closed = true;
    this.#abandonConnect();
    for (const connection of this.#all) connection.destroy(new H2Error('H2_CLOSED'));
    await this.#emptied();
  }

  // What connections tell -----------------------------------------------------------------------------------------------

  ready(connection: H2Connection): void {
    if (this.#opening === connection) this.#opening = undefined;
    this.#open.push(connection);
    this.#serve();
    if (this.#waiting.length > 0) this.#connect();
  }

  freed(): void {
    if (this.#waiting.length > 0) this.#serve();
  }

  leaving(connection: H2Connection, error: Error | undefined): void {
    const index = this.#open.indexOf(connection);
    if (index >= 0) this.#open.splice(index, 1);
    if (this.#opening !== connection) return;
    this.#opening = undefined;
    this.#failWaiting(error ?? new H2Error('H2_CLOSED'));
  }

  closed(connection: H2Connection): void {
    this.#all.delete(connection);
    if (this.#all.size === 0) this.#onEmpty?.();
  }

  // Connecting ----------------------------------------------------------------------------------------------------------

  #connect(): void {
    if (this.#connecting !== undefined || this.#opening !== undefined) return;
    const { tls, connectTimeoutMs } = this.#options;
    const alpn = this.#otherwise === undefined ? ['h2'] : ['h2', 'http/1.1'];
    this.#connecting = openSocket(this.#address, tls, alpn, connectTimeoutMs, {
      connected: (socket, protocol) => {
        this.#connecting = undefined;
        this.#take(socket, protocol);
      },
      failed: (error) => {
        this.#connecting = undefined;
        this.#failWaiting(error);
      },
    });
  }

  #take(socket: Socket, protocol: string): void {
    if (this.#address.secure && protocol !== 'h2') {
      socket.destroy();
      const waiting = this.#waiting.splice(0);
      if (this.#otherwise !== undefined) this.#otherwise(waiting);
      else for (const { handler } of waiting) handler.onResponseError(undefined, new H2Error('H2_UNSPOKEN'));
      return;
    }
    const connection = new H2Connection(socket, this.#address.secure, this);
    this.#all.add(connection);
    this.#opening = connection;
    // Settings that never come are a connect that never ends; whoever waits has a limit of his own.
    const timer = setTimeout(() => {
      if (this.#opening === connection) connection.destroy(connectTimeout());
    }, this.#options.connectTimeoutMs);
    connection.session.once('remoteSettings', () => clearTimeout(timer));
    connection.session.once('close', () => clearTimeout(timer));
  }

  #serve(): void {
    while (this.#waiting.length > 0) {
      const connection = this.#open.find(({ hasRoom }) => hasRoom);
      if (connection === undefined) return;
      const next = this.#waiting.shift();
      if (next !== undefined) connection.start(next.request, next.handler);
    }
  }

  #failWaiting(error: Error): void {
    for (const { handler } of this.#waiting.splice(0)) handler.onResponseError(undefined, error);
  }

  #abandonConnect(): void {
    this.#connecting?.destroy();
    this.#connecting = undefined;
    this.#failWaiting(new H2Error('H2_CLOSED'));
  }

  async #emptied(): Promise<void> {
    if (this.#all.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
  }
}
