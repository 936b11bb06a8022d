/**
 * Is the gateway itself overloaded? The worker's own event loop and memory.
 *
 * Signals: a beat due every 20 ms, whose lateness is the loop's lag; the smallest lag of 200 ms (`minLagMs`), which a
 * lone pause does not raise; the loop's busy share; the used share of memory. At request time the lag is also what has
 * passed since the last beat: a stale sample cannot say "fine".
 *
 * Decisions:
 * - pressure of the loop: PI control of `minLagMs` to a threshold, each 100 ms, rising only while the loop is over 80 % busy;
 *   pressure of memory: a ramp from 85 % to 95 %, of the least use of a second (garbage is not use). The larger of both is
 *   the share of arrivals to refuse, from the least important class up. It tightens at once and loosens slowly.
 * - age: a request that is already older than the SLA when it is first looked at is of no use; sheddable and background are
 *   refused, default too while the loop is busy; critical never.
 *
 * Never on the busy share alone (1.0 with 3 ms of lag is full use), nor on the largest lag (a pause of the collector).
 * Up to 0.98: a cap of 0.8 would admit twice the capacity at ten times the load. The age is an upper bound: the lag tells
 * how long a request may have lain in the socket, not how long it did.
 */
import type { ShedCode } from '../kernel/errors.ts';
import type { PriorityRank } from '../kernel/priority.ts';
import type { Random } from '../kernel/random.ts';
import { RecentLeast } from './recent-least.ts';

const BEAT_MS = 20;
const LAG_SPAN_MS = 200;
const MEMORY_SPAN_MS = 1000;
/**
 * Lag tolerated, as a share of the smallest SLA and at least. A loop in full use on a closed crowd of 200 connections
 * turns once in 20..40 ms and serves them all; a request crosses the loop three times.
 */
const THRESHOLD_SLA_SHARE = 0.1;
const THRESHOLD_LEAST_MS = 15;
/** Lag must have stood for so long: code that is not compiled yet makes a busy start lag for half a second. */
const STANDING_MS = 1000;
/** Below this busy share lag is somebody else's doing (the machine's), and refusing would not help. */
const BUSY = 0.8;
const STEP_MS = 100;
const GAIN = 0.1;
/**
 * Per second. The backlog is an integrator of its own, so a fast integral swings: in simulation, a loop offered twice its
 * capacity kept 0.71 of its critical requests in time at 0.5 and an error up to 3, and 0.98 at 0.25 up to 2.
 */
const INTEGRAL_GAIN = 0.25;
const ERROR_LEAST = -1;
const ERROR_MOST = 2;
const MOST = 0.98;
const LOOSEN_PER_MS = 0.1 / 250;
const MEMORY_FROM = 0.85;
const MEMORY_TO = 0.95;
/** Arrivals after which the mix of classes is halved: half is noisy, double is slow to see a new mix. */
const MIX = 1024;

export interface PressureView {
  readonly lagMs: number;
  readonly minLagMs: number;
  /** 0..0.98 each. */
  readonly loop: number;
  readonly memory: number;
  readonly pressure: number;
}

export class LoopPressure {
  readonly #lags = new RecentLeast(LAG_SPAN_MS, LAG_SPAN_MS / BEAT_MS);
  readonly #memoryUse = new RecentLeast(MEMORY_SPAN_MS, 16);
  /** Arrivals by class, fading. */
  readonly #mix = new Float64Array(4);
  #arrivals = 0;
  #slaMs: number;
  #beatAtMs: number;
  #lagMs = 0;
  #minLagMs = 0;
  #busy = 0;
  #steppedAtMs: number;
  #fineAtMs: number;
  #integral = 0;
  #loop = 0;
  #memory = 0;

  constructor(smallestSlaMs: number, now: number) {
    this.#slaMs = smallestSlaMs;
    this.#beatAtMs = now;
    this.#steppedAtMs = now;
    this.#fineAtMs = now;
  }

  configure(smallestSlaMs: number): void {
    this.#slaMs = smallestSlaMs;
  }

