/** Whom a request for a version may be drawn from, and whom one without. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { seededRandom } from '../../../src/kernel/random.ts';
import { Balancer } from '../../../src/upstreams/balancer.ts';
import { ALL_AT_CAP, NONE_READY } from '../../../src/upstreams/pick.ts';
import { ANY_VERSION, COMMON_VERSIONS } from '../../../src/upstreams/candidates.ts';
import type { InstanceView } from '../../../src/upstreams/fleet.ts';
import { view } from '../../harness/instance-view.ts';

const POLICY = { slaMs: 250, slowStartMs: 0, maxConcurrencyPerInstance: 4, workers: 1 };
const DRAINING = { state: 'draining', opensNew: false, drainForMs: 10 } as const;
const DOWN = { state: 'down', opensNew: false, keepsPinned: false, readyForMs: 0 } as const;

function balancerOf(views: readonly InstanceView[], apart: readonly string[] = []): Balancer {
  const balancer = new Balancer(POLICY, seededRandom(3));
  balancer.setApart(new Set(apart));
  balancer.update(views, 0);
  return balancer;
}

/** The ids that a range gives, in many draws. */
function drawn(balancer: Balancer, version: number): string[] {
  const ids = new Set<string>();
  for (let n = 0; n < 100; n++) {
    const slot = balancer.pick({ pinned: -1, tried: [], makesPin: false, version }, 0);
    if (slot >= 0) ids.add(balancer.idOf(slot));
  }
  return [...ids].toSorted();
}

function indexOf(balancer: Balancer, name: string): number {
  return balancer.versions.find((row) => row.name === name)?.index ?? -9;
}

const idsOf = (...indices: number[]): string[] => indices.map((index) => `10.0.0.${index}:80`);

describe('a draw', () => {
  const fleet = [
    view(0, { version: 'v1' }),
    view(1, { version: 'v2', versionSeq: 2 }),
    view(2, { version: 'v1' }),
    view(3, { version: 'v2', versionSeq: 2, ...DRAINING }),
    view(4, { version: 'v0', versionSeq: 0, ...DRAINING }),
    view(5, { version: 'v9', versionSeq: 9, ...DOWN }),
  ];

  test('for a version is among its own, also those of a version that only drains', () => {
    const balancer = balancerOf(fleet);
    expect(drawn(balancer, indexOf(balancer, 'v1'))).toEqual(idsOf(0, 2));
    expect(drawn(balancer, indexOf(balancer, 'v2'))).toEqual(idsOf(1));
    expect(drawn(balancer, indexOf(balancer, 'v0'))).toEqual(idsOf(4));
    expect(drawn(balancer, indexOf(balancer, 'v9'))).toEqual([]);
    expect(drawn(balancer, ANY_VERSION)).toEqual(idsOf(0, 1, 2));
    expect(balancer.openCap()).toBe(12);
  });

  test('without a version leaves out those that stand apart, when it is asked to', () => {
    const balancer = balancerOf(fleet, ['v2']);
    expect(drawn(balancer, COMMON_VERSIONS)).toEqual(idsOf(0, 2));
    expect(drawn(balancer, ANY_VERSION)).toEqual(idsOf(0, 1, 2));
    expect(drawn(balancer, indexOf(balancer, 'v2'))).toEqual(idsOf(1));
  });

  test('tells full from empty, and never gives a tried one', () => {
    const balancer = balancerOf(fleet);
    const version = indexOf(balancer, 'v2');
    const slot = balancer.slotOf('10.0.0.1:80');
    for (let n = 0; n < 4; n++) balancer.started(slot, 0);
    expect(balancer.pick({ pinned: -1, tried: [], makesPin: false, version }, 0)).toBe(ALL_AT_CAP);
    expect(balancer.pick({ pinned: -1, tried: [slot], makesPin: false, version }, 0)).toBe(NONE_READY);
  });

  test('in panic is among the silent ones, and of a version among those that still serve', () => {
    const balancer = balancerOf([
      view(0, { version: 'v1', ...DOWN, panic: true }),
      view(1, { version: 'v2', ...DRAINING }),
      view(2, { version: 'v2', ...DOWN, panic: true }),
    ]);
    expect(drawn(balancer, ANY_VERSION)).toEqual(idsOf(0, 2));
    expect(drawn(balancer, indexOf(balancer, 'v2'))).toEqual(idsOf(1));
    expect(drawn(balancer, indexOf(balancer, 'v1'))).toEqual(idsOf(0));
  });
});

