import type { ServiceConfiguration } from '../../config/schema.ts';
import { openPool, tlsConnectOptions } from './pools.ts';
import type { TlsConnectOptions, UpstreamPool } from './upstream-pool.ts';

/**
 * The connections of a worker to a service's instances, one pool an instance, opened at the first request that needs it.
 * A pool that is not needed any more lets its running answers end.
 */
export class ServicePools {
  readonly #pools = new Map<string, { readonly url: string; readonly pool: UpstreamPool }>();
  #configuration: ServiceConfiguration;
  #tls: TlsConnectOptions;

  /** @throws Error when a TLS file cannot be read */
  constructor(configuration: ServiceConfiguration) {
    this.#configuration = configuration;
    this.#tls = tlsConnectOptions(configuration.tls ?? undefined);
  }

  /** How an https instance is reached; the files were read when the configuration was taken. */
  get tls(): TlsConnectOptions {
    return this.#tls;
  }

  /** Connections that would be made in another way now are made anew. @throws Error as the constructor; then all is as it was */
  configure(configuration: ServiceConfiguration): void {
    const tls = tlsConnectOptions(configuration.tls ?? undefined);
    if (poolMark(configuration) !== poolMark(this.#configuration)) this.retireAll();
    this.#tls = tls;
    this.#configuration = configuration;
  }

  of(id: string, url: string): UpstreamPool {
    const open = this.#pools.get(id);
    if (open?.url === url) return open.pool;
    // The same address may be spoken to in another way now; nothing goes out in clear text any more then.
    if (open !== undefined) retire(open.pool);
    const { timeout, protocol } = this.#configuration;
    const pool = openPool(url, { protocol, connectTimeoutMs: timeout.connect, tls: this.#tls });
    this.#pools.set(id, { url, pool });
    return pool;
  }

  /** Retires the pools of all other instances. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const [id, { pool }] of this.#pools) {
      if (ids.has(id)) continue;
      this.#pools.delete(id);
      retire(pool);
    }
  }

  retireAll(): void {
    for (const { pool } of this.#pools.values()) retire(pool);
    this.#pools.clear();
  }

  async destroy(): Promise<void> {
    await Promise.all([...this.#pools.values()].map(({ pool }) => pool.destroy()));
    this.#pools.clear();
  }
}

/** What a pool was opened with; a change means new pools. */
function poolMark({ timeout, tls, protocol }: ServiceConfiguration): string {
  return `${protocol} ${timeout.connect} ${JSON.stringify(tls)}`;
}

/** Lets running answers end; a failure would only mean that the pool was destroyed meanwhile. */
function retire(pool: UpstreamPool): void {
  pool.close().catch(() => undefined);
}
