/**
 * Bounds, stated before: a lost pace is seen within 100 ms, before any answer could be late; a judgement that is no longer
 * backed by the windows ends within a second; in ten minutes of full use without a loss of pace it is never wrong.
 */
import { describe, expect, test } from 'vitest';
import { seededRandom, type Random } from '../../../src/kernel/random.ts';
import { Flight } from '../../../src/shedding/flight.ts';
import { Permit } from '../../../src/shedding/permit.ts';
import { Stall, stallBoundMs } from '../../../src/shedding/stall.ts';
import { latency } from './chance.ts';
import { Bench, enter, NOBODY } from './fixture.ts';

const BOUND_MS = 125;
const LEAST = 4;

/** Attempts at a service of so many slots, first come first served, and the stall that watches them. */
class Watched {
  readonly stall = new Stall(0);
  readonly flight = new Flight(0);
  now = 0;
  slots = 20;
  /** Median of what an answer takes in its slot: 44 ms, 50 in the mean. */
  medianMs = 44;
  boundMs = BOUND_MS;
  least = LEAST;
  wanted = 20;
  readonly #random: Random;
  /** In the order of beginning; `doneAtMs` is set when a slot took it. */
  readonly underway: { readonly permit: Permit; doneAtMs: number }[] = [];

  constructor(seed = 1) {
    this.#random = seededRandom(seed);
  }

  run(ms: number, each?: () => void): void {
    for (const endMs = this.now + ms; this.now < endMs;) {
      this.now += 5;
      this.#answer();
      while (this.underway.length < Math.min(this.wanted, Math.floor(this.stall.limit))) this.#begin();
      this.#work();
      this.stall.tick(this.flight, this.boundMs, this.least, this.now);
      each?.();
    }
  }

  /** Nothing is answered any more, and nobody is taken. */
  hang(): void {
    this.slots = 0;
    for (const one of this.underway) one.doneAtMs = Number.POSITIVE_INFINITY;
  }

  /** Ms until it counts as stalled, within half a second. */
  untilStalled(): number {
    const beganAtMs = this.now;
    while (this.stall.limit === Number.POSITIVE_INFINITY && this.now < beganAtMs + 500) this.run(5);
    return this.stall.limit === Number.POSITIVE_INFINITY ? Number.NaN : this.now - beganAtMs;
  }

  #begin(): void {
    const permit = new Permit(NOBODY);
    this.flight.take(permit, this.now);
    this.flight.begin(permit, this.now);
    this.underway.push({ permit, doneAtMs: Number.POSITIVE_INFINITY });
  }

  #work(): void {
    let busy = this.underway.filter(({ doneAtMs }) => doneAtMs < Number.POSITIVE_INFINITY).length;
    for (const one of this.underway) {
      if (busy >= this.slots) return;
      if (one.doneAtMs < Number.POSITIVE_INFINITY) continue;
      one.doneAtMs = this.now + latency(this.#random, this.medianMs);
      busy += 1;
    }
  }

  #answer(): void {
    for (let i = this.underway.length - 1; i >= 0; i -= 1) {
      const one = this.underway[i];
      if (one === undefined || one.doneAtMs > this.now) continue;
      this.underway.splice(i, 1);
      this.flight.end(one.permit, this.now);
      this.flight.giveBack(one.permit, this.now);
      this.stall.ended();
    }
  }
}

/** A second of twenty at a time, full and as fast as known; then silence. */
function silenced(seed = 1): Watched {
  const watched = new Watched(seed);
  watched.run(1000);
  expect(watched.stall.limit).toBe(Number.POSITIVE_INFINITY);
  watched.hang();
  return watched;
}

describe('a service is judged', () => {
  test('after three full windows as fast as known and within half of the SLA; the bound is half of the SLA', () => {
    expect(stallBoundMs(3, 60, 75, 250, 0.4)).toBe(125);
    expect(stallBoundMs(2, 60, 75, 250, 0.4)).toBe(0);
    expect(stallBoundMs(9, 112, 75, 250, 0.4)).toBe(125);
    expect(stallBoundMs(9, 113, 75, 250, 0.4)).toBe(0);
    expect(stallBoundMs(9, 125, 200, 250, 0.4)).toBe(125);
    expect(stallBoundMs(9, 126, 200, 250, 0.4)).toBe(0);
  });

  test('arms only where none in 100 ms would be no chance', () => {
    expect(stallBoundMs(3, 60, 75, 250, 0.05)).toBe(125);
    expect(stallBoundMs(3, 60, 75, 250, 0.049)).toBe(0);
  });

  test('never without that, however silent it is', () => {
    const watched = new Watched();
    watched.boundMs = 0;
    watched.run(1000);
    watched.slots = 0;
    expect(watched.untilStalled()).toBeNaN();
  });

  test('not for what it looked like before the windows last said otherwise', () => {
    const watched = new Watched();
    watched.run(1000);
    watched.boundMs = 0;
    watched.run(15);
    watched.slots = 0;
    expect(watched.untilStalled()).toBeNaN();
  });
});

