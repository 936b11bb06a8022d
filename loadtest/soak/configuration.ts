/**
 * The configuration of a soak, in variants that a reload walks through: a service that comes and goes, an instance that
 * leaves its list, a listener more, other limits. What all have in common carries the traffic, so no reload may cost a request.
 */
import { execFileSync } from 'node:child_process';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Within these a caller who is too slow must be gone. */
export const HEADERS_TIMEOUT_MS = 5000;
export const REQUEST_TIMEOUT_MS = 12_000;
/** What the client `greedy` may do; it asks for twice as much. */
export const GREEDY_PER_SECOND = 5;

export const VARIANTS = 5;

export interface Places {
  readonly tlsPort: number;
  readonly extraPort: number;
  readonly redisUrl: string;
  readonly certFile: string;
  readonly keyFile: string;
  /** Of the service that carries the traffic; the last one leaves the list now and then, and is never killed. */
  readonly shop: readonly string[];
  /** Of the service that comes and goes. */
  readonly guest: string;
  readonly workers: number;
}

/** With `__PORT__` and `__ADMIN__` where those belong. */
export function soakYaml(places: Places, variant: number): string {
  const { shop, guest, redisUrl, certFile, keyFile, tlsPort, extraPort, workers } = places;
  const withGuest = variant === 1 || variant === 2;
  const listed = variant === 3 ? shop.slice(0, -1) : shop;
  const limits = `{ headersTimeout: ${HEADERS_TIMEOUT_MS}ms, requestTimeout: ${REQUEST_TIMEOUT_MS}ms }`;
  return `
listeners:
  - { port: __PORT__, host: 127.0.0.1, limits: ${limits} }
  - port: ${tlsPort}
    host: 127.0.0.1
    limits: ${limits}
    http2: true
    tls: { certificates: [{ cert: ${certFile}, key: ${keyFile} }] }
${variant === 2 ? `  - { port: ${extraPort}, host: 127.0.0.1 }` : ''}
admin: { host: 127.0.0.1, port: __ADMIN__ }
shutdown: { delay: 0s, timeout: 5s }
workers: ${workers}
redis: { url: '${redisUrl}' }
trust: { proxies: [127.0.0.0/8] }
clients:
  identify: [{ header: x-api-key }, { ip: {} }]
  keys:
    - { key: load, client: load, tier: busy }
    - { key: greedy, client: greedy, tier: greedy }
tiers:
  default: { rate: ${variant === 4 ? 2000 : 1000}/s, priority: default }
  busy: { rate: 1000000/s, burst: 1000000, priority: critical }
  greedy: { rate: ${GREEDY_PER_SECOND}/s, burst: ${GREEDY_PER_SECOND}, priority: sheddable }
limits: { global: { rate: 1000000/s, burst: 1000000 } }
services:
  shop:
    instances: [${listed.join(', ')}]
    sla: ${variant === 4 ? 900 : 1000}ms
    readiness: { path: /ready, interval: 500ms }
    affinity: { cookie: soak }
${withGuest ? `  guest: { instances: [${guest}], sla: 1s, readiness: { path: /ready } }` : ''}
routes:
  - { path: /, service: shop }
  - { path: /moved, service: shop, rewrite: /item }
${variant === 4 ? '  - { path: /item, service: shop, headers: { response: { set: { x-variant: four } } } }' : ''}
${withGuest ? '  - { path: /guest, service: guest }' : ''}
`;
}

/** Two self-signed pairs for `localhost`, and the files that the gateway reads, which are one of them. */
export interface Certificates extends AsyncDisposable {
  readonly certFile: string;
  readonly keyFile: string;
  /** Both certificates, for callers that verify. */
  readonly caFile: string;
  /** Puts the other pair in place: certificate and key one after the other, as people do. */
  readonly swap: () => Promise<void>;
}

export async function makeCertificates(): Promise<Certificates> {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-soak-'));
  // Ctrl-C leaves no folder behind.
  const atOwnExit = (): void => rmSync(folder, { recursive: true, force: true });
  process.once('exit', atOwnExit);
  const file = (name: string): string => join(folder, name);
  const pairs = ['one', 'two'];
  for (const name of pairs) {
    const files = ['-keyout', file(`${name}.key`), '-out', file(`${name}.crt`)];
    const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
    const names = ['-subj', `/CN=soak ${name}`, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
    execFileSync('openssl', ['req', ...kind, ...names, ...files], { stdio: 'ignore' });
  }
  let current = 0;
  const place = async (): Promise<void> => {
    const name = pairs[current] ?? 'one';
    await copyFile(file(`${name}.crt`), file('served.crt'));
    await copyFile(file(`${name}.key`), file('served.key'));
  };
  await place();
  execFileSync('sh', ['-c', 'cat "$1" "$2" > "$3"', 'sh', file('one.crt'), file('two.crt'), file('ca.crt')]);
  return {
    certFile: file('served.crt'),
    keyFile: file('served.key'),
    caFile: file('ca.crt'),
    swap: async () => {
      current = 1 - current;
      await place();
    },
    [Symbol.asyncDispose]: async () => {
      process.off('exit', atOwnExit);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
