import { isIP } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { checkHost } from '../forwarding/host.ts';

/**
 * Which hosts a connection may be asked for.
 *
 * A caller of HTTP/2 sends requests for any host that the certificate it was shown is good for over one connection. A host
 * beyond that was not meant for us, or is meant to slip past whatever looked at the name in the handshake: 421 sends an
 * honest caller to a connection of its own (RFC 9110 §15.5.20, RFC 9113 §9.1.1). The name of the handshake itself is always
 * good, since callers who accepted another certificate knew what they did; so is the address that was connected to.
 */

/** Hosts of one connection; a page has a few. More are asked anew each time, so that inventing names fills nothing. */
const MOST_REMEMBERED = 32;

export class ConnectionHosts {
  readonly #socket: TLSSocket;
  readonly #verdicts = new Map<string, boolean>();

  constructor(socket: TLSSocket) {
    this.#socket = socket;
  }

  /** @param authority as received; what is no authority is left to the rules for Host. */
  allow(authority: string): boolean {
    const known = this.#verdicts.get(authority);
    if (known !== undefined) return known;
    const { ok, host } = checkHost(authority);
    const allowed = !ok || this.#covers(host);
    if (this.#verdicts.size < MOST_REMEMBERED) this.#verdicts.set(authority, allowed);
    return allowed;
  }

  #covers(host: string): boolean {
    const socket = this.#socket;
    const asked = sniOf(socket);
    if (host === asked) return true;
    const bare = host.startsWith('[') ? host.slice(1, -1) : host;
    const certificate = socket.getX509Certificate();
    if (certificate === undefined) return true;
    if (isIP(bare) === 0) return certificate.checkHost(bare) !== undefined;
    // Who connects to an address names none in the handshake.
    return asked === '' || bare === localAddressOf(socket) || certificate.checkIP(bare) !== undefined;
  }
}

/** The name that the caller asked for in the handshake, lower case; empty: none. */
function sniOf(socket: TLSSocket): string {
  const { servername } = socket as { readonly servername?: string | false | null };
  return typeof servername === 'string' ? servername.toLowerCase() : '';
}

function localAddressOf({ localAddress = '' }: TLSSocket): string {
  return localAddress.startsWith('::ffff:') ? localAddress.slice(7) : localAddress;
}
