/**
 * Any order of arrivals, answers, retries, departures, upgrades, reloads, late beats and news from other workers: counts hold
 * and nothing leaks. Bounds, stated before (I8): after a million random events nothing is in flight, waiting or awaited;
 * everybody hears one verdict; lower classes are sent only below the allowance, critical ones at most as far again.
 */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { PriorityRank } from '../../src/kernel/priority.ts';
import { between, seededRandom, type Random } from '../../src/kernel/random.ts';
import { Admission } from '../../src/shedding/admission.ts';
import type { AdmissionPolicy, ShedMode } from '../../src/shedding/policy.ts';
import type { HeadOutcome } from '../../src/shedding/permit.ts';
import { Guest, Ledger } from './shedding-ledger.ts';

const OUTCOMES: readonly HeadOutcome[] = ['sample', 'sample', 'sample', 'ignored', 'failed', 'drop'];

function pick<T>(of: readonly T[], random: Random): T {
  const one = of[Math.floor(random() * of.length)];
  if (one === undefined) throw new Error('there is something to pick');
  return one;
}

/** What happened in a run, so that a run that saw nothing proves nothing. */
const NEVER = { upgrades: 0, retries: 0, replaced: 0, cancels: 0, reloads: 0, heard: 0, lateBeats: 0 };

class Run {
  readonly ledger: Ledger;
  readonly seen = { ...NEVER };
  readonly #random: Random;

  constructor(seed: number, policy: AdmissionPolicy) {
    this.#random = seededRandom(seed);
    this.ledger = new Ledger(
      new Admission(policy, seededRandom(seed + 1), 0),
      policy,
      seededRandom(seed + 2),
    );
  }

  event(): void {
    const random = this.#random;
    const { ledger } = this;
    ledger.now += random() < 0.3 ? 0 : between(random, 0, 4);
    const kind = random();
    if (kind < 0.4) ledger.enter(Math.floor(between(random, 0, 4)) as PriorityRank, between(random, 0, 2000));
    else if (kind < 0.75) this.#touch();
    else if (kind < 0.78) ledger.leave();
    else if (kind < 0.79) this.#hear();
    else if (kind < 0.8) ledger.tell();
    else if (kind < 0.997) ledger.gate.tick(ledger.now);
    else if (kind < 0.9985) this.#comesLate();
    else this.#reload();
    ledger.check();
  }

  /** Something happens to somebody who holds a permit. */
  #touch(): void {
    const random = this.#random;
    const { ledger, seen } = this;
    const guest = ledger.holder(random);
    if (guest === undefined) return;
    const kind = random();
    if (kind < 0.4) {
      if (!Number.isNaN(guest.attemptAtMs)) seen.replaced += 1;
      else if (guest.answered) seen.retries += 1;
      ledger.attempt(guest);
    } else if (kind < 0.65) ledger.head(guest, pick(OUTCOMES, random));
    else if (kind < 0.67) {
      seen.upgrades += 1;
      ledger.upgrade(guest);
    } else {
      if (!Number.isNaN(guest.attemptAtMs)) seen.cancels += 1;
      ledger.release(guest);
    }
  }

  /** A sum that other workers could tell, also of none. */
  #hear(): void {
    const random = this.#random;
    const workers = Math.floor(between(random, 0, 4));
    const some = (most: number): number => (workers === 0 ? 0 : Math.floor(between(random, 0, most)));
    const inFlight = some(60);
    this.seen.heard += 1;
    this.ledger.hear({
      workers,
      limit: workers * between(random, 1, 60),
      inFlight,
      critical: Math.min(inFlight, some(60)),
      criticalWaiting: random() < 0.5 ? 0 : some(10),
      bound: random() < 0.5 ? workers : Math.min(workers, some(4)),
      ended: some(40),
      awaitingAreaMs: some(4000),
    });
  }

  /** The process stood still, or was suspended. */
  #comesLate(): void {
    const { ledger } = this;
    ledger.now += pick([31, 101, 700, 2600, 11_000], this.#random);
    this.seen.lateBeats += 1;
    if (this.#random() < 0.5) ledger.gate.tick(ledger.now);
  }

  #reload(): void {
    const random = this.#random;
    this.seen.reloads += 1;
    if (random() < 0.5) {
      this.ledger.setCeiling(Math.floor(between(random, 0, 60)));
      return;
    }
    this.ledger.configure({
      mode: pick(['enforce', 'enforce', 'enforce', 'observe', 'off'] as const, random),
      slaMs: pick([50, 250, 250, 2000], random),
      limit: pick(['auto', 'auto', 1, 3, 30] as const, random),
      queue: pick(['auto', 'auto', 0, 1, 7] as const, random),
      workers: pick([1, 2, 4], random),
    });
  }
}

