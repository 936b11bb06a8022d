/** Callers that write down their verdicts, and a bench: a crowd, one `Admission`, a service of a known latency. */
import type { ShedCode } from '../../../src/kernel/errors.ts';
import type { PriorityRank } from '../../../src/kernel/priority.ts';
import { between, seededRandom } from '../../../src/kernel/random.ts';
import { Admission, type Admittee } from '../../../src/shedding/admission.ts';
import type { AdmissionPolicy } from '../../../src/shedding/policy.ts';
import type { HeadOutcome, Permit, PermitIssuer } from '../../../src/shedding/permit.ts';

export const POLICY: AdmissionPolicy = {
  slaMs: 250,
  mode: 'enforce',
  queue: 'auto',
  limit: 'auto',
  workers: 1,
  maxInFlight: 1000,
  evenInFlight: 1000,
};

function ignore(): void {
  // Whoever drives a flight by hand.
}

/** An issuer for permits that are driven by hand. */
export const NOBODY: PermitIssuer = {
  attempted: ignore,
  answered: ignore,
  streaming: ignore,
  released: ignore,
};

export class Caller implements Admittee {
  readonly rank: PriorityRank;
  readonly deadlineMs: number;
  permit: Permit | undefined;
  waitedMs = Number.NaN;
  /** Code of the refusal; '' while there is none. */
  code: ShedCode | '' = '';
  wouldBe: ShedCode | '' = '';
  verdicts = 0;

  constructor(rank: PriorityRank, deadlineMs = 1e9) {
    this.rank = rank;
    this.deadlineMs = deadlineMs;
  }

  admitted(permit: Permit, waitedMs: number): void {
    this.verdicts += 1;
    this.permit = permit;
    this.waitedMs = waitedMs;
  }

  shed(code: ShedCode): void {
    this.verdicts += 1;
    this.code = code;
  }

  wouldShed(code: ShedCode): void {
    this.wouldBe = code;
  }
}

export function admission(policy: Partial<AdmissionPolicy> = {}, seed = 1): Admission {
  return new Admission({ ...POLICY, ...policy }, seededRandom(seed), 0);
}

export function enter(gate: Admission, rank: PriorityRank, now: number, deadlineMs?: number): Caller {
  const caller = new Caller(rank, deadlineMs);
  gate.enter(caller, now);
  return caller;
}

export interface Load {
  /** Callers who each send again as soon as they have their verdict or answer. */
  readonly callers: number;
  /** Latency of an attempt that starts with so many in flight; ± 10 % is added. */
  readonly latencyMs: (inFlight: number) => number;
  readonly outcome?: HeadOutcome;
}

interface Underway {
  readonly caller: Caller;
  /** 0 until its attempt has begun. */
  doneAtMs: number;
}

/** Steps of 5 ms, each one tick of the worker. */
export class Bench {
  readonly gate: Admission;
  now = 0;
  shed = 0;
  readonly #random = seededRandom(77);
  #callers: Underway[] = [];

  constructor(policy: Partial<AdmissionPolicy> = {}, seed = 1) {
    this.gate = admission(policy, seed);
  }

  get limit(): number {
    return this.gate.view(this.now).limit;
  }

  run(ms: number, load: Load): void {
    const endMs = this.now + ms;
    while (this.now < endMs) {
      this.now += 5;
      this.gate.tick(this.now);
      this.#answer(load);
      while (this.#callers.length < load.callers) {
        this.#callers.push({ caller: enter(this.gate, 1, this.now), doneAtMs: 0 });
      }
      for (const one of this.#callers) this.#begin(one, load);
    }
  }

  #begin(one: Underway, load: Load): void {
    const { permit } = one.caller;
    if (permit === undefined || one.doneAtMs > 0) return;
    permit.attempt(this.now);
    const { inFlight } = this.gate.view(this.now);
    one.doneAtMs = this.now + load.latencyMs(inFlight) * between(this.#random, 0.9, 1.1);
  }

  #answer(load: Load): void {
    const kept: Underway[] = [];
    for (const one of this.#callers) {
      const { permit, code } = one.caller;
      if (code !== '') this.shed += 1;
      else if (permit !== undefined && one.doneAtMs > 0 && one.doneAtMs <= this.now) {
        permit.head(this.now, load.outcome ?? 'sample');
        permit.release(this.now);
      } else kept.push(one);
    }
    this.#callers = kept;
  }
}
