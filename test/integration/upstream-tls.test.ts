/**
 * Instances behind TLS: what is verified, with what name, and in which protocol (forwarding.md §4, U42; F21).
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { issueCertificate, makeAuthority } from '../harness/certificates.ts';
import type { CertificateFiles } from '../harness/certificates.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { echoStream, startH2Origin } from '../harness/h2-origin.ts';
import { eventually } from '../harness/ports.ts';
import { openRaw } from '../harness/raw.ts';
import { ask, expectProblem, serviceOf } from './path-fixture.ts';

let folder: string;
let authority: CertificateFiles;
let good: CertificateFiles;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-tls-'));
  authority = makeAuthority(folder);
  good = issueCertificate(folder, authority, 'good', ['shop.test', 'localhost']);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Signed by the authority, and over since yesterday. */
function expired(): CertificateFiles {
  const [key, request, cert] = [join(folder, 'old.key'), join(folder, 'old.csr'), join(folder, 'old.crt')];
  const extensions = join(folder, 'old.ext');
  writeFileSync(extensions, 'subjectAltName=DNS:shop.test,DNS:localhost\n');
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const quiet = { stdio: 'ignore' } as const;
  execFileSync('openssl', ['req', ...kind, '-keyout', key, '-out', request, '-subj', '/CN=old'], quiet);
  const signed = ['-CA', authority.cert, '-CAkey', authority.key, '-CAcreateserial', '-extfile', extensions];
  execFileSync('openssl', ['x509', '-req', '-in', request, ...signed, '-days', '-1', '-out', cert], quiet);
  return { cert, key };
}

interface SecureOrigin extends AsyncDisposable {
  readonly port: number;
  readonly asked: readonly string[];
  readonly server: https.Server;
}

async function startHttps(files: CertificateFiles, options: https.ServerOptions = {}): Promise<SecureOrigin> {
  const asked: string[] = [];
  const server = https.createServer(
    { cert: readFileSync(files.cert), key: readFileSync(files.key), ...options },
    (request, response) => {
      if (request.url === '/ready') {
        response.end();
        return;
      }
      asked.push(request.url ?? '');
      response.end(`HTTP/${request.httpVersion} ${request.headers.host}`);
    },
  );
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    asked,
    server,
    [Symbol.asyncDispose]: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

async function gatewayTo(url: string, more: string): Promise<Gateway> {
  return await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services: { shop: { instances: ['${url}'], retry: { max: 0 }, breaker: { consecutive: 1000 }, ${more} } }
routes: [{ path: /, service: shop }]
shedding: { mode: off }
`);
}

describe.each(['auto', 'h1', 'h2'])('with protocol %s', (protocol) => {
  it('U42: a certificate that is expired, of another name, self-signed or of a stranger is never a 200', async () => {
    const stranger = makeAuthority(folder, 'stranger');
    const faulty = {
      expired: expired(),
      other: issueCertificate(folder, authority, 'other', ['other.test']),
      self: makeAuthority(folder, 'self'),
      foreign: issueCertificate(folder, stranger, 'foreign', ['shop.test']),
    };
    await using origins = new AsyncDisposableStack();
    const asked: (() => number)[] = [];
    const services: string[] = [];
    for (const [name, files] of Object.entries(faulty)) {
      const origin =
        protocol === 'h2' ? await startH2Origin(echoStream, { tls: files }) : await startHttps(files);
      origins.use(origin);
      asked.push(() => ('asked' in origin ? origin.asked.length : origin.seen.length));
      const tls = `tls: { ca: ${authority.cert}, serverName: shop.test }`;
      services.push(
        `  ${name}: { instances: ['https://127.0.0.1:${origin.port}'], protocol: ${protocol}, retry: { max: 0 }, breaker: { consecutive: 1000 }, ${tls} }`,
      );
    }
    await using gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
${services.join('\n')}
routes:
${Object.keys(faulty)
  .map((name) => `  - { path: /${name}, service: ${name} }`)
  .join('\n')}
shedding: { mode: off }
`);
    for (const name of Object.keys(faulty)) {
      for (const method of ['GET', 'POST']) {
        const answer = await ask(gateway.port, { method, path: `/${name}`, headers: { host: 'other.test' } });
        expectProblem(answer, 502, 'SPW_CONNECT_FAILED');
      }
    }
    expect(asked.map((count) => count())).toEqual([0, 0, 0, 0]);
  });

  it('the host of the URL is verified where no name is given, whatever a caller writes into Host', async () => {
    await using origin =
      protocol === 'h2' ? await startH2Origin(echoStream, { tls: good }) : await startHttps(good);
    await using gateway = await gatewayTo(
      `https://localhost:${origin.port}`,
      `protocol: ${protocol}, tls: { ca: ${authority.cert} }, readiness: { path: /ready }`,
    );
    for (const host of ['shop.test', 'evil.test', 'localhost']) {
      expect((await ask(gateway.port, { headers: { host } })).status).toBe(200);
    }
    await using wrong = await gatewayTo(
      `https://127.0.0.1:${origin.port}`,
      `protocol: ${protocol}, tls: { ca: ${authority.cert} }`,
    );
    expectProblem(await ask(wrong.port, { headers: { host: 'localhost' } }), 502, 'SPW_CONNECT_FAILED');
  });

  it('an instance that asks for a certificate gets ours; without one it is a 502', async () => {
    const own = issueCertificate(folder, authority, 'gateway', ['gateway.test']);
    const mutual = { requestCert: true, rejectUnauthorized: true, ca: readFileSync(authority.cert) };
    await using origin =
      protocol === 'h2'
        ? await startH2Origin(echoStream, { tls: good, clientCa: authority.cert })
        : await startHttps(good, mutual);
    const url = `https://localhost:${origin.port}`;
    await using gateway = await gatewayTo(
      url,
      `protocol: ${protocol}, readiness: { path: /ready }, tls: { ca: ${authority.cert}, cert: ${own.cert}, key: ${own.key} }`,
    );
    expect((await ask(gateway.port)).status).toBe(200);
    await using without = await gatewayTo(url, `protocol: ${protocol}, tls: { ca: ${authority.cert} }`);
    const answer = await ask(without.port);
    expect(answer.status).toBe(502);
    expect('asked' in origin ? origin.asked.length : origin.seen.length).toBe(1);
  });
});

