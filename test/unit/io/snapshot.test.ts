/** What a client is charged at: composed once for each route while its tier stays, and never for another. */
import { expect, test } from 'vitest';
import { ServiceRuntime } from '../../../src/io/service-runtime.ts';
import { Snapshot } from '../../../src/io/snapshot.ts';
import type { ClientCharges, CompiledRoute } from '../../../src/io/snapshot.ts';
import { seededRandom } from '../../../src/kernel/random.ts';
import { loaded } from '../config/load-text.ts';

const TIERS = `tiers:
  free: { rate: 2/s, burst: 5, total: { rate: 50/s, burst: 60 } }
  gold: { rate: 20/s, burst: 50 }
  open: {}
`;

function snapshotOf(sections: string, routes = ''): Snapshot {
  const configuration = loaded(`listeners: [{ port: 8080 }]
services: { shop: { instances: [http://127.0.0.1:9001] } }
routes:
  - { path: /, service: shop }
  - { path: /login, service: shop, limits: { perClient: { rate: 1/s, burst: 3, mode: observe } } }
  - { path: /search, service: shop, limits: { perClient: { rate: 4/s, burst: 8 }, total: { rate: 70/s, burst: 80 } } }
${routes}
${sections}`);
  const services = Object.entries(configuration.services).map(([name, each]) => {
    const options = { name, workers: 1, fallbackSecret: 'secret', random: seededRandom(1), now: 0 };
    return [name, new ServiceRuntime(each, options)] as const;
  });
  return new Snapshot(1, configuration, new Map(services), 'a-secret');
}

function routeOf(snapshot: Snapshot, name: string): CompiledRoute {
  const route = snapshot.routes.find((each) => each.name === name);
  if (route === undefined) throw new Error(`no route ${name}`);
  return route;
}

/** Level, burst, and whether it may refuse. */
function told({ charges }: ClientCharges): string[] {
  return charges.map(({ level, rate, enforced }) => `${level} ${rate.burst}${enforced ? '' : ' observed'}`);
}

test('the same client on another route is charged at that route, back and forth', () => {
  const snapshot = snapshotOf(TIERS);
  const [home, login, search] = ['/', '/login', '/search'].map((name) => routeOf(snapshot, name));
  if (home === undefined || login === undefined || search === undefined) throw new Error('no route');
  for (let turn = 0; turn < 2; turn++) {
    expect(told(snapshot.chargesFor(home, 'gold', 'b', false))).toEqual(['client 50']);
    expect(told(snapshot.chargesFor(login, 'gold', 'b', false))).toEqual(['client 50', 'route 3 observed']);
    expect(told(snapshot.chargesFor(search, 'gold', 'b', false))).toEqual([
      'client 50',
      'route 8',
      'route-total 80',
    ]);
  }
  const keys = [login, search].map((route) => snapshot.chargesFor(route, 'gold', 'b', false).charges[1]?.key);
  expect(new Set(keys).size).toBe(2);
});

test('the same client in another tier is charged as that tier, back and forth', () => {
  const snapshot = snapshotOf(TIERS);
  const home = routeOf(snapshot, '/');
  for (let turn = 0; turn < 2; turn++) {
    expect(told(snapshot.chargesFor(home, 'free', 'b', false))).toEqual(['client 5', 'tier 60']);
    expect(told(snapshot.chargesFor(home, 'gold', 'b', false))).toEqual(['client 50']);
    expect(told(snapshot.chargesFor(home, 'open', 'b', false))).toEqual([]);
  }
  const policies = ['free', 'gold'].map((tier) => snapshot.chargesFor(home, tier, 'b', false).policy);
  expect(policies).toEqual(['"client";q=6;w=3', '"client";q=60;w=3']);
});

test('two clients are charged at their own buckets, and at the same shared ones', () => {
  const snapshot = snapshotOf(`${TIERS}limits: { global: { rate: 500/s, burst: 900 } }\n`);
  const search = routeOf(snapshot, '/search');
  const one = snapshot.chargesFor(search, 'free', 'b1', false).charges.map(({ key }) => key);
  const two = snapshot.chargesFor(search, 'free', 'b2', false).charges.map(({ key }) => key);
  expect(one.map((key, index) => key === two[index])).toEqual([false, false, true, true, true]);
});

