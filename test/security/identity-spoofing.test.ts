/**
 * Who may move a caller to another bucket (limits.md, L10): only a trusted proxy's word, read from one header, and then only
 * the address that this proxy has seen itself. Real sockets from several addresses of this machine; the bucket is what the
 * instance is told, compared with that of an address that stands for itself.
 */
import { request as httpRequest } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startGateway, type Gateway } from '../harness/gateway.ts';
import { startListener, type InProcessOrigin } from '../harness/origin.ts';

/** Trusted; everything else that a connection can come from is not. */
const PROXY = '127.0.0.1';
const STRANGER = '127.0.0.2';

interface Sent {
  readonly from?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly path?: string;
}

let origin: Omit<InProcessOrigin, 'requests'>;

beforeAll(async () => {
  origin = await startListener((request, response) => {
    const client = String(request.headers['x-spillway-client'] ?? '');
    response.writeHead(200, { 'content-length': 0, 'x-seen-client': client }).end();
  });
});

afterAll(async () => {
  await origin[Symbol.asyncDispose]();
});

async function startTrusting(header: string): Promise<Gateway> {
  return await startGateway(`
listeners: [{ port: __PORT__, host: "::" }]
workers: 1
services: { shop: { instances: [${origin.url}], sla: 5s, readiness: { interval: 600s } } }
routes:
  - { path: /, service: shop }
  - { path: /few, service: shop, limits: { perClient: { rate: 1/h, burst: 3 } } }
trust: { proxies: [${PROXY}, 10.0.0.0/8, "fd00::/8"], header: ${header} }
limits: { enforcement: exact }
`);
}

async function send(
  gateway: Gateway,
  { from = PROXY, headers = {}, path = '/' }: Sent,
): Promise<{ status: number; client: string }> {
  const v6 = from.includes(':');
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; client: string }>();
  const options = {
    host: v6 ? '::1' : '127.0.0.1',
    port: gateway.port,
    localAddress: from,
    path,
    agent: false,
    headers: { host: 'a.test', ...(headers as Record<string, string>) },
  };
  const sent = httpRequest(options, (message) => {
    message.resume();
    resolve({ status: message.statusCode ?? 0, client: String(message.headers['x-seen-client'] ?? '') });
  });
  sent.on('error', reject);
  sent.end();
  return await promise;
}

/** Each row: what is sent, and the address whose bucket it must be counted in. */
type Row = readonly [why: string, sent: Sent, bucketOf: string];

const by = (value: string | readonly string[]): Sent => ({ headers: { 'x-forwarded-for': value } });

const FORWARDED_FOR: readonly Row[] = [
  ['a proxy names its caller', by('203.0.113.1'), '203.0.113.1'],
  ['a caller plants an entry before it', by('203.0.113.66, 203.0.113.1'), '203.0.113.1'],
  ['a caller plants a line before it', by(['203.0.113.66', '203.0.113.1']), '203.0.113.1'],
  ['a second proxy of ours stands between', by('203.0.113.1, 10.1.1.1'), '203.0.113.1'],
  ['a caller plants one of our proxies', by('10.9.9.9, 203.0.113.1'), '203.0.113.1'],
  ['a caller plants the allowed loopback', by('127.0.0.1, 203.0.113.1'), '203.0.113.1'],
  ['all entries are ours: the left-most', by('10.2.2.2, 10.1.1.1'), '10.2.2.2'],
  ['the last entry is nonsense: the proxy itself', by('203.0.113.1, nonsense'), PROXY],
  ['nonsense between: the last good one', by('203.0.113.66, nonsense, 10.1.1.1'), '10.1.1.1'],
  ['an empty entry between', by('203.0.113.66, , 10.1.1.1'), '10.1.1.1'],
  ['more entries than are read', by(`203.0.113.66${', 10.1.1.1'.repeat(60)}`), '10.1.1.1'],
  ['a number that some read as an address', by('3405803777'), PROXY],
  ['octal digits', by('0313.0.0161.1'), PROXY],
  ['a port behind it', by('203.0.113.1:4711'), '203.0.113.1'],
  ['the same address mapped into IPv6', by('::ffff:203.0.113.1'), '203.0.113.1'],
  ['the same address behind NAT64', by('64:ff9b::203.0.113.1'), '203.0.113.1'],
  ['the same address as 6to4', by('2002:cb00:7101::1'), '203.0.113.1'],
  ['an IPv6 address', by('2001:db8:1:2::1'), '2001:db8:1:2::1'],
  ['another address of its prefix', by('2001:db8:1:2:ffff:ffff:ffff:ffff'), '2001:db8:1:2::1'],
  ['the same in brackets with a port', by('[2001:DB8:1:2::7]:443'), '2001:db8:1:2::1'],
  ['with a zone', by('fe80::1%eth0'), 'fe80::2'],
  ['a trusted network hidden in 6to4 is not ours', by('203.0.113.66, 2002:a01:101::1'), '10.1.1.1'],
  ['Forwarded is not the header that is read', { headers: { forwarded: 'for=203.0.113.66' } }, PROXY],
  [
    'Forwarded planted beside it',
    { headers: { 'x-forwarded-for': '203.0.113.1', forwarded: 'for=203.0.113.66' } },
    '203.0.113.1',
  ],
  [
    'the headers of others',
    {
      headers: {
        'x-real-ip': '203.0.113.66',
        'x-client-ip': '203.0.113.66',
        'true-client-ip': '203.0.113.66',
        'cf-connecting-ip': '203.0.113.66',
        'x-cluster-client-ip': '203.0.113.66',
        'x-spillway-client': 'ip:forged',
      },
    },
    PROXY,
  ],
  ['a stranger names somebody', { from: STRANGER, ...by('203.0.113.1') }, STRANGER],
  ['a stranger names a proxy of ours', { from: STRANGER, ...by('127.0.0.1') }, STRANGER],
  [
    'a stranger sends both headers',
    { from: STRANGER, headers: { 'x-forwarded-for': '203.0.113.1', forwarded: 'for=203.0.113.1' } },
    STRANGER,
  ],
  ['a stranger over IPv6', { from: '::1', ...by('203.0.113.1') }, '::1'],
];

