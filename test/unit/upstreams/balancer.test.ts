import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { Balancer, type BalancerPolicy } from '../../../src/upstreams/balancer.ts';
import { ALL_AT_CAP, NONE_READY } from '../../../src/upstreams/pick.ts';
import { view } from '../../harness/instance-view.ts';

const POLICY: BalancerPolicy = {
  slaMs: 250,
  slowStartMs: 30_000,
  maxConcurrencyPerInstance: 8,
  workers: 2,
};
const NEW = { pinned: -1, tried: [], makesPin: false };
const CLOSED = { opensNew: false, keepsPinned: false, readyForMs: 0 } as const;

function balancerOf(views: Parameters<Balancer['update']>[0], more: Partial<BalancerPolicy> = {}): Balancer {
  const balancer = new Balancer({ ...POLICY, ...more }, seededRandom(7));
  balancer.update(views, 0);
  return balancer;
}

/** Picks and starts `count` requests; how many each slot got. */
function load(balancer: Balancer, count: number, request = NEW, now = 0): Map<number, number> {
  const got = new Map<number, number>();
  for (let n = 0; n < count; n++) {
    const slot = balancer.pick(request, now);
    got.set(slot, (got.get(slot) ?? 0) + 1);
    if (slot >= 0) balancer.started(slot, now);
  }
  return got;
}

