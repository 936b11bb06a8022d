/**
 * Listeners behind a balancer that speaks the PROXY protocol, and how many connections one address may have.
 *
 * The strict reading of the header itself is tested in test/unit/clients/proxy-header.test.ts and its property tests.
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect as connectHttp2 } from 'node:http2';
import { connect as connectTcp, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { issueCertificate, makeAuthority, type CertificateFiles } from '../harness/certificates.ts';
import { startGateway, type Gateway } from '../harness/gateway.ts';
import { startEcho, type EchoedRequest, type InProcessOrigin } from '../harness/origin.ts';
import { findExecutable } from '../harness/executable.ts';
import { accepts, eventually, freePorts } from '../harness/ports.ts';
import { startProcess, type RunningProcess } from '../harness/process.ts';
import { openRaw, readAnswers } from '../harness/raw.ts';
import { pem } from './listener-tls-fixture.ts';
import { parseExposition } from './metrics-text.ts';
import { valueOf } from './path-fixture.ts';

const HEADER_MS = 5000;
const run = promisify(execFile);

const GET = 'GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n';
const V1 = 'PROXY TCP4 198.51.100.7 203.0.113.1 40000 443\r\n';
const V1_V6 = 'PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n';
const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
const V2 = Buffer.concat([
  SIGNATURE,
  Buffer.from([0x21, 0x11, 0, 12, 198, 51, 100, 7, 1, 1, 1, 1, 1, 2, 3, 4]),
]);
const V2_LOCAL = Buffer.concat([SIGNATURE, Buffer.from([0x20, 0, 0, 0])]);

let folder = '';
let authority: CertificateFiles;
let origin: InProcessOrigin;
let gateway: Gateway;
let secured = 0;
let strangers = 0;
let capped = 0;
let plain = 0;
/** Connections that keep their header to themselves, since the gateway has been there. */
const silent: { socket: Socket; ended: Promise<number> }[] = [];
let silentSinceMs = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-proxy-'));
  authority = makeAuthority(folder);
  const { cert, key } = issueCertificate(folder, authority, 'first', ['a.test']);
  origin = await startEcho();
  [secured = 0, strangers = 0, capped = 0, plain = 0] = await freePorts(4);
  gateway = await startGateway(`
listeners:
  - { port: __PORT__, host: 127.0.0.1, proxyProtocol: { from: [127.0.0.0/8] }, limits: { headersTimeout: 1s } }
  - { port: ${secured}, host: 127.0.0.1, proxyProtocol: { from: [127.0.0.1] }, tls: { certificates: [{ cert: ${cert}, key: ${key} }] } }
  - { port: ${strangers}, host: 127.0.0.1, proxyProtocol: { from: [10.0.0.0/8, "::1"] } }
  - { port: ${capped}, host: 127.0.0.1, proxyProtocol: { from: [127.0.0.1] }, maxConnections: 5, limits: { connectionsPerAddress: 2 } }
  - { port: ${plain}, host: 127.0.0.1, limits: { connectionsPerAddress: 2 } }
workers: 1
trust: { proxies: [198.51.100.0/24] }
services: { shop: { instances: [${origin.url}], sla: 5s, readiness: { path: /ready, interval: 600s, timeout: 10s } } }
routes: [{ path: /, service: shop }]
`);
  silentSinceMs = performance.now();
  for (const [port, start] of [
    [gateway.port, ''],
    [gateway.port, V1.slice(0, 20)],
    [secured, SIGNATURE.subarray(0, 11).toString('latin1')],
  ] as const) {
    const socket = connectTcp(port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.resume();
    socket.write(start);
    silent.push({ socket, ended: once(socket, 'close').then(() => performance.now()) });
  }
});

