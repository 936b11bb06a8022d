/**
 * The concurrency governor: how many requests this worker may have in flight at one service.
 *
 * Signal: the median latency of a window against the baseline (baseline.ts), the ages of what is in flight (brake.ts),
 * timeouts and 503s (drops.ts). Decision, once a window:
 *
 *     most outcomes were failures          hold: fast errors tell nothing
 *     drops                                × 0.9 a window
 *     slower than tolerated                hold, climb, cut or "slow by itself" (elasticity.ts)
 *     else, if somebody had to wait        grows (growth.ts)
 *     nobody had to wait                   stays: an idle limit does not drift
 *
 * Between windows the brake and the lost pace (stall.ts) may lower it; what the loop itself adds to a latency is taken off
 * each sample (own-delay.ts). One a service in each worker: nothing to ask, nothing to wait for. With N workers each
 * starts at 20/N, may fall to 4/N, grows by N-th shares and decides by windows of an N-th of the samples; what they tell
 * each other evens their limits out (siblings.ts), and so averages their noise away.
 * Cold start: 20. Idle gap: after 10 s without a sample the window is emptied, after 5 min the baseline is unverified.
 * A number that is not finite never becomes the limit: the last good one stays.
 * Sources: Netflix concurrency-limits (gradient), Envoy adaptive concurrency, failsafe-go (idle cap); the differences are
 * argued in the modules named above.
 */
import type { Random } from '../kernel/random.ts';
import { Baseline } from './baseline.ts';
import { Brake } from './brake.ts';
import { Drops, MANY_DROPS } from './drops.ts';
import { Elasticity } from './elasticity.ts';
import type { Flight } from './flight.ts';
import { grown, headroom } from './growth.ts';
import { OwnDelay } from './own-delay.ts';
import { Peak } from './peak.ts';
import type { GovernorSettings } from './policy.ts';
import { Probe } from './probe.ts';
import { SlowFlag } from './slow-flag.ts';
import { stallBoundMs } from './stall.ts';
import type { Verdict } from './verdict.ts';
import { enoughSamples, FEWEST_SAMPLES, Window, type Reading } from './window.ts';

