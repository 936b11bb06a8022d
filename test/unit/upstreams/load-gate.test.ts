/** What instances say of their own load, through the balancer that hears it. */
import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { Balancer } from '../../../src/upstreams/balancer.ts';
import { view } from '../../harness/instance-view.ts';

const PICKS = 4000;

function balancerOf(count: number): Balancer {
  const policy = { slaMs: 250, slowStartMs: 30_000, maxConcurrencyPerInstance: 1000, workers: 1 };
  const balancer = new Balancer(policy, seededRandom(11));
  balancer.update(
    Array.from({ length: count }, (_, index) => view(index, { readyForMs: -1 })),
    0,
  );
  for (let slot = 0; slot < count; slot++) {
    balancer.started(slot, 0);
    balancer.head(slot, 20, 200, -1, 0);
    balancer.finished(slot, 0);
  }
  return balancer;
}

/** A slot's part of picks that are one request each, so that nothing but what was said tells one from the other. */
function shareOf(balancer: Balancer, slot: number, now: number, makesPin = false): number {
  let got = 0;
  for (let n = 0; n < PICKS; n++) {
    const picked = balancer.pick({ pinned: -1, tried: [], makesPin }, now);
    if (picked === slot) got++;
  }
  return got / PICKS;
}

describe('an instance that tells of its load', () => {
  it('gets its share below 0.9, a part of it from there on, and nothing from 1 on', () => {
    const balancer = balancerOf(4);
    expect(shareOf(balancer, 0, 1)).toBeCloseTo(0.25, 1);
    balancer.reported(0, 0.89, 1);
    expect(shareOf(balancer, 0, 1)).toBeCloseTo(0.25, 1);
    balancer.reported(0, 0.9, 1);
    // Of two it loses each time, and there are two in each pair.
    expect(shareOf(balancer, 0, 1)).toBe(0);
    for (let queue = 0; queue < 5; queue++) for (const slot of [1, 2, 3]) balancer.started(slot, 1);
    expect(shareOf(balancer, 0, 1)).toBeGreaterThan(0.2);
    balancer.reported(0, 1, 1);
    expect(shareOf(balancer, 0, 1)).toBe(0);
    expect(shareOf(balancer, 0, 1, true)).toBe(0);
  });

  it('is asked again when its word is ten seconds old, or when it says better', () => {
    const balancer = balancerOf(2);
    balancer.reported(0, 1.2, 0);
    expect(shareOf(balancer, 0, 9999)).toBe(0);
    expect(shareOf(balancer, 0, 10_000)).toBeGreaterThan(0.4);
    balancer.reported(0, 1.2, 10_000);
    balancer.reported(0, 0.5, 10_001);
    expect(shareOf(balancer, 0, 10_001)).toBeGreaterThan(0.4);
  });

  it('is known by its younger report, in whatever order two are heard', () => {
    const balancer = balancerOf(2);
    balancer.reported(0, 1.2, 5000);
    balancer.reported(0, 0.2, 4000); // of a probe that took longer on its way
    expect(shareOf(balancer, 0, 5001)).toBe(0);
    expect(balancer.view(5500)[0]?.load).toEqual({ utilization: 1.2, ageMs: 500 });
    balancer.reported(0, 0.2, 6000);
    balancer.reported(0, 1.2, 5999);
    expect(shareOf(balancer, 0, 6001)).toBeGreaterThan(0.4);
    expect(balancer.view(15_999)[0]?.load).toEqual({ utilization: 0.2, ageMs: 9999 });
    expect(balancer.view(16_000)[0]?.load).toBeUndefined();
  });

  it('gives the pick its reason where it was passed over, and no other pick', () => {
    const balancer = balancerOf(2);
    const reasonOf = (tried: readonly number[]): string => {
      balancer.pick({ pinned: -1, tried, makesPin: false }, 1);
      return balancer.lastReason;
    };
    expect(reasonOf([])).toBe('p2c');
    balancer.reported(0, 1, 0);
    expect(reasonOf([])).toBe('load');
    expect(reasonOf([0])).toBe('retry');
    balancer.reported(1, 1, 0);
    expect(reasonOf([])).toBe('p2c');
  });

  it('is as good as the others when all are full, or when it is alone', () => {
    const all = balancerOf(3);
    for (let slot = 0; slot < 3; slot++) all.reported(slot, 2, 0);
    expect(shareOf(all, 1, 1)).toBeGreaterThan(0.25);
    const one = balancerOf(1);
    one.reported(0, 2, 0);
    expect(shareOf(one, 0, 1)).toBe(1);
  });

  it('keeps the sessions that are pinned to it', () => {
    const balancer = balancerOf(3);
    balancer.reported(2, 3, 0);
    expect(balancer.pick({ pinned: 2, tried: [], makesPin: false }, 1)).toBe(2);
  });

  it('starts anew with each life of it', () => {
    const balancer = balancerOf(2);
    balancer.reported(0, 1, 0);
    balancer.update(
      [view(0, { state: 'unready', opensNew: false, keepsPinned: false, readyForMs: 0 }), view(1)],
      1,
    );
    balancer.update([view(0, { readyForMs: -1 }), view(1, { readyForMs: -1 })], 2);
    expect(shareOf(balancer, 0, 3)).toBeGreaterThan(0.4);
  });
});
