/**
 * The concurrency governor: how many requests this worker may have in flight at one service.
 *
 * Signal: the median latency of a window against the baseline (baseline.ts), the ages of what is in flight (brake.ts),
 * timeouts and 503s (drops.ts). Decision, once a window:
 *
 *     most outcomes were failures          hold: fast errors tell nothing
 *     drops                                × 0.9 a window
 *     slower than tolerated                hold, climb, cut or "slow by itself" (elasticity.ts)
 *     else, if somebody had to wait        × 1.5 or × 1.25 near the baseline, + ½√L further from it
 *     nobody had to wait                   stays: an idle limit does not drift
 *
 * The gateway's own sin is not the service's: a response lies in the socket for half of the loop's last turn, on average,
 * and for as much of the present one as has gone by; that much is taken off each sample. So a busy worker still learns.
 * One a service in each worker: nothing to ask, nothing to wait for. With N workers each starts at 20/N, may fall to
 * 4/N and grows by N-th shares; all see the same latency at the same time and so act together.
 * Cold start: 20. Idle gap: after 10 s without a sample the window is emptied, after 5 min the baseline is unverified.
 * A number that is not finite never becomes the limit: the last good one stays.
 * Sources: Netflix concurrency-limits (gradient), Envoy adaptive concurrency, failsafe-go (idle cap); the differences are
 * argued in the modules named above.
 */
import type { Random } from '../kernel/random.ts';
import { Baseline } from './baseline.ts';
import { Brake } from './brake.ts';
import { Drops, MANY_DROPS } from './drops.ts';
import { Elasticity, type CongestedStep } from './elasticity.ts';
import type { Flight } from './flight.ts';
import { Peak } from './peak.ts';
import { Probe } from './probe.ts';
import { FEWEST_SAMPLES, Window, type Reading } from './window.ts';

/** Netflix's 20: half makes a fast service's first second tight, double drowns five slots. Shared by the workers. */
const START = 20;
/** At 1 every second request starves the median. Shared by the workers, and never below 1. */
const FLOOR = 4;
/** Below this share of the limit, and with nobody waiting, a window is calm. */
const CALM_SHARE = 0.6;
/** Over half the outcomes failures: decide nothing. */
const MOSTLY_FAILURES = 0.5;
/** Near the baseline growth is by this factor: 1.12 takes five seconds to find a 16-fold capacity, 1.5 overshoots it. */
const FAST_GROWTH = 1.25;
/** "Near the baseline": this share of the way to the tolerance. */
const NEAR_SHARE = 0.3;
/** No queueing at all to be seen: half as much again stays within the tolerance wherever the knee is. */
const VERY_NEAR_SHARE = 0.15;
const VERY_FAST_GROWTH = 1.5;
/** A climb is short or it is wrong: at 1.25 a service that needs twice the permits sheds for three windows, not two. */
const CLIMB = 1.5;
/**
 * While critical requests wait here, so much more is tolerated: the workers cannot see each other's lines, and the one
 * that runs lower classes feels the latency and gives way. At 1 critical starves behind a greedy neighbour.
 */
const CRITICAL_TOLERANCE = 1.5;
/** ½√L: Envoy's and fbthrift's headroom. */
const SLOW_GROWTH = 0.5;
/** A cut keeps at least this; harder falls below the knee, softer leaves the tail late. */
const MOST_CUT = 0.6;
/** Median past this share of the SLA: most answers are about to be late, so the cut is not halved. */
const LATE_SHARE = 0.8;
/** An unverified baseline above this share of the SLA, or a congested window, is worth a probe; else growth will tell. */
const DOUBT_SHARE = 0.4;
const IDLE_EMPTY_MS = 10_000;
const IDLE_FORGET_MS = 300_000;
const BRAKE_EVERY_MS = 10;
/** What the delay of an idle loop would come to: a turn of 5 ms so far and half of another before. */
const IDLE_TURNS_MS = 7.5;

export interface GovernorSettings {
  readonly slaMs: number;
  /** Workers that share the service. */
  readonly workers: number;
  /** This worker's fixed limit, or 0: found from latency. */
  readonly fixedLimit: number;
  /** The most that the instances' caps let this worker have in flight; 0: no instance is ready, nothing to go by. */
  readonly ceiling: number;
  /** Cuts have no effect (observe mode): whatever asks "did it help?" rests. */
  readonly observing: boolean;
}

