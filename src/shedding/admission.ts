/**
 * Admission to one service, in one worker: a permit, a place in the queue, or a refusal.
 *
 *     enter ──► a permit is free and nobody more important waits ──► admitted
 *           ├─► queue (queue.ts) ──► release or a raised limit ──► admitted
 *           │                   └──► waited too long, evicted ──► shed
 *           └─► full, useless, or no queue ──────────────────────► shed
 *
 * The limit is the governor's (governor.ts). A permit that is free is never withheld. Modes: *enforce* as drawn; *observe*
 * grants everybody and counts who would have been shed (an upper bound: nobody's leaving makes room); *off* counts
 * permits and judges nothing. Reload: what was learned stays. Each admittee hears exactly one verdict, `admitted` or
 * `shed`, unless it leaves before; verdicts may come inside `enter`, `release`, `tick`, `configure` or `setCeiling`, and a
 * callback may call any of these again.
 */
import type { ShedCode } from '../kernel/errors.ts';
import type { PriorityRank } from '../kernel/priority.ts';
import type { Random } from '../kernel/random.ts';
import { Flight } from './flight.ts';
import { Governor, type GovernorSettings, type Verdict } from './governor.ts';
import { Permit, type HeadOutcome, type PermitIssuer } from './permit.ts';
import { Queue } from './queue.ts';
import { retryAfterSeconds } from './retry-after.ts';
import { Strain } from './strain.ts';

export type ShedMode = 'enforce' | 'observe' | 'off';

export interface AdmissionPolicy {
  readonly slaMs: number;
  readonly mode: ShedMode;
  /** Places over all workers, or found from latency; 0: nobody waits. */
  readonly queue: 'auto' | number;
  /** Requests in flight over all workers, or found from latency. */
  readonly limit: 'auto' | number;
  /** Workers that share the service, 1 or more. */
  readonly workers: number;
  /** The most this worker may have in flight: the sum of its shares of the instances' caps; 0: no instance is ready. */
  readonly maxInFlight: number;
}

/** Who asks; implemented by the exchange, so that asking needs no closure. */
export interface Admittee {
  readonly rank: PriorityRank;
  /** Moment (monotonic ms) by which an answer must have come. */
  readonly deadlineMs: number;
  /** `waitedMs`: time in the queue, 0 when it was admitted at once. */
  admitted(permit: Permit, waitedMs: number): void;
  shed(code: ShedCode, reason: string): void;
  /** Observe mode: it would have been shed; `admitted` follows. */
  wouldShed(code: ShedCode): void;
}

export interface AdmissionView {
  readonly mode: ShedMode;
  readonly limit: number;
  readonly inFlight: number;
  readonly streams: number;
  readonly queueDepth: number;
  readonly queueByRank: readonly [number, number, number, number];
  /** Median when calm, ms; 0: not known yet. */
  readonly baselineMs: number;
  /** Median of the last window, ms; 0: none yet. */
  readonly p50Ms: number;
  /** Share of arrivals refused in the last second, 0..1. */
  readonly pressure: number;
  /** The service was found to be slow by itself. */
  readonly slow: boolean;
  /** Congestion was seen within two seconds. */
  readonly congested: boolean;
  readonly verdict: Verdict;
}

const CONGESTED_LATELY_MS = 2000;
/** A beat (5 ms) so late means that our own process stood still. Half: the turns of a busy loop lengthen waits; double: a compiler's pause sheds. */
const STALL_MS = 30;
/** As long as it has seen no more requests a worker compiles what it runs. Half is over too soon; double lets a loop that is simply too small keep its callers waiting. */
const YOUNG_ARRIVALS = 5000;

export class Admission implements PermitIssuer {
  readonly #flight: Flight;
  readonly #governor: Governor;
  readonly #queue: Queue;
  readonly #strain: Strain;
  readonly #random: Random;
  #policy: AdmissionPolicy;
  #dispatching = false;
  #tickedMs: number;
  #arrivals = 0;

