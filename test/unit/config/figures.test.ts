import { describe, expect, test } from 'vitest';
import { faults, load, loaded, REQUIRED, warnings } from './load-text.ts';

const route = (more: string): string => REQUIRED.replace('service: shop }', `service: shop, ${more} }`);
const service = (more: string): string => REQUIRED.replace('9001] }', `9001], ${more} }`);

const limits = (text: string): string => REQUIRED.replace('port: 8080', `port: 8080, limits: { ${text} }`);

describe('a burst must hold what a request costs', () => {
  test('at every limit that can meet it', () => {
    const text = `${route('cost: 6, limits: { perClient: { rate: 5/s }, total: { rate: 1/s, burst: 6 } }')}
tiers: { free: { rate: 10/s, burst: 5, total: { rate: 5/s } }, gold: { rate: 6/s }, open: {} }
limits: { global: { rate: 1/s } }
`;
    const never = 'it could never pass, at routes[0].cost';
    expect(faults(text)).toEqual([
      `3:42 a request costs 6, and the global limit never holds more than 1: ${never}`,
      `3:42 a request costs 6, and the route's limit per client never holds more than 5: ${never}`,
      `3:42 a request costs 6, and the tier \`free\` never holds more than 5: ${never}`,
      `3:42 a request costs 6, and the total of the tier \`free\` never holds more than 5: ${never}`,
    ]);
  });

  test('and a cost of nothing meets no limit', () => {
    expect(load(`${route('cost: 0')}tiers: { free: { rate: 1/m } }\n`).ok).toBe(true);
  });
});

describe('leases that a limit is too small for', () => {
  const quotas = 'tiers: { free: { rate: 10/s, burst: 20 }, gold: { rate: 900/s, burst: 900 } }\n';
  const leased = (text: string): string[] =>
    warnings(`${route('limits: { perClient: { rate: 1/s } }')}${quotas}${text}`).filter((each) =>
      each.includes('maxOverAdmission'),
    );

  test('are told where `leased` forces them, with what they may admit beyond it', () => {
    const found = leased('limits: { enforcement: leased }\nworkers: 4\n');
    expect(found.map((each) => each.slice(each.lastIndexOf(' at ')))).toEqual([
      ' at routes[0].limits.perClient',
      ' at tiers.free',
    ]);
    expect(found[0]).toContain('up to 8 with the 4 workers of all gateways: beyond `maxOverAdmission`');
    const fleet = 'redis: { url: redis://h:6379, gateways: 3 }\n';
    expect(leased(`limits: { enforcement: leased }\n${fleet}`)[0]).toContain(
      'up to 6 for each of its workers',
    );
  });

  test('are nothing to speak of under `auto`, nor where there is room for them', () => {
    expect(leased('limits: { enforcement: auto }\n')).toEqual([]);
    expect(leased('limits: { enforcement: leased, maxOverAdmission: 100% }\nworkers: 1\n')).toEqual([]);
  });
});

describe('bursts of less than ten', () => {
  const small = (quota: string, more = ''): string[] =>
    warnings(`${REQUIRED}tiers: { free: { ${quota} } }\n${more}`).filter((each) =>
      each.includes('small for leases'),
    );

  test('are told where they are leased, and nowhere else', () => {
    const forced = 'limits: { enforcement: leased }\n';
    expect(small('rate: 300/s, burst: 9', forced)[0]).toMatch(
      /a burst of less than 10 is small for leases: .* less than the rate, at tiers\.free$/,
    );
    expect(small('rate: 300/s, burst: 10', forced)).toEqual([]);
    expect(small('rate: 300/s, burst: 9', 'limits: { enforcement: exact }\n')).toEqual([]);
    // Under `auto` what is worth no lease is not leased.
    expect(small('rate: 300/s, burst: 9')).toHaveLength(1);
    for (const quota of ['rate: 300/s, burst: 7', 'rate: 20/s, burst: 9']) expect(small(quota)).toEqual([]);
  });
});