/** Why the limit is what it is: the last window's verdict. */
export type Verdict =
  | 'cold'
  | 'failures'
  | 'drops'
  | CongestedStep['kind']
  | 'brake'
  | 'probe'
  | 'grow'
  | 'enough';

export class Governor {
  readonly baseline = new Baseline();
  verdict: Verdict = 'cold';
  /** Median of the last window as callers felt it, ms; 0 before the first. */
  p50Ms = 0;
  /** 95th percentile, likewise. */
  p95Ms = 0;
  /** Attempts that ended per ms in the last window; 0 before the first. */
  ratePerMs = 0;
  /** Moment of the last congested window. */
  congestedAtMs = Number.NEGATIVE_INFINITY;
  /** The service was found to be slow by itself and has not recovered. */
  slow = false;
  readonly #flight: Flight;
  readonly #window: Window;
  /** Answers to attempts begun before a brake. */
  readonly #stragglers: Window;
  readonly #brake = new Brake();
  readonly #drops = new Drops();
  readonly #elasticity = new Elasticity();
  readonly #probe: Probe;
  readonly #peak: Peak;
  #settings: GovernorSettings;
  #limit: number;
  /** Beginning of the loop's present turn, and length of the one before. */
  #turnAtMs: number;
  #turnMs = 0;
  #ownDelayMs = 0;
  #speedBeforeSlowMs = 0;
  #sampledAtMs: number;
  #windowUsed = false;
  #brakeCheckedAtMs = Number.NEGATIVE_INFINITY;

  constructor(settings: GovernorSettings, flight: Flight, random: Random, now: number) {
    this.#settings = settings;
    this.#flight = flight;
    this.#window = new Window(random, now);
    this.#stragglers = new Window(random, now);
    this.#probe = new Probe(random, now);
    this.#peak = new Peak(now);
    this.#sampledAtMs = now;
    this.#turnAtMs = now;
    this.#limit = START / settings.workers;
    this.#clamp();
  }

  /** The limit as a real number. */
  get limit(): number {
    const { fixedLimit, ceiling } = this.#settings;
    if (fixedLimit === 0) return this.#limit;
    return ceiling > 0 ? Math.min(fixedLimit, ceiling) : fixedLimit;
  }

  /** Takes new settings; what was learned stays. More workers: each has a smaller share, and the other way round. */
  configure(settings: GovernorSettings, now: number): void {
    const before = this.#settings;
    this.#settings = settings;
    const instances = before.ceiling > 0 && settings.ceiling > 0 ? settings.ceiling / before.ceiling : 1;
    const shares = before.workers / settings.workers;
    if (instances !== 1 || shares !== 1) {
      this.#limit *= Math.min(2, Math.max(0.5, instances)) * shares;
      this.#clamp();
      this.#startOver(now);
    }
  }

  /** Somebody waits, or was refused, for want of a permit. */
  wanted(): void {
    this.#window.bound = true;
  }

  refused(): void {
    this.#window.bound = true;
    this.#window.refused = true;
  }

  /** A critical request stands in line here. */
  criticalWaits(): void {
    this.#window.criticalWaited = true;
  }

