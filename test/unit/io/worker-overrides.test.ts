/** A worker with overrides: what its requests are charged at, and what it forgets; time is vitest's. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ServiceRuntime } from '../../../src/io/service-runtime.ts';
import { Snapshot } from '../../../src/io/snapshot.ts';
import { WorkerOverrides } from '../../../src/io/worker-overrides.ts';
import { seededRandom } from '../../../src/kernel/random.ts';
import { loaded } from '../config/load-text.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

const BUCKET = 'b'.repeat(22);
const RATE = { bucket: BUCKET, ratePerSecond: 7, burst: 9, leftMs: 5000 };
const STORE_TIMEOUT_MS = 1000;

function worker(mode = 'enforce') {
  const forgotten: string[][] = [];
  const overrides = new WorkerOverrides({
    limiter: { forget: (keys) => void forgotten.push([...keys]) },
    now: () => performance.now(),
    storeTimeoutMs: () => STORE_TIMEOUT_MS,
    routes: () => snapshot.routes.map(({ digest }) => digest),
  });
  const configuration = loaded(`listeners: [{ port: 8080 }]
services: { shop: { instances: [http://127.0.0.1:9001] } }
routes: [{ path: /, service: shop, limits: { perClient: { rate: 4/s, burst: 6 } } }]
limits: { mode: ${mode} }
tiers:
  gold: { rate: 20/s, burst: 50 }
  shadow: { rate: 20/s, burst: 50, mode: observe }
  open: {}
`);
  const options = { name: 'shop', workers: 1, fallbackSecret: 's', random: seededRandom(1), now: 0 };
  const { shop } = configuration.services;
  if (shop === undefined) throw new Error('no service');
  const services = new Map([['shop', new ServiceRuntime(shop, options)]]);
  const snapshot = new Snapshot(1, configuration, services, 'a-secret', overrides.table);
  const [route] = snapshot.routes;
  if (route === undefined) throw new Error('no route');
  const charged = (tier: string, bucket = BUCKET): string[] =>
    snapshot
      .chargesFor(route, tier, bucket, false)
      .charges.map(({ level, rate, enforced }) => `${level} ${rate.burst}${enforced ? '' : ' observed'}`);
  return { overrides, forgotten, charged, snapshot, route };
}

test('the rate holds from the next request on, for this client and on every tier; its route is limited as before', () => {
  const { overrides, charged } = worker();
  expect(charged('gold')).toEqual(['client 50', 'route 6']);
  overrides.change([RATE], [], []);
  expect(charged('gold')).toEqual(['client 9', 'route 6']);
  expect(charged('open')).toEqual(['client 9', 'route 6']);
  expect(charged('gold', 'c'.repeat(22))).toEqual(['client 50', 'route 6']);
  overrides.change([], [BUCKET], []);
  expect(charged('gold')).toEqual(['client 50', 'route 6']);
  expect(charged('open')).toEqual(['route 6']);
});

test('in a tier that only observes, or where nothing is enforced, it refuses nobody', () => {
  const { overrides, charged } = worker();
  overrides.change([RATE], [], []);
  expect(charged('shadow')).toEqual(['client 9 observed', 'route 6']);
  const shadow = worker('observe');
  shadow.overrides.change([RATE], [], []);
  expect(shadow.charged('open')).toEqual(['client 9 observed', 'route 6 observed']);
  const off = worker('off');
  off.overrides.change([RATE], [], []);
  expect(off.charged('gold')).toEqual([]);
});

test("callers are told the override's policy", () => {
  const { overrides, snapshot, route } = worker();
  overrides.change([RATE], [], []);
  expect(snapshot.chargesFor(route, 'gold', BUCKET, false).policy).toContain('"client";q=14;w=2');
});

test('it ends by the worker’s own clock, and then too what was learned of it is forgotten', () => {
  const { overrides, forgotten, charged } = worker();
  overrides.replace([RATE]);
  vi.advanceTimersByTime(4999);
  expect(charged('gold')).toEqual(['client 9', 'route 6']);
  forgotten.length = 0;
  vi.advanceTimersByTime(1);
  expect(charged('gold')).toEqual(['client 50', 'route 6']);
  expect(forgotten).toEqual([[`spw:{c.${BUCKET}}:t`]]);
});

test('what was learned from the old rate is forgotten at once, and again when late answers are over', () => {
  const { overrides, forgotten } = worker();
  overrides.change([RATE], [], []);
  expect(forgotten).toEqual([[`spw:{c.${BUCKET}}:t`]]);
  vi.advanceTimersByTime(STORE_TIMEOUT_MS);
  expect(forgotten).toHaveLength(1);
  vi.advanceTimersByTime(500);
  expect(forgotten).toEqual([[`spw:{c.${BUCKET}}:t`], [`spw:{c.${BUCKET}}:t`]]);
});

test('of a client that was filled elsewhere every own bucket is forgotten, and its rate stays', () => {
  const { overrides, forgotten, charged, route } = worker();
  overrides.change([], [], [BUCKET]);
  expect(forgotten[0]).toEqual([`spw:{c.${BUCKET}}:t`, `spw:{c.${BUCKET}}:r.${route.digest}`]);
  expect(charged('gold')).toEqual(['client 50', 'route 6']);
});

test('a complete list, as a starting worker gets, takes the place of all there was', () => {
  const { overrides, charged } = worker();
  overrides.change([{ ...RATE, bucket: 'c'.repeat(22) }], [], []);
  overrides.replace([RATE]);
  expect(charged('gold', 'c'.repeat(22))).toEqual(['client 50', 'route 6']);
  expect(charged('gold')).toEqual(['client 9', 'route 6']);
});
