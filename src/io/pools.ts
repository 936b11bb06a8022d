import { readPem } from './pem.ts';
import { H1Pool } from './h1-pool.ts';
import { AutoPool } from './upstream-auto.ts';
import { H2Pool } from './upstream-h2.ts';
import type { PoolOptions, TlsConnectOptions, UpstreamPool } from './upstream-pool.ts';

/** Opens the pool of an instance, in the protocol that its service speaks; and what TLS needs to reach it. */

export interface UpstreamTls {
  /** PEM text, or paths of PEM files; null: the public authorities, no certificate of our own. */
  readonly ca: string | null;
  readonly cert: string | null;
  readonly key: string | null;
  /** The name to verify; null: the host. */
  readonly serverName: string | null;
}

/** One pool an incarnation of an instance; connects when the first request needs it. */
export function openPool(url: string, options: PoolOptions): UpstreamPool {
  switch (options.protocol) {
    case 'h1':
      return new H1Pool(url, options);
    case 'h2':
      return new H2Pool(url, options);
    case 'auto':
      return url.startsWith('https:') ? new AutoPool(url, options) : new H1Pool(url, options);
    default:
      return options.protocol satisfies never;
  }
}

/** What `tls.connect` needs to reach an https instance; certificates are always verified. */
export function tlsConnectOptions(tls: UpstreamTls | undefined): TlsConnectOptions {
  return {
    rejectUnauthorized: true,
    ...(tls === undefined || tls.ca === null ? {} : { ca: readPem(tls.ca) }),
    ...(tls === undefined || tls.cert === null ? {} : { cert: readPem(tls.cert) }),
    ...(tls === undefined || tls.key === null ? {} : { key: readPem(tls.key) }),
    ...(tls === undefined || tls.serverName === null ? {} : { servername: tls.serverName }),
  };
}
