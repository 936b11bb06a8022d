import type { IncomingMessage, Server, ServerOptions } from 'node:http';
import https from 'node:https';
import net, { type Socket } from 'node:net';
import type { Server as TlsServer, TLSSocket } from 'node:tls';
import type { ListenerConfiguration } from '../../config/schema.ts';
import { isWebsocketUpgrade } from '../forwarding/request-head.ts';
import { AddressCap } from './address-cap.ts';
import type { FrontGate } from './front-gate.ts';
import { httpMessages } from './http-messages.ts';
import type { Http2SessionLike, startHttp2Session } from './http2-session.ts';
import type { BoundHandle } from './listen-sockets.ts';
import { createServer } from './node-http.ts';
import type { RelievedServer } from './pressure-relief.ts';
import { passPeerOn, ProxyStage } from './proxy-protocol.ts';
import { insertStage } from './stages.ts';
import { systemWallMs } from './system-clock.ts';
import { TlsContexts, type TlsMaterial } from './tls-contexts.ts';

/**
 * The worker's HTTP servers: options of `node:http` set so that what the gateway answers is the gateway's word.
 *
 * Node would answer a request without Host, one too many on a socket or one too many headers by itself, or drop headers
 * in silence: those checks are off here and made by the front gate. Timeouts are checked each second instead of each
 * thirty, or a slow client holds its socket half a minute longer than it may.
 *
 * What a listener asks for beyond plain HTTP is a stage in front of the same server (`stages.ts`): the PROXY header and
 * the count by address before TLS, the choice between HTTP/1.1 and HTTP/2 behind it.
 */

/** Twice as long and a slow client stays a second more; half and the check costs more than it saves. */
const CHECK_INTERVAL_MS = 1000;

/** Half: a phone on a bad line fails to connect; double: a silent caller holds its place twice as long. */
const HANDSHAKE_MS = 10_000;

/**
 * Why a connection was closed before its first request: as many as the configuration allows, in all or of one address;
 * the worker cannot keep up; no PROXY header that counts; no TLS.
 */
export type DropReason = 'max_connections' | 'per_address' | 'pressure' | 'proxy_header' | 'tls';

export interface WorkerServerParts {
  /** Certificates of a listener with `tls`. */
  readonly tls?: TlsMaterial | undefined;
  /** Takes connections that chose `h2`; without it only HTTP/1.1 is offered. */
  readonly startHttp2Session?: typeof startHttp2Session | undefined;
}

export class WorkerServer implements RelievedServer {
  readonly key: string;
  readonly #configuration: ListenerConfiguration;
  readonly #gate: FrontGate;
  readonly #onDrop: (reason: DropReason) => void;
  readonly #startHttp2Session: typeof startHttp2Session | undefined;
  readonly #server: Server;
  readonly #proxy: ProxyStage | undefined;
  readonly #cap: AddressCap | undefined;
  readonly #sessions = new Set<Http2SessionLike>();
  #contexts: TlsContexts | undefined = undefined;
  #refusing = false;