describe('the balancer', () => {
  it('has nothing to give without an open instance', () => {
    expect(balancerOf([]).pick(NEW, 0)).toBe(NONE_READY);
    expect(balancerOf([view(0, { state: 'unready', ...CLOSED })]).pick(NEW, 0)).toBe(NONE_READY);
  });

  it('keeps this worker’s part of the cap, and says when all are full', () => {
    const balancer = balancerOf([view(0), view(1)]);
    expect(balancer.openCap()).toBe(8);
    const got = load(balancer, 9);
    expect([got.get(0), got.get(1), got.get(ALL_AT_CAP)]).toEqual([4, 4, 1]);
    balancer.finished(1, 1);
    expect(balancer.pick(NEW, 1)).toBe(1);
  });

  it('lends streams nothing: they use no more than an equal part, whatever is granted, and other requests all of it', () => {
    const balancer = balancerOf([view(0)]);
    balancer.cap.take({ grant: 1, part: 14 }, 0);
    expect(balancer.openCap()).toBe(7);
    const stream = { ...NEW, streams: true };
    for (let n = 0; n < 4; n++) {
      expect(balancer.pick(stream, 0)).toBe(0);
      balancer.started(0, 0);
      balancer.cap.countStream(0, 1);
    }
    expect(balancer.pick(stream, 0)).toBe(ALL_AT_CAP);
    expect(balancer.pick({ ...stream, uncapped: true }, 0)).toBe(0);
    expect(load(balancer, 4)).toEqual(
      new Map([
        [0, 3],
        [ALL_AT_CAP, 1],
      ]),
    );
    balancer.finished(0, 1);
    balancer.cap.countStream(0, -1);
    expect(balancer.pick(stream, 1)).toBe(0);
  });

  it('claims by what takes new requests: not by one that leaves, is gone or on trial', () => {
    const leaving = view(1, { state: 'draining', opensNew: false, drainForMs: 0 });
    const balancer = balancerOf([view(0), view(1), view(2)]);
    for (const slot of [0, 1, 1, 2, 2, 2]) balancer.started(slot, 0);
    expect(balancer.capUse(0)).toEqual({ inFlight: 6, openCap: 12, mostAtOne: 3 });
    balancer.update([view(0), leaving], 0);
    expect(balancer.capUse(0)).toEqual({ inFlight: 1, openCap: 4, mostAtOne: 1 });
    balancer.update([view(0, { trial: true }), leaving], 0);
    expect(balancer.capUse(0)).toEqual({ inFlight: 0, openCap: 0, mostAtOne: 1 });
  });

  it('gives every worker at least one, and no cap is no cap', () => {
    expect(balancerOf([view(0)], { maxConcurrencyPerInstance: 1, workers: 16 }).openCap()).toBe(1);
    expect(balancerOf([view(0)], { maxConcurrencyPerInstance: Infinity }).openCap()).toBe(Infinity);
    const balancer = balancerOf([view(0)]);
    balancer.configure({ ...POLICY, maxConcurrencyPerInstance: 100 });
    expect(balancer.openCap()).toBe(50);
  });

  it('spreads requests that stay', () => {
    const balancer = balancerOf([view(0), view(1), view(2)], { maxConcurrencyPerInstance: 1000 });
    const got = load(balancer, 300);
    expect(Math.max(...got.values()) - Math.min(...got.values())).toBeLessThan(30);
  });

  it('a retry never gets a tried one, and nothing when all were tried', () => {
    const balancer = balancerOf([view(0), view(1), view(2)]);
    for (let n = 0; n < 50; n++) {
      expect(balancer.pick({ pinned: -1, tried: [0, 2], makesPin: false }, 0)).toBe(1);
    }
    expect(balancer.lastReason).toBe('retry');
    expect(balancer.pick({ pinned: -1, tried: [0, 1, 2], makesPin: false }, 0)).toBe(NONE_READY);
    load(balancer, 12);
    expect(balancer.pick({ pinned: -1, tried: [0], makesPin: false }, 0)).toBe(ALL_AT_CAP);
  });

  it('a pinned session stays, and its requests count as load', () => {
    const balancer = balancerOf([view(0), view(1)]);
    load(balancer, 3, { ...NEW, pinned: 1 });
    expect(balancer.lastReason).toBe('pinned');
    expect(balancer.inFlight(1)).toBe(3);
    expect(balancer.pick(NEW, 0)).toBe(0);
  });

  it('a pinned session spills from a full instance and keeps its pin', () => {
    const balancer = balancerOf([view(0), view(1)]);
    load(balancer, 4, { ...NEW, pinned: 1 });
    expect(balancer.pick({ ...NEW, pinned: 1, makesPin: true }, 0)).toBe(0);
    expect(balancer.lastReason).toBe('spill');
  });

  it('a draining instance keeps its sessions and gets no new ones; a dead one loses them', () => {
    const balancer = balancerOf([view(0), view(1, { state: 'draining', opensNew: false, drainForMs: 5000 })]);
    expect(balancer.pick({ ...NEW, pinned: 1 }, 0)).toBe(1);
    expect(balancer.drainForMs(1, 1000)).toBe(6000);
    expect(balancer.drainForMs(0, 1000)).toBe(-1);
    for (let n = 0; n < 20; n++) expect(balancer.pick(NEW, 0)).toBe(0);
    balancer.update([view(0), view(1, { state: 'down', ...CLOSED })], 10);
    expect(balancer.pick({ ...NEW, pinned: 1 }, 20)).toBe(0);
    expect(balancer.lastReason).toBe('repin');
  });

  it('panic: with none open the silent ones that may be tried get all, and sessions stay', () => {
    const silent = view(1, { state: 'down', ...CLOSED, panic: true });
    const balancer = balancerOf([view(0, { state: 'unready', ...CLOSED }), silent]);
    expect(balancer.pick(NEW, 0)).toBe(1);
    expect(balancer.lastReason).toBe('panic');
    expect(balancer.openCap()).toBe(4);
    expect(balancer.pick({ ...NEW, pinned: 1 }, 0)).toBe(1);
    expect(balancer.lastReason).toBe('pinned');
    balancer.update([view(0), silent], 10);
    for (let n = 0; n < 20; n++) expect(balancer.pick(NEW, 10)).toBe(0);
  });

  it('one on trial gets one request at a time', () => {
    const balancer = balancerOf([view(0, { state: 'warming', trial: true, readyForMs: 0 })]);
    expect(load(balancer, 2)).toEqual(
      new Map([
        [0, 1],
        [ALL_AT_CAP, 1],
      ]),
    );
  });

  /** Sends `count` requests, one after the other, 2 ms each at instances 0 and 2; how many went to instance 1. */
  function oneByOne(balancer: Balancer, count: number, from: number, backMs: number): number {
    let got = 0;
    for (let n = 0; n < count; n++) {
      const at = from + 2 * n;
      const slot = balancer.pick(NEW, at);
      if (slot === 1) got++;
      balancer.started(slot, at);
      balancer.head(slot, slot === 1 ? backMs : 0.5, 200, -1, at + 2);
      balancer.finished(slot, at + 2);
    }
    return got;
  }

  it.each([
    ['in its slow start', 30_000, 0.5],
    ['without a slow start', 0, 0.5],
    ['though its first answer is slow', 0, 80],
  ])('one on trial gets a share of requests that come one at a time, %s', (_, slowStartMs, backMs) => {
    const trial = view(1, { state: 'warming', trial: true, readyForMs: 0 });
    const balancer = balancerOf([view(0), view(1), view(2)], { slowStartMs });
    // A burst left peaks behind, and failures of the one that was ejected for them.
    for (const slot of [0, 1, 2]) {
      balancer.started(slot, 0);
      balancer.head(slot, 60, 200, -1, 60);
      balancer.finished(slot, 60);
    }
    balancer.failed(1, 'reset', 60);
    balancer.update([view(0), view(1, { state: 'ejected', ...CLOSED }), view(2)], 61);
    expect(oneByOne(balancer, 500, 61, 0.5)).toBe(0);
    balancer.update([view(0), trial, view(2)], 1061);
    // The smallest share of a young one is a tenth: 20 of 600.
    const wanted = slowStartMs === 0 ? 200 : 20;
    const got = oneByOne(balancer, 600, 1061, backMs);
    expect(got).toBeGreaterThan(0.7 * wanted);
    expect(got).toBeLessThan(1.5 * wanted);
    balancer.update([view(0), view(1), view(2)], 2261);
    if (backMs < 1) expect(oneByOne(balancer, 600, 2261, backMs)).toBeGreaterThan(150);
  });

  it('one on trial that fails is no longer offered requests for their own sake', () => {
    const trial = view(1, { state: 'warming', trial: true, readyForMs: 0 });
    const balancer = balancerOf([view(0), trial, view(2)], { slowStartMs: 0 });
    expect(oneByOne(balancer, 60, 0, 0.5)).toBeGreaterThan(10);
    balancer.failed(1, 'connect', 120);
    expect(oneByOne(balancer, 200, 120, 0.5)).toBe(0);
  });

  it('a degraded instance gets less, a heavier one more', () => {
    const degraded = load(
      balancerOf([view(0), view(1, { state: 'degraded' })], { maxConcurrencyPerInstance: 1e6 }),
      200,
    );
    expect((degraded.get(0) ?? 0) / (degraded.get(1) ?? 0)).toBeGreaterThan(2.5);
    const heavy = load(
      balancerOf([view(0, { weight: 3 }), view(1)], { maxConcurrencyPerInstance: 1e6 }),
      200,
    );
    expect((heavy.get(0) ?? 0) / (heavy.get(1) ?? 0)).toBeGreaterThan(2);
  });

  it('a new host is not the idlest: it is expected at the median of the others', () => {
    const balancer = balancerOf([view(0), view(1)]);
    for (const slot of [0, 1]) {
      balancer.started(slot, 0);
      balancer.head(slot, 400, 200, -1, 400);
      balancer.finished(slot, 400);
    }
    balancer.update([view(0), view(1), view(2)], 400);
    expect(balancer.view(400)[2]?.rttMs).toBe(400);
    expect(balancerOf([view(0)]).view(0)[0]?.rttMs).toBe(125);
  });

  it('a host that comes back is expected at the median, though what was known of it has faded', () => {
    const balancer = balancerOf([view(0), view(1)]);
    for (const slot of [0, 1]) {
      balancer.started(slot, 0);
      balancer.head(slot, 40, 200, -1, 40);
      balancer.finished(slot, 40);
    }
    balancer.update([view(0), view(1, { state: 'down', ...CLOSED })], 50);
    balancer.head(0, 90, 200, -1, 60_000);
    balancer.update([view(0), view(1, { state: 'warming', readyForMs: 0 })], 60_000);
    expect(balancer.view(60_000)[1]?.rttMs).toBe(90);
  });

  it('a long download does not look slow: only headers are timed', () => {
    const balancer = balancerOf([view(0)]);
    balancer.started(0, 0);
    balancer.head(0, 200, 200, -1, 200);
    balancer.finished(0, 60_000);
    expect(balancer.view(200)[0]?.rttMs).toBe(200);
    expect(balancer.inFlight(0)).toBe(0);
  });

  it('new pins prefer the instance with fewer', () => {
    const balancer = balancerOf([view(0), view(1), view(2), view(3)], { maxConcurrencyPerInstance: 1e6 });
    const pins = [0, 0, 0, 0];
    for (let n = 0; n < 400; n++) {
      const slot = balancer.pick({ pinned: -1, tried: [], makesPin: true }, n);
      pins[slot] = (pins[slot] ?? 0) + 1;
    }
    expect(Math.max(...pins) - Math.min(...pins)).toBeLessThan(8);
  });

  it('after a roll the fullest instance has hardly more than its share of the sessions', () => {
    const sessions = 200;
    let views = [0, 1, 2, 3, 4].map((at) => view(at));
    const balancer = balancerOf(views);
    const pinned = Array.from({ length: sessions }, () => -1);
    const settle = (now: number): void => {
      for (const [session, slot] of pinned.entries())
        if (slot < 0) pinned[session] = balancer.pick({ ...NEW, makesPin: true }, now);
    };
    settle(0);
    for (let roll = 1; roll <= 20; roll++) {
      const leaving = balancer.slotOf(views[0]?.id ?? '');
      views = [...views.slice(1), view(roll + 4)];
      balancer.update(views, roll);
      for (const [session, slot] of pinned.entries()) if (slot === leaving) pinned[session] = -1;
      settle(roll);
      const counts = views.map(({ id }) => pinned.filter((slot) => slot === balancer.slotOf(id)).length);
      expect(Math.max(...counts) / (sessions / counts.length)).toBeLessThan(1.25);
    }
  });

  it('sessions that another worker pinned count like its own', () => {
    const balancer = balancerOf([view(0), view(1)]);
    for (let session = 0; session < 50; session++) balancer.hasSession(0, 0);
    const picked = Array.from({ length: 50 }, () => balancer.pick({ ...NEW, makesPin: true }, 0));
    expect(picked.filter((slot) => slot === 1).length).toBeGreaterThan(48);
  });

  it('a slot stays while the instance is known, and is not given away while a request is there', () => {
    const balancer = balancerOf([view(0), view(1)]);
    expect([balancer.slotOf('10.0.0.1:80'), balancer.idOf(1)]).toEqual([1, '10.0.0.1:80']);
    balancer.started(0, 0);
    balancer.update([view(1)], 10);
    expect(balancer.slotOf('10.0.0.0:80')).toBe(-1);
    expect(balancer.stateOf(0)).toBe('gone');
    balancer.update([view(1), view(2)], 20);
    expect(balancer.slotOf('10.0.0.2:80')).toBe(2);
    balancer.head(0, 20, 500, -1, 30);
    balancer.failed(0, 'reset', 30);
    balancer.finished(0, 30);
    balancer.finished(0, 30); // once too often: counts below zero would hide load
    expect(balancer.inFlight(0)).toBe(0);
    balancer.update([view(1), view(2), view(3)], 40);
    expect(balancer.slotOf('10.0.0.3:80')).toBe(0);
    expect(balancer.slotOf('10.0.0.1:80')).toBe(1);
  });

  it('another version at the same address is another instance', () => {
    const balancer = balancerOf([view(0, { version: 'v1' })]);
    balancer.started(0, 0);
    balancer.update([view(0, { version: 'v2' })], 10);
    const slot = balancer.slotOf('10.0.0.0:80');
    expect(slot).not.toBe(0);
    expect([balancer.versionOf(slot), balancer.inFlight(slot), balancer.inFlight(0)]).toEqual(['v2', 0, 1]);
    balancer.finished(0, 20);
    expect(balancer.slotOf('10.0.0.0:80')).toBe(slot);
  });

  it('young ones are thinned only while at least half of the open ones are grown', () => {
    const young = { state: 'warming', readyForMs: 3000 } as const;
    const cap = { maxConcurrencyPerInstance: 100, workers: 1 };
    expect(balancerOf([view(0), view(1, young)], cap).openCap()).toBe(110);
    expect(balancerOf([view(0), view(1, young), view(2, young)], cap).openCap()).toBe(300);
    expect(balancerOf([view(0, young)], cap).openCap()).toBe(100);
    expect(balancerOf([view(0), view(1, young)], { ...cap, slowStartMs: 0 }).openCap()).toBe(200);
  });

  it('draws again where both of two fail, for first and for second attempts', () => {
    const balancer = balancerOf([view(0), view(1), view(2), view(3)]);
    for (const slot of [0, 1]) balancer.failed(slot, 'connect', 0);
    for (const tried of [[], [0]]) {
      let lost = 0;
      for (let turn = 0; turn < 2000; turn++) {
        if (balancer.pick({ pinned: -1, tried, makesPin: false }, 0) < 2) lost++;
      }
      // One pair in six is of those two; three times in a row that is one in 216.
      expect(lost).toBeLessThan(2000 / 60);
    }
  });

  it('a roll of one after the other never looks like most of them failing', () => {
    const balancer = balancerOf([view(0), view(1), view(2), view(3), view(4)]);
    // Each is back before the next one goes; what is remembered of them (blame) lasts for seconds.
    for (let slot = 0; slot < 5; slot++) {
      balancer.failed(slot, 'connect', slot * 400);
      expect(balancer.failingRatio(slot * 400)).toBeLessThan(0.5);
    }
    expect(balancer.view(1600).filter(({ blame }) => blame >= 0.4)).toHaveLength(5);
  });

  it('says how many of the open ones it finds failing', () => {
    const balancer = balancerOf([view(0), view(1)]);
    balancer.failed(0, 'connect', 0);
    expect(balancer.failingRatio(0)).toBe(0.5);
    expect(balancer.failingRatio(500)).toBe(0.5);
    expect(balancerOf([]).failingRatio(0)).toBe(0);
  });
});
