/**
 * Admission to one service, in one worker: a permit, a place in the queue, or a refusal.
 *
 *     enter ──► a permit is free and nobody more important waits ──► admitted
 *           ├─► queue (queue.ts) ──► release or a raised limit ──► admitted
 *           │                   └──► waited too long, evicted ──► shed
 *           └─► full, useless, or no queue ──────────────────────► shed
 *
 * The limit is the governor's (governor.ts); critical requests may go beyond it in place of lower classes (overdraft.ts),
 * and nobody is sent into a service that has just lost its pace (stall.ts). A free permit is withheld only from a lower
 * class that may wait, while critical requests wait in another worker (siblings.ts). Modes: *enforce* as drawn; *observe*
 * grants everybody and counts who would have been shed (an upper bound: nobody's leaving makes room); *off* counts
 * permits and judges nothing. Reload: what was learned stays. Each admittee hears exactly one verdict, `admitted` or
 * `shed`, unless it leaves before; verdicts may come inside `enter`, `release`, `tick`, `configure` or `setCeiling`, and a
 * callback may call any of these again.
 */
import type { ShedCode } from '../kernel/errors.ts';
import type { PriorityRank } from '../kernel/priority.ts';
import type { Random } from '../kernel/random.ts';
import { Flight } from './flight.ts';
import { Governor } from './governor.ts';
import { overdrawn } from './overdraft.ts';
import { Permit, type HeadOutcome, type PermitIssuer } from './permit.ts';
import { governorSettings, queueShare, type AdmissionPolicy, type ShedMode } from './policy.ts';
import { Queue } from './queue.ts';
import { retryAfterSeconds } from './retry-after.ts';
import { Siblings, type Share } from './siblings.ts';
import { Stall } from './stall.ts';
import { Strain } from './strain.ts';
import type { Verdict } from './verdict.ts';

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
  /** Its 95th percentile, likewise. */
  readonly p95Ms: number;
  /** How long the last in line will wait, ms; 0: nobody waits long, or the pace is not known. */
  readonly expectedWaitMs: number;
  /** Share of arrivals refused in the last second, 0..1. */
  readonly pressure: number;
  /** The service was found to be slow by itself. */
  readonly slow: boolean;
  /** Congestion was seen within two seconds. */
  readonly congested: boolean;
  readonly verdict: Verdict;
}

/** In a stall so many attempts always pass, as a share of the limit and for the whole gateway. */
const STALL_LEAST_SHARE = 0.15;
const STALL_LEAST = 4;
/** Of the way to the mean of the workers, each time they tell: half lets noise apart, double passes it on. */
const EVEN_OUT = 0.1;
const CONGESTED_LATELY_MS = 2000;
/**
 * A beat (5 ms) so late means that our own process stood still. Half: the turns of a busy loop lengthen waits; double: a
 * compiler's pause sheds.
 */
const STALL_MS = 30;
/**
 * As long as it has seen no more requests a worker compiles what it runs. Half is over too soon; double lets a loop that
 * is simply too small keep its callers waiting.
 */
const YOUNG_ARRIVALS = 5000;

