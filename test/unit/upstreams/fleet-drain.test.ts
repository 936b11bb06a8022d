import { describe, expect, it } from 'vitest';
import {
  DRAIN,
  fleetOf,
  idOf,
  NO,
  PASS,
  policyOf,
  readyFleet,
  REFUSED,
  report,
  SILENCE,
  statesOf,
  viewOf,
} from './fleet-model.ts';

describe('an operator', () => {
  it('drains: no new sessions at once, pinned ones until the session timeout', () => {
    const fleet = readyFleet(2);
    expect(fleet.operate(idOf(0), 'drain', undefined, 'ann', 1000)).toBe(true);
    expect(viewOf(fleet, 0, 3000)).toMatchObject({
      state: 'draining',
      reason: 'drained by ann',
      opensNew: false,
      keepsPinned: true,
      drainForMs: 2000,
    });
    expect(fleet.state(1000).state).toBe('up'); // a drain is no fault
    fleet.tick(60_999);
    expect(viewOf(fleet, 0).keepsPinned).toBe(true);
    const before = fleet.sequence;
    fleet.tick(61_000);
    expect(viewOf(fleet, 0)).toMatchObject({ state: 'draining', keepsPinned: false });
    expect(fleet.sequence).toBeGreaterThan(before);
    fleet.operate(idOf(0), 'enable', undefined, 'ann', 70_000);
    expect(viewOf(fleet, 0, 70_000)).toMatchObject({ state: 'warming', opensNew: true, drainForMs: -1 });
  });

  it('a service without one open instance says which of them an order closed', () => {
    const fleet = readyFleet(3);
    for (let index = 0; index < 3; index++) fleet.operate(idOf(index), 'drain', undefined, 'ann', 1000);
    expect(fleet.state(1000)).toMatchObject({ state: 'down', reason: '3 of 3 draining' });
    fleet.operate(idOf(0), 'disable', undefined, 'ann', 2000);
    expect(fleet.state(2000).reason).toBe('3 of 3 not ready (2 draining, 1 disabled)');
    fleet.probe(idOf(1), NO, 3000);
    expect(fleet.state(3000).reason).toBe('3 of 3 not ready (1 draining, 1 disabled): status 503');
  });

  it('a drain called off while sessions are still served leaves the instance as warm as it was', () => {
    const fleet = readyFleet(2);
    fleet.operate(idOf(0), 'drain', undefined, 'ann', 1000);
    fleet.operate(idOf(0), 'enable', undefined, 'ann', 60_000);
    expect(viewOf(fleet, 0)).toMatchObject({ state: 'ready', readyForMs: -1 });
  });

  it('a drain said twice does not begin anew', () => {
    const fleet = readyFleet(2);
    fleet.operate(idOf(0), 'drain', undefined, 'ann', 1000);
    fleet.operate(idOf(0), 'drain', undefined, 'bob', 50_000);
    expect(viewOf(fleet, 0, 51_000)).toMatchObject({ drainForMs: 50_000, reason: 'drained by bob' });
  });

  it('an order with a ttl ends by itself', () => {
    const fleet = readyFleet(2);
    fleet.operate(idOf(0), 'disable', 5000, 'ann', 1000);
    fleet.operate(idOf(1), 'drain', 8000, 'ann', 1000);
    expect(statesOf(fleet)).toBe('disabled draining');
    expect(viewOf(fleet, 0)).toMatchObject({ reason: 'disabled by ann', keepsPinned: false });
    fleet.tick(6000);
    expect(statesOf(fleet)).toBe('warming draining');
    fleet.tick(9000);
    expect(statesOf(fleet)).toBe('warming ready');
  });

  it('an enable has no end', () => {
    const fleet = readyFleet(1);
    fleet.operate(idOf(0), 'disable', 5000, 'ann', 0);
    fleet.operate(idOf(0), 'enable', 1000, 'ann', 10);
    fleet.operate(idOf(0), 'disable', undefined, 'ann', 20);
    fleet.tick(1_000_000);
    expect(statesOf(fleet)).toBe('disabled');
  });

  it('a draining instance that dies gives up its sessions', () => {
    const fleet = readyFleet(2);
    fleet.operate(idOf(0), 'drain', undefined, 'ann', 1000);
    for (const now of [1500, 1750]) fleet.probe(idOf(0), REFUSED, now);
    expect(viewOf(fleet, 0)).toMatchObject({ state: 'down', keepsPinned: false, panic: false });
  });

  it('orders survive a reload', () => {
    const fleet = readyFleet(2);
    fleet.operate(idOf(0), 'disable', undefined, 'ann', 0);
    fleet.configure(policyOf(2), 100);
    expect(statesOf(fleet)).toBe('disabled ready');
  });
});

