import { Client, Pool, type buildConnector, type Dispatcher } from 'undici';
import { readPem } from './pem.ts';

/**
 * One connection pool an incarnation of an instance.
 *
 * undici never queues here: admission and the instance's cap hold requests back before, and a pool has as many
 * connections as it needs, so that where shedding only observes, or is off, nobody waits unseen. Its own timers are off or only a backstop, since deadlines live in the worker's wheel. An idle socket is kept
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
  readonly connectTimeoutMs: number;
  readonly tls: TlsConnectOptions;
}

const KEEP_ALIVE_MS = 4000;
const KEEP_ALIVE_MAX_MS = 30_000;
/** Taken off the server's own hint: one round trip and a slow loop must fit, else a request meets a closing socket. */
const KEEP_ALIVE_MARGIN_MS = 2000;
const REQUESTS_PER_SOCKET = 1000;

/** What an attempt may ask of the connection it runs on. */
export interface UpstreamConnection {
  /**
   * The socket broke. undici takes a reset for the end of a body that ends with its connection; a cut answer must not
   * look whole to the caller, so the attempt asks here.
   */
  broken: boolean;
}

/** A dispatch handler that wants to know its connection. */
export interface ConnectionAware {
  connection: UpstreamConnection | undefined;
}

/** A client that tells its handlers the connection and notes when the socket breaks. */
class WatchedClient extends Client {
  readonly #connection: UpstreamConnection;

  constructor(origin: string | URL, options: Client.Options) {
    const connection: UpstreamConnection = { broken: false };
    // The pool has made its connect options into a connector already.
    const connect = options.connect as buildConnector.connector;
    super(origin, {
      ...options,
      connect: (target, done) => {
        connection.broken = false;
        connect(target, (...outcome) => {
          const [, socket] = outcome;
          // Before undici's own listener, which would tell the handler first.
          socket?.on('error', () => {
            connection.broken = true;
          });
          done(...outcome);
        });
      },
    });
    this.#connection = connection;
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    if ('connection' in handler) (handler as ConnectionAware).connection = this.#connection;
    return super.dispatch(options, handler);
  }
}

export function openPool(url: string, options: PoolOptions): Pool {
  return new Pool(url, {
    factory: (origin, clientOptions) => new WatchedClient(origin, clientOptions),
    connections: null,
    pipelining: 1,
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: KEEP_ALIVE_MAX_MS,
    keepAliveTimeoutThreshold: KEEP_ALIVE_MARGIN_MS,
    maxRequestsPerClient: REQUESTS_PER_SOCKET,
    allowH2: false,
    connect: { timeout: options.connectTimeoutMs * 2, ...options.tls },
  });
}

export interface TlsConnectOptions {
  readonly rejectUnauthorized: true;
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
  readonly servername?: string;
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
