/**
 * An hour without a source (U13): the last good set and the fleet that lives by it, on a virtual clock. Whatever the source does
 * meanwhile, no instance may change its state while its probes pass, and the darkness is told of within half a minute.
 */
import { expect, test } from 'vitest';

import { loadConfigurationText } from '../../../config/load.ts';
import { KnownGood } from '../../../src/discovery/known-good.ts';
import { refreshMs, retryMs } from '../../../src/discovery/pauses.ts';
import type { Found } from '../../../src/discovery/source.ts';
import { fleetPolicy } from '../../../src/io/fleet-policies.ts';
import { seededRandom } from '../../../src/kernel/random.ts';
import { Fleet } from '../../../src/upstreams/fleet.ts';
import { instanceId } from '../../../src/upstreams/instance-id.ts';

const HOUR = 3_600_000;
const PASS = { kind: 'pass', reason: '', failingChecks: [], refused: false } as const;

const SET: readonly Found[] = [1, 2, 3, 4, 5].map((host) => ({
  uid: `pod-${host}`,
  url: `http://10.0.0.${host}:8080`,
  version: '',
  weight: 1,
  leaving: false,
  readyHint: 'ready',
}));

const LOADED = loadConfigurationText(
  `
listeners: [{ port: 8080 }]
services: { shop: { discovery: { file: list }, readiness: { path: /, interval: 1s } } }
routes: [{ path: /, service: shop }]
`,
  'hour',
  {},
);

function fleetOf(): Fleet {
  const shop = LOADED.ok ? LOADED.configuration.services['shop'] : undefined;
  if (shop === undefined) throw new Error('the configuration is not right');
  return new Fleet(fleetPolicy('shop', shop), seededRandom(1), 0, true);
}

/** What the source answers, or `undefined` for nothing. */
type Source = (now: number) => readonly Found[] | undefined;

/** One hour after a good start; the states seen, and the faults told of answers. */
function hour(
  source: Source,
  hasIdentity: boolean,
): { states: Set<string>; ids: number; faults: Set<string> } {
  const fleet = fleetOf();
  const known = new KnownGood({ emptySet: 'keep', hasIdentity });
  const passes = (url: string): boolean => fleet.probePasses(instanceId(url));
  const states = new Set<string>();
  const faults = new Set<string>();
  known.offer(SET, 0);
  for (let now = 0; now <= HOUR; now += 250) {
    if (now > 5000 && now % 5000 === 0) {
      const answer = source(now);
      if (answer !== undefined) known.offer(answer, now);
    }
    if (now % 1000 === 0 || now >= known.dueMs) {
      const settled = known.settle(now, passes);
      if (settled.fault !== undefined) faults.add(settled.fault.kind);
      if (settled.changed) fleet.discover(settled.instances, now, now === 0);
    }
    if (now % 1000 === 0) for (const { url } of SET) fleet.probe(instanceId(url), PASS, now);
    fleet.tick(now);
    if (now > 5000) for (const { state } of fleet.views(now)) states.add(state);
  }
  return { states, ids: fleet.views(HOUR).length, faults };
}

test.each([
  ['says nothing', () => undefined, false, []],
  ['lists nobody', () => [], false, ['empty']],
  ['lists one of five, where an identity is checked', () => SET.slice(0, 1), true, ['shrunk']],
  [
    'lists nobody, one, everybody, in turns',
    (now: number) => [[], SET.slice(0, 1), SET][(now / 5000) % 3] ?? [],
    false,
    ['empty', 'shrunk'],
  ],
] as const)('an hour of a source that %s changes no state', (_, source: Source, hasIdentity, told) => {
  const { states, ids, faults } = hour(source, hasIdentity);
  expect([[...states], ids]).toEqual([['ready'], 5]);
  expect([...faults].sort()).toEqual([...told].sort());
});

test('a set that shrinks for longer than five minutes, without an identity, is believed in the end', () => {
  const { states } = hour(() => SET.slice(0, 1), false);
  expect([...states].sort()).toEqual(['draining', 'gone', 'ready']);
});

test('the longest pause and the longest wait for an answer are less than half a minute together', () => {
  const late = () => 0.999999;
  // dns.ts: 1.5 s, then once more with twice that; consul.ts: 15 s and a sixteenth, and 10 s for the answer.
  expect(refreshMs(86_400, late) + 1500 + 3000).toBeLessThan(30_000);
  expect(200 + 15_000 * (17 / 16) + 10_000).toBeLessThan(30_000);
  expect(retryMs(1000, late) + 4500).toBeLessThan(30_000);
});
