/**
 * The waiting line of a service: four classes, strictly in order.
 *
 * Decision: the most important class goes first, always; nothing is reserved, since ceilings for a class shed without need
 * and kept the limit from growing. Strict order may starve background: the word means that. Time bounds the wait,
 * length only memory:
 *
 *     wait      what the SLA leaves above 1.5 times the service's 95th percentile, between a third and 0.7 of the SLA;
 *               overloaded (line.ts) twice the target, newest first
 *               critical: above the median, since half a chance is better than none; overloaded a third of the SLA. It
 *               waits for nobody but its own kind, so up to 0.9 of the capacity its waits are bursts, if long ones
 *     useful    whoever could not be answered in time even by a calm service is told so at once, and asked again at dispatch
 *               (by the last window's median, everybody would be refused while the backlog of a lost slot drains)
 *     length    what a third of the SLA can serve; while the limit is merely still growing only memory bounds it
 *
 * Cold start: no pace is known, everybody may wait. Time in which a young process stood still, compiling, tells nothing
 * of the service and is no wait: it is forgiven, up to what is useful at all. An older one that stands still is too
 * small for its load, and says so (pressure.ts). Sources: CoDel (RFC 8289), "Fail at Scale" (adaptive LIFO).
 */
import type { ShedCode } from '../kernel/errors.ts';
import type { PriorityRank } from '../kernel/priority.ts';
import type { Random } from '../kernel/random.ts';
import type { Admittee } from './admission.ts';
import type { Governor } from './governor.ts';
import { Line, Waiter } from './line.ts';
import type { Strain } from './strain.ts';

/** Half refuses what a fast release would have served, double leaves a late answer after a median service. */
const WAIT_SLA_SHARE = 0.33;
/** The most that anybody waits, in front of the fastest service; also before anything is known of it, while the loop still compiles. */
const MOST_WAIT_SLA_SHARE = 0.7;
/** What an ordinary request leaves of the SLA for its service time, in 95th percentiles: 1 makes every twentieth late. */
const TAIL_FACTOR = 1.5;
/** Below 5 ms the sweep's own step would decide; 5 % of the SLA is what CoDel gives a standing queue. */
const TARGET_LEAST_MS = 5;
const TARGET_SLA_SHARE = 0.05;
/** Intervals of 100 ms: at 0.9 of the capacity a critical line may well stand for half a second without being too long. */
const CRITICAL_PATIENCE = 10;
const SHORT_WAIT_TARGETS = 2;
const SPREAD = 0.2;
/** Bounds memory while the pace is unknown: some 10 KiB each. */
const MOST_WAITING = 1000;
const FEWEST_WAITING = 8;
/** At 1 a line of critical requests is refused that would have been served in time, at 3 it is served late. */
const CRITICAL_ROOM = 1.5;
/** The SLA is a reason to refuse only where the service can keep it. */
const KEEPS_SLA_SHARE = 0.9;
/** Congestion seen within so long; else the limit is merely still growing. */
const CONGESTED_LATELY_MS = 2000;

export class Queue {
  length = 0;
  readonly #lines: readonly [Line, Line, Line, Line];
  readonly #governor: Governor;
  readonly #strain: Strain;
  readonly #random: Random;
  readonly #waiting = new Map<Admittee, Waiter>();
  readonly #doomed: Waiter[] = [];
  /** All that was forgiven so far, ms. */
  #forgivenMs = 0;
  #slaMs: number;
  /** −1: auto. */
  #fixedLength: number;

  constructor(
    governor: Governor,
    strain: Strain,
    slaMs: number,
    fixedLength: number,
    random: Random,
    now: number,
  ) {
    this.#governor = governor;
    this.#strain = strain;
    this.#random = random;
    this.#slaMs = slaMs;
    this.#fixedLength = fixedLength;
    this.#lines = [new Line(CRITICAL_PATIENCE, now), new Line(1, now), new Line(1, now), new Line(1, now)];
  }

  configure(slaMs: number, fixedLength: number): void {
    this.#slaMs = slaMs;
    this.#fixedLength = fixedLength;
  }

  lengthOf(rank: PriorityRank): number {
    return this.#lines[rank].length;
  }

  /** Is anybody waiting who goes before a newcomer of this rank? */
  precedes(rank: PriorityRank): boolean {
    if (this.length === 0) return false;
    return this.#mostImportant() <= rank;
  }