describe('an instance off the list', () => {
  it('keeps its sessions until the session timeout, is gone, and is forgotten after ten minutes', () => {
    const fleet = readyFleet(2);
    fleet.configure(policyOf(1), 1000);
    expect(viewOf(fleet, 1)).toMatchObject({
      state: 'draining',
      reason: 'removed from the list',
      keepsPinned: true,
    });
    fleet.tick(61_000);
    expect(viewOf(fleet, 1)).toMatchObject({ state: 'gone', keepsPinned: false });
    expect(fleet.state(61_000)).toMatchObject({ state: 'up' });
    fleet.tick(660_999);
    expect(fleet.views(0)).toHaveLength(2);
    fleet.tick(661_000);
    expect(fleet.views(0)).toHaveLength(1);
  });

  it('is gone as soon as its port is closed', () => {
    const fleet = readyFleet(2);
    fleet.configure(policyOf(1), 1000);
    fleet.probe(idOf(1), REFUSED, 2000);
    expect(viewOf(fleet, 1).state).toBe('draining');
    fleet.probe(idOf(1), REFUSED, 2250);
    expect(viewOf(fleet, 1).state).toBe('gone');
    fleet.probe(idOf(0), NO, 3000);
    expect(fleet.state(3000)).toMatchObject({ state: 'down', reason: '1 of 1 not ready: status 503' });
  });

  it('that had said before that it drains does not come back by saying so no more', () => {
    const fleet = readyFleet(2);
    fleet.probe(idOf(1), DRAIN, 500);
    fleet.configure(policyOf(1), 1000);
    for (const now of [2000, 3000, 4000]) fleet.probe(idOf(1), PASS, now);
    expect(viewOf(fleet, 1)).toMatchObject({ state: 'draining', reason: 'removed from the list' });
  });

  it('is probed until it is gone', () => {
    const fleet = readyFleet(2);
    fleet.configure(policyOf(1), 1000);
    expect(fleet.probed().map(({ id }) => id)).toEqual([idOf(0), idOf(1)]);
    fleet.tick(61_000);
    expect(fleet.probed().map(({ id }) => id)).toEqual([idOf(0)]);
  });

  it('that comes back to it while leaving has never left; once gone it joins anew', () => {
    const fleet = readyFleet(2);
    fleet.configure(policyOf(1), 1000);
    fleet.configure(policyOf(2), 2000);
    expect(viewOf(fleet, 1, 2000)).toMatchObject({ state: 'ready', readyForMs: -1, drainForMs: -1 });
    fleet.configure(policyOf(1), 3000);
    fleet.tick(63_000);
    expect(viewOf(fleet, 1).state).toBe('gone');
    fleet.configure(policyOf(2), 70_000);
    expect(viewOf(fleet, 1).state).toBe('joining');
  });
});

