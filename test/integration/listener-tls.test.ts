/**
 * TLS on a listener: versions and suites, names, sessions over all workers, callers that must show a certificate, and who
 * says nothing. Certificates renewed on disk are in listener-renewal.test.ts.
 */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect as connectTcp, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { issueCertificate, makeAuthority, type CertificateFiles } from '../harness/certificates.ts';
import { startGateway, type Gateway } from '../harness/gateway.ts';
import { eventually, freePorts } from '../harness/ports.ts';
import { begunSession, openssl, pem, request, secure, shownName } from './listener-tls-fixture.ts';
import { startService, type Listening } from './path-fixture.ts';
import { parseExposition } from './metrics-text.ts';

const HANDSHAKE_MS = 10_000;

let folder = '';
let authority: CertificateFiles;
let caller: CertificateFiles;
let stranger: CertificateFiles;
let origin: Listening;
let gateway: Gateway;
let asking = 0;
/** Said nothing since the gateway has been there. */
let silent: Socket;
let silentSinceMs = 0;
let silentEndedMs = 0;
let trusts: { ca: string; servername: string };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-tls-'));
  authority = makeAuthority(folder);
  const first = issueCertificate(folder, authority, 'first', ['first.test']);
  const wild = issueCertificate(folder, authority, 'wild', ['*.wild.test']);
  const exact = issueCertificate(folder, authority, 'exact', ['a.wild.test']);
  const callers = makeAuthority(folder, 'callers');
  caller = issueCertificate(folder, callers, 'caller', ['caller.test']);
  stranger = issueCertificate(folder, makeAuthority(folder, 'strangers'), 'stranger', ['caller.test']);
  trusts = { ca: pem(authority.cert), servername: 'first.test' };
  origin = await startService((_, response) => {
    response.writeHead(200, { 'content-length': 2 }).end('ok');
  });
  [asking = 0] = await freePorts(1);
  const pairs = [first, wild, exact].map(({ cert, key }) => `{ cert: ${cert}, key: ${key} }`);
  gateway = await startGateway(`
listeners:
  - { port: __PORT__, host: 127.0.0.1, tls: { certificates: [${pairs.join(', ')}] } }
  - { port: ${asking}, host: 127.0.0.1, tls: { certificates: [${pairs.join(', ')}], clientCa: ${callers.cert} }, http2: false }
workers: 2
services: { shop: { instances: [${origin.url}], sla: 5s, readiness: { path: /ready, interval: 600s, timeout: 10s } } }
routes: [{ path: /, service: shop }]
`);
  silent = connectTcp(gateway.port, '127.0.0.1');
  silentSinceMs = performance.now();
  silent.once('close', () => {
    silentEndedMs = performance.now();
  });
  await once(silent, 'connect');
});