function judge(seed: number, events: number, policy: AdmissionPolicy): Run {
  const run = new Run(seed, policy);
  const { ledger } = run;
  for (let i = 0; i < events && ledger.faults.length === 0; i += 1) run.event();
  ledger.end();
  expect(ledger.faults).toEqual([]);
  expect(ledger.gate.view(ledger.now)).toMatchObject({ inFlight: 0, streams: 0, queueDepth: 0 });
  expect(ledger.misheard).toBe(0);
  return run;
}

const BASE: AdmissionPolicy = {
  slaMs: 250,
  mode: 'enforce',
  queue: 'auto',
  limit: 'auto',
  workers: 1,
  maxInFlight: 40,
  evenInFlight: 40,
};

describe('admission, whatever happens in whatever order', () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])('125 000 random events leave nothing behind (seed %i)', (seed) => {
    const { seen, ledger } = judge(seed, 125_000, BASE);
    // The run has seen all of it, or it proves nothing.
    expect(ledger.entered).toBeGreaterThan(45_000);
    expect(ledger.admitted).toBeGreaterThan(10_000);
    expect(ledger.beyond).toBeGreaterThan(10);
    expect(ledger.refused).toBeGreaterThan(5000);
    expect(ledger.wouldShed).toBeGreaterThan(0);
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(100);
  });

  test('short runs under any policy keep the same promises', () => {
    const policies = fc.record({
      slaMs: fc.constantFrom(20, 250, 5000),
      mode: fc.constantFrom<ShedMode>('enforce', 'observe', 'off'),
      queue: fc.constantFrom<'auto' | number>('auto', 0, 1, 5, 100),
      limit: fc.constantFrom<'auto' | number>('auto', 1, 2, 50),
      workers: fc.integer({ min: 1, max: 8 }),
      maxInFlight: fc.integer({ min: 0, max: 100 }),
      evenInFlight: fc.integer({ min: 0, max: 100 }),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e6 }), policies, (seed, policy) => {
        judge(seed, 400, policy);
      }),
      { numRuns: 200, seed: 20_261_121 },
    );
  });

  test('what is admitted twice, never, or past its allowance would be noticed', () => {
    const ledger = new Ledger(new Admission({ ...BASE, limit: 2 }, seededRandom(1), 0), BASE, () => 1);
    const guest = new Guest(ledger, 1, 1e9);
    for (let i = 0; i < 2; i += 1) ledger.enter(1, 1e9);
    ledger.check();
    expect(ledger.faults).toEqual([]);
    guest.shed();
    guest.shed();
    expect(ledger.faults).toContain('a second verdict');
    ledger.faults.length = 0;
    // Behind the ledger's back: a permit that it never saw given back.
    ledger.gate.enter(
      { rank: 1, deadlineMs: 1e9, admitted: () => {}, shed: () => {}, wouldShed: () => {} },
      ledger.now,
    );
    ledger.check();
    expect(ledger.faults.join()).toContain('depth 1, waiting 0');
  });
});
