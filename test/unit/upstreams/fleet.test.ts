import { describe, expect, it } from 'vitest';
import { TIMED_OUT } from '../../../src/readiness/probe-document.ts';
import { instanceId } from '../../../src/upstreams/instance-id.ts';
import {
  changed,
  failAlone,
  FIVE_HARD,
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

describe('the name of an instance', () => {
  it('always has its port', () => {
    expect(instanceId('http://shop')).toBe('shop:80');
    expect(instanceId('https://shop/')).toBe('shop:443');
    expect(instanceId('http://127.0.0.1:9001')).toBe('127.0.0.1:9001');
    expect(instanceId('http://[::1]:9001')).toBe('[::1]:9001');
    expect(() => instanceId('shop')).toThrow(TypeError);
  });
});

describe('a fleet', () => {
  it('begins joining and unknown, and takes no traffic before a pass', () => {
    const fleet = fleetOf(2);
    expect(statesOf(fleet)).toBe('joining joining');
    expect(fleet.state(0)).toMatchObject({ state: 'unknown', reason: 'first probes are awaited' });
    expect(fleet.views(0).some((view) => view.opensNew || view.keepsPinned)).toBe(false);
  });

  it('instances of the first list are born grown', () => {
    const fleet = readyFleet(2);
    expect(statesOf(fleet)).toBe('ready ready');
    expect(viewOf(fleet, 0, 500)).toMatchObject({ readyForMs: -1, opensNew: true, stateSinceMs: 500 });
    expect(fleet.state(0)).toMatchObject({ state: 'up', reason: '' });
  });

  it('a later instance warms up for the slow start', () => {
    const fleet = readyFleet(1);
    fleet.configure(policyOf(2), 1000);
    expect(statesOf(fleet)).toBe('ready joining');
    fleet.probe(idOf(1), PASS, 1100);
    expect(viewOf(fleet, 1, 11_100)).toMatchObject({
      state: 'warming',
      readyForMs: 10_000,
      reason: 'slow start',
    });
    fleet.tick(31_099);
    expect(viewOf(fleet, 1).state).toBe('warming');
    const before = fleet.sequence;
    fleet.tick(31_100);
    expect(viewOf(fleet, 1).state).toBe('ready');
    expect(fleet.sequence).toBe(before + 1);
  });

  it('one of the first list that was down warms up when it comes', () => {
    const fleet = fleetOf(2);
    fleet.probe(idOf(0), PASS, 0);
    fleet.probe(idOf(1), REFUSED, 0);
    fleet.probe(idOf(1), REFUSED, 250);
    expect(statesOf(fleet)).toBe('ready down');
    for (const now of [5000, 5250]) fleet.probe(idOf(1), PASS, now);
    expect(viewOf(fleet, 1, 5250)).toMatchObject({ state: 'warming', readyForMs: 0 });
  });

  it('load does not turn silence into removal: good traffic voids a silent probe', () => {
    const fleet = readyFleet(3);
    for (let now = 100; now <= 20_000; now += 500) {
      fleet.passive(idOf(0), report({ ok: 1 }), now);
      fleet.probe(idOf(0), SILENCE, now);
    }
    expect(viewOf(fleet, 0)).toMatchObject({ state: 'ready', reason: '' });
    fleet.probe(idOf(0), SILENCE, 21_000);
    fleet.probe(idOf(0), SILENCE, 21_250);
    expect(viewOf(fleet, 0).state).toBe('down');
  });

  it('good traffic does not void a closed port, nor an explicit no', () => {
    const fleet = readyFleet(3);
    fleet.passive(idOf(0), report({ ok: 1 }), 100);
    fleet.probe(idOf(0), REFUSED, 150);
    fleet.probe(idOf(0), REFUSED, 400);
    fleet.passive(idOf(1), report({ ok: 1 }), 100);
    fleet.probe(idOf(1), NO, 150);
    expect(statesOf(fleet)).toBe('down unready ready');
  });

  it('all probes silent: one goes at once, the others are held, half stay for good', () => {
    const fleet = readyFleet(4);
    for (let now = 1000; now <= 60_000; now += 1000) {
      for (let index = 0; index < 4; index++) fleet.probe(idOf(index), SILENCE, now);
      if (now === 2000) expect(statesOf(fleet)).toBe('down ready ready ready');
      if (now === 2000) expect(viewOf(fleet, 1).reason).toBe('held: timeout');
    }
    expect(statesOf(fleet)).toBe('down down ready ready');
    expect(fleet.state(60_000)).toMatchObject({ state: 'degraded', reason: '2 of 4 not ready: timeout' });
  });

  it('one that warms up and whose removal is held says so, not that it starts slowly', () => {
    const fleet = readyFleet(3);
    for (const now of [1000, 1250]) fleet.probe(idOf(1), NO, now);
    for (const now of [4000, 4250]) fleet.probe(idOf(1), PASS, now);
    for (const now of [5000, 5250]) for (const index of [0, 1]) fleet.probe(idOf(index), SILENCE, now);
    expect(statesOf(fleet)).toBe('down warming ready');
    expect(viewOf(fleet, 1).reason).toBe('held: timeout');
  });

  it('a whole service that refuses is down as fast as its probes', () => {
    const fleet = readyFleet(3);
    for (const now of [1000, 1250])
      for (let index = 0; index < 3; index++) fleet.probe(idOf(index), REFUSED, now);
    expect(fleet.state(2250)).toMatchObject({
      state: 'down',
      reason: '3 of 3 not ready: connection refused',
      sinceMs: 1000,
    });
    expect(fleet.views(0).some((view) => view.panic)).toBe(false);
  });

  it('panic never revives an explicit no, an order, a drain or a closed port', () => {
    const fleet = readyFleet(4);
    for (const now of [1000, 1250]) fleet.probe(idOf(3), SILENCE, now);
    fleet.probe(idOf(0), NO, 1300);
    fleet.operate(idOf(1), 'disable', undefined, 'ann', 1300);
    fleet.operate(idOf(2), 'drain', undefined, 'ann', 1300);
    for (const now of [1300, 1550]) for (const index of [1, 2]) fleet.probe(idOf(index), REFUSED, now);
    expect(statesOf(fleet)).toBe('unready disabled down down');
    expect(fleet.views(0).map((view) => view.panic)).toEqual([false, false, false, true]);
  });

  it('says whose probes time out: of no other silence, and not where discovery says that it is not ready', () => {
    const fleet = readyFleet(5);
    for (const now of [1000, 11_000, 21_000]) {
      for (const late of [0, 250]) {
        for (const index of [0, 1]) fleet.probe(idOf(index), TIMED_OUT, now + late);
        fleet.probe(idOf(2), { ...SILENCE, reason: 'status 404' }, now + late);
        fleet.probe(idOf(3), REFUSED, now + late);
      }
    }
    const timedOut = (): boolean[] => fleet.views(0).map((view) => view.timedOut);
    expect(statesOf(fleet)).toBe('down ready ready down ready');
    expect(timedOut()).toEqual([true, false, false, false, false]);
    const specs = changed(policyOf(5), (index) => ({ readyHint: index === 0 ? 'notReady' : 'unknown' }));
    fleet.discover(specs, 22_000, false);
    expect(timedOut()[0]).toBe(false);
    fleet.discover(policyOf(5).instances ?? [], 22_000, false);
    expect(timedOut()[0]).toBe(true);
    fleet.probe(idOf(0), { ...SILENCE, reason: 'status 404' }, 23_000);
    expect(timedOut()[0]).toBe(false);
  });

  it('an answer a second ago clears one that is out of the silence of its probes, and nobody who is in', () => {
    const fleet = readyFleet(3);
    for (const now of [1000, 1250]) fleet.probe(idOf(0), TIMED_OUT, now);
    fleet.passive(idOf(0), report({ ok: 1 }), 3000);
    expect(fleet.probe(idOf(0), TIMED_OUT, 4900)).toBe(true);
    fleet.passive(idOf(0), report({ ok: 1 }), 4900);
    expect(statesOf(fleet)).toBe('warming ready ready');
    fleet.passive(idOf(1), report({ ok: 1 }), 5000);
    expect(fleet.probe(idOf(1), TIMED_OUT, 5499)).toBe(true);
    expect(fleet.probe(idOf(1), TIMED_OUT, 5501)).toBe(false);
  });

  it('traffic through a silent instance in panic counts as passes, one an interval', () => {
    const fleet = readyFleet(1);
    for (const now of [1000, 1250]) fleet.probe(idOf(0), SILENCE, now);
    expect(statesOf(fleet)).toBe('down');
    fleet.passive(idOf(0), report({ ok: 9 }), 2200); // an answer to a request of before
    fleet.passive(idOf(0), report({ ok: 9 }), 3200); // one
    expect(statesOf(fleet)).toBe('down');
    fleet.passive(idOf(0), report({ ok: 9 }), 4100); // too soon for another
    fleet.tick(4150);
    expect(statesOf(fleet)).toBe('down');
    fleet.passive(idOf(0), report({ ok: 9 }), 4200); // two
    expect(statesOf(fleet)).toBe('warming');
  });

  it('ejects the one that fails, and tries it again', () => {
    const fleet = readyFleet(3);
    failAlone(fleet, [1], 100);
    expect(viewOf(fleet, 1)).toMatchObject({
      state: 'ejected',
      reason: '5 failures in a row',
      opensNew: false,
    });
    expect(fleet.state(500).state).toBe('degraded');
    fleet.tick(6800);
    expect(viewOf(fleet, 1)).toMatchObject({ state: 'warming', trial: true, opensNew: true });
    fleet.passive(idOf(1), report({ ok: 3 }), 6900);
    expect(viewOf(fleet, 1)).toMatchObject({ state: 'warming', trial: false, reason: 'slow start' });
  });

  it('never ejects the last open one, nor more than a third', () => {
    const two = readyFleet(2);
    failAlone(two, [0], 100);
    expect(statesOf(two)).toBe('ejected ready');
    failAlone(two, [1], 1000);
    expect(statesOf(two)).toBe('ejected ready');
    const nine = readyFleet(9);
    failAlone(nine, [0, 1, 2, 3], 100);
    expect(statesOf(nine)).toBe('ejected ejected ejected ready ready ready ready ready ready');
  });

  it('judges an instance against the other open ones, not against itself or a closed one', () => {
    const shielded = readyFleet(3);
    shielded.probe(idOf(0), NO, 100);
    shielded.passive(idOf(0), report({ soft: 10 }), 150);
    shielded.passive(idOf(1), FIVE_HARD, 150);
    shielded.passive(idOf(2), report({ ok: 3, failedCallers: 0 }), 300);
    shielded.tick(550);
    expect(statesOf(shielded)).toBe('unready ejected ready');
    const alike = readyFleet(2);
    alike.passive(idOf(1), report({ ok: 1000 }), 100);
    alike.passive(idOf(1), FIVE_HARD, 300);
    alike.passive(idOf(0), report({ ok: 4, soft: 6 }), 500);
    alike.tick(700);
    expect(statesOf(alike)).toBe('ready ready'); // 6 of 10 fail elsewhere too
  });

  it('when the last other one goes, an ejection gives way to a trial', () => {
    const fleet = readyFleet(2);
    failAlone(fleet, [0], 100);
    expect(statesOf(fleet)).toBe('ejected ready');
    fleet.probe(idOf(1), NO, 600);
    expect(statesOf(fleet)).toBe('warming unready');
    expect(viewOf(fleet, 0).trial).toBe(true);
  });

  it('a restarted instance is tried at once, without waiting for the end of its ejection', () => {
    const fleet = readyFleet(5);
    failAlone(fleet, [0], 100);
    fleet.probe(idOf(0), REFUSED, 600);
    fleet.probe(idOf(0), REFUSED, 850);
    expect(viewOf(fleet, 0).state).toBe('down');
    fleet.probe(idOf(0), PASS, 2400);
    fleet.probe(idOf(0), PASS, 2850);
    expect(viewOf(fleet, 0)).toMatchObject({ state: 'warming', trial: true });
  });

  it('the same incarnation keeps all over a reload; another version begins anew', () => {
    const fleet = readyFleet(2);
    failAlone(fleet, [0], -300);
    const before = fleet.sequence;
    fleet.configure(policyOf(2), 200);
    expect(statesOf(fleet)).toBe('ejected ready');
    expect(fleet.sequence).toBe(before); // nothing that anybody sees has changed
    const policy = policyOf(2);
    const instances = changed(policy, () => ({ version: 'v2' }));
    fleet.operate(idOf(1), 'drain', undefined, 'ann', 250);
    fleet.configure({ ...policy, instances }, 300);
    expect(statesOf(fleet)).toBe('warming draining'); // an operator's order is about the address
  });

  it('another name for the version takes nobody out of use, and lets nobody in who is out', () => {
    const fleet = readyFleet(3);
    fleet.probe(idOf(1), NO, 100);
    const policy = policyOf(3, { slowStartMs: 1000 });
    const named = changed(policy, (index) => ({
      version: 'v2',
      ...(index === 2 && { url: 'https://10.0.0.2:80' }),
    }));
    fleet.configure({ ...policy, instances: named }, 200);
    expect(statesOf(fleet)).toBe('ready unready joining');
    expect(viewOf(fleet, 0)).toMatchObject({ version: 'v2', versionSeq: 2 });
    for (const now of [5000, 5250]) fleet.probe(idOf(1), PASS, now);
    expect(viewOf(fleet, 1, 5250).state).toBe('warming');
  });

  it('a changed weight is told', () => {
    const fleet = readyFleet(1);
    const before = fleet.sequence;
    const [first] = policyOf(1).instances ?? [];
    fleet.configure(policyOf(1, { instances: [{ url: first?.url ?? '', version: 'v1', weight: 3 }] }), 10);
    expect(fleet.sequence).toBeGreaterThan(before);
    expect(viewOf(fleet, 0).weight).toBe(3);
  });

  it('counts the checks that fail and knows since when', () => {
    const fleet = readyFleet(3);
    const failing = { ...NO, failingChecks: ['postgres'] };
    fleet.probe(idOf(0), failing, 1000);
    fleet.state(1000);
    fleet.probe(idOf(1), failing, 2000);
    expect(fleet.state(3000).failingChecks).toEqual([
      { name: 'postgres', failing: 2, reporting: 3, blamed: true, sinceMs: 2000 },
    ]);
    fleet.probe(idOf(2), SILENCE, 3500);
    expect(fleet.state(3500).failingChecks).toMatchObject([{ failing: 2, reporting: 2 }]);
    for (const index of [0, 1]) fleet.probe(idOf(index), PASS, 4000);
    expect(fleet.state(4000).failingChecks).toEqual([]);
  });

  it('what it is told of unknown instances changes nothing', () => {
    const fleet = readyFleet(1);
    const before = fleet.sequence;
    fleet.probe('10.9.9.9:80', NO, 1);
    fleet.passive('10.9.9.9:80', FIVE_HARD, 1);
    expect(fleet.operate('10.9.9.9:80', 'drain', undefined, 'ann', 1)).toBe(false);
    expect(fleet.sequence).toBe(before);
  });
});
