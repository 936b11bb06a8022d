import { describe, expect, test } from 'vitest';
import { formatFinding } from '../../../config/findings.ts';
import { loadConfiguration } from '../../../config/load.ts';
import { faults, load, loaded, REQUIRED } from './load-text.ts';

const hash = (text: string): string => {
  const result = load(text);
  return result.ok ? result.hash : 'broken';
};

describe('one run finds all faults', () => {
  test('six different faults give six messages at the right places', () => {
    const text = `listeners:
  - port: 8080
    hots: "::"
tiers:
  free: { rate: 10, burst: 20 }
services:
  shop:
    instances: [http://127.0.0.1:9001]
    sla: 250
    onDependencyDown: failfast
    dependsOn: [{ service: stok }]
  stock:
    instances: [http://127.0.0.1:9002]
routes:
  - { path: /, service: shpo }
`;
    const result = load(text);
    expect(result.ok).toBe(false);
    expect(result.ok ? [] : result.faults.map(formatFinding)).toEqual([
      'test.yaml:3:5: error: unknown key `hots`, at listeners[0].hots, did you mean `host`?',
      'test.yaml:5:17: error: a bare number where a unit belongs: a rate is written 10/s, 600/m, 5000/h or 1000/d, at tiers.free.rate',
      'test.yaml:9:10: error: a bare number where a unit belongs: a duration is written 250ms, 2s, 5m, 8h or 1d, at services.shop.sla',
      'test.yaml:10:23: error: must be one of `failFast` `serve` `{ fallback: service }`, at services.shop.onDependencyDown, did you mean `failFast`?',
      'test.yaml:11:28: error: there is no service `stok`, at services.shop.dependsOn[0].service, did you mean `stock`?',
      'test.yaml:15:25: error: there is no service `shpo`, at routes[0].service, did you mean `shop`?',
    ]);
  });

  test('what is wrong between fields is told beside what is wrong in one, and once', () => {
    const text = `${REQUIRED}redis: { url: http://h, timeout: 25 }\nadmin: { host: 0.0.0.0, prot: 1 }\n`;
    expect(faults(text)).toEqual([
      '4:15 must begin with redis:// or rediss:// and name a host, at redis.url',
      '4:34 a bare number where a unit belongs: a duration is written 250ms, 2s, 5m, 8h or 1d, at redis.timeout',
      '5:1 the admin address can be reached from other machines and needs a token, at admin.token',
      '5:25 unknown key `prot`, at admin.prot, did you mean `port`?',
    ]);
  });

  test.each([
    ['admin: { host: 0.0.0.0, tokne: t }'],
    ['admin: { hots: 0.0.0.0, token: t }'],
    ['redis: { ur: redis://h }'],
    ['redis: { url: 5 }'],
    ['redis: { url: "${UNSET}" }'],
    ['shutdown: { delay: 40s, timeut: 60s }'],
    ['tiers: { a: { rat: 5/s, burst: 5 } }'],
    ['tiers: { a: { rate: 5, burst: 5 } }'],
    ['services: { shop: { instnces: [http://h:1] } }'],
    ['services: { shop: { instances: http://h:1 } }'],
    ['services: { shop: { discovry: { file: f } } }'],
    ['services: { shop: { instances: [https://h:1], tls: { cert: x, kye: y } } }'],
    ['services: { shop: { instances: [http://h:1], discovery: { flie: x } } }', 2],
  ])('a mistyped key or a faulty value is no second fault of a rule: %s', (section, count = 1) => {
    const required = section.startsWith('services') ? REQUIRED.replace(/^services.*\n/m, '') : REQUIRED;
    expect(faults(`${required}${section}\n`)).toHaveLength(count);
  });

  test('a missing section is a fault of the file, and the others are still judged', () => {
    expect(faults('listeners: [{ port: 99999 }]\n')).toEqual(
      [
        '1:1 `services` is missing and has no default, at services',
        '1:1 `routes` is missing and has no default, at routes',
        '1:21 must be at most 65535, at listeners[0].port',
      ].sort(),
    );
  });

  test('a missing key stands at the key of its mapping', () => {
    expect(faults(`${REQUIRED}redis:\n  timeout: 5ms\n  cluster: 5\nlog:\n  access: some\n`)).toEqual([
      '6:12 must be a list, not a number, at redis.cluster',
      '8:11 must be all, errors, off or a share such as `sampled 1%`, at log.access',
    ]);
    expect(faults('listeners:\n  - host: "::"\nservices: {}\nroutes: []\n')).toEqual([
      '2:5 `port` is missing and has no default, at listeners[0].port',
      '3:11 names no service, at services',
      '4:9 must not be empty, at routes',
    ]);
  });

  test('a broken syntax is reported at its place and nothing is guessed from the rest', () => {
    const [first] = faults('listeners:\n  - port: [8080\nservices: {}\n');
    expect(first).toMatch(/^3:1 /);
    expect(faults('a: 1\n\tb: 2\n').length).toBeGreaterThan(0);
  });

  test('a key that stands twice is a fault and the rest is still judged', () => {
    const found = faults(`${REQUIRED}workers: 2\nworkers: none\n`);
    expect(found).toEqual([
      '5:1 the key `workers` stands twice in this mapping',
      '5:10 must be `auto` or a whole number, at workers',
    ]);
  });

  test('a second document is a fault at the line that begins it', () => {
    expect(faults(`${REQUIRED}---\nworkers: 2\n`)).toEqual([
      '4:1 a second document begins here; a configuration is one document',
    ]);
  });

  test('an empty file and a file of comments say what is needed', () => {
    for (const text of ['', '# nothing\n', '---\n']) {
      expect(faults(text)).toEqual(['1:1 the file is empty: it needs `listeners`, `services` and `routes`']);
    }
  });

  test('a file that is not there is a fault, not an exception', () => {
    const result = loadConfiguration('/nonexistent/spillway.yaml', {});
    expect(result.ok ? [] : result.faults.map(formatFinding)).toEqual([
      '/nonexistent/spillway.yaml:1:1: error: the configuration cannot be read: there is no such file',
    ]);
  });

  test('no fault repeats a value, since it may be a secret in the wrong place', () => {
    const text = `${REQUIRED}admin: { token: 271828, prot: 1 }\nredis: { url: hunter2 }\nworkers: hunter2\n`;
    const found = faults(text).join('\n');
    expect(found).toContain('admin.token');
    expect(found).not.toContain('271828');
    expect(found).not.toContain('hunter2');
  });
});

