import net, { isIP, type Socket } from 'node:net';
import tls from 'node:tls';
import type { TlsConnectOptions } from './upstream-pool.ts';

/**
 * A connected socket to an instance; over TLS its certificate is verified before anybody hears of it, against
 * `tls.serverName` or else the host of the address, never against what a caller wrote into `Host`.
 */

export interface UpstreamAddress {
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
}

export function upstreamAddress(url: string): UpstreamAddress {
  const { protocol, hostname, port } = new URL(url);
  const secure = protocol === 'https:';
  return {
    host: hostname.startsWith('[') ? hostname.slice(1, -1) : hostname,
    port: port === '' ? (secure ? 443 : 80) : Number(port),
    secure,
  };
}

/** A dead peer is found after a minute. */
const KEEP_ALIVE_PROBE_MS = 60_000;

export interface SocketNews {
  /** @param protocol what ALPN agreed on; '' without TLS or where the instance knows no ALPN */
  connected(socket: Socket, protocol: string): void;
  /** Once, and only before `connected`. */
  failed(error: Error): void;
}

/**
 * @param alpn protocols offered over TLS, the preferred first
 * @param timeoutMs for connecting and the handshake together
 * @returns the socket, to be destroyed by whoever cannot wait any longer
 */
export function openSocket(
  { host, port, secure }: UpstreamAddress,
  options: TlsConnectOptions,
  alpn: readonly string[],
  timeoutMs: number,
  news: SocketNews,
): Socket {
  const plain = { host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS };
  const socket = secure
    ? tls.connect({
        ...plain,
        ALPNProtocols: [...alpn],
        ...(isIP(host) === 0 ? { servername: host } : {}),
        ...options,
      } as tls.ConnectionOptions)
    : net.connect(plain);
  let told = false;
  const fail = (error: Error): void => {
    if (told) return;
    told = true;
    socket.destroy();
    news.failed(error);
  };
  // A timer, since bytes of a slow handshake would put off the socket's own.
  const timer = setTimeout(() => fail(connectTimeout()), timeoutMs);
  socket.on('error', fail);
  socket.once('close', () => {
    clearTimeout(timer);
    fail(closed());
  });
  socket.once(secure ? 'secureConnect' : 'connect', () => {
    clearTimeout(timer);
    if (told) return;
    told = true;
    const agreed = secure ? (socket as tls.TLSSocket).alpnProtocol : false;
    news.connected(socket, typeof agreed === 'string' ? agreed : '');
  });
  return socket;
}

/** As the fault table knows it. */
export function connectTimeout(): Error {
  return Object.assign(new Error('connect timeout'), { code: 'ETIMEDOUT' });
}

function closed(): Error {
  return Object.assign(new Error('closed while connecting'), { code: 'ECONNRESET' });
}
