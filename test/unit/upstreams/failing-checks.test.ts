import { describe, expect, it } from 'vitest';
import type { Evidence } from '../../../src/kernel/evidence.ts';
import type { Fleet } from '../../../src/upstreams/fleet.ts';
import {
  failAlone,
  FIVE_HARD,
  idOf,
  NO,
  PASS,
  policyOf,
  readyFleet,
  SILENCE,
  statesOf,
  viewOf,
} from './fleet-model.ts';

const DATABASE: Evidence = {
  ...NO,
  reason: 'status 503, check postgres failing',
  failingChecks: ['postgres'],
};
const DISK: Evidence = { ...NO, failingChecks: ['disk'] };

function blamed(fleet: Fleet, now: number): readonly string[] {
  return fleet
    .state(now)
    .failingChecks.filter((check) => check.blamed)
    .map(({ name }) => name);
}

describe('a check that several instances report', () => {
  it('is blamed from a half of them on, within 1.2 intervals; two of three are needed, two of two, one of one', () => {
    for (const [count, enough] of [
      [1, 1],
      [2, 2],
      [3, 2],
      [4, 2],
      [5, 3],
      [10, 5],
    ] as const) {
      const fleet = readyFleet(count);
      for (let index = 0; index < enough; index++) {
        expect(blamed(fleet, 1000)).toEqual([]);
        fleet.probe(idOf(index), DATABASE, 1000 + (1200 * index) / count);
      }
      expect(blamed(fleet, 3000)).toEqual(['postgres']);
    }
  });

  it('is their own affair when they come to it one after another, until all report it', () => {
    const fleet = readyFleet(4);
    for (let index = 0; index < 3; index++) {
      for (let at = 0; at <= index; at++) fleet.probe(idOf(at), DATABASE, 10_000 * (index + 1));
    }
    expect(fleet.state(30_000).failingChecks).toMatchObject([{ failing: 3, reporting: 4, blamed: false }]);
    fleet.probe(idOf(3), DATABASE, 40_000);
    expect(blamed(fleet, 40_000)).toEqual(['postgres']);
  });

  it('is not two checks: each has its own count', () => {
    const fleet = readyFleet(4);
    for (const [index, what] of [DATABASE, DISK].entries()) fleet.probe(idOf(index), what, 1000);
    expect(blamed(fleet, 1000)).toEqual([]);
  });

  it('is blamed until fewer than a quarter report it; who says nothing is not asked', () => {
    const fleet = readyFleet(8);
    for (let index = 0; index < 4; index++) fleet.probe(idOf(index), DATABASE, 1000);
    fleet.probe(idOf(0), PASS, 2000);
    fleet.probe(idOf(1), PASS, 2000);
    expect(blamed(fleet, 2000)).toEqual(['postgres']); // two of eight
    fleet.probe(idOf(2), PASS, 3000);
    expect(blamed(fleet, 3000)).toEqual([]);
    const quiet = readyFleet(8);
    for (let index = 0; index < 4; index++) quiet.probe(idOf(index), DATABASE, 1000);
    for (let index = 0; index < 4; index++) quiet.probe(idOf(index), SILENCE, 2000);
    expect(quiet.state(2000).failingChecks).toEqual([]);
  });

  it('ends with the instances that reported it, also when those are gone and nobody answers', () => {
    const fleet = readyFleet(2);
    for (const index of [0, 1]) fleet.probe(idOf(index), DATABASE, 1000);
    fleet.configure(policyOf(0), 2000);
    expect(blamed(fleet, 2000)).toEqual(['postgres']);
    fleet.tick(62_100);
    expect(fleet.state(62_100).failingChecks).toEqual([]);
  });

  it('ejects nobody while it is blamed', () => {
    const fleet = readyFleet(4);
    for (const index of [0, 1]) fleet.probe(idOf(index), DATABASE, 1000);
    failAlone(fleet, [2], 2000);
    expect(viewOf(fleet, 2).state).toBe('ready');
    for (const now of [3000, 3250]) for (const index of [0, 1]) fleet.probe(idOf(index), PASS, now);
    fleet.passive(idOf(2), FIVE_HARD, 5000);
    failAlone(fleet, [2], 5100);
    expect(viewOf(fleet, 2).state).toBe('ejected');
  });

  it('is no flapping of theirs, also for those who were the first', () => {
    const fleet = readyFleet(4);
    for (let round = 0; round < 6; round++) {
      const at = 1000 + round * 8000;
      for (let index = 0; index < 4; index++) fleet.probe(idOf(index), DATABASE, at + 100 * index);
      for (const later of [3000, 3250]) {
        for (let index = 0; index < 4; index++) fleet.probe(idOf(index), PASS, at + later + 100 * index);
      }
      expect(fleet.state(at + 4000).counts).toMatchObject({ unready: 0, down: 0 });
    }
  });
});

describe('a service that serves on without its dependency', () => {
  const SERVES = { servesBlamed: true };

  it('keeps the instances whose only fault it is, as degraded; others are unready', () => {
    const fleet = readyFleet(4, SERVES);
    fleet.probe(idOf(0), DATABASE, 1000);
    expect(viewOf(fleet, 0).state).toBe('unready'); // one alone is its own affair
    fleet.probe(idOf(1), { ...DATABASE, failingChecks: ['postgres', 'disk'] }, 1100);
    expect(statesOf(fleet)).toBe('degraded unready ready ready');
    expect(viewOf(fleet, 0)).toMatchObject({ opensNew: true, reason: 'status 503, check postgres failing' });
    fleet.probe(idOf(2), NO, 1200); // names nothing
    fleet.probe(idOf(3), DATABASE, 1300);
    expect(statesOf(fleet)).toBe('degraded unready unready degraded');
    expect(fleet.state(1300).state).toBe('degraded');
  });

  it('has no gap when the dependency is back: they stay in use until they pass', () => {
    const fleet = readyFleet(2, SERVES);
    for (const index of [0, 1]) fleet.probe(idOf(index), DATABASE, 1000);
    expect(statesOf(fleet)).toBe('degraded degraded');
    const seen = new Set<string>();
    for (let now = 2000; now <= 4500; now += 250) {
      for (const index of [0, 1]) fleet.probe(idOf(index), PASS, now);
      seen.add(statesOf(fleet));
    }
    // The first was out for a moment, before the second said the same.
    expect([...seen]).toEqual(['degraded degraded', 'warming ready']);
  });

  it('drops the last ones that still report it when the others do not any more, and one that falls silent', () => {
    const fleet = readyFleet(5, SERVES);
    for (let index = 0; index < 5; index++) fleet.probe(idOf(index), DATABASE, 1000);
    fleet.probe(idOf(1), SILENCE, 1500);
    expect(viewOf(fleet, 1).state).toBe('unready');
    for (const now of [2000, 2250, 3100])
      for (const index of [1, 2, 3, 4]) fleet.probe(idOf(index), PASS, now);
    expect(statesOf(fleet)).toBe('unready warming ready ready ready');
  });

  it('does not tolerate it without the word in its configuration', () => {
    const fleet = readyFleet(2);
    for (const index of [0, 1]) fleet.probe(idOf(index), DATABASE, 1000);
    expect(statesOf(fleet)).toBe('unready unready');
    fleet.configure(policyOf(2, SERVES), 1500);
    expect(statesOf(fleet)).toBe('degraded degraded');
    fleet.configure(policyOf(2), 1600);
    expect(statesOf(fleet)).toBe('unready unready');
  });
});
