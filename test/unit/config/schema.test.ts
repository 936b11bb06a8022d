import { describe, expect, test } from 'vitest';
import { faults, load, loaded, REQUIRED } from './load-text.ts';

const service = (more: string): string => REQUIRED.replace('9001] }', `9001], ${more} }`);
const route = (more: string): string => REQUIRED.replace('path: /,', `${more},`);

const identify = (text: string): string => `${REQUIRED}clients: { identify: [${text}] }\n`;

const set = (name: string, value: string): string =>
  route(`path: /, headers: { request: { set: { ${name}: ${value} } } }`);

describe('defaults', () => {
  test('are those of the contract, in base units', () => {
    const configuration = loaded(REQUIRED);
    expect(configuration.listeners[0]).toMatchObject({
      port: 8080,
      host: '::',
      backlog: 511,
      maxConnections: 10_000,
      tls: null,
      http2: true,
      limits: {
        headerBytes: 16_384,
        headerCount: 100,
        headersTimeout: 10_000,
        requestTimeout: 60_000,
        idleTimeout: 65_000,
        bodyBytes: 10_485_760,
      },
    });
    expect(configuration).toMatchObject({
      admin: { host: '127.0.0.1', port: 9090, token: '', openMetrics: false },
      workers: 'auto',
      shutdown: { delay: 5000, timeout: 30_000 },
      redis: null,
      trust: { proxies: [], header: 'x-forwarded-for' },
      clients: {
        identify: [{ header: 'x-api-key' }, { ip: { ipv6Prefix: 64 } }],
        allow: [],
        deny: [],
        keys: [],
        unknownKeys: 'reject',
        defaultTier: 'default',
      },
      tiers: { default: { rate: null, priority: 'default' } },
      limits: {
        global: null,
        enforcement: 'auto',
        maxOverAdmission: 0.05,
        mode: 'enforce',
        headers: 'draft',
      },
      shedding: { mode: 'enforce', queue: 'auto', limit: 'auto' },
      log: { level: 'info', access: 'all', serverTiming: false },
      tracing: { otlp: null },
    });
    expect(configuration.services.shop).toMatchObject({
      instances: [{ url: 'http://127.0.0.1:9001', version: '', weight: 1 }],
      sla: 250,
      timeout: { connect: 1000, request: 10_000, idle: 30_000, tunnelIdle: 300_000, stream: null },
      shedding: { mode: 'enforce', queue: 'auto', limit: 'auto' },
      dependsOn: [],
      onDependencyDown: 'failFast',
      readiness: { path: null, interval: 1000, timeout: 500, rise: 2, fall: 2 },
      balancing: { slowStart: 30_000, maxConcurrencyPerInstance: 256 },
      outlier: {
        consecutiveFailures: 5,
        ratio: 0.5,
        minRequests: 20,
        window: 10_000,
        baseEjection: 5000,
        maxEjected: 0.34,
      },
      breaker: { consecutive: 5, ratio: 0.5, minRequests: 20, open: 2000 },
      retry: { max: 1, budget: 0.2 },
      affinity: null,
      versions: null,
      drain: { sessionTimeout: 60_000 },
      tls: null,
    });
    expect(configuration.routes[0]).toMatchObject({
      path: '/',
      service: 'shop',
      cost: 1,
      timeout: null,
      priority: null,
      host: null,
    });
  });

  test('redis and affinity have theirs once they are written', () => {
    const configuration = loaded(`${service('affinity: {}')}redis: { url: redis://h:6379 }\n`);
    expect(configuration.redis).toMatchObject({
      timeout: 25,
      onUnavailable: 'local',
      gateways: 1,
      keySecret: null,
    });
    expect(configuration.services.shop?.affinity).toMatchObject({
      cookie: 'spillway',
      idle: 1_800_000,
      absolute: 28_800_000,
      keys: [],
    });
  });

  test('survive the way to a worker', () => {
    const configuration = loaded(REQUIRED);
    expect(JSON.parse(JSON.stringify(configuration))).toEqual(configuration);
  });
});

describe('what one section takes from another', () => {
  test('a burst left out is one second of the rate, at least 1', () => {
    const { tiers } = loaded(
      `${REQUIRED}tiers: { a: { rate: 10/s }, b: { rate: 10/m }, c: { rate: 90/m }, d: { rate: 5/s, burst: 7 } }\n`,
    );
    expect([tiers.a?.burst, tiers.b?.burst, tiers.c?.burst, tiers.d?.burst]).toEqual([10, 1, 2, 7]);
    expect(tiers.b?.rate).toBeCloseTo(1 / 6, 12);
  });

  test("a service's shedding is always whole", () => {
    const { services } = loaded(
      `${service('shedding: { queue: 0 }')}shedding: { mode: observe, limit: 40 }\n`,
    );
    expect(services.shop?.shedding).toEqual({ mode: 'observe', queue: 0, limit: 40 });
  });

  test('the tier `default` is there beside others, and as written where it is written', () => {
    expect(Object.keys(loaded(`${REQUIRED}tiers: { gold: {} }\n`).tiers).sort()).toEqual(['default', 'gold']);
    expect(loaded(`${REQUIRED}tiers: { default: { rate: 5/s } }\n`).tiers.default?.rate).toBe(5);
  });
});

