import { sameAuthority } from './host.ts';

/**
 * The head of an HTTP/2 stream as the HTTP/1.1 request that says the same, so that one set of rules judges both.
 *
 * Frames, pseudo-fields, names and connection-specific fields were checked by nghttp2, which resets the stream. What is
 * left are the places where two readers could differ: `:authority` wins and becomes the one Host; a `host` field that names
 * another place stays beside it, and two Hosts are refused as ever. Cookie crumbs become one field (RFC 9113 §8.2.3). An open
 * stream without a length has a body of unknown length: that is what `chunked` says, and what the request is re-framed by
 * (D10); of a GET or HEAD, which rarely has one, only the next frame tells (`io/http2-stream.ts` waits for it). A `:path` that is none, or a scheme that is not HTTP's, becomes a target that is refused. RFC 9113 §8.3.1.
 */

export interface StreamHead {
  readonly method: string;
  /** As it would stand in a request line. */
  readonly target: string;
  /** As received, empty when the stream named none. */
  readonly authority: string;
  /** Names and values without pseudo-fields. */
  readonly fields: string[];
  /** A GET or HEAD on an open stream that names no length: whether it has a body is not told yet. */
  readonly bodyUntold: boolean;
}

const COLON = 58;

/**
 * @param raw flat list of names and values in the order of the wire, one character an octet.
 * @param endStream nothing follows the head.
 */
export function translateHead(raw: readonly string[], endStream: boolean): StreamHead {
  let method = '';
  let scheme = '';
  let path = '';
  let authority = '';
  let cookieAt = -1;
  let framed = endStream;
  const hosts: string[] = [];
  const rest: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? '';
    const value = raw[index + 1] ?? '';
    if (name.charCodeAt(0) === COLON) {
      if (name === ':method') method = value;
      else if (name === ':path') path = value;
      else if (name === ':scheme') scheme = value;
      else if (name === ':authority') authority = value;
    } else if (name === 'host') {
      hosts.push(value);
    } else if (name === 'cookie' && cookieAt >= 0) {
      rest[cookieAt] += `; ${value}`;
    } else {
      if (name === 'cookie') cookieAt = rest.length + 1;
      else if (name === 'content-length') framed = true;
      rest.push(name, value);
    }
  }
  const fields = hostFields(authority, hosts);
  for (const text of rest) fields.push(text);
  if (!framed) fields.push('transfer-encoding', 'chunked');
  const bodyUntold = !framed && (method === 'GET' || method === 'HEAD');
  return { method, target: targetOf(method, scheme, authority, path), authority, fields, bodyUntold };
}

function hostFields(authority: string, hosts: readonly string[]): string[] {
  const fields: string[] = [];
  if (authority !== '') fields.push('host', authority);
  for (const host of hosts) {
    if (authority === '' || !sameAuthority(authority, host, 'https')) fields.push('host', host);
  }
  return fields;
}

function targetOf(method: string, scheme: string, authority: string, path: string): string {
  if (method === 'CONNECT') return authority;
  if (scheme !== 'https' && scheme !== 'http') return `${scheme}://${authority}${path}`;
  // The absolute form is HTTP/1's way to name an authority; here it has its own field.
  return path.startsWith('/') || (path === '*' && method === 'OPTIONS') ? path : '';
}