afterAll(async () => {
  for (const { socket } of silent) socket.destroy();
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** What the instance saw of a request, sent in these writes; undefined when the connection ended without an answer. */
async function seen(port: number, writes: readonly (string | Buffer)[]): Promise<EchoedRequest | undefined> {
  await using connection = await openRaw(port);
  for (const bytes of writes) {
    connection.write(bytes);
    // Each in a segment of its own, as far as the kernel goes along.
    await new Promise(setImmediate);
  }
  const text = await connection.untilClosed();
  if (text === '') return undefined;
  const [answer] = readAnswers(text, true).answers;
  expect(answer?.status, text).toBe(200);
  return JSON.parse(answer?.body ?? '') as EchoedRequest;
}

/** Address and protocol as the instance is told. */
function told(request: EchoedRequest | undefined): readonly unknown[] {
  const { rawHeaders = [] } = request ?? {};
  return ['x-forwarded-for', 'x-real-ip', 'x-forwarded-proto'].map((name) => valueOf(rawHeaders, name));
}

async function closedFor(reason: string): Promise<number> {
  const { body } = await gateway.admin('/metrics');
  return parseExposition(String(body)).value('spillway_connections_closed_total', { reason }) ?? 0;
}

describe('what a PROXY header names is the peer', () => {
  test.each([
    ['version 1', V1, '198.51.100.7'],
    ['version 1 of an IPv6 caller', V1_V6, '2001:db8::7'],
    ['version 2', V2, '198.51.100.7'],
  ])('%s, before and with the request, and one octet at a time', async (_, header, address) => {
    const bytes = Buffer.from(header as string, 'latin1');
    const wanted = [address, address, 'http'];
    expect(told(await seen(gateway.port, [Buffer.concat([bytes, Buffer.from(GET)])]))).toEqual(wanted);
    expect(told(await seen(gateway.port, [bytes, GET]))).toEqual(wanted);
    const octets = [...bytes, ...Buffer.from(GET)].map((octet) => Buffer.from([octet]));
    expect(told(await seen(gateway.port, octets))).toEqual(wanted);
  });

  test.each([
    ['UNKNOWN', 'PROXY UNKNOWN\r\n'],
    ['LOCAL', V2_LOCAL],
  ])('%s keeps the address of the socket', async (_, header) => {
    expect(told(await seen(gateway.port, [header, GET]))).toEqual(['127.0.0.1', '127.0.0.1', 'http']);
  });

  test('is believed as a proxy only if `trust.proxies` has it', async () => {
    const ask = GET.replace('host:', 'x-forwarded-for: 192.0.2.9\r\nhost:');
    expect(told(await seen(gateway.port, [V1, ask]))[0]).toBe('192.0.2.9, 198.51.100.7');
    expect(told(await seen(gateway.port, [V1_V6, ask]))[0]).toBe('2001:db8::7');
  });

  test('holds for every request of a kept connection', async () => {
    await using connection = await openRaw(gateway.port);
    const kept = GET.replace('connection: close\r\n', '');
    connection.write(V1 + kept + kept + GET);
    const { answers } = await connection.untilAnswers(3);
    const addresses = answers.map(({ body }) => told(JSON.parse(body) as EchoedRequest)[0]);
    expect(addresses).toEqual(['198.51.100.7', '198.51.100.7', '198.51.100.7']);
  });

  test('comes before TLS, of HTTP/1.1 and HTTP/2 alike', async () => {
    for (const protocol of ['http/1.1', 'h2']) {
      const below = connectTcp(secured, '127.0.0.1');
      below.write(V2);
      const tls = { ca: pem(authority.cert), servername: 'a.test', ALPNProtocols: [protocol] };
      const socket = connectTls({ socket: below, ...tls });
      await once(socket, 'secureConnect');
      expect(socket.alpnProtocol).toBe(protocol);
      let text = '';
      if (protocol === 'h2') {
        const session = connectHttp2('https://a.test', { createConnection: () => socket });
        const stream = session.request({ ':path': '/' });
        for await (const chunk of stream) text += String(chunk);
        session.close();
      } else {
        socket.write(GET);
        for await (const chunk of socket) text += String(chunk);
        text = readAnswers(text, true).answers[0]?.body ?? '';
      }
      socket.destroy();
      const wanted = ['198.51.100.7', '198.51.100.7', 'https'];
      expect(told(JSON.parse(text) as EchoedRequest), protocol).toEqual(wanted);
    }
  });

  test('curl --haproxy-protocol is served on both', async () => {
    const curl = async (args: readonly string[]): Promise<EchoedRequest> => {
      const { stdout } = await run('curl', ['-sS', '--haproxy-protocol', ...args]);
      return JSON.parse(stdout) as EchoedRequest;
    };
    expect(told(await curl([`http://127.0.0.1:${gateway.port}/`]))).toEqual([
      '127.0.0.1',
      '127.0.0.1',
      'http',
    ]);
    const names = ['--cacert', authority.cert, '--resolve', `a.test:${secured}:127.0.0.1`];
    expect(told(await curl([...names, `https://a.test:${secured}/`]))[2]).toBe('https');
  });
});

describe('a real HAProxy in front', () => {
  let balancer: RunningProcess;
  let ports: readonly number[];
  beforeAll(async () => {
    ports = await freePorts(3);
    const rows = [
      [gateway.port, 'send-proxy'],
      [gateway.port, 'send-proxy-v2 proxy-v2-options crc32c,unique-id'],
      [secured, 'send-proxy-v2 proxy-v2-options crc32c'],
    ];
    const sections = rows.map(
      ([port, option], index) => `listen l${index}
  bind 127.0.0.1:${ports[index] ?? 0}
  unique-id-format %{+X}o%ci-%cp
  server gateway 127.0.0.1:${port} ${option}
`,
    );
    const file = join(folder, 'haproxy.cfg');
    const limits = '  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n';
    await writeFile(file, `defaults\n  mode tcp\n${limits}${sections.join('')}`);
    balancer = await startProcess(findExecutable('haproxy'), ['-db', '-f', file]);
    for (const port of ports) await eventually('HAProxy listens', () => accepts(port));
  });
  afterAll(async () => {
    await balancer.kill();
  });

  test.each([0, 1])('names its caller, not itself (%d)', async (index) => {
    const socket = connectTcp({ port: ports[index] ?? 0, host: '127.0.0.1', localAddress: '127.0.0.2' });
    socket.write(GET);
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    const [answer] = readAnswers(text, true).answers;
    expect(told(JSON.parse(answer?.body ?? '') as EchoedRequest)).toEqual(['127.0.0.2', '127.0.0.2', 'http']);
  });

  test('passes TLS through', async () => {
    const names = ['--cacert', authority.cert, '--resolve', `a.test:${ports[2]}:127.0.0.1`];
    const { stdout } = await run('curl', [
      '-sS',
      '--interface',
      '127.0.0.3',
      ...names,
      `https://a.test:${ports[2]}/`,
    ]);
    expect(told(JSON.parse(stdout) as EchoedRequest)).toEqual(['127.0.0.3', '127.0.0.3', 'https']);
  });
});

describe('closed without a byte is', () => {
  const unanswered = async (port: number, writes: readonly (string | Buffer)[]): Promise<void> => {
    const before = await closedFor('proxy_header');
    const requests = origin.requests.length;
    expect(await seen(port, writes)).toBeUndefined();
    expect(await closedFor('proxy_header')).toBe(before + 1);
    expect(origin.requests).toHaveLength(requests);
  };

  test("a stranger's PROXY header, and a stranger without one", async () => {
    await unanswered(strangers, [V1, GET]);
    await unanswered(strangers, [GET]);
  });

  test.each([
    ['no header', GET],
    ['a malformed line', `PROXY TCP4 198.51.100.7 1.1.1.1 1\r\n${GET}`],
    ['a line that is too long', `PROXY UNKNOWN ${'x'.repeat(100)}\r\n${GET}`],
    ['a block of a version that nobody knows', Buffer.concat([SIGNATURE, Buffer.from([0x31, 0, 0, 0])])],
    ['a TLS handshake', Buffer.from('160301020001000', 'hex')],
  ])('%s', async (_, bytes) => {
    await unanswered(gateway.port, [bytes]);
  });

  test('who leaves before it was whole', async () => {
    await using connection = await openRaw(gateway.port);
    const before = await closedFor('proxy_header');
    connection.write(V1.slice(0, 10));
    connection.halfClose();
    expect(await connection.untilClosed()).toBe('');
    await eventually('it is counted', async () => (await closedFor('proxy_header')) === before + 1);
  });

  test('who has not sent it after five seconds', async () => {
    for (const { socket, ended } of silent) {
      const endedMs = await ended;
      expect(socket.bytesRead).toBe(0);
      // Sooner would cut a proxy that has to send its first segment again.
      expect(endedMs - silentSinceMs).toBeGreaterThan(HEADER_MS - 500);
    }
  });
});

test('behind a PROXY header a head that does not come ends in a 408 as anywhere', async () => {
  await using connection = await openRaw(gateway.port);
  connection.write(`${V1}GET / HT`);
  const { answers } = await connection.untilAnswers(1);
  expect(answers.map(({ status }) => status)).toEqual([408]);
});

test('a listener without the option never looks for a header', async () => {
  await using connection = await openRaw(plain);
  connection.write(V1 + GET);
  const { answers } = await connection.untilAnswers(1);
  expect(answers.map(({ status }) => status)).toEqual([400]);
});

/** Connections that are open, and served when asked. */
async function hold(port: number, header: string): Promise<Awaited<ReturnType<typeof openRaw>>> {
  const connection = await openRaw(port);
  connection.write(header + GET.replace('connection: close\r\n', ''));
  await connection.until((text, closed) => closed || text.includes('\r\n\r\n'));
  return connection;
}

describe('connections of one address', () => {
  test('past its number are closed at once and counted; one that ends makes room', async () => {
    const before = await closedFor('per_address');
    await using first = await hold(plain, '');
    await using second = await hold(plain, '');
    expect([first.isClosed(), second.isClosed()]).toEqual([false, false]);
    await using third = await hold(plain, '');
    expect([await third.untilClosed(), await closedFor('per_address')]).toEqual(['', before + 1]);
    first.socket.destroy();
    await eventually('there is room again', async () => {
      await using again = await hold(plain, '');
      return again.received().startsWith('HTTP/1.1 200');
    });
  });

  test('are those that a PROXY header names', async () => {
    await using first = await hold(capped, V1);
    await using second = await hold(capped, V1);
    await using third = await hold(capped, V1);
    expect([first.isClosed(), second.isClosed()]).toEqual([false, false]);
    expect(await third.untilClosed()).toBe('');
    await using other = await hold(capped, V1_V6);
    expect(other.received()).toMatch(/^HTTP\/1.1 200/);
  });

  test('beside it `maxConnections` holds, whoever is named', async () => {
    const before = await closedFor('max_connections');
    const open: Awaited<ReturnType<typeof hold>>[] = [];
    await eventually('all places are free', async () => {
      for (const connection of open.splice(0)) await connection[Symbol.asyncDispose]();
      for (let caller = 1; caller <= 5; caller++)
        open.push(await hold(capped, V1.replace('100.7', `100.${caller}`)));
      return open.every((connection) => !connection.isClosed());
    });
    // Nobody looks at its header any more.
    await using sixth = await openRaw(capped);
    expect(await sixth.untilClosed()).toBe('');
    expect(await closedFor('max_connections')).toBeGreaterThan(before);
    for (const connection of open) await connection[Symbol.asyncDispose]();
  });
});