describe('instances', () => {
  test('an address may be text or a mapping, and comes out alike', () => {
    const text = REQUIRED.replace(
      '[http://127.0.0.1:9001]',
      '[http://A.example:9001/, { url: "https://[::1]:8443", version: v2, weight: 3 }]',
    );
    expect(loaded(text).services.shop?.instances).toEqual([
      { url: 'http://a.example:9001', version: '', weight: 1 },
      { url: 'https://[::1]:8443', version: 'v2', weight: 3 },
    ]);
  });

  test.each([
    'ftp://h',
    'h:9001',
    'http://',
    'http://u:p@h',
    'http://h/api',
    'http://h?x',
    'http://h:0',
    '""',
  ])('%s is no instance', (url) => {
    expect(
      faults(REQUIRED.replace('http://127.0.0.1:9001', url.includes('"') ? url : `"${url}"`)),
    ).toHaveLength(1);
  });

  test('a service without any is a fault', () => {
    expect(faults(REQUIRED.replace('[http://127.0.0.1:9001]', '[]'))[0]).toContain('has no instances');
  });
});

describe('units', () => {
  test.each([
    ['sla: 250', 'a bare number where a unit belongs: a duration'],
    ['sla: "250"', 'a bare number where a unit belongs: a duration'],
    ['sla: 250 ms', 'not a duration'],
    ['sla: 25d', 'must be between 1ms and 24d'],
    ['sla: 0ms', 'must be between 1ms and 24d'],
    ['retry: { budget: 0.2 }', 'a bare number where a unit belongs: a ratio'],
    ['retry: { budget: 120% }', 'must be between 0% and 100%'],
    ['retry: { max: 3 }', 'must be at most 2'],
    ['retry: { max: 1.5 }', 'must be a whole number, not a number'],
    ['breaker: 5', 'must be a mapping, not a number'],
    ['dependsOn: stock', 'must be a list, not text'],
  ])('%s is a fault', (text, words) => {
    const found = faults(service(text));
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(words);
  });

  test('a share of access log lines is a ratio', () => {
    expect(loaded(`${REQUIRED}log: { access: sampled 1% }\n`).log.access).toEqual({ sampledRatio: 0.01 });
    expect(faults(`${REQUIRED}log: { access: sampled 101% }\n`)).toHaveLength(1);
  });
});

describe('routes', () => {
  test.each([
    'path: api',
    'path: /a/*',
    'path: /a?b',
    'path: //a',
    'path: /a/../b',
    'path: /%2f',
    'path: /ä',
    'path: "/a b"',
  ])('%s could never match and is a fault', (text) => {
    expect(faults(route(text))).toHaveLength(1);
  });

  test.each(['path: /a.b', 'path: /a/', 'path: /%2F', 'path: /..a', 'path: /.well-known'])(
    '%s is a prefix',
    (text) => {
      expect(load(route(text)).ok).toBe(true);
    },
  );

  test('methods come out in capitals, hosts and header names in small letters', () => {
    const text = route('path: /, host: "*.Example.COM", methods: [get], match: { headers: { X-Beta: Yes } }');
    expect(loaded(text).routes[0]).toMatchObject({
      host: '*.example.com',
      methods: ['GET'],
      match: { headers: { 'x-beta': 'Yes' } },
    });
  });

  test('headers that frame a message or are the gateway’s own cannot be changed, nor lines added', () => {
    for (const name of [
      'Content-Length',
      'transfer-encoding',
      'Host',
      'X-Spillway-Tier',
      'Via',
      'X-Request-Id',
    ]) {
      expect(faults(set(name, 'x'))[0]).toContain('belongs to the gateway');
    }
    expect(faults(set('x-a', String.raw`"a\r\nb: c"`))[0]).toContain('control character');
    expect(loaded(set('X-A', 'b')).routes[0]?.headers.request.set).toEqual({ 'x-a': 'b' });
  });
});

describe('alternatives', () => {
  test('an identity is one of its kinds, and a mistyped one is recognised', () => {
    expect(faults(identify('{ heder: x }'))).toEqual([
      '4:25 unknown key `heder`, at clients.identify[0].heder, did you mean `header`?',
    ]);
    expect(faults(identify('{ header: a, cookie: b }'))[0]).toContain(
      '`cookie` cannot stand beside `header`',
    );
    expect(faults(identify('{ ip: { ipv6Prefix: 129 } }'))).toEqual([
      '4:43 must be at most 128, at clients.identify[0].ip.ipv6Prefix',
    ]);
    expect(faults(identify('ip'))).toHaveLength(1);
  });

  test('all faults of the alternative that was meant are told', () => {
    expect(
      faults(REQUIRED.replace('http://127.0.0.1:9001', '{ url: h, wieght: 2, version: "a b" }')),
    ).toHaveLength(3);
  });
});

describe('the path of a rewriting route', () => {
  test.each(['/a:b', '/a(b', '/a)b'])('holds no sign of the router: %s', (path) => {
    expect(faults(route(`path: '${path}', rewrite: /c`))).toEqual([
      expect.stringContaining('a path with a `rewrite` has no `:`, `(` or `)`, at routes[0].path'),
    ]);
    expect(load(route(`path: '${path}'`)).ok).toBe(true);
  });
});