  /** @throws Error when a certificate cannot be used */
  constructor(
    key: string,
    configuration: ListenerConfiguration,
    gate: FrontGate,
    onDrop: (reason: DropReason) => void,
    parts: WorkerServerParts = {},
  ) {
    this.key = key;
    this.#configuration = configuration;
    this.#gate = gate;
    this.#onDrop = onDrop;
    const { limits, tls, proxyProtocol, http2 } = configuration;
    this.#startHttp2Session = http2 && tls !== null ? parts.startHttp2Session : undefined;
    if (tls !== null && parts.tls !== undefined) this.#contexts = new TlsContexts(parts.tls, tls.minVersion);
    this.#proxy = proxyProtocol ? new ProxyStage(proxyProtocol.from) : undefined;
    this.#cap = limits.connectionsPerAddress > 0 ? new AddressCap(limits.connectionsPerAddress) : undefined;
    this.#server = this.#createServer();
    this.#server.keepAliveTimeout = limits.idleTimeout;
    this.#server.headersTimeout = limits.headersTimeout;
    this.#server.requestTimeout = limits.requestTimeout;
    this.#server.timeout = 0;
    this.#server.maxHeadersCount = 0;
    this.#server.maxRequestsPerSocket = 0;
    this.#server.maxConnections = configuration.maxConnections;
    Object.assign(this.#server, { dropMaxConnection: true });
    this.#server.on('request', gate.request);
    this.#server.on('checkContinue', gate.request);
    this.#server.on('checkExpectation', gate.request);
    this.#server.on('upgrade', gate.upgrade);
    this.#server.on('connect', gate.connect);
    this.#server.on('clientError', gate.clientError);
    this.#server.on('drop', () => {
      onDrop(this.#refusing ? 'pressure' : 'max_connections');
    });
    if (this.#proxy !== undefined) insertStage(this.#server, 'connection', this.#readProxyHeader);
    else if (this.#cap !== undefined) insertStage(this.#server, 'connection', this.#count);
  }

  /** New connections are shown these certificates; those that are there go on with theirs. @throws as the constructor */
  renewCertificates(material: TlsMaterial): void {
    const { tls } = this.#configuration;
    if (tls === null) return;
    const contexts = new TlsContexts(material, tls.minVersion, this.#contexts);
    (this.#server as unknown as TlsServer).setSecureContext(contexts.first);
    this.#contexts = contexts;
  }

  /** Accepts from a socket that the supervisor has bound. */
  async listen(handle: BoundHandle, backlog: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(handle, backlog, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
  }

  /**
   * Accepts no more. Connections stay: one that is kept alive is served once more (its answers say `connection: close`).
   */
  stopAccepting(): void {
    // Not the HTTP server's own close, which ends idle connections at once.
    net.Server.prototype.close.call(this.#server, ignore);
    // As HTTP/1: who has a request under way is told with its answer, an idle one is served once more.
    for (const session of this.#sessions) if (!session.idle) session.goAway();
  }

  /** The last connection has ended: nothing holds this server any more, its timer for slow clients least of all. */
  end(): void {
    this.#server.close(ignore);
  }

  refuseConnections(refuse: boolean): void {
    this.#refusing = refuse;
    this.#server.maxConnections = refuse ? 0 : this.#configuration.maxConnections;
  }

  /** Holds for connections that become idle from now on. */
  boundIdle(idleMs: number | undefined): void {
    const { idleTimeout } = this.#configuration.limits;
    this.#server.keepAliveTimeout = Math.min(idleTimeout, idleMs ?? idleTimeout);
  }

  /** Ends connections on which no request runs. */
  closeIdle(): void {
    this.#server.closeIdleConnections();
    for (const session of this.#sessions) if (session.idle) session.goAway();
  }

  /** Open connections, idle ones included. */
  async connections(): Promise<number> {
    return await new Promise((resolve) => {
      this.#server.getConnections((error, count) => {
        resolve(error === null ? count : 0);
      });
    });
  }

  closeAll(): void {
    this.#proxy?.closeAll();
    this.#server.closeAllConnections();
    for (const session of this.#sessions) session.destroy();
  }

  // Stages --------------------------------------------------------------------------------------------------------------

  readonly #readProxyHeader = (socket: Socket, pass: (socket: Socket) => void): void => {
    this.#proxy?.take(
      socket,
      () => {
        this.#count(socket, pass);
        // TLS reads by itself, beneath the stream; the parser waits for it to flow.
        if (this.#configuration.tls === null) socket.resume();
      },
      () => {
        this.#onDrop('proxy_header');
      },
    );
  };

  readonly #count = (socket: Socket, pass: (socket: Socket) => void): void => {
    const cap = this.#cap;
    if (cap !== undefined) {
      const place = cap.take(socket.remoteAddress ?? '');
      if (place === undefined) {
        this.#onDrop('per_address');
        socket.destroy();
        return;
      }
      socket.once('close', () => {
        cap.release(place);
      });
    }
    pass(socket);
  };

  /** Behind the handshake. */
  readonly #choose = (socket: TLSSocket, pass: (socket: TLSSocket) => void): void => {
    const { _parent: below } = socket as unknown as { readonly _parent?: Socket };
    if (this.#proxy !== undefined && below !== undefined) passPeerOn(below, socket);
    if (this.#startHttp2Session === undefined || socket.alpnProtocol !== 'h2') {
      pass(socket);
      return;
    }
    const session = this.#startHttp2Session(socket, this.#gate, this.#configuration);
    this.#sessions.add(session);
    socket.once('close', () => {
      this.#sessions.delete(session);
    });
  };

  #createServer(): Server {
    const { limits, tls } = this.#configuration;
    const options: ServerOptions = {
      maxHeaderSize: limits.headerBytes,
      connectionsCheckingInterval: CHECK_INTERVAL_MS,
      requireHostHeader: false,
      noDelay: true,
      keepAlive: true,
      optimizeEmptyRequests: true,
      httpValidation: 'strict',
      shouldUpgradeCallback: isWebSocket,
      ...httpMessages(systemWallMs),
    };
    if (tls === null) return createServer(options);
    const asks = tls.clientCa !== null;
    const server = https.createServer({
      ...options,
      ...this.#contexts?.first,
      ALPNProtocols: this.#startHttp2Session === undefined ? ['http/1.1'] : ['h2', 'http/1.1'],
      handshakeTimeout: HANDSHAKE_MS,
      // A caller who is asked for a certificate and has none that is valid gets no further than the handshake.
      requestCert: asks,
      rejectUnauthorized: asks,
      SNICallback: (name, done) => {
        done(null, this.#contexts?.pick(name));
      },
    });
    // Node's own listener would have a failed handshake answered in HTTP.
    server.removeAllListeners('tlsClientError');
    server.on('tlsClientError', (error, socket) => {
      this.#onDrop('tls');
      this.#gate.tlsClientError(error, socket);
    });
    insertStage<TLSSocket>(server, 'secureConnection', this.#choose);
    return server;
  }
}

function ignore(): void {
  // Closing a server that does not listen any more is what was wanted.
}

/** Only a WebSocket handshake is handed to the tunnel; every other `Upgrade` is an ordinary request without it. */
function isWebSocket(req: IncomingMessage): boolean {
  return isWebsocketUpgrade(req.method ?? '', req.httpVersionMinor, req.headers.upgrade);
}