describe('guards and penalties', () => {
  const guarded = (text: string): string => route(`guard: { ${text} }`);
  const penal = (text: string, more = 'rate: 1/s, '): string =>
    `${REQUIRED}tiers: { free: { ${more}penalty: { ${text} } } }\n`;

  test('have windows and blocks of whole seconds up to 24 days', () => {
    for (const span of ['1s', '90s', '1.5m', '15m', '24d']) {
      expect(warnings(guarded(`per: ${span}, blockFor: 24d`)), span).toEqual([]);
    }
    for (const span of ['500ms', '1.9s', '2500ms'])
      expect(faults(guarded(`per: ${span}`))).toEqual([
        '3:50 must be whole seconds, at least 1s, at routes[0].guard.per',
      ]);
    expect(faults(guarded('blockFor: 0.5s'))[0]).toContain('whole seconds');
    expect(faults(penal('per: 1.5s, blockFor: 100ms'))).toHaveLength(2);
    expect(faults(guarded('per: 25d'))[0]).toContain('between 1ms and 24d');
  });

  test('whose block is shorter than the window forgive more than was meant', () => {
    const words = 'a block ends the window that it comes from, so more is forgiven than was meant';
    expect(warnings(guarded('per: 15m, blockFor: 5m'))[0]).toContain(words);
    expect(warnings(penal('per: 10m, blockFor: 5m'))[0]).toContain(words);
    expect(warnings(penal('per: 5m, blockFor: 5m'))).toEqual([]);
  });

  test('a penalty needs something that refuses', () => {
    expect(warnings(penal('refusals: 9', ''))[0]).toContain('none is ever refused');
    expect(warnings(penal('refusals: 9'))).toEqual([]);
    const routed = route('limits: { perClient: { rate: 5/s } }');
    expect(warnings(`${routed}tiers: { free: { penalty: {} } }\n`)).toEqual([]);
  });
});

describe('a limit must be countable', () => {
  test('a million a second is the fastest, a year the longest refill', () => {
    expect(load(`${REQUIRED}tiers: { a: { rate: 1000000/s } }\n`).ok).toBe(true);
    expect(
      faults(`${REQUIRED}tiers: { a: { rate: 1000001/s }, b: { rate: 0/s }, c: { rate: 0.001/d } }\n`),
    ).toHaveLength(3);
    expect(load(`${REQUIRED}tiers: { a: { rate: 1/d, burst: 365 } }\n`).ok).toBe(true);
    expect(faults(`${REQUIRED}tiers: { a: { rate: 1/d, burst: 366 } }\n`)).toEqual([
      '4:33 takes longer than a year to refill at this rate: is the unit of the rate right?, at tiers.a.burst',
    ]);
  });

  test('a burst without a rate is a fault', () => {
    expect(faults(`${REQUIRED}tiers: { a: { burst: 5 } }\n`)[0]).toContain('write the rate too');
  });

  test('a burst that lasts less than 10 ms of its rate is a warning', () => {
    expect(warnings(`${REQUIRED}tiers: { a: { rate: 1000/s, burst: 9 } }\n`)[0]).toContain('steady caller');
    expect(warnings(`${REQUIRED}tiers: { a: { rate: 1000/s, burst: 10 } }\n`)).toEqual([]);
  });
});

describe('a listener', () => {
  const listener = (more: string): string => REQUIRED.replace('port: 8080', `port: 8080, ${more}`);

  test('with TLS redirects nobody to itself', () => {
    const redirects = (tls: string, redirect: boolean | number): boolean =>
      faults(listener(`${tls}, redirectToHttps: ${redirect}`)).some((fault) =>
        fault.includes('round and round'),
      );
    const tls = 'tls: { certificates: [{ cert: a.pem, key: a.key }] }';
    expect([redirects(tls, true), redirects(tls, false), redirects('tls: null', true)]).toEqual([
      true,
      false,
      false,
    ]);
    expect(redirects(tls, 443)).toBe(true);
    expect(load(listener('redirectToHttps: true')).ok).toBe(true);
  });

  test('redirects to the port that callers use, where it is told', () => {
    const told = (value: string, environment = {}): unknown =>
      loaded(listener(`redirectToHttps: ${value}`), environment).listeners[0]?.redirectToHttps;
    expect([told('true'), told('false'), told('443'), told('65535')]).toEqual([true, false, 443, 65_535]);
    expect([told('"${P}"', { P: '8443' }), told('"${P}"', { P: 'true' })]).toEqual([8443, true]);
    for (const wrong of ['"443"', 'yes', '{ port: 443 }', 'null', '443.5'])
      expect([wrong, faults(listener(`redirectToHttps: ${wrong}`))]).toEqual([
        wrong,
        [expect.stringMatching(/^1:\d+ must be (true, false or a port|a whole number)/)],
      ]);
    expect(faults(listener('redirectToHttps: 0'))).toEqual([
      expect.stringContaining('must be at least 1, at listeners[0].redirectToHttps'),
    ]);
    expect(faults(listener('redirectToHttps: 65536'))).toEqual([
      expect.stringContaining('must be at most 65535, at listeners[0].redirectToHttps'),
    ]);
  });

  test.each(['/', '/healthz', '/a/b.c/~d_e-f', '/health/'])('may have the health path %s', (path) => {
    expect(load(listener(`healthPath: ${path}`)).ok).toBe(true);
  });

  test.each(['healthz', '/a//b', '/../a', '/a/.', '/a?b', '/a%20b', '/ü', '//a', ''])(
    'may not have the health path "%s", which no path in normal form would ever equal',
    (path) => {
      expect(faults(listener(`healthPath: "${path}"`))).not.toEqual([]);
    },
  );
});

