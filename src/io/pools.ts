import { Pool } from 'undici';
import { readPem } from './pem.ts';

/**
 * One connection pool an incarnation of an instance.
 *
 * undici never queues here: admission and the instance's cap hold requests back before, and `connections` is the whole
 * cap. Its own timers are off or only a backstop, since deadlines live in the worker's wheel. An idle socket is kept
 * 4 s, below the 5 s after which a Node server closes it, so that a request seldom meets a socket that is just being
 * closed; a server's own `Keep-Alive: timeout=` hint counts less two seconds.
 */

export interface UpstreamTls {
  /** PEM text, or paths of PEM files; null: the public authorities, no certificate of our own. */
  readonly ca: string | null;
  readonly cert: string | null;
  readonly key: string | null;
  /** The name to verify; null: the host. */
  readonly serverName: string | null;
}

export interface PoolOptions {
  readonly connections: number;
  readonly connectTimeoutMs: number;
  readonly tls: UpstreamTls | undefined;
}

const KEEP_ALIVE_MS = 4000;
const KEEP_ALIVE_MAX_MS = 30_000;
/** Taken off the server's own hint: one round trip and a slow loop must fit, else a request meets a closing socket. */
const KEEP_ALIVE_MARGIN_MS = 2000;
const REQUESTS_PER_SOCKET = 1000;

export function openPool(url: string, options: PoolOptions): Pool {
  return new Pool(url, {
    connections: Math.max(1, options.connections),
    pipelining: 1,
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: KEEP_ALIVE_MAX_MS,
    keepAliveTimeoutThreshold: KEEP_ALIVE_MARGIN_MS,
    maxRequestsPerClient: REQUESTS_PER_SOCKET,
    allowH2: false,
    connect: { timeout: options.connectTimeoutMs * 2, ...tlsConnectOptions(options.tls) },
  });
}

/** What `tls.connect` needs to reach an https instance; certificates are always verified. */
export function tlsConnectOptions(tls: UpstreamTls | undefined): {
  rejectUnauthorized: true;
  ca?: Buffer;
  cert?: Buffer;
  key?: Buffer;
  servername?: string;
} {
  return {
    rejectUnauthorized: true,
    ...(tls === undefined || tls.ca === null ? {} : { ca: readPem(tls.ca) }),
    ...(tls === undefined || tls.cert === null ? {} : { cert: readPem(tls.cert) }),
    ...(tls === undefined || tls.key === null ? {} : { key: readPem(tls.key) }),
    ...(tls === undefined || tls.serverName === null ? {} : { servername: tls.serverName }),
  };
}
