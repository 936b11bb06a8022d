/**
 * Where a listener that only redirects sends its callers: the same host, path and query under https.
 *
 * The target is repeated as it was received, after it was judged: the secure listener reads it once more, and a browser
 * shows what was typed. The port of the host is the plain one and never repeated.
 */

/** Certificates are renewed over plain HTTP by whoever has a route for it (RFC 8555 §8.3). */
const ACME_PATH = '/.well-known/acme-challenge';

/**
 * @param hostName without port; an IPv6 address in its brackets
 * @param port where callers reach the secure listener
 * @param rawTarget as received and found good: a path, or an absolute URI
 */
export function httpsLocation(hostName: string, port: number, rawTarget: string): string {
  return `https://${hostName}${port === 443 ? '' : `:${port}`}${pathOf(rawTarget)}`;
}

/** Path and query of a target. */
function pathOf(rawTarget: string): string {
  if (rawTarget.startsWith('/')) return rawTarget;
  let at = rawTarget.indexOf('://') + 3;
  while (at < rawTarget.length && rawTarget[at] !== '/' && rawTarget[at] !== '?') at++;
  const rest = rawTarget.slice(at);
  return rest.startsWith('/') ? rest : `/${rest}`;
}

/** Whether a path, or the path of a route, is there to prove who owns a name. */
export function isAcmePath(path: string): boolean {
  return path === ACME_PATH || path.startsWith(`${ACME_PATH}/`);
}

/**
 * The port that callers are sent to where the configuration names none: 443 if some listener has it, else the first secure
 * one; 443 without any. Right unless something in front of us gives callers another port than ours.
 */
export function securePort(listeners: readonly { readonly port: number; readonly tls: unknown }[]): number {
  const ports = listeners.flatMap(({ port, tls }) => (tls === null || port === 0 ? [] : [port]));
  // Without any, somebody in front of us ends TLS.
  return ports.includes(443) ? 443 : (ports[0] ?? 443);
}