describe('an instance that says that it drains', () => {
  it('leaves at once with its sessions kept, as long as it says so', () => {
    const fleet = readyFleet(2);
    fleet.probe(idOf(0), DRAIN, 1000);
    expect(viewOf(fleet, 0)).toMatchObject({
      state: 'draining',
      reason: 'the instance says that it drains',
      keepsPinned: true,
    });
    for (let now = 2000; now < 60_000; now += 1000) fleet.probe(idOf(0), DRAIN, now);
    expect(viewOf(fleet, 0, 59_000)).toMatchObject({ state: 'draining', drainForMs: 58_000 });
    fleet.tick(61_000);
    expect(viewOf(fleet, 0).state).toBe('gone');
  });

  it('comes back with rise probes that do not say so any more', () => {
    const fleet = readyFleet(2);
    fleet.probe(idOf(0), DRAIN, 1000);
    fleet.probe(idOf(0), PASS, 2000);
    fleet.probe(idOf(0), DRAIN, 3000);
    fleet.probe(idOf(0), PASS, 4000);
    expect(viewOf(fleet, 0).state).toBe('draining');
    fleet.probe(idOf(0), PASS, 5000);
    expect(viewOf(fleet, 0, 5000)).toMatchObject({ state: 'ready', readyForMs: -1 }); // it never stopped serving
  });

  it('on an answer leaves as well, and a probe that knows nothing of it does not call it back for ten seconds', () => {
    const fleet = readyFleet(2);
    fleet.passive(idOf(0), report({ ok: 1, failedCallers: 0, drains: true }), 1000);
    expect(viewOf(fleet, 0, 1000)).toMatchObject({
      state: 'draining',
      reason: 'the instance says that it drains',
      keepsPinned: true,
    });
    for (let now = 1500; now <= 9500; now += 1000) fleet.probe(idOf(0), PASS, now);
    fleet.passive(idOf(0), report({ ok: 1, failedCallers: 0, drains: true }), 9600);
    for (let now = 10_500; now <= 19_500; now += 1000) fleet.probe(idOf(0), PASS, now);
    expect(viewOf(fleet, 0).state).toBe('draining');
    for (const now of [20_500, 21_500]) fleet.probe(idOf(0), PASS, now);
    expect(viewOf(fleet, 0).state).toBe('ready');
  });

  it('on answers and probes comes back with rise probes: the process that took its place is not kept out', () => {
    const fleet = readyFleet(2);
    fleet.probe(idOf(0), DRAIN, 1000);
    fleet.passive(idOf(0), report({ ok: 1, failedCallers: 0, drains: true }), 1500);
    for (const now of [2000, 2250]) fleet.probe(idOf(0), PASS, now);
    expect(viewOf(fleet, 0).state).toBe('ready');
  });

  it('on an answer, whose port was closed then, comes back with rise probes as well', () => {
    const fleet = readyFleet(2);
    fleet.passive(idOf(0), report({ ok: 1, failedCallers: 0, drains: true }), 1000);
    for (const now of [1500, 1750]) fleet.probe(idOf(0), REFUSED, now);
    fleet.tick(1800);
    for (const now of [4500, 4750]) fleet.probe(idOf(0), PASS, now);
    expect(viewOf(fleet, 0).state).toBe('warming');
  });

  it('drains, exits and is replaced at the same address: gone, then warming', () => {
    const fleet = readyFleet(2);
    fleet.probe(idOf(0), DRAIN, 1000);
    for (const now of [5000, 5250]) fleet.probe(idOf(0), REFUSED, now);
    expect(viewOf(fleet, 0).state).toBe('gone');
    expect(fleet.probed()).toHaveLength(2); // still on the list
    fleet.tick(700_000);
    expect(fleet.views(0)).toHaveLength(2);
    for (const now of [701_000, 701_250]) fleet.probe(idOf(0), PASS, now);
    expect(viewOf(fleet, 0).state).toBe('warming');
  });

  it('a joiner that drains never opens', () => {
    const fleet = fleetOf(1);
    fleet.probe(idOf(0), DRAIN, 0);
    expect(statesOf(fleet)).toBe('draining');
  });

  it('a no, or silence, after a notice takes its sessions', () => {
    const fleet = readyFleet(3);
    for (const index of [0, 1]) fleet.probe(idOf(index), DRAIN, 1000);
    fleet.probe(idOf(0), NO, 2000);
    for (const now of [2000, 2250]) fleet.probe(idOf(1), SILENCE, now);
    expect(statesOf(fleet)).toBe('unready down ready');
  });
});
