/** What `run` prints when the gateway is ready: addresses, and for the demo three requests to try. */

export interface Addresses {
  readonly listeners: readonly { readonly host: string; readonly port: number; readonly tls: boolean }[];
  readonly admin: string;
}

export function startedText(addresses: Addresses): string {
  return `Spillway is ready.\n  traffic  ${publicUrls(addresses).join(' ')}\n  admin    ${addresses.admin}\n`;
}

export function demoText(addresses: Addresses, instances: readonly string[]): string {
  const url = publicUrls(addresses)[0] ?? '';
  const moved = url.endsWith(':8080') ? '' : '  (8080 was taken)';
  return `Spillway demo: three small instances behind one gateway, and no configuration file.

  traffic    ${url}${moved}
  admin      ${addresses.admin}
  instances  ${instances.join(' ')}

Try, in another terminal:

  served   curl -i -H 'x-api-key: demo-gold' ${url}/
  limited  for i in 1 2 3 4; do curl -s -o /dev/null -w '%{http_code}\\n' -H 'x-api-key: demo-free' ${url}/; done
  shed     curl -s ${url}/tiny >/dev/null & sleep 0.1; curl -i ${url}/tiny

How things are: curl ${addresses.admin}/v1/status      Ctrl-C ends it.
`;
}

function publicUrls({ listeners }: Addresses): string[] {
  return listeners.map(({ host, port, tls }) => `${tls ? 'https' : 'http'}://${shown(host)}:${port}`);
}

/** An address to type: the wildcard is reached at localhost. */
function shown(host: string): string {
  if (host === '::' || host === '0.0.0.0') return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}
