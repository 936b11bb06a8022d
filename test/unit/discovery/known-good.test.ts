import { expect, test } from 'vitest';

import { KnownGood, type KnownGoodPolicy } from '../../../src/discovery/known-good.ts';
import type { Found } from '../../../src/discovery/source.ts';

const KEEP: KnownGoodPolicy = { emptySet: 'keep', hasIdentity: false };
const MINUTE = 60_000;

function found(host: number, more: Partial<Found> = {}): Found {
  const url = `http://10.0.0.${host}:8080`;
  return { uid: url, url, version: '', weight: 1, leaving: false, readyHint: 'unknown', ...more };
}

function fleet(...hosts: number[]): Found[] {
  return hosts.map((host) => found(host));
}

/** A set that comes and is settled after its quiet. */
class World {
  now = 0;
  readonly known: KnownGood;
  /** Hosts whose probe passes. */
  passing = new Set<number>();

  constructor(policy = KEEP, before: readonly Found[] = [], ofAnother = false) {
    this.known = new KnownGood(policy, before, ofAnother);
  }

  says(...set: readonly Found[]): string {
    this.known.offer(set, this.now);
    this.now = Math.max(this.now, this.known.dueMs);
    return this.known.settle(this.now, this.#passes).fault?.kind ?? '';
  }

  /** Time passes, looked at each second. */
  wait(ms: number): void {
    for (const end = this.now + ms; this.now < end;) {
      this.now = Math.min(end, this.now + 1000);
      this.known.settle(this.now, this.#passes);
    }
  }

  hosts(): number[] {
    return this.known
      .instances()
      .map(({ url }) => Number(url.split('.')[3]?.split(':')[0]))
      .sort((a, b) => a - b);
  }

  readonly #passes = (url: string): boolean => this.passing.has(Number(/(\d+):8080$/.exec(url)?.[1]));
}

function serving(...hosts: number[]): World {
  const world = new World();
  world.says(...fleet(...hosts));
  world.passing = new Set(hosts);
  return world;
}

test('the first set counts at once, later ones after 100 ms of quiet, a restless source once a second', () => {
  const known = new KnownGood(KEEP);
  known.offer(fleet(1), 1000);
  expect(known.dueMs).toBe(1000);
  expect(known.settle(1000, () => true)).toMatchObject({ changed: true, fault: undefined });
  known.offer(fleet(1, 2), 2000);
  expect(known.settle(2050, () => true).changed).toBe(false);
  known.offer(fleet(1, 2, 3), 2060);
  expect(known.dueMs).toBe(2160);
  for (let now = 2100; now < 2990; now += 50) known.offer(fleet(1, 2, 3 + (now % 100 === 0 ? 1 : 0)), now);
  expect(known.dueMs).toBe(3000);
  expect(known.settle(3000, () => true).changed).toBe(true);
  expect(known.dueMs).toBe(Infinity);
});

test('the same set said again neither waits longer nor changes anything', () => {
  const world = serving(1, 2);
  world.known.offer(fleet(2, 1), world.now);
  world.known.offer(fleet(1, 2), world.now + 90);
  expect(world.known.dueMs).toBe(world.now + 100);
  expect(world.known.settle(world.now + 100, () => true).changed).toBe(false);
});

test('an instance that is no longer listed leaves, half of them too', () => {
  const world = serving(1, 2, 3, 4);
  expect(world.says(...fleet(1, 2))).toBe('');
  expect(world.hosts()).toEqual([1, 2]);
});

test('an empty answer takes nobody away, for hours, and is told each time', () => {
  const world = serving(1, 2, 3);
  expect(world.says()).toBe('empty');
  expect(world.known.held).toBe(3);
  world.wait(3 * 60 * MINUTE);
  expect(world.says()).toBe('empty');
  expect(world.hosts()).toEqual([1, 2, 3]);
});

test('an instance that died meanwhile is kept five minutes for an empty answer, and the others stay', () => {
  const world = serving(1, 2, 3);
  world.says();
  world.passing.delete(2);
  world.wait(4 * MINUTE);
  expect(world.hosts()).toEqual([1, 2, 3]);
  world.wait(MINUTE);
  expect(world.hosts()).toEqual([1, 3]);
});

test('an empty answer, and one without most, is obeyed where the configuration says so', () => {
  const world = new World({ emptySet: 'apply', hasIdentity: false });
  world.says(...fleet(1, 2, 3));
  world.passing = new Set([1, 2, 3]);
  expect(world.says(...fleet(1))).toBe('');
  expect(world.hosts()).toEqual([1]);
  expect(world.says()).toBe('');
  expect(world.hosts()).toEqual([]);
});

test('a set without most of the instances is not believed while they pass their probes', () => {
  const world = serving(1, 2, 3, 4, 5);
  expect(world.says(...fleet(1, 6))).toBe('shrunk');
  expect(world.hosts()).toEqual([1, 2, 3, 4, 5, 6]);
  expect(world.known.held).toBe(4);
  world.wait(5 * MINUTE - 1000);
  expect(world.hosts()).toEqual([1, 2, 3, 4, 5, 6]);
  world.wait(1000);
  expect(world.hosts()).toEqual([1, 6]);
});

test('with an identity to check, what passes is kept for ever', () => {
  const world = new World({ emptySet: 'keep', hasIdentity: true });
  world.says(...fleet(1, 2, 3, 4, 5));
  world.passing = new Set([1, 2, 3, 4, 5]);
  world.says(...fleet(1));
  world.wait(60 * MINUTE);
  expect(world.hosts()).toEqual([1, 2, 3, 4, 5]);
});

test('what is missing and passes no probe is gone, at once or ten seconds after it stopped to', () => {
  const world = serving(1, 2, 3, 4, 5);
  world.passing = new Set([1, 2, 3]);
  world.says(...fleet(1));
  expect(world.hosts()).toEqual([1, 2, 3]);
  world.passing.delete(2);
  world.wait(9000);
  expect(world.hosts()).toEqual([1, 2, 3]);
  world.wait(1000);
  expect(world.hosts()).toEqual([1, 3]);
});

test('a full set ends every hold', () => {
  const world = serving(1, 2, 3);
  world.says();
  expect(world.says(...fleet(1, 2, 3))).toBe('');
  expect(world.known.held).toBe(0);
  expect(world.hosts()).toEqual([1, 2, 3]);
});

test('after an empty answer, what the next set leaves out is judged like any other missing instance', () => {
  const few = serving(1, 2, 3, 4);
  few.says();
  expect(few.says(...fleet(1, 2, 3))).toBe('');
  expect(few.hosts()).toEqual([1, 2, 3]);
  const most = serving(1, 2, 3, 4);
  most.says();
  expect(most.says(...fleet(1))).toBe('shrunk');
  expect(most.hosts()).toEqual([1, 2, 3, 4]);
});

test('a fleet replaced as a whole keeps the old instances until half as many new ones pass', () => {
  const world = serving(1, 2, 3, 4);
  expect(world.says(...fleet(5, 6, 7, 8))).toBe('shrunk');
  world.passing.add(5);
  world.wait(1000);
  expect(world.hosts()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  world.passing.add(6);
  world.wait(1000);
  expect(world.hosts()).toEqual([5, 6, 7, 8]);
});

test('a partial set is not believed in steps because held instances die', () => {
  const world = serving(1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
  world.says(...fleet(1, 2, 3, 4));
  for (const host of [5, 6, 7]) world.passing.delete(host);
  world.wait(20_000);
  world.says(...fleet(1, 2, 3, 4));
  expect(world.hosts()).toEqual([1, 2, 3, 4, 8, 9, 10]);
});

test('whoever was announced as leaving is not missed: a service may be scaled to nothing', () => {
  const world = serving(1, 2);
  world.says(found(1, { leaving: true }), found(2, { leaving: true }));
  expect(world.says()).toBe('');
  expect(world.hosts()).toEqual([]);
});

test('a held instance is no longer what the source once said of it', () => {
  const world = new World();
  world.says(found(1, { readyHint: 'notReady' }));
  world.says();
  expect(world.known.instances()).toEqual([found(1)]);
});

test('the set of an earlier life is the last good one', () => {
  const world = new World(KEEP, fleet(1, 2, 3));
  expect(world.hosts()).toEqual([1, 2, 3]);
  world.passing = new Set([1, 2, 3]);
  expect(world.says()).toBe('empty');
  expect(world.hosts()).toEqual([1, 2, 3]);
});

test('what is left of an earlier life and answers nobody goes with the first set', () => {
  const world = new World(KEEP, fleet(1, 2, 3));
  expect(world.says(...fleet(7, 8, 9))).toBe('');
  expect(world.hosts()).toEqual([7, 8, 9]);
});

test('an empty first answer is a fault as well, though nobody is there to be kept', () => {
  const world = new World();
  expect(world.says()).toBe('empty');
  expect(world.hosts()).toEqual([]);
});

test('a set that replaces most is obeyed where the configuration says so, once the new ones pass', () => {
  const world = new World({ emptySet: 'apply', hasIdentity: false });
  world.says(...fleet(1, 2));
  world.passing = new Set([1, 2]);
  expect(world.says(...fleet(3, 4))).toBe('');
  expect(world.hosts()).toEqual([1, 2, 3, 4]);
  world.passing = new Set([1, 2, 3, 4]);
  world.wait(1000);
  expect(world.hosts()).toEqual([3, 4]);
});

test('a handover to instances that never pass ends after ten seconds', () => {
  const world = new World({ emptySet: 'apply', hasIdentity: false });
  world.says(...fleet(1, 2));
  world.passing = new Set([1, 2]);
  world.says(...fleet(3, 4));
  world.wait(9000);
  expect(world.hosts()).toEqual([1, 2, 3, 4]);
  world.wait(1000);
  expect(world.hosts()).toEqual([3, 4]);
});

test('another source takes over what is there, without an alarm, and only its own empty answer is one', () => {
  const over = new World(KEEP, fleet(1, 2), true);
  over.passing = new Set([1, 2]);
  expect(over.says(...fleet(3))).toBe('');
  expect(over.hosts()).toEqual([1, 2, 3]);
  over.passing.add(3);
  over.wait(1000);
  expect(over.hosts()).toEqual([3]);
  const empty = new World(KEEP, fleet(1, 2), true);
  expect(empty.says()).toBe('empty');
  expect(empty.hosts()).toEqual([1, 2]);
});

test('of two lives at one address the one that stays counts', () => {
  const world = new World();
  world.says(found(1, { uid: 'old', leaving: true }), found(1, { uid: 'new' }));
  expect(world.known.instances().map(({ uid }) => uid)).toEqual(['new']);
});
