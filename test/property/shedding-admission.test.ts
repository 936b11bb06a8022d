/** Any order of arrivals, answers, retries, departures, streams and reloads: counts hold and nothing leaks. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ShedCode } from '../../src/kernel/errors.ts';
import type { PriorityRank } from '../../src/kernel/priority.ts';
import { between, seededRandom, type Random } from '../../src/kernel/random.ts';
import {
  Admission,
  type AdmissionPolicy,
  type Admittee,
  type ShedMode,
} from '../../src/shedding/admission.ts';
import type { HeadOutcome, Permit } from '../../src/shedding/permit.ts';

const OUTCOMES: readonly HeadOutcome[] = ['sample', 'sample', 'sample', 'ignored', 'failed', 'drop'];

function pick<T>(of: readonly T[], random: Random): T {
  const one = of[Math.floor(random() * of.length)];
  if (one === undefined) throw new Error('there is something to pick');
  return one;
}

class Guest implements Admittee {
  readonly rank: PriorityRank;
  readonly deadlineMs: number;
  readonly #run: Run;
  verdicts = 0;
  left = false;
  stream = false;

  constructor(run: Run, rank: PriorityRank, deadlineMs: number) {
    this.#run = run;
    this.rank = rank;
    this.deadlineMs = deadlineMs;
  }

  admitted(permit: Permit): void {
    this.#run.admitted(this, permit);
  }

  shed(_code: ShedCode): void {
    this.#run.heard(this);
  }

  wouldShed(_code: ShedCode): void {
    this.#run.wouldShed += 1;
  }
}

class Run {
  readonly gate: Admission;
  readonly random: Random;
  now = 0;
  mode: ShedMode = 'enforce';
  verdicts = 0;
  wouldShed = 0;
  /** Whatever was wrong, in words; empty at the end. */
  readonly faults: string[] = [];
  readonly everybody: Guest[] = [];
  readonly #holders = new Map<Guest, Permit>();
  readonly #waiting = new Set<Guest>();
  #policy: AdmissionPolicy;

  constructor(seed: number, policy: AdmissionPolicy) {
    this.random = seededRandom(seed);
    this.#policy = policy;
    this.mode = policy.mode;
    this.gate = new Admission(policy, seededRandom(seed + 1), 0);
  }

  heard(guest: Guest): void {
    guest.verdicts += 1;
    this.verdicts += 1;
    if (guest.left) this.faults.push('a verdict after leaving');
    if (guest.verdicts > 1) this.faults.push('a second verdict');
    this.#waiting.delete(guest);
  }

  admitted(guest: Guest, permit: Permit): void {
    this.heard(guest);
    this.#holders.set(guest, permit);
    const { inFlight, limit, streams } = this.gate.view(this.now);
    const { maxInFlight } = this.#policy;
    // Asked inside the verdict: this one is counted already.
    if (this.mode === 'enforce' && inFlight > limit) this.faults.push(`${inFlight} admitted of ${limit}`);
    if (this.mode === 'enforce' && maxInFlight > 0 && inFlight + streams > Math.max(maxInFlight, streams))
      this.faults.push(`${inFlight} and ${streams} streams past the caps of ${maxInFlight}`);
    // Callbacks may call back: some leave again at once.
    if (this.random() < 0.02) this.release(guest);
  }

  release(guest: Guest): void {
    const permit = this.#holders.get(guest);
    this.#holders.delete(guest);
    if (permit?.release(this.now) !== true) this.faults.push('a held permit was not given back');
    if (permit?.release(this.now) !== false) this.faults.push('a permit was given back twice');
  }

  event(): void {
    const { random, gate } = this;
    this.now += random() < 0.3 ? 0 : between(random, 0, 4);
    const kind = random();
    if (kind < 0.4) this.#enter();
    else if (kind < 0.75) this.#touch();
    else if (kind < 0.8) this.#leave();
    else if (kind < 0.997) gate.tick(this.now);
    else this.#reload();
    this.check();
  }

  check(): void {
    const view = this.gate.view(this.now);
    let streams = 0;
    for (const guest of this.#holders.keys()) if (guest.stream) streams += 1;
    if (view.inFlight < 0 || view.inFlight !== this.#holders.size - streams || view.streams !== streams)
      this.faults.push(`in flight ${view.inFlight}, held ${this.#holders.size}, streams ${view.streams}`);
    if (view.queueDepth !== this.#waiting.size)
      this.faults.push(`depth ${view.queueDepth}, waiting ${this.#waiting.size}`);
    if (view.queueByRank.some((n) => n < 0)) this.faults.push('a line of negative length');
    if (!(view.limit >= 1)) this.faults.push(`limit ${view.limit}`);
  }

  /** Everybody who holds a permit gives it back, whoever still waits hears or leaves. */
  end(): void {
    for (let round = 0; round < 10_000 && this.#holders.size + this.#waiting.size > 0; round += 1) {
      this.now += 5;
      for (const guest of this.#holders.keys()) this.release(guest);
      this.gate.tick(this.now);
    }
    this.check();
  }

  #enter(): void {
    const rank = Math.floor(between(this.random, 0, 4)) as PriorityRank;
    const guest = new Guest(this, rank, this.now + between(this.random, 0, 2000));
    this.everybody.push(guest);
    this.#waiting.add(guest);
    this.gate.enter(guest, this.now);
  }

  /** Something happens to somebody who holds a permit. */
  #touch(): void {
    if (this.#holders.size === 0) return;
    const { random, now } = this;
    const [guest, permit] = pick([...this.#holders].slice(0, 8), random);
    const kind = random();
    if (kind < 0.4) permit.attempt(now);
    else if (kind < 0.65) permit.head(now, pick(OUTCOMES, random));
    else if (kind < 0.67) {
      guest.stream = true;
      permit.asStream(now);
    } else this.release(guest);
  }

  #leave(): void {
    if (this.#waiting.size === 0) return;
    const guest = pick([...this.#waiting], this.random);
    guest.left = true;
    this.#waiting.delete(guest);
    this.gate.leave(guest, this.now);
  }

  #reload(): void {
    const { random } = this;
    if (random() < 0.5) {
      this.#policy = { ...this.#policy, maxInFlight: Math.floor(between(random, 0, 60)) };
      this.gate.setCeiling(this.#policy.maxInFlight, this.now);
      return;
    }
    this.mode = pick(['enforce', 'enforce', 'enforce', 'observe', 'off'] as const, random);
    this.#policy = {
      ...this.#policy,
      mode: this.mode,
      limit: pick(['auto', 'auto', 1, 3, 30] as const, random),
      queue: pick(['auto', 'auto', 0, 1, 7] as const, random),
      workers: pick([1, 2, 4], random),
    };
    this.gate.configure(this.#policy, this.now);
  }
}

function judge(seed: number, events: number, policy: AdmissionPolicy): Run {
  const run = new Run(seed, policy);
  for (let i = 0; i < events && run.faults.length === 0; i += 1) run.event();
  run.end();
  expect(run.faults).toEqual([]);
  expect(run.gate.view(run.now)).toMatchObject({ inFlight: 0, streams: 0, queueDepth: 0 });
  expect(run.everybody.filter((guest) => guest.verdicts !== (guest.left ? 0 : 1))).toEqual([]);
  return run;
}

const BASE: AdmissionPolicy = {
  slaMs: 250,
  mode: 'enforce',
  queue: 'auto',
  limit: 'auto',
  workers: 1,
  maxInFlight: 40,
};

describe('admission, whatever happens in whatever order', () => {
  test.each([1, 2, 3, 4])('25 000 random events leave nothing behind (seed %i)', (seed) => {
    const run = judge(seed, 25_000, BASE);
    // The run has seen both answers, or it proves nothing.
    expect(run.everybody.length).toBeGreaterThan(9000);
    expect(run.verdicts).toBeGreaterThan(5000);
    expect(run.wouldShed).toBeGreaterThan(0);
  });

  test('short runs under any policy keep the same promises', () => {
    const policies = fc.record({
      slaMs: fc.constantFrom(20, 250, 5000),
      mode: fc.constantFrom<ShedMode>('enforce', 'observe', 'off'),
      queue: fc.constantFrom<'auto' | number>('auto', 0, 1, 5, 100),
      limit: fc.constantFrom<'auto' | number>('auto', 1, 2, 50),
      workers: fc.integer({ min: 1, max: 8 }),
      maxInFlight: fc.integer({ min: 0, max: 100 }),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e6 }), policies, (seed, policy) => {
        judge(seed, 400, policy);
      }),
      { numRuns: 100, seed: 20_261_121 },
    );
  });
});
