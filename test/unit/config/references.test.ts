import { describe, expect, test } from 'vitest';
import { faults, loaded, REQUIRED, warnings } from './load-text.ts';

function services(lines: string, routes = 'routes: [{ path: /, service: a }]'): string {
  return `listeners: [{ port: 8080 }]\nservices:\n${lines}\n${routes}\n`;
}

const routes = (...rows: string[]): string =>
  services(
    '  a: { instances: [http://h:1] }',
    `routes:\n${rows.map((row) => `  - { service: a, ${row} }`).join('\n')}`,
  );

describe('names', () => {
  test('a tier that a key or the default names must exist; `default` always does', () => {
    expect(
      loaded(`${REQUIRED}clients: { keys: [{ key: k, client: c, tier: default }] }\n`).tiers.default
        ?.priority,
    ).toBe('default');
    expect(
      faults(
        `${REQUIRED}tiers: { gold: {} }\nclients: { defaultTier: glod, keys: [{ key: k, client: c, tier: silver }] }\n`,
      ),
    ).toEqual([
      '5:25 there is no tier `glod`, at clients.defaultTier, did you mean `gold`?',
      '5:65 there is no tier `silver`, at clients.keys[0].tier',
    ]);
  });

  test('a circle of dependencies is printed with its path, once', () => {
    const text = services(`  a: { instances: [http://h:1], dependsOn: [{ service: b }] }
  b: { instances: [http://h:2], dependsOn: [{ service: c }] }
  c: { instances: [http://h:3], dependsOn: [{ service: b }, { service: d, mode: optional }] }
  d: { instances: [http://h:4] }`);
    expect(faults(text)).toEqual([
      '5:56 services depend on each other in a circle: b → c → b, at services.c.dependsOn[0].service',
    ]);
  });

  test('a service that depends on itself is a circle', () => {
    expect(faults(services('  a: { instances: [http://h:1], dependsOn: [{ service: a }] }'))[0]).toContain(
      'a → a',
    );
  });

  test('two ways to one dependency are no circle, and a long chain is walked without recursion', () => {
    const diamond = services(`  a: { instances: [http://h:1], dependsOn: [{ service: b }, { service: c }] }
  b: { instances: [http://h:2], dependsOn: [{ service: d }] }
  c: { instances: [http://h:3], dependsOn: [{ service: d }] }
  d: { instances: [http://h:4] }`);
    expect(faults(diamond)).toEqual([]);
    const names = Array.from({ length: 3000 }, (_, index) => `s${index}`);
    const chain = names.map((name, index) => {
      const next = names[index + 1];
      return `  ${name}: { instances: [http://h:${index + 1}]${next === undefined ? '' : `, dependsOn: [{ service: ${next} }]`} }`;
    });
    expect(faults(services(chain.join('\n'), 'routes: [{ path: /, service: s0 }]'))).toEqual([]);
  });

  test('a fallback must exist, be another service, and have none itself', () => {
    const text = services(
      `  a: { instances: [http://h:1], onDependencyDown: { fallback: b } }
  b: { instances: [http://h:2], onDependencyDown: { fallback: b } }
  c: { instances: [http://h:3], onDependencyDown: { fallback: bb } }`,
      'routes: [{ path: /, service: a }, { path: /c, service: c }]',
    );
    expect(faults(text)).toEqual([
      '3:63 `b` has a fallback of its own: one hop is all there is, at services.a.onDependencyDown.fallback',
      '4:63 a service cannot stand in for itself, at services.b.onDependencyDown.fallback',
      '5:63 there is no service `bb`, at services.c.onDependencyDown.fallback, did you mean `b`?',
    ]);
  });

  test('an instance may stand once in a service, however its address is written', () => {
    const text = services(
      '  a: { instances: [http://h:80, { url: "http://H/", version: v2 }, https://h, https://h:80] }',
    );
    expect(faults(text)).toEqual([
      '3:33 the instance `h:80` stands here twice, at services.a.instances[1]',
      '3:79 the instance `h:80` stands here twice, at services.a.instances[3]',
    ]);
  });

  test('a service that nothing leads to is a warning', () => {
    const text = services('  a: { instances: [http://h:1] }\n  b: { instances: [http://h:2] }');
    expect(warnings(text)).toEqual(['4:3 no route and no service leads to `b`, at services.b']);
  });

  test.each([
    ['a route names none', '  a: { instances: [http://h:1] }', 'routes: [{ path: /, service: aa }]'],
    ['a route has its key mistyped', '  a: { instances: [http://h:1] }', 'routes: [{ path: /, servise: a }]'],
    ['the routes are mistyped', '  a: { instances: [http://h:1] }', 'rotues: [{ path: /, service: a }]'],
    [
      'a dependency names none',
      '  a: { instances: [http://h:1], dependsOn: [{ service: bb }] }\n  b: { instances: [http://h:2] }',
      'routes: [{ path: /, service: a }]',
    ],
    [
      'a fallback names none',
      '  a: { instances: [http://h:1], onDependencyDown: { fallback: bb } }\n  b: { instances: [http://h:2] }',
      'routes: [{ path: /, service: a }]',
    ],
  ])('that nothing leads to is not doubted while %s', (_, lines, last) => {
    const text = services(lines, last);
    expect(faults(text)).not.toEqual([]);
    expect(warnings(text).filter((line) => line.includes('leads to'))).toEqual([]);
  });

  test('a check is no reference to a service', () => {
    const text = services(
      '  a: { instances: [http://h:1], dependsOn: [{ check: disk }] }\n  b: { instances: [http://h:2] }',
    );
    expect(warnings(text)).toEqual(['4:3 no route and no service leads to `b`, at services.b']);
  });
});

describe('routes that take the same requests', () => {
  test('are a fault that names the line of the first', () => {
    expect(faults(routes('path: /a, host: Example.com', 'path: /a, host: example.com'))).toEqual([
      '6:25 takes the same requests as the route in line 5, at routes[1].path',
    ]);
    expect(faults(routes('path: /a, methods: [get, POST]', 'path: /a, methods: [GET]'))).toHaveLength(1);
    expect(
      faults(
        routes(
          'path: /a, match: { headers: { a: "1", b: "2" } }',
          'path: /a, match: { headers: { B: "2", A: "1" } }',
        ),
      ),
    ).toHaveLength(1);
  });

  test('differ by host, methods, headers or the narrower of two', () => {
    expect(faults(routes('path: /a', 'path: /a, methods: [GET]', 'path: /a, methods: [POST]'))).toEqual([]);
    expect(
      faults(
        routes('path: /a', 'path: /a, host: x', 'path: /a/', 'path: /a, match: { headers: { x: "1" } }'),
      ),
    ).toEqual([]);
  });
});
