import { Buffer } from 'node:buffer';
import { Seats } from '../kernel/seats.ts';
import { H1Connection, type ConnectionKeeper, type ConnectionTarget } from './h1-connection.ts';
import { KnownAddresses } from './known-addresses.ts';
import { SpareMemory } from './read-memory.ts';
import type { PoolOptions, UpstreamHandler, UpstreamPool, UpstreamRequest } from './upstream-pool.ts';

/**
 * HTTP/1.1 to an instance: as many connections as requests are in flight, the free ones used again, the last first.
 *
 * Nobody waits here: admission and the instance's cap held the request back before. A free connection is kept 4 s, below
 * the 5 s after which a Node server closes it, so that a request seldom meets one that is just being closed; a server's own
 * `Keep-Alive: timeout=` hint counts less two seconds. When one breaks under a request before a byte of its answer,
 * though it had served before, the others that are free are most likely as dead, so the next try gets a fresh one.
 *
 * Why our own: the client of a general library costs a third of what a request costs here (undici 8: 29 µs for a bare
 * relay of 129 bytes, this one 21, on the machine where a bare `@fastify/http-proxy` needs 60), and its reader lets by
 * what an intermediary must refuse. What it does not do: pipelining, redirects, `Expect`, HTTP/2.
 */

/** Half, and quiet services connect again for each request; double, and requests meet what the server is closing. */
const KEEP_ALIVE_MS = 4000;
/** Half costs connects where servers keep longer; double holds descriptors for nothing. */
const KEEP_ALIVE_MAX_MS = 30_000;
/** Taken off the server's own hint: one round trip and a slow loop must fit, else a request meets a closing socket. */
const KEEP_ALIVE_MARGIN_MS = 2000;
/** Half costs connects; double keeps load from moving to what a balancer or DNS behind this address has added. */
const REQUESTS_PER_CONNECTION = 1000;
/** How often expired connections are looked for; at use each is looked at anyway. */
const SWEEP_MS = 1000;
/** As node's own streams read. */
const BUFFER_BYTES = 64 * 1024;

export class H1Pool implements UpstreamPool, ConnectionKeeper {
  readonly #target: ConnectionTarget;
  /** Free ones, the one used last at the end. */
  readonly #free: H1Connection[] = [];
  readonly #all = new Seats<H1Connection>();
  #closed = false;
  #sweep: NodeJS.Timeout | undefined = undefined;
  /** Who waits for the last one to close. */
  readonly #waiting: (() => void)[] = [];

  constructor(url: string, options: PoolOptions) {
    const { protocol, hostname, port } = new URL(url);
    const secure = protocol === 'https:';
    const host = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
    this.#target = {
      host,
      lookup: new KnownAddresses(host).lookup,
      port: port === '' ? (secure ? 443 : 80) : Number(port),
      secure,
      tls: options.tls,
      connectTimeoutMs: options.connectTimeoutMs,
      buffer: Buffer.allocUnsafeSlow(BUFFER_BYTES),
      spares: new SpareMemory(),
    };
  }

  dispatch(request: UpstreamRequest, handler: UpstreamHandler): void {
    if (this.#closed) {
      handler.onResponseError(undefined, GONE);
      return;
    }
    const connection = this.#takeFree();
    if (connection === undefined) this.#all.add(new H1Connection(this.#target, this, request, handler));
    else connection.send(request, handler);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#drop();
    await this.#emptied();
  }

  async destroy(): Promise<void> {
    this.#closed = true;
    this.#all.each((connection) => {
      connection.destroy(GONE);
    });
    await this.#emptied();
  }

  freed(connection: H1Connection): void {
    const { keepAliveS } = connection;
    const keepMs =
      keepAliveS < 0 ? KEEP_ALIVE_MS : Math.min(keepAliveS * 1000 - KEEP_ALIVE_MARGIN_MS, KEEP_ALIVE_MAX_MS);
    if (this.#closed || keepMs <= 0 || connection.served >= REQUESTS_PER_CONNECTION) {
      connection.destroy(GONE);
      return;
    }
    connection.expiresMs = performance.now() + keepMs;
    this.#free.push(connection);
    this.#sweep ??= setInterval(this.#expire, SWEEP_MS).unref();
  }

  closed(connection: H1Connection, stale: boolean): void {
    this.#all.delete(connection);
    const index = this.#free.indexOf(connection);
    if (index >= 0) this.#free.splice(index, 1);
    if (stale) this.#drop();
    if (this.#all.size === 0) for (const done of this.#waiting.splice(0)) done();
  }

  #takeFree(): H1Connection | undefined {
    for (;;) {
      const connection = this.#free.pop();
      if (connection === undefined) return undefined;
      if (!connection.ended && connection.expiresMs > performance.now()) return connection;
      connection.destroy(GONE);
    }
  }

  readonly #expire = (): void => {
    const now = performance.now();
    const expired = this.#free.filter(({ expiresMs }) => expiresMs <= now);
    for (const connection of expired) connection.destroy(GONE);
    if (this.#free.length > expired.length) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  };

  /** Ends all that are free. */
  #drop(): void {
    for (const connection of this.#free.splice(0)) connection.destroy(GONE);
  }

  async #emptied(): Promise<void> {
    clearInterval(this.#sweep);
    this.#sweep = undefined;
    if (this.#all.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#waiting.push(resolve);
    });
  }
}

/** The pool of an instance that is gone; the fault table knows the name. */
const GONE = Object.assign(new Error('the pool is closed'), { code: 'POOL_CLOSED' });