describe('a lost pace', () => {
  test('is seen within a tenth of a second, when nothing is old yet', () => {
    for (let seed = 1; seed <= 20; seed += 1) expect(silenced(seed).untilStalled()).toBeLessThanOrEqual(100);
  });

  test('is seen before the ages are old where three slots of four are lost, and what they had taken is still answered', () => {
    for (let seed = 1; seed <= 20; seed += 1) {
      const watched = new Watched(seed);
      watched.wanted = 40;
      watched.run(1000);
      watched.slots = 5;
      expect(watched.untilStalled()).toBeLessThan(0.7 * 250);
    }
  });

  test('lets pass what the pace that is left answers within the bound', () => {
    const watched = new Watched();
    watched.wanted = 60;
    watched.slots = 20;
    watched.run(1000);
    watched.slots = 5;
    watched.run(300);
    // Five slots of 50 ms: a tenth of an answer each ms.
    expect(watched.stall.ratePerMs).toBeGreaterThan(0.07);
    expect(watched.stall.ratePerMs).toBeLessThan(0.13);
    expect(watched.stall.limit).toBeCloseTo(watched.stall.ratePerMs * BOUND_MS);
  });

  test('lets some pass always', () => {
    const watched = silenced();
    watched.run(900, () => {
      expect(watched.stall.limit).toBeGreaterThanOrEqual(LEAST);
    });
    expect(watched.stall.limit).toBe(LEAST);
  });

  test('is over by itself when the pace returns', () => {
    const watched = silenced();
    watched.run(300);
    expect(watched.stall.limit).toBe(LEAST);
    watched.slots = 20;
    watched.run(250);
    expect(watched.stall.limit).toBe(Number.POSITIVE_INFINITY);
  });

  test('is believed for a second at most after the windows stopped saying "as fast as known"', () => {
    const watched = silenced();
    watched.untilStalled();
    watched.boundMs = 0;
    const from = watched.now;
    let lastMs = from;
    watched.run(4000, () => {
      if (watched.stall.limit < Number.POSITIVE_INFINITY) lastMs = watched.now;
    });
    expect(lastMs - from).toBeGreaterThan(900);
    expect(lastMs - from).toBeLessThanOrEqual(1000);
  });

  test('has lasted after a tenth of a second with three answers to tell it by, not before', () => {
    const watched = new Watched();
    watched.wanted = 60;
    watched.run(1000);
    watched.slots = 5;
    let since = Number.NaN;
    let lastedAt = Number.NaN;
    watched.run(1000, () => {
      const { now, stall } = watched;
      if (stall.limit === Number.POSITIVE_INFINITY) since = Number.NaN;
      else if (Number.isNaN(since)) since = now;
      expect([now, stall.lasts(now)]).toEqual([now, now - since >= 100]);
      if (Number.isNaN(lastedAt) && stall.lasts(now)) lastedAt = now;
    });
    expect(lastedAt).toBeLessThan(1300);
    const silent = silenced();
    silent.untilStalled();
    silent.run(200);
    // Nobody answers: there is no pace that a limit could follow.
    expect(silent.stall.lasts(silent.now)).toBe(false);
    expect(new Stall(0).lasts(1000)).toBe(false);
  });
});

describe('the other workers', () => {
  /** Every 50 ms the others tell: so many ended, so many under way, and this worker's part. */
  function told(watched: Watched, ms: number, ended: number, underway: number, part: number): void {
    for (const endMs = watched.now + ms; watched.now < endMs;) {
      watched.run(50);
      watched.stall.others(ended, underway * 50, part);
    }
  }

  test('whose answers go on say that there is a pace, though this worker has had none for a while', () => {
    const watched = new Watched();
    watched.wanted = 1;
    told(watched, 1000, 20, 20, 0.05);
    watched.slots = 0;
    told(watched, 400, 20, 20, 0.05);
    expect(watched.stall.limit).toBe(Number.POSITIVE_INFINITY);
    // Alone with the same it would have been taken for a stall.
    const alone = new Watched();
    alone.wanted = 1;
    alone.run(1000);
    alone.slots = 0;
    expect(alone.untilStalled()).toBeLessThan(150);
  });

  test('whose answers stay away say that there is none, though this worker still has some', () => {
    const watched = new Watched();
    watched.wanted = 2;
    watched.medianMs = 25;
    told(watched, 1000, 40, 40, 0.05);
    expect(watched.stall.limit).toBe(Number.POSITIVE_INFINITY);
    told(watched, 200, 0, 40, 0.05);
    expect(watched.stall.limit).toBeLessThan(Number.POSITIVE_INFINITY);
  });

  test('share the pace by what each may have in flight', () => {
    const watched = new Watched();
    watched.wanted = 10;
    told(watched, 1000, 30, 30, 0.25);
    // 0.2 answers a ms here and 0.6 there.
    expect(watched.stall.ratePerMs).toBeGreaterThan(0.25 * 0.8 * 0.75);
    expect(watched.stall.ratePerMs).toBeLessThan(0.25 * 0.8 * 1.25);
  });
});

