/**
 * Client certificates as names: the subject that the listener verified, over HTTP/1.1 and HTTP/2, in resumed sessions, and
 * never anybody's word for it.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { connect as connectHttp2 } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import type { ConnectionOptions } from 'node:tls';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { issueCertificate, makeAuthority, type CertificateFiles } from '../harness/certificates.ts';
import { startGateway, type Gateway } from '../harness/gateway.ts';
import { freePorts } from '../harness/ports.ts';
import { begunSession, pem, request, secure } from './listener-tls-fixture.ts';
import { ask, startService, type Listening } from './path-fixture.ts';

let folder = '';
let origin: Listening;
let gateway: Gateway;
let asking = 0;
let shop: CertificateFiles;
let bank: CertificateFiles;
let trusts: ConnectionOptions;
/** Client and tier of each request, as the instance was told. */
let seen: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-mtls-'));
  const authority = makeAuthority(folder);
  const own = issueCertificate(folder, authority, 'gateway', ['gw.test']);
  const callers = makeAuthority(folder, 'callers');
  shop = issueCertificate(folder, callers, 'shop', ['shop.test']);
  bank = issueCertificate(folder, callers, 'bank', ['bank.test']);
  trusts = { ca: pem(authority.cert), servername: 'gw.test' };
  origin = await startService((incoming, response) => {
    const { 'x-spillway-client': client, 'x-spillway-tier': tier } = incoming.headers;
    seen.push(`${String(client)} ${String(tier)}`);
    response.writeHead(200, { 'content-length': 2 }).end('ok');
  });
  [asking = 0] = await freePorts(1);
  const tls = `certificates: [{ cert: ${own.cert}, key: ${own.key} }]`;
  gateway = await startGateway(`
listeners:
  - { port: __PORT__, host: 127.0.0.1 }
  - { port: ${asking}, host: 127.0.0.1, tls: { ${tls}, clientCa: ${callers.cert} } }
workers: 1
services: { shop: { instances: [${origin.url}], sla: 5s, readiness: { path: /ready, interval: 600s, timeout: 10s } } }
routes: [{ path: /, service: shop }]
clients:
  identify: [{ mtls: subject }, { header: x-api-key }, { ip: {} }]
  keys: [{ key: k-1, client: acme, tier: default }, { client: CN=tiered, tier: gold }]
  defaultTier: certified
tiers: { certified: { rate: 1/h, burst: 4 }, gold: {} }
limits: { enforcement: exact }
`);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

function as({ cert, key }: CertificateFiles, more: ConnectionOptions = {}): ConnectionOptions {
  return { ...trusts, cert: pem(cert), key: pem(key), ...more };
}

async function overHttp2(options: ConnectionOptions, times: number): Promise<number[]> {
  const session = connectHttp2(`https://gw.test:${asking}`, {
    ...options,
    lookup: (_name, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]),
  });
  try {
    const statuses: number[] = [];
    for (let turn = 0; turn < times; turn++) {
      const stream = session.request({ ':path': '/' });
      const [headers] = (await once(stream, 'response')) as [{ ':status'?: number }];
      stream.resume();
      await once(stream, 'close');
      statuses.push(headers[':status'] ?? 0);
    }
    return statuses;
  } finally {
    session.destroy();
  }
}

test('the verified subject is the client: one quota over both versions, another certificate has its own', async () => {
  seen = [];
  const first = await secure(asking, as(shop, { ALPNProtocols: ['http/1.1'] }));
  expect((await request(first, true)).status).toBe(200);
  expect((await request(first)).status).toBe(200);
  // Four units in all: two are left for HTTP/2.
  expect(await overHttp2(as(shop), 3)).toEqual([200, 200, 429]);
  expect(await overHttp2(as(bank), 1)).toEqual([200]);
  expect(seen).toEqual([...Array.from({ length: 4 }, () => 'CN=shop certified'), 'CN=bank certified']);
});

test.each(['TLSv1.2', 'TLSv1.3'] as const)('a resumed session of %s is the same client', async (version) => {
  seen = [];
  const file = issueCertificate(
    folder,
    { cert: join(folder, 'callers.crt'), key: join(folder, 'callers.key') },
    `re-${version}`,
    ['re.test'],
  );
  const options = as(file, { minVersion: version, maxVersion: version, ALPNProtocols: ['http/1.1'] });
  const { session } = await begunSession(asking, options);
  const again = await secure(asking, { ...options, session });
  expect(again.isSessionReused()).toBe(true);
  expect((await request(again)).status).toBe(200);
  expect(seen).toEqual([`CN=re-${version} certified`, `CN=re-${version} certified`]);
});

test('a subject has the tier of its row, which needs no key', async () => {
  seen = [];
  const callers = { cert: join(folder, 'callers.crt'), key: join(folder, 'callers.key') };
  const file = issueCertificate(folder, callers, 'tiered', ['tiered.test']);
  expect((await request(await secure(asking, as(file, { ALPNProtocols: ['http/1.1'] })))).status).toBe(200);
  expect(seen).toEqual(['CN=tiered gold']);
});

test('a subject of 256 characters is a name, a longer one names nobody: the chain goes on', async () => {
  seen = [];
  const callers = { cert: join(folder, 'callers.crt'), key: join(folder, 'callers.key') };
  for (const more of [0, 1]) {
    // Three more units of 64 characters at most, and `,OU=` before each.
    const units = [64, 64, 64, 256 - 3 - 10 - 4 * 4 - 3 * 64 + more].map((length) => 'u'.repeat(length));
    const subject = ['0123456789', ...units].join('/OU=');
    const file = issueCertificate(folder, callers, `long-${more}`, ['long.test'], subject);
    const socket = await secure(asking, as(file, { ALPNProtocols: ['http/1.1'] }));
    expect((await request(socket)).status).toBe(200);
  }
  const [name = '', other] = seen;
  expect(name).toMatch(/CN=0123456789 certified$/);
  expect(name).toHaveLength(256 + ' certified'.length);
  expect(other).toMatch(/^ip:[\w-]{22} certified$/);
});

test('nobody else can say it: no header names a certificate, and a listener that asks for none sees none', async () => {
  seen = [];
  const claims = {
    'x-ssl-client-s-dn': 'CN=shop',
    'x-forwarded-client-cert': 'Subject="CN=shop"',
    'x-spillway-client': 'CN=shop',
    'ssl-client-verify': 'SUCCESS',
  };
  expect((await ask(gateway.port, { headers: claims })).status).toBe(200);
  expect((await ask(gateway.port, { headers: { ...claims, 'x-api-key': 'CN=shop' } })).status).toBe(401);
  expect((await ask(gateway.port, { headers: { ...claims, 'x-api-key': 'k-1' } })).status).toBe(200);
  expect(seen[0]).toMatch(/^ip:[\w-]{22} certified$/);
  expect(seen.slice(1)).toEqual(['acme default']);
});
