/**
 * Is the gateway itself overloaded? The worker's own event loop and memory.
 *
 * Signals: a beat due every 20 ms, whose lateness is the loop's lag; the smallest lag of 60 ms and at least four beats
 * (`minLagMs`), which a lone pause does not raise; the loop's busy share; the used share of memory. At request time the lag is
 * also what has passed since the last beat: a stale sample cannot say "fine".
 *
 * Decisions:
 * - pressure of the loop: PI control of `minLagMs` to a threshold at every beat, rising only while the loop is over 80 %
 *   busy; pressure of memory: a ramp from 85 % to 95 %, of the least use of a second (garbage is not use). The larger of
 *   both is the share of arrivals to refuse, by class and client (threshold.ts).
 * - a turn that outgrows the one before is cut short for whoever is not critical (turn-budget.ts).
 * - age: a request that is already older than its service's SLA when it is first looked at is of no use; sheddable and background are
 *   refused, default too while the loop is busy; critical never.
 *
 * The control is in logarithms, of the turn's length and of the share that passes: an overloaded loop multiplies its
 * turns, and a step of 0.05 that is mild at a pressure of 0.3 halves what passes at 0.9. In simulation, a loop offered 2, 3
 * and 5 times its capacity, a fifth of it critical: 1.00 of the critical requests in time, and all the rest that fits; with a
 * linear PI (0.1, 0.25/s) 0.98, 0.7 and 0.55, and swings between 0.7 and 0.98.
 *
 * Never on the busy share alone (1.0 with 3 ms of lag is full use), nor on the largest lag (a pause of the collector).
 * Up to 0.98: a cap of 0.8 would admit twice the capacity at ten times the load. The age is an upper bound: the lag tells
 * how long a request may have lain in the socket, not how long it did. Source: CoDel (RFC 8289) for the least lag.
 */
import type { ShedCode } from '../kernel/errors.ts';
import type { PriorityRank } from '../kernel/priority.ts';
import type { Random } from '../kernel/random.ts';
import { RecentLeast } from './recent-least.ts';
import { Threshold } from './threshold.ts';
import { TurnBudget } from './turn-budget.ts';

const BEAT_MS = 20;
/** Half: two beats are no trend; double: a surge has it all its way for as long again. */
const LAG_SPAN_MS = 60;
const MEMORY_SPAN_MS = 1000;
/**
 * Lag tolerated, as a share of the smallest SLA and at least. A loop in full use on a closed crowd of 200 connections
 * turns once in 20..40 ms and serves them all; a request crosses the loop three times.
 */
const THRESHOLD_SLA_SHARE = 0.1;
const THRESHOLD_LEAST_MS = 15;
/** Below this busy share lag is somebody else's doing (the machine's), and refusing would not help. */
const BUSY = 0.8;
/** Time over which the busy share is judged. */
const BUSY_SPAN_MS = 60;
/** Per e-fold of the turn. Half: the turn stands twice as far above the threshold; double: three turns of delay swing. */
const GAIN = 0.4;
/** Likewise, per second. Half: late for seconds where the excess creeps in; double: rings with the service's own time. */
const INTEGRAL_GAIN = 1;
/** How fast the integral falls where the loop has time to spare, in the same unit. */
const IDLE_ERROR = -1.5;
/** Share of the cut-off excess that the pressure takes over at each beat: at 0.5 one run in five at 10 times the capacity lost critical requests; double overshoots. */
const TAKE_OVER = 0.8;
const MOST = 0.98;
const MOST_LOG = -Math.log(1 - MOST);
/** e-folds a second of what passes: 0.9 is gone in a second. A share of 0.4/s would need two and a half. */
const LOOSEN_PER_S = 2.5;
/** A beat that itself came later counts as this late: nothing was measured in between. */
const MOST_SPAN_MS = 200;
const NEGLIGIBLE = 1e-3;
const MEMORY_FROM = 0.85;
const MEMORY_TO = 0.95;
/** Arrivals after which the mix of classes is halved: half is noisy, double is slow to see a new mix. */
const MIX = 1024;
/** For so long after the last question its levels are those of who calls now. Half forgets the crowd of a square wave; double believes one that went. */
const LEVELS_KNOWN_MS = 10_000;

/** Who arrives; implemented by the exchange, so that asking needs no closure. */
export interface Arrival {
  readonly rank: PriorityRank;
  /** 0..511 (cohort.ts); need not be worked out unless `pressing`. */
  readonly level: number;
}

export interface PressureView {
  readonly lagMs: number;
  readonly minLagMs: number;
  /** 0..0.98 each. */
  readonly loop: number;
  readonly memory: number;
  readonly pressure: number;
}