  /** Every 20 ms. `utilization`: the loop's busy share since the last beat or over the last 200 ms, 0..1. */
  beat(now: number, utilization: number): void {
    this.#lagMs = Math.max(0, now - this.#beatAtMs - BEAT_MS);
    this.#beatAtMs = now;
    this.#busy = utilization;
    this.#lags.add(this.#lagMs, now);
    this.#minLagMs = this.#lags.least(now);
    const elapsedMs = now - this.#steppedAtMs;
    if (elapsedMs < STEP_MS) return;
    this.#steppedAtMs = now;
    this.#step(elapsedMs, now);
  }

  /** Share of memory in use, 0..1: the larger of heap ÷ its limit and container ÷ its limit. Some times a second. */
  memory(usedRatio: number, now: number): void {
    this.#memoryUse.add(usedRatio, now);
    const use = this.#memoryUse.least(now);
    this.#memory = Math.min(MOST, Math.max(0, (use - MEMORY_FROM) / (MEMORY_TO - MEMORY_FROM)));
  }

  /** How far the loop is behind, ms; at most so old is a request that is looked at now. */
  lagMs(now: number): number {
    return Math.max(this.#lagMs, now - this.#beatAtMs - BEAT_MS);
  }

  /** The front gate's question for each arrival: a code, or '' to let it pass. */
  refuses(rank: PriorityRank, now: number, random: Random): ShedCode | '' {
    this.#arrived(rank);
    if (rank > 0 && this.lagMs(now) >= this.#slaMs && (rank >= 2 || this.#busy > BUSY))
      return 'SPW_SHED_DEADLINE';
    const pressure = Math.max(this.#loop, this.#memory);
    if (pressure === 0) return '';
    let below = 0;
    for (let other = rank + 1; other <= 3; other += 1) below += this.#mix[other] ?? 0;
    const wanted = pressure * this.#arrivals - below;
    if (wanted <= 0) return '';
    return random() * (this.#mix[rank] ?? 0) < wanted ? 'SPW_SHED_OVERLOAD' : '';
  }

  view(now: number): PressureView {
    return {
      lagMs: this.lagMs(now),
      minLagMs: this.#minLagMs,
      loop: this.#loop,
      memory: this.#memory,
      pressure: Math.max(this.#loop, this.#memory),
    };
  }

  #arrived(rank: PriorityRank): void {
    const mix = this.#mix;
    mix[rank] = (mix[rank] ?? 0) + 1;
    this.#arrivals += 1;
    if (this.#arrivals < MIX) return;
    this.#arrivals = 0;
    for (let i = 0; i < 4; i += 1) {
      const half = (mix[i] ?? 0) / 2;
      mix[i] = half;
      this.#arrivals += half;
    }
  }

  #step(elapsedMs: number, now: number): void {
    const thresholdMs = Math.max(THRESHOLD_LEAST_MS, THRESHOLD_SLA_SHARE * this.#slaMs);
    if (this.#minLagMs <= thresholdMs) this.#fineAtMs = now;
    let error = (this.#minLagMs - thresholdMs) / thresholdMs;
    if (this.#busy <= BUSY) error = ERROR_LEAST;
    else if (error > 0 && this.#loop === 0 && now - this.#fineAtMs < STANDING_MS) error = 0;
    error = Math.min(ERROR_MOST, Math.max(ERROR_LEAST, error));
    // A step that itself came late counts as two at most: nothing was measured in between.
    const spanMs = Math.min(elapsedMs, 2 * STEP_MS);
    // A loop with time to spare has nothing to refuse for: the integral goes twice as fast as it came.
    const gain = this.#busy > BUSY ? INTEGRAL_GAIN : 2 * INTEGRAL_GAIN;
    this.#integral = Math.min(MOST, Math.max(0, this.#integral + (gain * error * spanMs) / 1000));
    const wanted = Math.min(MOST, Math.max(0, GAIN * error + this.#integral));
    this.#loop = Math.max(wanted, this.#loop - LOOSEN_PER_MS * elapsedMs, 0);
    if (this.#loop < 1e-3) this.#loop = 0;
  }
}
