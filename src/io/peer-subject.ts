import { TLSSocket } from 'node:tls';
import { oneLineName } from '../clients/subject.ts';
import { StreamSocket } from './http2-socket.ts';

/**
 * The subject of the certificate that a peer has proved to hold.
 *
 * Only what the listener verified against its `clientCa` counts: `authorized` is OpenSSL's verdict, which a resumed session
 * brings along with the certificate. Found once a connection; streams of HTTP/2 share theirs.
 */

const SUBJECT = Symbol('subject');

interface Carrier {
  [SUBJECT]?: string;
}

/** On one line (`CN=shop,O=Acme`); '' without a certificate, or with one that nobody has verified. */
export function peerSubject(socket: unknown): string {
  const connection = socket instanceof StreamSocket ? socket.connection : socket;
  if (!(connection instanceof TLSSocket)) return '';
  const carrier = connection as Carrier;
  carrier[SUBJECT] ??= connection.authorized
    ? oneLineName(connection.getPeerX509Certificate()?.subject ?? '')
    : '';
  return carrier[SUBJECT];
}