  /** How many may wait now. */
  capacity(now: number): number {
    if (this.#fixedLength >= 0) return this.#fixedLength;
    const { p50Ms, limit } = this.#governor;
    if (p50Ms === 0 || !this.#congestedLately(now)) return MOST_WAITING;
    const turns = Math.max(1, this.waitBoundMs / p50Ms);
    return Math.max(FEWEST_WAITING, Math.min(MOST_WAITING, Math.ceil(limit * turns)));
  }

  /** Critical requests wait longer, so more of them may. */
  #capacityFor(rank: PriorityRank, now: number): number {
    const capacity = this.capacity(now);
    return rank === 0 && this.#fixedLength < 0 ? Math.ceil(CRITICAL_ROOM * capacity) : capacity;
  }

  /** How long the wait at the end of a line of `ahead` will be, ms; 0 while the pace is unknown. */
  expectedWaitMs(ahead: number, now: number): number {
    const { ratePerMs } = this.#governor;
    return ratePerMs > 0 && this.#congestedLately(now) ? (ahead + 1) / ratePerMs : 0;
  }

  /** The longest wait of an ordinary class in an orderly line, ms. */
  get waitBoundMs(): number {
    return this.#beforeMs(TAIL_FACTOR * this.#governor.p95Ms);
  }

  /** What the SLA leaves before an answer that takes so long, within a third and 0.7 of the SLA. */
  #beforeMs(answerMs: number): number {
    const least = WAIT_SLA_SHARE * this.#slaMs;
    return Math.max(least, Math.min(MOST_WAIT_SLA_SHARE * this.#slaMs, this.#slaMs - answerMs));
  }

  /** Lets somebody wait, or sheds it; a less important one may be shed for its place. */
  enqueue(who: Admittee, now: number): void {
    const { rank } = who;
    const capacity = this.#capacityFor(rank, now);
    if (capacity === 0) {
      this.#refuse(who, 'SPW_SHED_CONCURRENCY', 'no permit is free and nobody may wait', now);
      return;
    }
    const usefulUntilMs = this.#usefulUntilMs(who, now);
    if (now + this.expectedWaitMs(this.#ahead(rank), now) + this.#governor.baseline.p50Ms >= usefulUntilMs) {
      this.#refuse(who, 'SPW_SHED_DEADLINE', 'could not be answered in time', now);
      return;
    }
    const evicted = this.length < capacity ? undefined : this.#leastImportantBelow(rank);
    if (this.length >= capacity && evicted === undefined) {
      this.#refuse(who, 'SPW_SHED_QUEUE_FULL', 'the queue is full', now);
      return;
    }
    const least = rank === 0 ? 1 : 1 - SPREAD;
    const patience = least + (1 + SPREAD - least) * this.#random();
    const waiter = new Waiter(who, now, patience, usefulUntilMs, this.#forgivenMs);
    if (evicted !== undefined) this.#takeOut(evicted);
    this.#lines[rank].push(waiter);
    this.#waiting.set(who, waiter);
    this.length += 1;
    if (evicted !== undefined) {
      this.#refuse(evicted.who, 'SPW_SHED_QUEUE_FULL', 'a more important request needed the place', now);
    }
  }

  /** Takes the next one out, of this rank or more important, or undefined. Whoever waited too long meanwhile is shed on the way. */
  next(now: number, least: PriorityRank): Waiter | undefined {
    while (this.length > 0) {
      const rank = this.#mostImportant();
      if (rank > least) return undefined;
      const line = this.#lines[rank];
      const waiter = line.overloaded && rank > 0 ? line.newest : line.oldest;
      if (waiter === undefined) return undefined;
      const patienceMs = this.#patienceMs(waiter, rank, line);
      this.#takeOut(waiter);
      if (this.#waitedMs(waiter, now) > patienceMs) {
        this.#refuse(waiter.who, 'SPW_SHED_QUEUE_TIMEOUT', 'waited too long', now);
      } else if (now + this.#governor.baseline.p50Ms >= waiter.usefulUntilMs) {
        this.#refuse(waiter.who, 'SPW_SHED_DEADLINE', 'could no longer be answered in time', now);
      } else return waiter;
    }
    return undefined;
  }

  /** Takes out the next one whatever it waited, or undefined. */
  any(): Waiter | undefined {
    if (this.length === 0) return undefined;
    const waiter = this.#lines[this.#mostImportant()].oldest;
    if (waiter !== undefined) this.#takeOut(waiter);
    return waiter;
  }

  /** The caller left. True if it was waiting. */
  leave(who: Admittee): boolean {
    const waiter = this.#waiting.get(who);
    if (waiter === undefined) return false;
    this.#waiting.delete(who);
    waiter.left = true;
    if (waiter.line !== undefined) this.#unlink(waiter);
    return true;
  }

  /** Our own process stood still for so long. */
  forgive(stallMs: number): void {
    this.#forgivenMs += stallMs;
  }

  #waitedMs(waiter: Waiter, now: number): number {
    return now - waiter.sinceMs - (this.#forgivenMs - waiter.forgivenMs);
  }

  /** About every 5 ms: who waited too long is told so; overload is noticed. */
  sweep(now: number): void {
    if (this.length === 0) return;
    const targetMs = this.#targetMs;
    const congested = this.#congestedLately(now);
    for (let rank = 0 as PriorityRank; rank <= 3; rank = (rank + 1) as PriorityRank) {
      const line = this.#lines[rank];
      line.observe(targetMs, congested, this.#forgivenMs, now);
      this.#markOverdue(line, rank, now);
    }
    const doomed = this.#doomed;
    // Verdicts come after all links are settled: a callback may enter or leave.
    for (const waiter of doomed) {
      if (waiter.left) continue;
      this.#waiting.delete(waiter.who);
      this.#refuse(waiter.who, 'SPW_SHED_QUEUE_TIMEOUT', 'waited too long', now);
    }
    doomed.length = 0;
  }

  #markOverdue(line: Line, rank: PriorityRank, now: number): void {
    let waiter = line.oldest;
    while (waiter !== undefined) {
      const { younger } = waiter;
      const limitMs = this.#patienceMs(waiter, rank, line);
      const waitedMs = this.#waitedMs(waiter, now);
      if (waitedMs > limitMs || now >= waiter.usefulUntilMs) {
        this.#unlink(waiter);
        this.#doomed.push(waiter);
      } else if (waitedMs <= (limitMs / waiter.patience) * (1 - SPREAD)) return;
      waiter = younger;
    }
  }

  #refuse(who: Admittee, code: ShedCode, reason: string, now: number): void {
    this.#lines[who.rank].refused(now);
    this.#governor.refused();
    if (who.rank === 0) this.#governor.criticalRefused(now);
    this.#strain.refused(now);
    who.shed(code, reason);
  }

  #takeOut(waiter: Waiter): void {
    this.#unlink(waiter);
    this.#waiting.delete(waiter.who);
  }

  #unlink(waiter: Waiter): void {
    waiter.line?.remove(waiter);
    this.length -= 1;
  }

  #mostImportant(): PriorityRank {
    if (this.#lines[0].length > 0) return 0;
    if (this.#lines[1].length > 0) return 1;
    return this.#lines[2].length > 0 ? 2 : 3;
  }

  #leastImportantBelow(rank: PriorityRank): Waiter | undefined {
    for (let below = 3; below > rank; below -= 1) {
      const { oldest } = this.#lines[below as PriorityRank];
      if (oldest !== undefined) return oldest;
    }
    return undefined;
  }

  /** Who would be served before a newcomer of this rank. */
  #ahead(rank: PriorityRank): number {
    let ahead = 0;
    for (let above = 0; above < rank; above += 1) ahead += this.#lines[above as PriorityRank].length;
    const own = this.#lines[rank];
    return own.overloaded && rank > 0 ? ahead : ahead + own.length;
  }