test('a request like the last one of its client is given the same charges, not equal ones', () => {
  const snapshot = snapshotOf(TIERS);
  const search = routeOf(snapshot, '/search');
  const first = snapshot.chargesFor(search, 'free', 'b', false);
  expect(first.charges).toHaveLength(4);
  // Somebody else's request in between changes nothing.
  expect(snapshot.chargesFor(search, 'gold', 'other', false).charges).not.toBe(first.charges);
  expect(snapshot.chargesFor(search, 'free', 'b', false)).toBe(first);
  expect(snapshot.chargesFor(search, 'free', 'b', false).charges).toBe(first.charges);
});

test('a client that goes back and forth between routes is given the same charges, and its own bucket is one object', () => {
  const routes = Array.from(
    { length: 12 },
    (_, i) => `  - { path: /r${i}, service: shop, limits: { perClient: { rate: 4/s, burst: ${i + 1} } } }`,
  );
  const snapshot = snapshotOf(TIERS, routes.join('\n'));
  const eight = Array.from({ length: 8 }, (_, i) => routeOf(snapshot, `/r${i}`));
  const first = eight.map((route) => snapshot.chargesFor(route, 'gold', 'b', false));
  for (let turn = 0; turn < 3; turn++)
    for (const [i, route] of eight.entries())
      expect(snapshot.chargesFor(route, 'gold', 'b', false)).toBe(first[i]);
  expect(new Set(first.map(({ charges }) => charges[0])).size).toBe(1);
  // However many there are: what is kept of one client is bounded, and what is not is composed as it was.
  for (let turn = 0; turn < 3; turn++)
    for (let i = 0; i < 12; i++)
      expect(told(snapshot.chargesFor(routeOf(snapshot, `/r${i}`), 'gold', 'b', false))).toEqual([
        'client 50',
        `route ${i + 1}`,
      ]);
});

test('routes without limits of their own share what is kept of a client', () => {
  const snapshot = snapshotOf(TIERS, '  - { path: /plain, service: shop }');
  const home = snapshot.chargesFor(routeOf(snapshot, '/'), 'gold', 'b', false);
  expect(snapshot.chargesFor(routeOf(snapshot, '/plain'), 'gold', 'b', false)).toBe(home);
  expect(snapshot.chargesFor(routeOf(snapshot, '/login'), 'gold', 'b', false)).not.toBe(home);
});

test('who is exempt is charged nowhere, and the next request that is not is', () => {
  const snapshot = snapshotOf(TIERS);
  const home = routeOf(snapshot, '/');
  for (let turn = 0; turn < 2; turn++) {
    expect(snapshot.chargesFor(home, 'free', 'b', true)).toMatchObject({ charges: [], policy: '' });
    expect(told(snapshot.chargesFor(home, 'free', 'b', false))).toEqual(['client 5', 'tier 60']);
  }
});

test('with limits off nobody is charged; observed, everybody is and nothing may refuse', () => {
  for (const [mode, free] of [
    ['off', []],
    ['observe', ['client 5 observed', 'tier 60 observed', 'global 900 observed']],
    ['enforce', ['client 5', 'tier 60', 'global 900']],
  ] as const) {
    const snapshot = snapshotOf(`${TIERS}limits: { mode: ${mode}, global: { rate: 500/s, burst: 900 } }\n`);
    expect([mode, told(snapshot.chargesFor(routeOf(snapshot, '/'), 'free', 'b', false))]).toEqual([
      mode,
      free,
    ]);
  }
});

test('routes that differ in methods or headers only have limits of their own; one that is not narrowed keeps its bucket', () => {
  const snapshot = snapshotOf(TIERS);
  const digests = (more: string): string[] => {
    const configuration = loaded(`listeners: [{ port: 8080 }]
services: { shop: { instances: [http://127.0.0.1:9001] } }
routes: [{ path: /login, service: shop }${more}]
`);
    const { shop } = configuration.services;
    if (shop === undefined) throw new Error('no service');
    const options = { name: 'shop', workers: 1, fallbackSecret: 's', random: seededRandom(1), now: 0 };
    const services = new Map([['shop', new ServiceRuntime(shop, options)]]);
    return new Snapshot(1, configuration, services, 'a-secret').routes.map(({ digest }) => digest);
  };
  const all = digests(
    ', { path: /login, service: shop, methods: [POST] }, { path: /login, service: shop, match: { headers: { x-beta: "1" } } }',
  );
  expect(new Set(all).size).toBe(3);
  expect(all[0]).toBe(routeOf(snapshot, '/login').digest);
});