const told = (value: string | readonly string[]): Sent => ({ headers: { forwarded: value } });

const FORWARDED: readonly Row[] = [
  ['a proxy names its caller', told('for=203.0.113.1;proto=https'), '203.0.113.1'],
  ['a caller plants an element before it', told('for=203.0.113.66, for=203.0.113.1'), '203.0.113.1'],
  ['a caller plants a line before it', told(['for=203.0.113.66', 'for=203.0.113.1']), '203.0.113.1'],
  ['a caller plants an open quote before it', told('for="203.0.113.66, for=203.0.113.1'), '203.0.113.1'],
  ['a comma in quotes is no border', told('for="203.0.113.66, for=203.0.113.1"'), PROXY],
  ['quoted, with a port', told('For="203.0.113.1:4711"'), '203.0.113.1'],
  ['IPv6', told('for="[2001:db8:1:2::9]:443"'), '2001:db8:1:2::1'],
  ['an obfuscated name: the proxy itself', told('for=203.0.113.66, for=_hidden'), PROXY],
  ['for=unknown', told('for=203.0.113.66, for=unknown'), PROXY],
  ['by and host are nobody', told('by=203.0.113.66;host=203.0.113.66'), PROXY],
  ['X-Forwarded-For is not the header that is read', by('203.0.113.66'), PROXY],
  [
    'X-Forwarded-For planted beside it',
    { headers: { forwarded: 'for=203.0.113.1', 'x-forwarded-for': '203.0.113.66' } },
    '203.0.113.1',
  ],
  ['a stranger names somebody', { from: STRANGER, ...told('for=203.0.113.1') }, STRANGER],
];

describe.each([
  ['x-forwarded-for', FORWARDED_FOR, (address: string) => by(address)],
  [
    'forwarded',
    FORWARDED,
    (address: string) => told(`for="${address.includes(':') ? `[${address}]` : address}"`),
  ],
] as const)('trust.header: %s', (header, rows, naming) => {
  let gateway: Gateway;
  const references = new Map<string, string>();

  beforeAll(async () => {
    gateway = await startTrusting(header);
    for (const address of new Set(rows.map(([, , bucketOf]) => bucketOf))) {
      const plain: Sent = [PROXY, STRANGER, '::1'].includes(address) ? { from: address } : naming(address);
      references.set(address, (await send(gateway, plain)).client);
    }
  });

  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  test('the addresses that rows are compared with are all told apart', () => {
    for (const client of references.values()) expect(client).toMatch(/^ip:[\w-]{22}$/);
    // 6to4 and NAT64 of an address are that address; nothing else meets.
    expect(new Set(references.values()).size).toBe(references.size);
  });

  test.each(rows)('%s', async (_why, sent, bucketOf) => {
    expect((await send(gateway, sent)).client).toBe(references.get(bucketOf));
  });

  test('a stranger who names another address with each request has one quota', async () => {
    const statuses: number[] = [];
    for (let turn = 0; turn < 9; turn++) {
      const sent = naming(`203.0.113.${turn}`);
      statuses.push((await send(gateway, { ...sent, from: STRANGER, path: '/few' })).status);
    }
    expect(statuses).toEqual([200, 200, 200, 429, 429, 429, 429, 429, 429]);
    expect((await send(gateway, { ...naming('203.0.113.200'), path: '/few' })).status).toBe(200);
  });

  test('a caller who walks through its IPv6 prefix has one quota', async () => {
    const statuses: number[] = [];
    for (let turn = 0; turn < 6; turn++) {
      const sent = naming(`2001:db8:77:1:${turn}::${turn}`);
      statuses.push((await send(gateway, { ...sent, path: '/few' })).status);
    }
    expect(statuses).toEqual([200, 200, 200, 429, 429, 429]);
    expect((await send(gateway, { ...naming('2001:db8:77:2::1'), path: '/few' })).status).toBe(200);
  });
});