describe('silent ones that may be tried', () => {
  const SILENT = { ...DOWN, panic: true, timedOut: true } as const;
  const triedOf = (views: readonly InstanceView[], apart: readonly string[] = []): string[] => {
    const balancer = balancerOf(views, apart);
    return balancer.silent.map(({ slot }) => balancer.idOf(slot));
  };

  test('are told while fewer than half of those that should serve are open, and some is', () => {
    expect(triedOf([view(0), view(1, SILENT), view(2, SILENT)])).toEqual(idsOf(1, 2));
    expect(triedOf([view(0), view(1, SILENT)])).toEqual([]);
    expect(triedOf([view(0), view(1), view(2, SILENT), view(3, SILENT)])).toEqual([]);
    // Nobody is open: that is the whole service's panic.
    expect(triedOf([view(0, SILENT), view(1, SILENT), view(2, SILENT)])).toEqual([]);
  });

  test('are those whose probes time out; who says no, refuses or leaves counts as missing or not at all', () => {
    const unready = { ...DOWN, state: 'unready' } as const;
    const closed = { ...DOWN, panic: true } as const;
    expect(triedOf([view(0), view(1, unready), view(2, SILENT)])).toEqual(idsOf(2));
    expect(triedOf([view(0), view(1, closed), view(2, SILENT)])).toEqual(idsOf(2));
    const disabled = { ...DOWN, state: 'disabled' } as const;
    expect(triedOf([view(0), view(1, disabled), view(2, SILENT)])).toEqual([]);
    expect(triedOf([view(0), view(1, DRAINING), view(2, SILENT)])).toEqual([]);
    expect(triedOf([view(0), view(1, { ...DOWN, drainForMs: 10 }), view(2, SILENT)])).toEqual([]);
  });

  test('carry their version, and whether it stands apart', () => {
    const fleet = [
      view(0, { version: 'v1' }),
      ...[1, 2].map((n) => view(n, { ...SILENT, version: `v${n}` })),
    ];
    const balancer = balancerOf(fleet, ['v2']);
    expect(balancer.silent.map(({ version, apart }) => [version, apart])).toEqual([
      [indexOf(balancer, 'v1'), false],
      [indexOf(balancer, 'v2'), true],
    ]);
  });
});

test('the index of a version stays when it goes and comes again', () => {
  const balancer = balancerOf([view(0, { version: 'v1' }), view(1, { version: 'v2' })]);
  const [one, two] = [indexOf(balancer, 'v1'), indexOf(balancer, 'v2')];
  balancer.update([view(1, { version: 'v2' })], 1);
  expect(drawn(balancer, one)).toEqual([]);
  balancer.update([view(2, { version: 'v3' }), view(1, { version: 'v2' }), view(0, { version: 'v1' })], 2);
  expect([indexOf(balancer, 'v1'), indexOf(balancer, 'v2')]).toEqual([one, two]);
  expect(drawn(balancer, one)).toEqual(idsOf(0));
});

test('for any pictures, each range holds whom the definition names', () => {
  const looks = fc.constantFrom<Partial<InstanceView>>({}, DRAINING, DOWN, { ...DOWN, panic: true });
  const pictures = fc.array(
    fc.array(fc.record({ look: looks, version: fc.constantFrom('v1', 'v2', 'v3') }), { maxLength: 6 }),
    { maxLength: 4 },
  );
  fc.assert(
    fc.property(pictures, fc.subarray(['v1', 'v2', 'v3']), (history, apart) => {
      const balancer = balancerOf([], apart);
      for (const picture of history) {
        const views = picture.map(({ look, version }, index) => view(index, { ...look, version }));
        balancer.update(views, 0);
        const open = views.filter(({ opensNew }) => opensNew);
        const all = open.length > 0 ? open : views.filter(({ panic }) => panic);
        const idsIn = (version: number): string[] =>
          Array.from({ length: balancer.candidatesOf(version) }, (_, at) =>
            balancer.idOf(balancer.candidateAt(version, at)),
          ).toSorted();
        const sorted = (some: readonly InstanceView[]): string[] => some.map(({ id }) => id).toSorted();
        expect(idsIn(ANY_VERSION)).toEqual(sorted(all));
        expect(idsIn(COMMON_VERSIONS)).toEqual(sorted(all.filter(({ version }) => !apart.includes(version))));
        for (const { name, index, live, open: count } of balancer.versions) {
          const own = views.filter(({ version }) => version === name);
          const ownOpen = own.filter(({ opensNew }) => opensNew);
          const keeping = own.filter(({ keepsPinned }) => keepsPinned);
          const last = all.filter(({ version }) => version === name);
          const wanted = ownOpen.length > 0 ? ownOpen : keeping.length > 0 ? keeping : last;
          expect(idsIn(index)).toEqual(sorted(wanted));
          expect([live, count]).toEqual([wanted.length > 0, ownOpen.length]);
        }
      }
    }),
    { numRuns: 500 },
  );
});
