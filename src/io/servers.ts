import { X509Certificate } from 'node:crypto';
import http, { type Server, type ServerOptions } from 'node:http';
import https from 'node:https';
import net from 'node:net';
import tls, { type SecureContext } from 'node:tls';
import type { ListenerConfiguration } from '../../config/schema.ts';
import { isWebsocketUpgrade } from '../forwarding/request-head.ts';
import type { FrontGate } from './front-gate.ts';
import { readPem } from './pem.ts';
import type { BoundHandle } from './listen-sockets.ts';
import type { RelievedServer } from './pressure-relief.ts';

/**
 * The worker's HTTP servers: options of `node:http` set so that what the gateway answers is the gateway's word.
 *
 * Node would answer a request without Host, one too many on a socket or one too many headers by itself, or drop headers
 * in silence: those checks are off here and made by the front gate. Timeouts are checked each second instead of each
 * thirty, or a slow client holds its socket half a minute longer than it may.
 */

/** Twice as long and a slow client stays a second more; half and the check costs more than it saves. */
const CHECK_INTERVAL_MS = 1000;

/** Why a connection was closed as it was accepted: as many as the configuration allows, or the worker cannot keep up. */
export type DropReason = 'max_connections' | 'pressure';

export class WorkerServer implements RelievedServer {
  readonly key: string;
  readonly #configuration: ListenerConfiguration;
  readonly #server: Server;
  #refusing = false;

  constructor(
    key: string,
    configuration: ListenerConfiguration,
    gate: FrontGate,
    onDrop: (reason: DropReason) => void,
  ) {
    this.key = key;
    this.#configuration = configuration;
    this.#server = createServer(configuration);
    const { limits } = configuration;
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
    this.#server.on('tlsClientError', gate.tlsClientError);
    this.#server.on('drop', () => {
      onDrop(this.#refusing ? 'pressure' : 'max_connections');
    });
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
    this.#server.closeAllConnections();
  }
}

function ignore(): void {
  // Closing a server that does not listen any more is what was wanted.
}

function createServer(configuration: ListenerConfiguration): Server {
  const options: ServerOptions = {
    maxHeaderSize: configuration.limits.headerBytes,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
    requireHostHeader: false,
    noDelay: true,
    keepAlive: true,
    optimizeEmptyRequests: true,
    httpValidation: 'strict',
    shouldUpgradeCallback: isWebSocket,
  };
  const { tls: secure } = configuration;
  if (secure === null) return http.createServer(options);
  const contexts = secure.certificates.map(({ cert, key }) => certificate(cert, key, secure.minVersion));
  const [first] = contexts;
  return https.createServer({
    ...options,
    key: first?.key,
    cert: first?.cert,
    minVersion: secure.minVersion,
    ALPNProtocols: ['http/1.1'],
    handshakeTimeout: 10_000,
    SNICallback: (name, done) => {
      done(null, pickContext(contexts, name));
    },
  });
}

interface Certificate {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly context: SecureContext;
  readonly names: readonly string[];
}

function certificate(certificatePem: string, keyPem: string, minVersion: 'TLSv1.2' | 'TLSv1.3'): Certificate {
  const cert = readPem(certificatePem);
  const key = readPem(keyPem);
  return { cert, key, context: tls.createSecureContext({ cert, key, minVersion }), names: namesOf(cert) };
}

/** The DNS names a certificate is good for, lower case; wildcards as they stand. */
function namesOf(pem: Buffer): readonly string[] {
  const x509 = new X509Certificate(pem);
  const names = (x509.subjectAltName ?? '').split(', ').filter((name) => name.startsWith('DNS:'));
  return names.map((name) => name.slice(4).toLowerCase());
}

/** Exact name, then a wildcard for one label, then the first certificate. */
function pickContext(certificates: readonly Certificate[], serverName: string): SecureContext | undefined {
  const name = serverName.toLowerCase();
  const wildcard = `*${name.slice(Math.max(0, name.indexOf('.')))}`;
  const found =
    certificates.find(({ names }) => names.includes(name)) ??
    certificates.find(({ names }) => names.includes(wildcard)) ??
    certificates[0];
  return found?.context;
}

/** Only a WebSocket handshake is handed to the tunnel; every other `Upgrade` is an ordinary request without it. */
function isWebSocket(req: http.IncomingMessage): boolean {
  return isWebsocketUpgrade(req.method ?? '', req.httpVersionMinor, req.headers.upgrade);
}
