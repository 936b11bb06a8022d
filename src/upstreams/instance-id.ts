/**
 * The name of an instance in states, metrics, commands and cookies: `host:port`, the port always written out, IPv6 in
 * brackets. `URL.host` alone drops the scheme's own port, and `http://shop` and `https://shop` would share one name.
 *
 * @throws TypeError when `url` is none
 */
export function instanceId(url: string): string {
  const { hostname, port, protocol } = new URL(url);
  if (port !== '') return `${hostname}:${port}`;
  return `${hostname}:${protocol === 'https:' ? 443 : 80}`;
}

/** Host and port of an id, to connect to: a socket wants IPv6 without its brackets. */
export function instanceAddress(id: string): { readonly host: string; readonly port: number } {
  const colon = id.lastIndexOf(':');
  const host = id.startsWith('[') ? id.slice(1, colon - 1) : id.slice(0, colon);
  return { host, port: Number(id.slice(colon + 1)) };
}
