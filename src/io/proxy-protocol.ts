import type { Socket } from 'node:net';
import { parseNetworks, type TrustedNetworks } from '../clients/address.ts';
import { familyOf, readProxyHeader } from '../clients/proxy-header.ts';

/**
 * The first stage of a connection on a listener with `proxyProtocol`: the header is read before TLS and before HTTP, and
 * what it names is the peer from then on.
 *
 * Who is not among `from`, sends anything else than a header, or has not sent it after five seconds is closed without a
 * byte: an answer would tell a stranger where he can forge his address. Listeners without the option never come here.
 */

/** Half: a proxy that lost its first segment twice is cut; double: strangers hold a place twice as long. */
const HEADER_MS = 5000;

export class ProxyStage {
  readonly #from: TrustedNetworks;
  readonly #waiting = new Set<Socket>();

  /** @param from networks whose header is required and believed */
  constructor(from: readonly string[]) {
    this.#from = parseNetworks(from);
  }

  /**
   * Reads the header and gives the socket its address; what came behind the header is put back. Then the socket is
   * paused: `resume` is up to whoever takes it.
   */
  take(socket: Socket, onPassed: () => void, onRefused: () => void): void {
    if (!this.#from.includes(socket.remoteAddress ?? '')) {
      onRefused();
      socket.destroy();
      return;
    }
    let bytes: Buffer = Buffer.alloc(0);
    const refuse = (): void => {
      leave();
      onRefused();
      socket.destroy();
    };
    const timer = setTimeout(refuse, HEADER_MS);
    const onData = (chunk: Buffer): void => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      const header = readProxyHeader(bytes);
      if (header.kind === 'more') return;
      if (header.kind === 'bad') {
        refuse();
        return;
      }
      leave();
      socket.pause();
      if (header.address !== '') showPeer(socket, header.address, header.port);
      if (header.length < bytes.length) socket.unshift(bytes.subarray(header.length));
      onPassed();
    };
    const leave = (): void => {
      clearTimeout(timer);
      this.#waiting.delete(socket);
      socket.off('data', onData);
      socket.off('end', refuse);
      socket.off('close', leave);
      // The error listener stays until the socket is gone: between two owners it would have none.
    };
    this.#waiting.add(socket);
    socket.on('data', onData);
    socket.on('error', ignore);
    socket.once('end', refuse);
    socket.once('close', leave);
  }

  /** Ends whoever has not said yet whom he speaks for. */
  closeAll(): void {
    for (const socket of this.#waiting) socket.destroy();
  }
}

/** Gives the socket of a layer above the peer of the one that it runs on. */
export function passPeerOn(from: Socket, to: Socket): void {
  if (Object.hasOwn(from, 'remoteAddress')) showPeer(to, from.remoteAddress ?? '', from.remotePort ?? 0);
}

function showPeer(socket: Socket, address: string, port: number): void {
  Object.defineProperties(socket, {
    remoteAddress: { value: address, enumerable: true },
    remotePort: { value: port, enumerable: true },
    remoteFamily: { value: familyOf(address), enumerable: true },
  });
}

function ignore(): void {
  // The socket's end is told by its close.
}