  /** An answer that tells the service's speed. */
  sample(ageMs: number, attemptAtMs: number, now: number): void {
    this.#count(ageMs, now);
    const ownMs = Math.min(ageMs, Math.max(0, now - this.#turnAtMs + this.#turnMs / 2 - IDLE_TURNS_MS));
    if (attemptAtMs < this.#brake.beganAtMs) this.#stragglers.sample(ageMs - ownMs);
    else {
      this.#ownDelayMs += ownMs;
      this.#window.sample(ageMs - ownMs);
    }
  }

  /** An answer that does not. */
  ignored(ageMs: number, now: number): void {
    this.#count(ageMs, now);
  }

  failed(ageMs: number, now: number): void {
    this.#count(ageMs, now);
    this.#window.failure();
  }

  /** A timeout counts as an answer of its length as well; a quick 503 does not: it can only speak for slowness. */
  dropped(ageMs: number, now: number): void {
    this.#count(ageMs, now);
    this.#window.drop(this.baseline.known && ageMs > this.#tolerableMs() ? ageMs : 0);
  }

  /** A caller left. Early that says nothing; later it says "at least this long", else the impatient hide slow answers. */
  cancelled(ageMs: number, now: number): void {
    this.#count(ageMs, now);
    if (this.baseline.known && ageMs > this.#tolerableMs()) this.#window.sample(ageMs);
  }

  /** Every 5 ms, at the beginning of a turn of the event loop. */
  tick(now: number): void {
    this.#turnMs = now - this.#turnAtMs;
    this.#turnAtMs = now;
    if (this.#flight.inFlight > 0) this.#brakeIfLate(now);
    if (this.#windowUsed && this.#window.ripe(this.p50Ms, now)) this.#close(now);
    else if (now - this.#sampledAtMs > IDLE_EMPTY_MS) this.#idle(now);
  }

  #count(ageMs: number, now: number): void {
    this.#sampledAtMs = now;
    this.#windowUsed = true;
    this.#window.ended(ageMs);
  }

  #tolerableMs(): number {
    return this.baseline.toleranceMs(this.#window.samples, this.#settings.slaMs);
  }

  get #floor(): number {
    return Math.max(1, FLOOR / this.#settings.workers);
  }

  get #steers(): boolean {
    return this.#settings.fixedLimit === 0 && !this.#settings.observing;
  }

  #brakeIfLate(now: number): void {
    if (!this.#steers || now - this.#brakeCheckedAtMs < BRAKE_EVERY_MS) return;
    this.#brakeCheckedAtMs = now;
    const brake = this.#brake;
    const before = this.#limit;
    const { slaMs } = this.#settings;
    this.#limit = brake.apply(before, this.#floor, this.baseline.p95Ms, slaMs, this.#flight, now);
    if (brake.beganAtMs === now) {
      this.#startOver(now);
      this.#elasticity.begin(before);
      this.#stragglers.restart(this.#flight, now);
    }
    if (this.#limit < before) {
      this.verdict = 'brake';
      this.congestedAtMs = now;
    }
  }

  #startOver(now: number): void {
    this.#window.restart(this.#flight, now);
    this.#ownDelayMs = 0;
    this.#elasticity.cleared();
    this.#probe.stop();
  }

  #idle(now: number): void {
    this.#peak.note(this.#flight.inFlight, now);
    this.#clamp();
    if (now - this.#sampledAtMs > IDLE_FORGET_MS) this.baseline.verified = false;
    if (!this.#windowUsed) return;
    this.#windowUsed = false;
    this.#startOver(now);
  }

  #close(now: number): void {
    const reading = this.#window.read(this.#flight, now);
    this.#window.restart(this.#flight, now);
    this.ratePerMs = reading.ratePerMs;
    this.#peak.note(reading.inFlight, now);
    const before = this.#limit;
    const ownMs = this.#ownDelayMs / Math.max(1, reading.samples);
    this.#ownDelayMs = 0;
    this.verdict = this.#judge(reading, ownMs, now);
    if (!Number.isFinite(this.#limit)) this.#limit = before;
    this.#clamp();
  }

  #judge(reading: Reading, ownMs: number, now: number): Verdict {
    if (reading.failureRatio > MOSTLY_FAILURES) return 'failures';
    if (reading.samples >= FEWEST_SAMPLES) this.#learn(reading, ownMs, now);
    const dropping = this.#drops.judge(reading, this.#limit, this.#floor, now);
    if (dropping !== undefined && this.#steers) {
      this.#limit = dropping;
      return 'drops';
    }
    if (reading.samples < FEWEST_SAMPLES) return 'hold';
    const { slaMs } = this.#settings;
    const toleranceMs = this.baseline.toleranceMs(reading.samples, slaMs);
    if (reading.p50Ms > toleranceMs) this.congestedAtMs = now;
    const doubtful =
      !this.baseline.verified && (reading.p50Ms > toleranceMs || reading.p50Ms > DOUBT_SHARE * slaMs);
    if (this.#steers && this.#probe.wants(reading, doubtful, now)) {
      this.#limit = this.#probe.step(reading, this.#limit, this.#floor, this.baseline, now);
      return 'probe';
    }
    if (reading.p50Ms > toleranceMs) return this.#congested(reading, toleranceMs);
    this.#elasticity.fine(reading);
    return this.#grow(reading, toleranceMs);
  }

  #learn(reading: Reading, ownMs: number, now: number): void {
    this.p50Ms = reading.p50Ms + ownMs;
    this.p95Ms = reading.p95Ms + ownMs;
    const calm = reading.inFlight <= CALM_SHARE * this.limit && !reading.bound;
    this.baseline.learn(reading, calm, reading.dropRatio <= MANY_DROPS);
    if (!calm) return;
    this.#elasticity.calmed();
    this.#probe.calmed(now);
    if (this.slow && reading.p50Ms < 2 * this.#speedBeforeSlowMs) this.slow = false;
  }

  #congested(reading: Reading, toleranceMs: number): Verdict {
    const share = Math.max(MOST_CUT, toleranceMs / reading.p50Ms);
    const { slaMs, workers } = this.#settings;
    if (!this.#steers) {
      this.#limit *= (1 + share) / 2;
      return 'cut';
    }
    this.#recallStragglers();
    const late = reading.p50Ms > LATE_SHARE * slaMs;
    const step = this.#elasticity.judge(reading, {
      limit: this.#limit,
      floor: this.#floor,
      late,
      alone: workers === 1,
    });
    switch (step.kind) {
      case 'hold':
        break;
      case 'climb':
        this.#limit *= CLIMB;
        break;
      case 'intrinsic':
        this.#limit = step.limit;
        if (step.relearn) this.#turnSlow(reading, step.sure);
        break;
      case 'retreat':
        this.#limit = step.limit;
        break;
      case 'cut':
        // Headroom also in a cut: without it the worker with the lower baseline would starve beside the other.
        if (late) this.#limit *= share;
        else if (workers > 1 && reading.criticalWaited && reading.p50Ms <= CRITICAL_TOLERANCE * toleranceMs) {
          this.#limit += this.#headroom;
        } else this.#limit = Math.min(this.#limit, (this.#limit * (1 + share)) / 2 + this.#headroom / 2);
        break;
    }
    return step.kind;
  }

  #turnSlow(reading: Reading, sure: boolean): void {
    if (!this.slow) this.#speedBeforeSlowMs = this.baseline.p50Ms;
    this.slow = true;
    this.baseline.relearn(reading, sure);
  }

  /** What was in flight when the brake fired is the reference of the old level. */
  #recallStragglers(): void {
    const { samples } = this.#stragglers;
    if (samples < 3) return;
    const { p50Ms } = this.#stragglers.read(this.#flight, this.#brake.beganAtMs);
    const { inFlightBefore: inFlight, limitBefore: limit } = this.#brake;
    this.#elasticity.remember({ inFlight, p50Ms, samples, limit });
    this.#stragglers.restart(this.#flight, this.#brake.beganAtMs);
  }

  #grow(reading: Reading, toleranceMs: number): Verdict {
    if (!reading.bound) return 'enough';
    const { p50Ms } = this.baseline;
    const way = (reading.p50Ms - p50Ms) / (toleranceMs - p50Ms);
    if (way <= VERY_NEAR_SHARE) this.#limit *= VERY_FAST_GROWTH;
    else if (way <= NEAR_SHARE) this.#limit *= FAST_GROWTH;
    else this.#limit += this.#headroom;
    return 'grow';
  }

  get #headroom(): number {
    const { workers } = this.#settings;
    return Math.max(1 / workers, SLOW_GROWTH * Math.sqrt(this.#limit / workers));
  }

  /** Within the floor and the ceiling, and not beyond what lately was of use: an idle limit admits no whole surge. */
  #clamp(): void {
    const { ceiling, workers } = this.#settings;
    const useful = Math.max(START / workers, this.#peak.limit);
    const most = ceiling > 0 ? Math.min(ceiling, useful) : useful;
    this.#limit = Math.min(most, Math.max(this.#floor, this.#limit));
  }
}
