import { describe, expect, it } from 'vitest';
import { FlapHold } from '../../../src/upstreams/flap-hold.ts';
import type { Fleet } from '../../../src/upstreams/fleet.ts';
import { DRAIN, idOf, NO, PASS, readyFleet, REFUSED, viewOf } from './fleet-model.ts';

describe('an instance that goes and comes back', () => {
  it('is held out from the third leaving within a minute on, for 5 s, then 10, 20, 40, and 60 at most', () => {
    const flaps = new FlapHold();
    const holds: number[] = [];
    let now = 0;
    for (let turn = 0; turn < 9; turn++) {
      flaps.left(now);
      holds.push(flaps.holdMs);
      now += Math.max(2000, flaps.holdMs);
      flaps.back(now);
      now += 3000;
    }
    expect(holds).toEqual([0, 0, 5000, 10_000, 20_000, 40_000, 60_000, 60_000, 60_000]);
  });

  it('twice a minute is none', () => {
    const flaps = new FlapHold();
    for (let now = 0; now < 600_000; now += 30_001) {
      flaps.left(now);
      flaps.back(now + 2000);
      expect(flaps.holdMs).toBe(0);
    }
  });

  it('a minute in service takes one step back, five forget all', () => {
    for (const [minutes, holdMs] of [
      [0.9, 40_000],
      [1, 20_000],
      [2, 10_000],
      [3, 0],
    ] as const) {
      const flaps = new FlapHold();
      for (const now of [0, 5000, 10_000, 20_000, 35_000]) {
        flaps.left(now);
        flaps.back(now + 1);
      }
      flaps.back(60_000);
      flaps.left(60_000 + minutes * 60_000);
      expect(flaps.holdMs).toBe(holdMs);
    }
  });

  it('what was not its own fault is not counted', () => {
    const flaps = new FlapHold();
    for (const now of [0, 5000]) flaps.left(now);
    flaps.left(10_000);
    flaps.forgive(9000);
    expect(flaps.holdMs).toBe(0);
    flaps.left(15_000);
    expect(flaps.holdMs).toBe(5000);
  });
});

/** Says no, and then two passes once the usual hold is over; the moment of the last. */
function flap(fleet: Fleet, at: number): number {
  fleet.probe(idOf(0), NO, at);
  for (const later of [1900, 2150]) fleet.probe(idOf(0), PASS, at + later);
  return at + 2150;
}

describe('a fleet with one that flaps', () => {
  it('keeps it out, with the reason, though its probe passes, and lets it in then', () => {
    const fleet = readyFleet(2);
    for (const at of [0, 3000]) flap(fleet, at);
    expect(viewOf(fleet, 0).opensNew).toBe(true);
    flap(fleet, 6000);
    expect(viewOf(fleet, 0)).toMatchObject({ state: 'unready', reason: 'flaps: held out for 5 s' });
    fleet.tick(10_999);
    expect(viewOf(fleet, 0).state).toBe('unready');
    fleet.tick(11_000);
    expect(viewOf(fleet, 0).opensNew).toBe(true);
  });

  it('takes no deploys for flapping that were announced, however many', () => {
    for (const announce of [
      (fleet: Fleet, now: number) => fleet.probe(idOf(0), DRAIN, now),
      (fleet: Fleet, now: number) => fleet.operate(idOf(0), 'drain', 2500, 'ann', now),
    ]) {
      const fleet = readyFleet(2);
      for (let now = 0; now < 60_000; now += 10_000) {
        announce(fleet, now);
        for (const later of [1000, 1100]) fleet.probe(idOf(0), REFUSED, now + later);
        expect(viewOf(fleet, 0).opensNew).toBe(false);
        for (const later of [3000, 3250]) fleet.probe(idOf(0), PASS, now + later);
        fleet.tick(now + 3300);
        expect(viewOf(fleet, 0).opensNew).toBe(true);
      }
    }
  });

  it('never holds out the last that passes', () => {
    const alone = readyFleet(1);
    for (let round = 0; round < 8; round++) {
      flap(alone, round * 3000);
      expect(viewOf(alone, 0).opensNew).toBe(true);
    }
    const fleet = readyFleet(2);
    for (const at of [0, 3000, 6000]) flap(fleet, at);
    expect(viewOf(fleet, 0).opensNew).toBe(false);
    fleet.probe(idOf(1), NO, 8500);
    fleet.tick(8600);
    expect(viewOf(fleet, 0).opensNew).toBe(true);
  });
});