afterAll(async () => {
  silent.destroy();
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

describe('what is spoken', () => {
  test.each([
    ['-tls1_2', 'TLSv1.2'],
    ['-tls1_3', 'TLSv1.3'],
  ])('%s', async (option, version) => {
    const said = await openssl(gateway.port, [
      option,
      '-servername',
      'first.test',
      '-CAfile',
      authority.cert,
    ]);
    expect(said).toMatch(new RegExp(`^New, ${version}, Cipher is \\S+GCM`, 'm'));
    expect(said).toContain('Verify return code: 0 (ok)');
  });

  test('nothing older than 1.2', async () => {
    for (const option of ['-tls1', '-tls1_1']) {
      // At its own default level the client would not even ask.
      const said = await openssl(gateway.port, [option, '-cipher', 'DEFAULT:@SECLEVEL=0']);
      expect(said).toContain('alert protocol version');
      expect(said).toContain('Cipher is (NONE)');
    }
  });

  test('no suite without forward secrecy or authenticated encryption', async () => {
    for (const suite of [
      'ECDHE-ECDSA-AES128-SHA256',
      'ECDHE-ECDSA-AES256-SHA',
      'AES128-GCM-SHA256',
      'AES128-SHA',
    ]) {
      const said = await openssl(gateway.port, ['-tls1_2', '-cipher', `${suite}:@SECLEVEL=0`]);
      expect(said, suite).toContain('Cipher is (NONE)');
    }
    for (const suite of ['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-CHACHA20-POLY1305'])
      expect(await openssl(gateway.port, ['-tls1_2', '-cipher', suite])).toContain(`Cipher is ${suite}`);
  });

  test('no renegotiation: the first try is refused', async () => {
    const said = await openssl(gateway.port, ['-tls1_2'], 'R\n');
    expect(said).toContain('RENEGOTIATING');
    expect(said).toContain('no renegotiation');
  });

  test('plain HTTP at the secure port is closed without an answer', async () => {
    const socket = connectTcp(gateway.port, '127.0.0.1');
    let received = '';
    socket.on('data', (chunk: Buffer) => (received += chunk.toString('latin1')));
    socket.on('error', () => undefined);
    socket.write('GET / HTTP/1.1\r\nhost: a.test\r\n\r\n');
    await once(socket, 'close');
    // A TLS alert at most.
    expect(received).not.toContain('HTTP');
  });
});

describe('the protocol is what the caller offers', () => {
  test.each([
    [['h2', 'http/1.1'], 'h2'],
    [['http/1.1', 'h2'], 'h2'],
    [['http/1.1'], 'http/1.1'],
    [undefined, false],
  ])('%j becomes %j', async (ALPNProtocols, chosen) => {
    const socket = await secure(gateway.port, {
      ...trusts,
      ...(ALPNProtocols === undefined ? {} : { ALPNProtocols }),
    });
    expect(socket.alpnProtocol).toBe(chosen);
    if (chosen !== 'h2') expect((await request(socket)).status).toBe(200);
    socket.destroy();
  });

  test('HTTP/1.1 alone where the configuration says so', async () => {
    const socket = await secure(asking, { ...trusts, ...shows(caller), ALPNProtocols: ['h2', 'http/1.1'] });
    expect(socket.alpnProtocol).toBe('http/1.1');
    socket.destroy();
  });

  test('something else ends the handshake', async () => {
    await expect(secure(gateway.port, { ...trusts, ALPNProtocols: ['spdy/3'] })).rejects.toThrow();
  });
});

describe('the certificate', () => {
  test.each([
    ['first.test', 'first'],
    ['a.wild.test', 'exact'],
    ['A.Wild.Test', 'exact'],
    ['b.wild.test', 'wild'],
    ['c.b.wild.test', 'first'],
    ['wild.test', 'first'],
    ['unknown.test', 'first'],
    ['__proto__', 'first'],
  ])('for %s is %s', async (servername, name) => {
    expect(await shownName(gateway.port, { servername, rejectUnauthorized: false })).toBe(name);
  });

  test('without a name is the first', async () => {
    expect(await openssl(gateway.port, ['-noservername'])).toMatch(/^subject=.*first/m);
  });
});

describe('a session', () => {
  test.each([
    ['TLSv1.2', 'first.test'],
    ['TLSv1.2', 'b.wild.test'],
    ['TLSv1.3', 'first.test'],
    ['TLSv1.3', 'b.wild.test'],
  ] as const)(
    'of %s with %s that one worker began is resumed by all of them',
    async (maxVersion, servername) => {
      const options = { ...trusts, maxVersion, servername };
      const { served, session } = await begunSession(gateway.port, options);
      const resumedBy = new Set<string>();
      // The kernel spreads connections as it likes; both workers get some of a few hundred.
      for (let tries = 0; resumedBy.size < 2 && tries < 500; tries++) {
        const again = await secure(gateway.port, { ...options, session });
        expect(again.isSessionReused()).toBe(true);
        resumedBy.add((await request(again)).worker);
      }
      expect(resumedBy.size).toBe(2);
      expect(resumedBy).toContain(served.worker);
    },
  );

  test('begun without a certificate opens no listener that asks for one', async () => {
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const { session } = await begunSession(gateway.port, { ...trusts, maxVersion });
      await expect(asked({ maxVersion, session })).rejects.toThrow();
    }
  });
});

const shows = ({ cert, key }: CertificateFiles): object => ({ cert: pem(cert), key: pem(key) });

/** A request at the listener that asks for a certificate. */
async function asked(options: object): Promise<number> {
  const { status } = await request(await secure(asking, { ...trusts, ...options }));
  return status;
}

describe('a listener that asks callers for a certificate', () => {
  const versions = ['TLSv1.2', 'TLSv1.3'] as const;

  test.each(versions)('serves who shows one of its authority, with %s', async (maxVersion) => {
    expect(await asked({ maxVersion, ...shows(caller) })).toBe(200);
  });

  test.each(versions)('serves nobody who shows none, with %s', async (maxVersion) => {
    await expect(asked({ maxVersion })).rejects.toThrow();
  });

  test.each(versions)("serves nobody with another authority's, with %s", async (maxVersion) => {
    await expect(asked({ maxVersion, ...shows(stranger) })).rejects.toThrow();
  });

  test.each(versions)('asks so under every name it has, with %s', async (maxVersion) => {
    const servername = 'b.wild.test';
    expect(await asked({ maxVersion, servername, ...shows(caller) })).toBe(200);
    await expect(asked({ maxVersion, servername })).rejects.toThrow();
    await expect(asked({ maxVersion, servername, ...shows(stranger) })).rejects.toThrow();
  });

  test.each(versions)('knows the caller again in a resumed session, with %s', async (maxVersion) => {
    const options = { ...trusts, maxVersion, ...shows(caller) };
    const { session } = await begunSession(asking, options);
    const again = await secure(asking, { ...options, session });
    expect(again.isSessionReused()).toBe(true);
    expect((await request(again)).status).toBe(200);
  });
});

test('a handshake that does not come is waited for ten seconds, and counted', async () => {
  if (!silent.closed) await once(silent, 'close');
  const tookMs = silentEndedMs - silentSinceMs;
  // Who closes later than this is cut by something else; the lower bound is what a slow phone may count on.
  expect(tookMs).toBeGreaterThan(HANDSHAKE_MS - 500);
  await eventually('the failed handshake is counted', async () => {
    const { body } = await gateway.admin('/metrics');
    const name = 'spillway_connections_closed_total';
    return (parseExposition(String(body)).value(name, { reason: 'tls' }) ?? 0) >= 1;
  });
});