  #usefulUntilMs(who: Admittee, now: number): number {
    const keeps = this.#governor.baseline.p50Ms < KEEPS_SLA_SHARE * this.#slaMs;
    return keeps ? Math.min(who.deadlineMs, now + this.#slaMs) : who.deadlineMs;
  }

  /** How long this one may wait, ms. */
  #patienceMs(waiter: Waiter, rank: PriorityRank, line: Line): number {
    return waiter.patience * this.#boundMs(rank, line);
  }

  #boundMs(rank: PriorityRank, line: Line): number {
    if (!line.overloaded) return rank === 0 ? this.#beforeMs(this.#governor.p50Ms) : this.waitBoundMs;
    const third = WAIT_SLA_SHARE * this.#slaMs;
    if (rank === 0) return third;
    const { ratePerMs } = this.#governor;
    const twoTurnsMs = ratePerMs > 0 ? 2 / ratePerMs : 0;
    return Math.min(third, Math.max(SHORT_WAIT_TARGETS * this.#targetMs, twoTurnsMs));
  }

  get #targetMs(): number {
    return Math.max(TARGET_LEAST_MS, TARGET_SLA_SHARE * this.#slaMs);
  }

  #congestedLately(now: number): boolean {
    return now - this.#governor.congestedAtMs < CONGESTED_LATELY_MS;
  }
}