describe('addresses', () => {
  test.each(['0.0.0.0', '::', '10.1.2.3'])('the admin address on %s needs a token', (host) => {
    expect(faults(`${REQUIRED}admin: { host: "${host}" }\n`)).toEqual([
      '4:1 the admin address can be reached from other machines and needs a token, at admin.token',
    ]);
    expect(load(`${REQUIRED}admin: { host: "${host}", token: t }\n`).ok).toBe(true);
  });

  test.each(['127.0.0.1', '127.1.2.3', '::1', 'localhost'])('the admin address on %s needs none', (host) => {
    expect(load(`${REQUIRED}admin: { host: "${host}" }\n`).ok).toBe(true);
  });

  test('to listen on are IP addresses, and localhost stands for 127.0.0.1', () => {
    const text = `${REQUIRED.replace('8080', '8080, host: LocalHost')}admin: { host: localhost }\n`;
    const { listeners, admin } = loaded(text);
    expect([listeners[0]?.host, admin.host]).toEqual(['127.0.0.1', '127.0.0.1']);
  });

  test.each(['example.com', 'localhost:80', '[::1]', '*', '10.1', '10.0.0.0/8', '', ' ::1'])(
    '"%s" is none to listen on',
    (host) => {
      const words =
        'not an address to listen on: write one such as 127.0.0.1, `::` for every one, or localhost';
      expect(
        faults(`${REQUIRED.replace('8080', `8080, host: "${host}"`)}admin: { host: "${host}" }\n`),
      ).toEqual([`1:33 ${words}, at listeners[0].host`, `4:16 ${words}, at admin.host`]);
    },
  );

  test('one port is taken once, free ports as often as wanted', () => {
    const text = REQUIRED.replace('[{ port: 8080 }]', '[{ port: 9090 }, { port: 9090, host: 127.0.0.1 }]');
    expect(faults(text)).toEqual([
      '1:1 port 9090 is taken by a listener, at admin.port',
      '1:37 port 9090 is taken by another listener, at listeners[1].port',
    ]);
    const apart = REQUIRED.replace(
      '[{ port: 8080 }]',
      '[{ port: 80, host: 10.0.0.1 }, { port: 80, host: 10.0.0.2 }]',
    );
    expect(load(apart).ok).toBe(true);
    expect(load(`${REQUIRED.replace('8080 }', '0 }, { port: 0 }')}admin: { port: 0 }\n`).ok).toBe(true);
  });
});

describe('spans that contradict each other', () => {
  test('a delay as long as the whole shutdown is a fault', () => {
    expect(faults(`${REQUIRED}shutdown: { delay: 30s }\n`)).toEqual([
      '4:20 must be shorter than `shutdown.timeout`, or nothing could finish, at shutdown.delay',
    ]);
  });

  test('a header section cannot take longer than its request, unless that has no bound', () => {
    expect(faults(limits('headersTimeout: 61s'))).toHaveLength(1);
    expect(load(limits('headersTimeout: 61s, requestTimeout: 0s')).ok).toBe(true);
  });

  test.each([
    ['readiness: { timeout: 2s }', 'probes of one instance would overlap'],
    ['sla: 11s', 'in time and cut all the same'],
    ['affinity: {}', 'sessions end with the gateway'],
    ['tls: { serverName: x }', 'all instances are http'],
  ])('%s is a warning', (text, words) => {
    const found = warnings(service(text));
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(words);
  });

  test('a store without a key secret, and an identity behind `ip`, are warnings', () => {
    expect(warnings(`${REQUIRED}redis: { url: redis://h, gateways: 1 }\n`)).toHaveLength(1);
    expect(warnings(`${REQUIRED}clients: { identify: [{ ip: {} }, { header: x-api-key }] }\n`)).toEqual([
      '4:35 never reached: `ip` names every caller, so it ends the chain, at clients.identify[1]',
    ]);
  });

  test('a route timeout below the SLA is a warning', () => {
    expect(warnings(route('timeout: 100ms'))).toHaveLength(1);
  });
});

