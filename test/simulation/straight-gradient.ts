/**
 * A loser, kept to be beaten: L ← L · clamp(SLA ÷ p95, 0.5, 1) + ½√L each window, as fixed-target limiters do. A service
 * that has become slower than its SLA by itself looks like a queue to it, so it refuses what would have been answered.
 * The queue and all the rest are ours: what differs is the rule.
 */
import type { Random } from '../../src/kernel/random.ts';
import { Admission } from '../../src/shedding/admission.ts';
import type { AdmissionPolicy } from '../../src/shedding/policy.ts';
import type { HeadOutcome } from '../../src/shedding/permit.ts';
import type { Entrant, Gate, GatePermit, GateView } from './gate.ts';

const WINDOW_MS = 200;
const FEWEST = 30;

class TimedPermit implements GatePermit {
  readonly #permit: GatePermit;
  readonly #heard: (ms: number) => void;
  #fromMs = 0;

  constructor(permit: GatePermit, heard: (ms: number) => void) {
    this.#permit = permit;
    this.#heard = heard;
  }
  attempt(now: number): void {
    this.#fromMs = now;
    this.#permit.attempt(now);
  }
  head(now: number, outcome: HeadOutcome): void {
    if (outcome === 'sample') this.#heard(now - this.#fromMs);
    this.#permit.head(now, outcome);
  }
  asStream(now: number): void {
    this.#permit.asStream(now);
  }
  release(now: number): boolean {
    return this.#permit.release(now);
  }
}

export class StraightGradient implements Gate {
  readonly #inner: Admission;
  readonly #policy: AdmissionPolicy;
  readonly #asking = new Map<Entrant, Entrant>();
  #limit = 20;
  #latencies: number[] = [];
  #windowAtMs = 0;

  constructor(policy: AdmissionPolicy, random: Random) {
    this.#policy = policy;
    this.#inner = new Admission({ ...policy, limit: this.#limit }, random, 0);
  }

  enter(who: Entrant, now: number): void {
    const heard = (ms: number): unknown => this.#latencies.push(ms);
    const { rank, deadlineMs, client, kind } = who;
    const asking: Entrant = {
      rank,
      deadlineMs,
      client,
      kind,
      admitted: (permit, waitedMs) => {
        this.#asking.delete(who);
        who.admitted(new TimedPermit(permit, heard), waitedMs);
      },
      shed: (code, reason) => {
        this.#asking.delete(who);
        who.shed(code, reason);
      },
      wouldShed: (code) => who.wouldShed(code),
    };
    this.#asking.set(who, asking);
    this.#inner.enter(asking, now);
  }

  leave(who: Entrant, now: number): void {
    const asking = this.#asking.get(who);
    if (asking !== undefined) this.#inner.leave(asking, now);
    this.#asking.delete(who);
  }

  tick(now: number): void {
    this.#inner.tick(now);
    if (now - this.#windowAtMs < WINDOW_MS || this.#latencies.length < FEWEST) return;
    const sorted = this.#latencies.sort((a, b) => a - b);
    const p95Ms = sorted[Math.floor(0.95 * sorted.length)] ?? this.#policy.slaMs;
    this.#latencies = [];
    this.#windowAtMs = now;
    const gradient = Math.min(1, Math.max(0.5, this.#policy.slaMs / p95Ms));
    this.#limit = Math.min(1000, Math.max(4, gradient * this.#limit + Math.sqrt(this.#limit) / 2));
    this.#inner.configure({ ...this.#policy, limit: Math.floor(this.#limit) }, now);
  }

  view(now: number): GateView {
    return this.#inner.view(now);
  }
}