describe('names of JavaScript prototypes', () => {
  test.each(['__proto__', 'constructor', 'prototype'])(
    '%s is refused as a key, wherever it stands',
    (key) => {
      const result = faults(`${REQUIRED}tiers:\n  ${key}: { rate: 5/s }\nlog: { ${key}: { a: 1 } }\n`);
      expect(result).toEqual([
        `5:3 the key \`${key}\` is not accepted anywhere, at tiers.${key}`,
        `6:8 the key \`${key}\` is not accepted anywhere, at log.${key}`,
      ]);
      expect(({} as Record<string, unknown>).rate).toBeUndefined();
    },
  );

  test('a route to a service named like a method of objects is an unknown service', () => {
    expect(faults(REQUIRED.replace('service: shop', 'service: toString'))).toEqual([
      '3:30 there is no service `toString`, at routes[0].service',
    ]);
  });
});

describe('forms of the file', () => {
  test('JSON is accepted', () => {
    const text = JSON.stringify({
      listeners: [{ port: 8080 }],
      services: { shop: { instances: ['http://127.0.0.1:9001'] } },
      routes: [{ path: '/', service: 'shop' }],
    });
    expect(loaded(text)).toEqual(loaded(REQUIRED));
  });

  test('it is YAML 1.2: no is a word and 0777 is a number', () => {
    expect(loaded(REQUIRED.replaceAll('shop', 'no')).routes[0]?.service).toBe('no');
  });

  test('anchors work, and aliases that multiply are refused', () => {
    const shared = `listeners: [{ port: 8080 }]
services:
  a: { instances: [http://h:1], timeout: &slow { request: 20s } }
  b: { instances: [http://h:2], timeout: *slow }
routes: [{ path: /a, service: a }, { path: /b, service: b }]
`;
    expect(loaded(shared).services.b?.timeout.request).toBe(20_000);
    const bomb = ['a: &a [x, x, x, x, x, x, x, x, x]'];
    for (let level = 1; level < 9; level += 1) {
      const from = String.fromCodePoint(96 + level);
      const to = String.fromCodePoint(97 + level);
      bomb.push(`${to}: &${to} [${Array.from({ length: 9 }, () => `*${from}`).join(', ')}]`);
    }
    expect(faults(bomb.join('\n'))).toEqual([
      '1:1 cannot be read: nested too deeply, or aliases that multiply',
    ]);
  });

  test('equal configurations have one hash, whatever their layout; another value has another', () => {
    const reordered = REQUIRED.split('\n').toReversed().join('\n');
    expect(hash(`# a comment\n${reordered}\n`)).toBe(hash(REQUIRED));
    expect(hash(`${REQUIRED}workers: 2\n`)).not.toBe(hash(REQUIRED));
    expect(hash(REQUIRED)).toMatch(/^[0-9a-f]{12}$/);
  });
});