  constructor(policy: AdmissionPolicy, random: Random, now: number) {
    this.#policy = policy;
    this.#random = random;
    this.#flight = new Flight(now);
    this.#strain = new Strain(now);
    this.#tickedMs = now;
    this.#governor = new Governor(governorSettings(policy), this.#flight, random, now);
    this.#queue = new Queue(this.#governor, this.#strain, policy.slaMs, queueShare(policy), random, now);
  }

  /** Asks for a permit; the verdict comes by callback, now or later. Nobody may enter again before its verdict. */
  enter(who: Admittee, now: number): void {
    this.#strain.arrived();
    this.#arrivals++;
    if (this.#policy.mode === 'enforce') {
      if (this.#flight.inFlight < this.#allowance && !this.#queue.precedes(who.rank))
        this.#admit(who, 0, now);
      else {
        this.#governor.wanted();
        this.#queue.enqueue(who, now);
      }
      return;
    }
    if (this.#policy.mode === 'observe') this.#observe(who, now);
    this.#admit(who, 0, now);
  }

  /** The caller left while waiting. Does nothing for one who does not wait. */
  leave(who: Admittee, _now: number): void {
    this.#queue.leave(who);
  }

  /** Every 5 ms, from the worker's clockwork: what this comes late is taken for the loop's own delay. */
  tick(now: number): void {
    this.#strain.tick(now);
    if (this.#policy.mode === 'off') return;
    this.#governor.tick(now);
    this.#forgiveStall(now);
    this.#tickedMs = now;
    if (this.#queue.length === 0) return;
    this.#queue.sweep(now);
    this.#dispatch(now);
  }

  /** A reload. What was learned stays; whoever waits when nobody is refused any more is admitted. */
  configure(policy: AdmissionPolicy, now: number): void {
    this.#policy = policy;
    this.#governor.configure(governorSettings(policy), now);
    this.#queue.configure(policy.slaMs, queueShare(policy));
    if (policy.mode === 'enforce') this.#dispatch(now);
    else this.#admitAll(now);
  }

  /** Instances came or went: the limit moves in proportion, by half to twofold. 0: none is ready, the limit is kept. */
  setCeiling(maxInFlight: number, now: number): void {
    if (maxInFlight === this.#policy.maxInFlight) return;
    this.configure({ ...this.#policy, maxInFlight }, now);
  }

  /** Whole seconds for `Retry-After`, random. */
  retryAfterSeconds(rank: PriorityRank, now: number): number {
    return retryAfterSeconds(this.#strain.lastingMs(now), rank, this.#random);
  }

  view(now: number): AdmissionView {
    const queue = this.#queue;
    const governor = this.#governor;
    return {
      mode: this.#policy.mode,
      limit: Math.floor(governor.limit),
      inFlight: this.#flight.inFlight,
      streams: this.#flight.streams,
      queueDepth: queue.length,
      queueByRank: [queue.lengthOf(0), queue.lengthOf(1), queue.lengthOf(2), queue.lengthOf(3)],
      baselineMs: governor.baseline.p50Ms,
      p50Ms: governor.p50Ms,
      pressure: this.#strain.ratio,
      slow: governor.slow,
      congested: now - governor.congestedAtMs < CONGESTED_LATELY_MS,
      verdict: governor.verdict,
    };
  }

  // What permits report ------------------------------------------------------------------------------------------------

  attempted(permit: Permit, now: number): void {
    if (!Number.isNaN(permit.attemptAtMs)) this.answered(permit, 'ignored', now);
    this.#flight.begin(permit, now);
  }

  answered(permit: Permit, outcome: HeadOutcome, now: number): void {
    const { attemptAtMs } = permit;
    if (Number.isNaN(attemptAtMs)) return;
    const ageMs = this.#flight.end(permit, now);
    if (this.#policy.mode === 'off') return;
    switch (outcome) {
      case 'sample':
        this.#governor.sample(ageMs, attemptAtMs, now);
        return;
      case 'ignored':
        this.#governor.ignored(ageMs, now);
        return;
      case 'failed':
        this.#governor.failed(ageMs, now);
        return;
      case 'drop':
        this.#governor.dropped(ageMs, now);
        return;
    }
  }

  streaming(permit: Permit, now: number): void {
    if (!Number.isNaN(permit.attemptAtMs)) this.answered(permit, 'ignored', now);
    this.#flight.becomeStream(now);
    this.#dispatch(now);
  }

  released(permit: Permit, wasStream: boolean, now: number): void {
    if (!Number.isNaN(permit.attemptAtMs)) {
      const ageMs = this.#flight.end(permit, now);
      if (this.#policy.mode !== 'off') this.#governor.cancelled(ageMs, now);
    }
    if (wasStream) this.#flight.endStream();
    else this.#flight.giveBack(now);
    this.#dispatch(now);
  }

  // Inside -------------------------------------------------------------------------------------------------------------

  /** Whole permits: the limit, and what streams leave of the instances' caps. */
  get #allowance(): number {
    const limit = Math.floor(this.#governor.limit);
    const { maxInFlight } = this.#policy;
    return maxInFlight > 0 ? Math.min(limit, Math.max(0, maxInFlight - this.#flight.streams)) : limit;
  }

  #admit(who: Admittee, waitedMs: number, now: number): void {
    this.#flight.take(now);
    who.admitted(new Permit(this), waitedMs);
  }

  /** Before anybody's wait is judged: the first answers after a stall come before the beat that was late. */
  #forgiveStall(now: number): void {
    if (this.#arrivals > YOUNG_ARRIVALS || now - this.#tickedMs <= STALL_MS) return;
    this.#queue.forgive(now - this.#tickedMs);
    this.#tickedMs = now;
  }

  #dispatch(now: number): void {
    // A callback that releases at once comes back here: the outer round goes on for it.
    if (this.#dispatching || this.#queue.length === 0 || this.#policy.mode !== 'enforce') return;
    this.#forgiveStall(now);
    this.#dispatching = true;
    try {
      while (this.#flight.inFlight < this.#allowance) {
        const waiter = this.#queue.next(now);
        if (waiter === undefined) break;
        this.#admit(waiter.who, now - waiter.sinceMs, now);
      }
      if (this.#queue.length > 0) this.#governor.wanted();
    } finally {
      this.#dispatching = false;
    }
  }

  #admitAll(now: number): void {
    for (let waiter = this.#queue.any(); waiter !== undefined; waiter = this.#queue.any()) {
      this.#admit(waiter.who, now - waiter.sinceMs, now);
    }
  }

  /** Observe mode: what is in flight past the limit would be the queue. */
  #observe(who: Admittee, now: number): void {
    const excess = this.#flight.inFlight - this.#allowance;
    if (excess < 0) return;
    this.#governor.wanted();
    const capacity = this.#queue.capacity(now);
    const tooLong = this.#queue.expectedWaitMs(excess, now) > this.#queue.waitBoundMs;
    if (excess < capacity && !tooLong) return;
    this.#governor.refused();
    this.#strain.refused(now);
    if (capacity === 0) who.wouldShed('SPW_SHED_CONCURRENCY');
    else who.wouldShed(excess >= capacity ? 'SPW_SHED_QUEUE_FULL' : 'SPW_SHED_QUEUE_TIMEOUT');
  }
}

function governorSettings(policy: AdmissionPolicy): GovernorSettings {
  const { slaMs, workers, limit, maxInFlight, mode } = policy;
  return {
    slaMs,
    workers,
    fixedLimit: limit === 'auto' ? 0 : Math.max(1, Math.floor(limit / workers)),
    ceiling: maxInFlight,
    observing: mode === 'observe',
  };
}

/** This worker's places; −1: auto. Whoever asks for a queue has at least one place in each worker. */
function queueShare(policy: AdmissionPolicy): number {
  if (policy.queue === 'auto') return -1;
  return policy.queue === 0 ? 0 : Math.max(1, Math.floor(policy.queue / policy.workers));
}