export class Admission implements PermitIssuer {
  readonly #flight: Flight;
  readonly #governor: Governor;
  readonly #queue: Queue;
  readonly #strain: Strain;
  readonly #stall: Stall;
  readonly #siblings = new Siblings();
  #toldEnded = 0;
  #toldAreaMs = 0;
  #ended = 0;
  #boundSinceTold = false;
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
    this.#stall = new Stall(now);
    this.#tickedMs = now;
    this.#governor = new Governor(governorSettings(policy), this.#flight, random, now);
    this.#queue = new Queue(this.#governor, this.#strain, policy.slaMs, queueShare(policy), random, now);
  }

  /** Asks for a permit; the verdict comes by callback, now or later. Nobody may enter again before its verdict. */
  enter(who: Admittee, now: number): void {
    this.#strain.arrived();
    this.#arrivals++;
    if (this.#policy.mode === 'enforce') {
      if (this.#mayPass(who.rank) && !this.#queue.precedes(who.rank)) {
        if (this.#occupied >= this.#allowance) {
          this.#governor.wanted();
          this.#boundSinceTold = true;
        }
        this.#admit(who, 0, now);
      } else {
        this.#governor.wanted();
        this.#boundSinceTold = true;
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
    if (this.#policy.mode === 'off') {
      this.#tickedMs = now;
      return;
    }
    try {
      this.#steer(now);
    } finally {
      // Whoever waits is not to suffer from a fault of the controller: the last limit stays.
      this.#forgiveStall(now);
      this.#tickedMs = now;
      if (this.#queue.length > 0) {
        this.#queue.sweep(now);
        this.#dispatch(now);
      }
    }
  }

  #steer(now: number): void {
    this.#governor.tick(now);
    if (now - this.#tickedMs > STALL_MS) this.#stall.restart(this.#flight, now);
    this.#stall.tick(
      this.#flight,
      this.#governor.stallBoundMs,
      Math.max(1, STALL_LEAST_SHARE * this.#governor.limit, STALL_LEAST / this.#policy.workers),
      now,
    );
    if (this.#stall.lasts(now)) this.#governor.followPace(this.#stall.ratePerMs, now);
  }

  /** A reload. What was learned stays; whoever waits when nobody is refused any more is admitted. */
  configure(policy: AdmissionPolicy, now: number): void {
    this.#policy = policy;
    this.#governor.configure(governorSettings(policy), now);
    this.#queue.configure(policy.slaMs, queueShare(policy));
    if (policy.mode === 'enforce') this.#dispatch(now);
    else this.#admitAll(now);
  }

  /** For the other workers of this gateway, some twenty times a second. */
  share(now: number): Share {
    this.#flight.advance(now);
    const { awaitingAreaMs, present, critical } = this.#flight;
    const share = {
      workers: 1,
      limit: this.#governor.limit,
      inFlight: present,
      critical,
      criticalWaiting: this.#queue.lengthOf(0),
      bound: this.#boundSinceTold || this.#queue.length > 0 ? 1 : 0,
      ended: this.#ended - this.#toldEnded,
      awaitingAreaMs: awaitingAreaMs - this.#toldAreaMs,
    };
    this.#toldEnded = this.#ended;
    this.#toldAreaMs = awaitingAreaMs;
    this.#boundSinceTold = false;
    return share;
  }

  /** The sum of what the others told. */
  hear(others: Share, now: number): void {
    this.#siblings.hear(others, now);
    this.#stall.others(
      others.ended,
      others.awaitingAreaMs,
      this.#governor.limit / (this.#governor.limit + others.limit),
    );
    if (others.workers > 0 && others.bound === others.workers && this.#queue.length > 0)
      this.#governor.evenOut(others.limit / others.workers, EVEN_OUT);
  }

  /** Instances came or went: the limit moves in proportion, by half to twofold. 0: none is ready, the limit is kept. What is borrowed moves no limit, it only leaves room. */
  setCeiling(maxInFlight: number, now: number, evenInFlight = maxInFlight): void {
    if (maxInFlight === this.#policy.maxInFlight && evenInFlight === this.#policy.evenInFlight) return;
    this.configure({ ...this.#policy, maxInFlight, evenInFlight }, now);
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
      limit: Math.floor(Math.min(governor.limit, this.#stall.limit)),
      inFlight: this.#flight.inFlight,
      streams: this.#flight.streams,
      queueDepth: queue.length,
      queueByRank: [queue.lengthOf(0), queue.lengthOf(1), queue.lengthOf(2), queue.lengthOf(3)],
      baselineMs: governor.baseline.p50Ms,
      p50Ms: governor.p50Ms,
      p95Ms: governor.p95Ms,
      expectedWaitMs: queue.length === 0 ? 0 : queue.expectedWaitMs(queue.length, now),
      pressure: this.#strain.ratio,
      slow: governor.slow,
      congested: now - governor.congestedAtMs < CONGESTED_LATELY_MS,
      verdict: governor.verdict,
    };
  }

  // What permits report ------------------------------------------------------------------------------------------------

  attempted(permit: Permit, now: number): void {
    this.#endAttempt(permit, 'ignored', now);
    this.#flight.begin(permit, now);
  }

  answered(permit: Permit, outcome: HeadOutcome, now: number): void {
    if (!this.#endAttempt(permit, outcome, now)) return;
    // What failed may be tried again, and keeps its place for that.
    if (outcome !== 'sample' && outcome !== 'ignored') return;
    this.#flight.flows(permit, true, now);
    this.#dispatch(now);
  }

  /** False: no attempt was running. */
  #endAttempt(permit: Permit, outcome: HeadOutcome, now: number): boolean {
    const { attemptAtMs } = permit;
    if (Number.isNaN(attemptAtMs)) return false;
    const ageMs = this.#flight.end(permit, now);
    this.#stall.ended();
    this.#ended += 1;
    if (this.#policy.mode !== 'off') this.#judgeAnswer(outcome, ageMs, attemptAtMs, now);
    return true;
  }

  #judgeAnswer(outcome: HeadOutcome, ageMs: number, attemptAtMs: number, now: number): void {
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
    this.#endAttempt(permit, 'ignored', now);
    this.#flight.becomeStream(permit, now);
    this.#dispatch(now);
  }

  released(permit: Permit, wasStream: boolean, now: number): void {
    if (!Number.isNaN(permit.attemptAtMs)) {
      const ageMs = this.#flight.end(permit, now);
      if (this.#policy.mode !== 'off') this.#governor.cancelled(ageMs, now);
    }
    if (wasStream) this.#flight.endStream();
    else this.#flight.giveBack(permit, now);
    this.#dispatch(now);
  }

  // Inside -------------------------------------------------------------------------------------------------------------

  /** Whole permits: the limit, and what streams leave of the instances' caps. */
  get #allowance(): number {
    const limit = Math.floor(Math.min(this.#governor.limit, this.#stall.limit));
    const { maxInFlight } = this.#policy;
    return maxInFlight > 0 ? Math.min(limit, Math.max(0, maxInFlight - this.#heldOpen)) : limit;
  }

  /** A found limit is one of requests that wait for the service: a slow reader keeps nobody out. A given one is what it says. */
  get #occupied(): number {
    return this.#policy.limit === 'auto' ? this.#flight.present : this.#flight.inFlight;
  }

  /** What counts against the instances' caps and not against the limit. */
  get #heldOpen(): number {
    return this.#flight.streams + (this.#policy.limit === 'auto' ? this.#flight.flowing : 0);
  }

  /** May a request of this rank be sent now, nobody more important waiting here? */
  #mayPass(rank: PriorityRank): boolean {
    const auto = this.#policy.limit === 'auto';
    const inFlight = this.#occupied;
    const allowance = this.#allowance;
    // Held back only where it may wait: a free permit is no reason to refuse.
    const yields = auto && this.#policy.queue !== 0;
    if (inFlight < allowance) return rank === 0 || !yields || !this.#siblings.criticalWaits(this.#tickedMs);
    return (
      rank === 0 &&
      auto &&
      this.#stall.limit === Number.POSITIVE_INFINITY &&
      inFlight < this.#overdrawn(allowance)
    );
  }

  #overdrawn(allowance: number): number {
    const { maxInFlight, slaMs } = this.#policy;
    const others = this.#siblings.fresh(this.#tickedMs);
    const elsewhere = others === undefined ? 0 : others.inFlight - others.critical;
    const lower = this.#flight.present - this.#flight.critical + elsewhere;
    const most = overdrawn(allowance, lower, this.#stall.ratePerMs, slaMs);
    return maxInFlight > 0 ? Math.min(most, maxInFlight - this.#heldOpen) : most;
  }

  #admit(who: Admittee, waitedMs: number, now: number): void {
    const permit = new Permit(this, who.rank === 0);
    this.#flight.take(permit, now);
    who.admitted(permit, waitedMs);
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
      for (;;) {
        const least = this.#mayPass(1) ? 3 : 0;
        if (least === 0 && !this.#mayPass(0)) break;
        const waiter = this.#queue.next(now, least);
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
    const excess = this.#occupied - this.#allowance;
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