export class LoopPressure {
  readonly #lags = new RecentLeast(LAG_SPAN_MS, 4, 4);
  readonly #memoryUse = new RecentLeast(MEMORY_SPAN_MS, 16, 3);
  readonly #budget = new TurnBudget();
  readonly #threshold = new Threshold();
  #askedAtMs = Number.NEGATIVE_INFINITY;
  /** Arrivals by class, fading. */
  readonly #mix: Record<PriorityRank, number> = [0, 0, 0, 0];
  #arrivals = 0;
  #slaMs: number;
  #beatAtMs: number;
  #lagMs = 0;
  #minLagMs = 0;
  #busy = 0;
  #integral = 0;
  /** −ln of the share that the loop lets pass. */
  #loopLog = 0;
  #loop = 0;
  #memory = 0;
  /** The larger of both. */
  #pressure = 0;

  constructor(smallestSlaMs: number, now: number) {
    this.#slaMs = smallestSlaMs;
    this.#beatAtMs = now;
  }

  configure(smallestSlaMs: number): void {
    this.#slaMs = smallestSlaMs;
  }

  /** Every 20 ms. `utilization`: the loop's busy share since the last beat, 0..1. */
  beat(now: number, utilization: number): void {
    const elapsedMs = now - this.#beatAtMs;
    this.#lagMs = Math.max(0, elapsedMs - BEAT_MS);
    this.#beatAtMs = now;
    this.#busy += (utilization - this.#busy) * Math.min(1, elapsedMs / BUSY_SPAN_MS);
    this.#lags.add(this.#lagMs, now);
    this.#minLagMs = this.#lags.least(now);
    this.#step(Math.min(elapsedMs, MOST_SPAN_MS) / 1000);
  }

  /** Share of memory in use, 0..1: the larger of heap ÷ its limit and container ÷ its limit. Some times a second. */
  memory(usedRatio: number, now: number): void {
    this.#memoryUse.add(usedRatio, now);
    const use = this.#memoryUse.least(now);
    this.#memory = Math.min(MOST, Math.max(0, (use - MEMORY_FROM) / (MEMORY_TO - MEMORY_FROM)));
    this.#pressure = Math.max(this.#loop, this.#memory);
  }

  /** How far the loop is behind, ms; at most so old is a request that is looked at now. */
  lagMs(now: number): number {
    return Math.max(this.#lagMs, now - this.#beatAtMs - BEAT_MS);
  }

  /** Somebody has to be refused: the next arrival's level will be looked at. */
  get pressing(): boolean {
    return this.#pressure > 0;
  }

  /**
   * The front gate's question for each arrival, once: a code, or '' to let it pass.
   * @param slaMs of the service that is asked: what is too old for one is not for another
   */
  refuses(who: Arrival, slaMs: number, now: number, random: Random): ShedCode | '' {
    const { rank } = who;
    this.#arrived(rank);
    if (rank > 0 && this.lagMs(now) >= slaMs && (rank >= 2 || this.#busy > BUSY)) return 'SPW_SHED_DEADLINE';
    if (this.#budget.isSpent(now - this.#beatAtMs - BEAT_MS, rank === 0)) return 'SPW_SHED_OVERLOAD';
    if (this.#pressure === 0) return '';
    if (now - this.#askedAtMs > LEVELS_KNOWN_MS) this.#threshold.standIn(this.#mix);
    this.#askedAtMs = now;
    const { level } = who;
    this.#threshold.arrived(level);
    return this.#threshold.refuses(level, this.#pressure, random) ? 'SPW_SHED_OVERLOAD' : '';
  }

  view(now: number): PressureView {
    return {
      lagMs: this.lagMs(now),
      minLagMs: this.#minLagMs,
      loop: this.#loop,
      memory: this.#memory,
      pressure: this.#pressure,
    };
  }

  #arrived(rank: PriorityRank): void {
    const mix = this.#mix;
    mix[rank] += 1;
    this.#arrivals += 1;
    if (this.#arrivals < MIX) return;
    for (let each = 0 as PriorityRank; each <= 3; each = (each + 1) as PriorityRank) mix[each] /= 2;
    this.#arrivals /= 2;
  }

  #step(spanS: number): void {
    const thresholdMs = Math.max(THRESHOLD_LEAST_MS, THRESHOLD_SLA_SHARE * this.#slaMs);
    const isBusy = this.#busy > BUSY;
    const excess = this.#budget.turned(isBusy ? this.#lagMs : 0, thresholdMs);
    const turns = Math.log((this.#minLagMs + BEAT_MS) / (thresholdMs + BEAT_MS));
    const error = isBusy ? turns : Math.min(turns, IDLE_ERROR);
    const integral = this.#integral + TAKE_OVER * excess + INTEGRAL_GAIN * error * spanS;
    this.#integral = Math.min(MOST_LOG, Math.max(0, integral));
    const wanted = Math.min(MOST_LOG, GAIN * error + this.#integral);
    this.#loopLog = Math.max(wanted, this.#loopLog - LOOSEN_PER_S * spanS, 0);
    if (this.#loopLog < NEGLIGIBLE) this.#loopLog = 0;
    this.#loop = 1 - Math.exp(-this.#loopLog);
    this.#pressure = Math.max(this.#loop, this.#memory);
  }
}