/** Netflix's 20: half makes a fast service's first second tight, double drowns five slots. Shared by the workers. */
const START = 20;
/** At 1 every second request starves the median. Shared by the workers, and never below 1. */
const FLOOR = 4;
/** Below this share of the limit, and with nobody waiting, a window is calm. */
const CALM_SHARE = 0.6;
/** Over half the outcomes failures: decide nothing. */
const MOSTLY_FAILURES = 0.5;
/** A cut keeps at least this; harder falls below the knee, softer leaves the tail late. */
const MOST_CUT = 0.6;
/** Median past this share of the SLA: most answers are about to be late, so the cut is not halved. */
const LATE_SHARE = 0.8;
/** An unverified baseline above this share of the SLA, or a congested window, is worth a probe; else growth will tell. */
const DOUBT_SHARE = 0.4;
/** A limit that follows a lost pace leaves it so much room: at 1 noise would starve it, at 1.5 answers stay late. */
const PACE_ROOM = 1.2;
const IDLE_EMPTY_MS = 10_000;
const IDLE_FORGET_MS = 300_000;
const BRAKE_EVERY_MS = 10;
/** After our own stall the answers of that time are still to be read: half accuses them, double is blind for as long. */
const OWN_BACKLOG_MS = 100;

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
  readonly #flight: Flight;
  readonly #window: Window;
  /** Answers to attempts begun before a brake. */
  readonly #stragglers: Window;
  readonly #brake = new Brake();
  readonly #drops = new Drops();
  readonly #elasticity = new Elasticity();
  readonly #probe: Probe;
  readonly #slowFlag = new SlowFlag();
  readonly #peak: Peak;
  #settings: GovernorSettings;
  #limit: number;
  readonly #ownDelay: OwnDelay;
  /** End of our own last long stall: answers to attempts begun before tell nothing. */
  #ownStallAtMs = Number.NEGATIVE_INFINITY;
  #sampledAtMs: number;
  #windowUsed = false;
  #fullWindows = 0;
  /** The last median of answers that came. */
  #paceMs = 0;
  #brakeCheckedAtMs = Number.NEGATIVE_INFINITY;

  constructor(settings: GovernorSettings, flight: Flight, random: Random, now: number) {
    this.#settings = settings;
    this.#flight = flight;
    this.#window = new Window(random, now);
    this.#stragglers = new Window(random, now);
    this.#probe = new Probe(random, now);
    this.#peak = new Peak(now);
    this.#sampledAtMs = now;
    this.#ownDelay = new OwnDelay(now);
    this.#limit = START / settings.workers;
    this.#clamp();
  }

  /** The service was found to be slow by itself and has not recovered. */
  get slow(): boolean {
    return this.#slowFlag.raised;
  }

  /** Present latency from which the service counts as stalled, ms; 0: cannot be judged now. */
  get stallBoundMs(): number {
    if (!this.#steers) return 0;
    const { slaMs, workers } = this.#settings;
    return stallBoundMs(this.#fullWindows, this.p50Ms, this.#toleranceMs(), slaMs, this.ratePerMs * workers);
  }

  /** The limit as a real number. */
  get limit(): number {
    const { fixedLimit, ceiling, borrowed } = this.#settings;
    if (fixedLimit === 0) return this.#limit;
    return ceiling > 0 ? Math.min(fixedLimit, ceiling + borrowed) : fixedLimit;
  }

  /** The pace is lost: no more than what it lets through within the tolerance. */
  followPace(ratePerMs: number, now: number): void {
    const fits = PACE_ROOM * ratePerMs * this.#toleranceMs();
    if (fits >= this.#limit) return;
    this.#limit = fits;
    this.#clamp();
    this.verdict = 'brake';
    this.congestedAtMs = now;
  }

  /** A step towards the mean of the other workers, by this share of the way. */
  evenOut(meanLimit: number, share: number): void {
    if (!Number.isFinite(meanLimit)) return;
    this.#limit += share * (meanLimit - this.#limit);
    this.#clamp();
  }

  /** Takes new settings; what was learned stays. More workers: each has a smaller share, and the other way round. */
  configure(settings: GovernorSettings, now: number): void {
    const before = this.#settings;
    const steered = this.#steers;
    this.#settings = settings;
    if (this.#steers && !steered) this.#takeTheWheel(now);
    // Ceilings are shares as well.
    const most = settings.ceiling * settings.workers;
    const mostBefore = before.ceiling * before.workers;
    const instances = most > 0 && mostBefore > 0 ? most / mostBefore : 1;
    const shares = before.workers / settings.workers;
    if (instances !== 1 || shares !== 1) {
      this.#limit *= Math.min(2, Math.max(0.5, instances)) * shares;
      this.#clamp();
      this.#startOver(now);
    }
  }

  /** What was seen without steering belongs to a load that nobody held back: only the baselines stay. */
  #takeTheWheel(now: number): void {
    this.#startOver(now);
    this.p50Ms = this.p95Ms = this.ratePerMs = this.#paceMs = 0;
    this.#limit = Math.max(this.#limit, START / this.#settings.workers);
    this.#clamp();
  }

  /** Somebody waits, or was refused, for want of a permit. */
  wanted(): void {
    this.#window.bound = true;
  }

  refused(): void {
    this.#window.bound = true;
    this.#window.refused = true;
  }

  /** No probe is worth that: back to the load that it began with. */
  criticalRefused(now: number): void {
    const limit = this.#probe.abandon(now);
    if (limit > this.#limit) this.#limit = limit;
  }

  /** An answer that tells the service's speed. */
  sample(ageMs: number, attemptAtMs: number, now: number): void {
    this.#count(ageMs, now);
    if (attemptAtMs < this.#ownStallAtMs) return;
    const ownMs = this.#ownDelay.of(ageMs, now);
    if (attemptAtMs < this.#brake.beganAtMs) this.#stragglers.sample(ageMs - ownMs);
    else {
      this.#ownDelay.add(ownMs);
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
    this.#window.drop(this.baseline.known && ageMs > this.#toleranceMs() ? ageMs : 0);
  }

  /** A caller left. Early that says nothing; later it says "at least this long", else the impatient hide slow answers. */
  cancelled(ageMs: number, now: number): void {
    this.#count(ageMs, now);
    if (now - ageMs < this.#ownStallAtMs) return;
    if (this.baseline.known && ageMs > this.#toleranceMs()) this.#window.sample(ageMs);
  }

  /** Every 5 ms, at the beginning of a turn of the event loop. */
  tick(now: number): void {
    if (this.#ownDelay.turn(now)) {
      this.#ownStallAtMs = now;
      this.#startOver(now);
    }
    if (this.#flight.present > 0 && now - this.#ownStallAtMs > OWN_BACKLOG_MS) this.#brakeIfLate(now);
    if (this.#windowUsed && this.#window.ripe(this.#paceMs, enoughSamples(this.#settings.workers), now))
      this.#close(now);
    else if (now - this.#sampledAtMs > IDLE_EMPTY_MS) this.#idle(now);
  }

  #count(ageMs: number, now: number): void {
    this.#sampledAtMs = now;
    this.#windowUsed = true;
    this.#window.ended(ageMs);
  }

  #toleranceMs(samples: number = this.#window.samples): number {
    const { slaMs, workers } = this.#settings;
    return this.baseline.toleranceMs(samples, slaMs, this.#limit * workers);
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
    this.#ownDelay.take(1);
    this.#fullWindows = 0;
    this.#elasticity.cleared();
    this.#probe.stop();
  }

  #idle(now: number): void {
    this.#peak.note(this.#flight.present, now);
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
    this.#fullWindows = reading.bound ? this.#fullWindows + 1 : 0;
    this.#peak.note(reading.inFlight, now);
    const before = this.#limit;
    const ownMs = this.#ownDelay.take(reading.samples);
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
    const toleranceMs = this.#toleranceMs(reading.samples);
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
    // The length of timeouts is no pace: the next window would wait for twice of it, full of quick answers.
    this.#paceMs = reading.dropRatio > MANY_DROPS ? Math.min(this.#paceMs, this.p50Ms) : this.p50Ms;
    this.p95Ms = reading.p95Ms + ownMs;
    const calm = reading.inFlight <= CALM_SHARE * this.limit && !reading.bound;
    this.#slowFlag.note(reading, this.baseline.p50Ms, calm);
    this.baseline.learn(reading, calm, reading.dropRatio <= MANY_DROPS);
    if (!calm) return;
    this.#elasticity.calmed();
    this.#probe.calmed(now);
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
    const room = headroom(this.#limit, workers);
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
        this.#limit *= step.factor;
        break;
      case 'intrinsic':
        this.#limit = step.limit;
        if (!step.relearn) break;
        this.#slowFlag.raise(this.baseline.p50Ms);
        this.baseline.relearn(reading, step.sure);
        break;
      case 'retreat':
        this.#limit = step.limit;
        break;
      case 'cut':
        // Headroom also in a cut: without it the worker with the lower baseline would starve beside the other.
        if (late) this.#limit *= share;
        else this.#limit = Math.min(this.#limit, (this.#limit * (1 + share)) / 2 + room / 2);
        break;
    }
    return step.kind;
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
    this.#limit = grown(this.#limit, this.#settings.workers, reading.p50Ms, this.baseline.p50Ms, toleranceMs);
    return 'grow';
  }

  /** Within the floor and the ceiling, and not beyond what lately was of use: an idle limit admits no whole surge. */
  #clamp(): void {
    const { ceiling, borrowed, workers } = this.#settings;
    const useful = Math.max(START / workers, this.#peak.limit);
    const most = ceiling > 0 ? Math.min(ceiling + borrowed, useful) : useful;
    this.#limit = Math.min(most, Math.max(this.#floor, this.#limit));
  }
}