describe('our own stall', () => {
  test('tells nothing: it is judged anew from then on', () => {
    const watched = new Watched();
    watched.run(1000);
    // Nobody looked for 400 ms; what was under way then is answered late.
    watched.now += 400;
    watched.stall.restart(watched.flight, watched.now);
    expect(watched.stall.limit).toBe(Number.POSITIVE_INFINITY);
    let judged = 0;
    watched.run(300, () => {
      if (watched.stall.limit < Number.POSITIVE_INFINITY) judged += 1;
    });
    expect(judged).toBe(0);
  });

  test('without that would be taken for the service’s', () => {
    const watched = new Watched();
    watched.run(1000);
    watched.now += 400;
    watched.stall.tick(watched.flight, BOUND_MS, LEAST, watched.now);
    expect(watched.stall.limit).toBeLessThan(Number.POSITIVE_INFINITY);
  });
});

test.each([1, 2, 3])('ten minutes of a full service are no stall, whatever chance does (seed %i)', (seed) => {
  const watched = new Watched(seed);
  watched.wanted = 24;
  // The first answers are still under way: no window could have said anything yet.
  watched.boundMs = 0;
  watched.run(1000);
  watched.boundMs = BOUND_MS;
  let stalled = 0;
  watched.run(600_000, () => {
    if (watched.stall.limit < Number.POSITIVE_INFINITY) stalled += 1;
  });
  expect(stalled).toBe(0);
});

describe('in front of a service', () => {
  /** A worker of so many at its part of a service, three slots, that is full and as fast as known. */
  function running(workers: number): Bench {
    const bench = new Bench({ workers });
    bench.run(6000, { callers: 12, latencyMs: (inFlight) => 50 * Math.max(1, inFlight / 3) });
    return bench;
  }

  /** Runs on in steps of 5 ms; the least that may pass, and for how many steps it was the stall that said so. */
  function watch(bench: Bench, steps: number, latencyMs: (inFlight: number) => number): [number, number] {
    let least = Number.POSITIVE_INFINITY;
    let stalled = 0;
    for (let i = 0; i < steps; i += 1) {
      bench.run(5, { callers: 12, latencyMs });
      least = Math.min(least, bench.limit);
      if (bench.limit < Math.floor(bench.gate.share(bench.now).limit)) stalled += 1;
    }
    return [least, stalled];
  }

  test.each([1, 2, 4, 8, 16])('one of %i workers always lets an attempt pass', (workers) => {
    const [least, stalled] = watch(running(workers), 40, () => 5000);
    if (workers > 1) expect(stalled).toBeGreaterThan(0);
    expect(least).toBeGreaterThanOrEqual(1);
  });

  test('a pace that is lost for long takes the limit with it', () => {
    const bench = new Bench();
    bench.run(6000, { callers: 40, latencyMs: (inFlight) => 50 * Math.max(1, inFlight / 12) });
    const kept = bench.gate.share(bench.now).limit;
    bench.run(400, { callers: 40, latencyMs: (inFlight) => 200 * Math.max(1, inFlight / 3) });
    expect(bench.gate.share(bench.now).limit).toBeLessThan(kept);
  });

  test('workers that fell silent have no part of the pace any more', () => {
    /** How many of sixty critical requests may go at once: as many as the present pace answers in time. */
    const passing = (bench: Bench): number =>
      Array.from({ length: 60 }, () => enter(bench.gate, 0, bench.now)).filter(
        ({ permit }) => permit !== undefined,
      ).length;
    const crowd = { callers: 60, latencyMs: (inFlight: number) => 50 * Math.max(1, inFlight / 12) };
    const told = {
      workers: 1,
      inFlight: 9,
      critical: 9,
      criticalWaiting: 0,
      bound: 0,
      ended: 0,
      awaitingAreaMs: 0,
    };
    const [alone, forsaken, beside] = [0, 1000, 20].map((sinceMs) => {
      const bench = new Bench({ workers: 2 });
      bench.run(6000 - sinceMs, crowd);
      if (sinceMs > 0) bench.gate.hear({ ...told, limit: 500 }, bench.now);
      bench.run(sinceMs, crowd);
      return passing(bench);
    });
    expect(forsaken).toBe(alone);
    // While the other is heard of, most of the pace is its own.
    expect(beside).toBeLessThan(alone ?? 0);
  });

  test.each([1, 2, 8])('of %i workers nothing is judged by the windows before an idle gap', (workers) => {
    const bench = running(workers);
    bench.run(60_000, { callers: 0, latencyMs: () => 50 });
    // A burst after a minute, at a service that now takes 80 ms: its first answers are not out yet.
    const [, stalled] = watch(bench, 15, () => 80);
    expect(stalled).toBe(0);
  });
});