describe('auto', () => {
  it('is HTTP/2 where ALPN says so, and HTTP/1.1 where it does not', async () => {
    const tls = `tls: { ca: ${authority.cert}, serverName: shop.test }, readiness: { path: /ready }`;
    await using first = await startH2Origin(echoStream, { tls: good });
    await using gateway = await gatewayTo(first.url, tls);
    expect((await ask(gateway.port)).status).toBe(200);
    expect(first.seen[0]?.alpn).toBe('h2');
    await using second = await startHttps(good);
    await using other = await gatewayTo(`https://127.0.0.1:${second.port}`, tls);
    for (let index = 0; index < 3; index++) {
      const answer = await ask(other.port, { headers: { host: 'a.test' } });
      expect([answer.status, answer.body.toString()]).toEqual([200, 'HTTP/1.1 a.test']);
    }
  });

  it('h2 where ALPN knows only HTTP/1.1 is a failed connect and not ready', async () => {
    await using origin = await startHttps(good);
    await using gateway = await gatewayTo(
      `https://127.0.0.1:${origin.port}`,
      `protocol: h2, readiness: { path: /ready }, tls: { ca: ${authority.cert}, serverName: shop.test }`,
    );
    await eventually(
      'it is down',
      async () => (await serviceOf(gateway, 'shop')).instances[0]?.state === 'down',
    );
    expect((await serviceOf(gateway, 'shop')).instances[0]?.reason).toMatch(/ALPN/);
    expectProblem(await ask(gateway.port), 502, 'SPW_CONNECT_FAILED');
    expect(origin.asked).toEqual([]);
  });
});

describe('a probe', () => {
  it('verifies as requests do: an instance with a bad certificate is not ready', async () => {
    await using origin = await startHttps(expired());
    await using gateway = await gatewayTo(
      `https://127.0.0.1:${origin.port}`,
      `readiness: { path: /ready }, tls: { ca: ${authority.cert}, serverName: shop.test }`,
    );
    await eventually(
      'it is down',
      async () => (await serviceOf(gateway, 'shop')).instances[0]?.state === 'down',
    );
    expect((await serviceOf(gateway, 'shop')).instances[0]?.reason).toContain('CERT_HAS_EXPIRED');
  });
});

describe('WebSocket over TLS', () => {
  function upgrades(server: https.Server): void {
    server.on('upgrade', (request, socket: Duplex) => {
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n',
      );
      socket.pipe(socket);
      socket.on('error', () => undefined);
      expect(request.url).toBe('/ws');
    });
  }
  const handshake =
    'GET /ws HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n';

  it('is a tunnel to an https instance, in HTTP/1.1', async () => {
    await using origin = await startHttps(good);
    upgrades(origin.server);
    await using gateway = await gatewayTo(
      `https://127.0.0.1:${origin.port}`,
      `tls: { ca: ${authority.cert}, serverName: shop.test }`,
    );
    await using raw = await openRaw(gateway.port);
    raw.write(handshake);
    await eventually('it is switched', () => raw.received().includes('101 Switching'));
    raw.write('ping over tls');
    await eventually('it comes back', () => raw.received().endsWith('ping over tls'));
  });

  it('and none to one that cannot be verified', async () => {
    await using origin = await startHttps(expired());
    upgrades(origin.server);
    await using gateway = await gatewayTo(
      `https://127.0.0.1:${origin.port}`,
      `tls: { ca: ${authority.cert}, serverName: shop.test }`,
    );
    await using raw = await openRaw(gateway.port);
    raw.write(handshake);
    await eventually('it is refused', () => raw.received().includes('SPW_CONNECT_FAILED'));
    expect(raw.received()).toMatch(/^HTTP\/1\.1 502/);
  });
});