describe('keys', () => {
  test('a route for WebSockets to instances of HTTP/2 is a warning', () => {
    const both = (upgrade: string, protocol: string): readonly string[] =>
      warnings(
        service(`protocol: ${protocol}`).replace(
          'service: shop }',
          `service: shop, match: { headers: { Upgrade: ${upgrade} } } }`,
        ),
      );
    expect(both('WebSocket', 'h2')[0]).toContain('`shop` has `protocol: h2`: they are answered 501');
    expect([both('WebSocket', 'auto'), both('h2c', 'h2')]).toEqual([[], []]);
  });

  test('one key for two clients and one client in two tiers are faults', () => {
    const digest = 'sha256:2C26B46B68FFC68FF99B453C1D30413413422D706483BFA0F98A5E886266E7AE'; // of `foo`
    const text = `${REQUIRED}tiers: { gold: {} }
clients:
  keys:
    - { key: foo, client: a }
    - { key: "${digest}", client: b }
    - { key: bar, client: a, tier: gold }
`;
    expect(faults(text)).toEqual([
      '8:14 this key stands in the list twice, at clients.keys[1].key',
      '9:36 the client `a` already has the tier `default`, at clients.keys[2].tier',
    ]);
  });
});

describe('a Redis that gateways share', () => {
  const redis = (text: string): string[] =>
    warnings(`${REQUIRED}redis: { ${text} }\n`).map((each) => each.slice(each.indexOf(' ') + 1));

  test('wants a secret, and to know how many they are', () => {
    expect(redis('url: redis://h')).toEqual([
      'no `gateways`: one that starts while this Redis is away takes itself for the only one, and admits the whole of each limit, at redis',
      'no `keySecret`: callers are hashed under a random key that lies in this Redis, and change their buckets if that is emptied while no gateway runs, at redis',
    ]);
    expect(redis('url: redis://h, keySecret: sixteen letters or more, gateways: 2')).toEqual([]);
  });

  test('takes an empty secret for none, and refuses one that is short', () => {
    expect(redis("url: redis://h, keySecret: '', gateways: 2")).toEqual([
      expect.stringMatching(/^no `keySecret`.*, at redis$/),
    ]);
    expect(faults(`${REQUIRED}redis: { url: redis://h, keySecret: ab }\n`)).toEqual([
      expect.stringContaining('too short to key a hash with: at least 16 characters, at redis.keySecret'),
    ]);
  });

  test('in a cluster is asked twice where all share an exact limit', () => {
    const text = `${REQUIRED}redis: { cluster: [a:1], keySecret: sixteen letters or more, gateways: 2 }\n`;
    expect(warnings(`${text}limits: { enforcement: exact, global: { rate: 5/s } }\n`)).toEqual([
      expect.stringContaining('each request then asks two nodes, at limits.enforcement'),
    ]);
    expect(warnings(`${text}limits: { global: { rate: 5/s } }\n`)).toEqual([]);
  });

  test('has its credentials where they are used', () => {
    const said = (text: string): string[] => faults(`${REQUIRED}redis: { ${text} }\n`);
    expect(said('url: redis://h, tls: {}')).toEqual([
      expect.stringContaining('is never used with a `redis://` address: write `rediss://`, at redis.tls'),
    ]);
    expect(said('url: rediss://h, tls: { serverName: r.example }')).toEqual([]);
    expect(said('cluster: [a:1], sentinelPassword: sesame')).toEqual([
      expect.stringContaining('is for `sentinels`, and there are none, at redis.sentinelPassword'),
    ]);
    expect(said('sentinels: [a:1], username: gw, password: sesame, sentinelPassword: s, tls: {}')).toEqual(
      [],
    );
  });
});

describe('versions of a service', () => {
  test('have a cookie of their own', () => {
    const of = (cookie: string): string[] =>
      faults(service(`affinity: { cookie: seat }, versions: { cookie: ${cookie} }`));
    expect(of('release')).toEqual([]);
    expect(of('seat')).toEqual([
      "2:105 is the session's cookie too: the browser would keep one of them; give it another name, at services.shop.versions.cookie",
    ]);
  });

  test('that get a share should run somewhere', () => {
    const found = warnings(service('versions: { canary: { v2: 10% } }'));
    expect(found).toEqual([
      expect.stringContaining('no instance runs the version `v2`, at services.shop.versions.canary.v2'),
    ]);
  });
});
