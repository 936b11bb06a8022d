/**
 * The circuit breaker of a service: when it fails as a whole, callers are told at once instead of after a timeout.
 *
 * Signal: final outcomes, after retries, from real calls. `hard` is a connection that failed, a reset, a timeout, 500, 502
 * or 504; 503 and 429 are `ignored` (they say "less", which is the admission limit's business), and so are callers that left
 * and refusals of ours. Decision: 5 hard ones in a row, or half of at least 20 in 10 s, open it. Both rules are needed: the
 * first sees an outage within five calls, the second a service that fails every other time. In a row, several failures at
 * one instance count once where there are others: one that dies takes all that it had under way along in the same
 * moment, and that is the outlier detection's business, not an outage. One caller alone opens nothing where at least three
 * were seen: a URL that crashes whoever is asked must not close the service to all others.
 *
 * Open: everything is refused for openMs · 2^k ± 25 %, so that gateways do not come back together. Half-open: one request
 * at a time is let through. Its failure opens again, its success starts a ramp of 5 s, because a service that has
 * just come back is cold. 60 s of being closed forget the earlier trips.
 *
 * Each admitted request carries a *pass*, the number of the era it was admitted in. A result counts only in its own era:
 * requests that hung when the breaker opened come back seconds later, and must not decide the trial of another one.
 *
 * Workers: each has its own, and the first to open tells the others (`takeTrip`, `adopt`), which open for the same span; each
 * tries by itself when that is over, and one whose trial fails tells again. Slow answers are good ones, and trip only where a
 * share of them is configured that does: tripping loses those that would have come in time.
 *
 * Idle gap: the window ages out, so a failure of an hour ago never meets one of now. Limits: a worker counts its own slice, so
 * a service of few requests a worker is judged later. Source: Nygard, Release It!; linkerd2 `consecutive_failures`; upstreams.md §5.
 */
import { between, type Random } from '../kernel/random.ts';
import { SliceWindow } from '../kernel/window.ts';
import { CallerSets } from './caller-sets.ts';

export interface BreakerPolicy {
  /** Hard failures in a row that open it. */
  readonly consecutive: number;
  /** Share of hard failures that opens it, 0..1. */
  readonly errorRatio: number;
  /** Outcomes in the window below which the share says nothing. */
  readonly minRequests: number;
  /** The first pause; it doubles with each trip. */
  readonly openMs: number;
  /** Share of slow answers that opens it, 0..1; undefined: none does. */
  readonly slowRatio?: number | undefined;
}

/** `slow`: an answer, but so late that hardly anybody waits for it. */
export type BreakerResult = 'ok' | 'slow' | 'hard' | 'ignored';
export type BreakerReason = 'consecutive' | 'ratio' | 'slow' | 'trial';

/** That it opened, as it may be told to another worker. */
export interface Trip {
  readonly leftMs: number;
  readonly trips: number;
  readonly reason: BreakerReason;
}

/** Moments are monotonic ms of this process. `trips` counts from 1. */
type State =
  | { readonly kind: 'closed'; readonly sinceMs: number }
  | {
      readonly kind: 'open';
      readonly untilMs: number;
      readonly trips: number;
      readonly reason: BreakerReason;
    }
  | { readonly kind: 'half-open'; readonly trips: number }
  | {
      readonly kind: 'ramping';
      readonly sinceMs: number;
      readonly trips: number;
      readonly rateBefore: number;
    }
  | {
      readonly kind: 'forced';
      readonly to: 'open' | 'closed';
      readonly untilMs: number;
      readonly by: string;
    };

/** The state as it may leave the process: spans instead of moments (Infinity: until an operator ends it). */
export type BreakerView =
  | { readonly state: 'closed' }
  | {
      readonly state: 'open';
      readonly leftMs: number;
      readonly trips: number;
      readonly reason: BreakerReason;
    }
  | { readonly state: 'half-open'; readonly trips: number }
  | { readonly state: 'ramping'; readonly ageMs: number; readonly rateBefore: number }
  | { readonly state: 'forced-open' | 'forced-closed'; readonly leftMs: number; readonly by: string };

/** A failure that is no caller's doing. */
const ANYBODY = -1;

const OUTCOMES = 0;
const HARD = 1;
const ADMITTED = 2;
const SLOW = 3;
const SLICE_MS = 1000;
const SLICES = 10;
/** Half: a dead service is tried twice as often; double: two minutes lost after a repair. A longer `openMs` stands. */
const MAX_OPEN_MS = 60_000;
/** Half: gateways that tripped together return nearly together; double: a pause may be half of what was asked for. */
const JITTER = 0.25;
/** Half: a fault that returns each 40 s always gets the short pause; double: an old fault is held against it. */
const FORGET_MS = 60_000;
/** A trial that streams for an hour must not close the service for an hour. Half: a slow answer is overtaken; double: late. */
const TRIAL_MS = 10_000;
/** Half: a cold service meets full load after 2.5 s; double: users are refused although it is well. */
const RAMP_MS = 5000;
/** Half: the first moment of a ramp is a trial still; double: a fifth of the load at once, cold. */
const RAMP_START = 0.1;
/** Below this rate a ramp protects nobody. Half, double: only services of a few requests a second notice. */
const RAMP_LEAST_PER_SECOND = 10;
/** What may be saved up between requests of a ramp. Half: coarse arrivals lose their turn; double: lumps. */
const RAMP_BURST_MS = 100;

export class Breaker {
  #policy: BreakerPolicy;
  readonly #random: Random;
  readonly #window = new SliceWindow(SLICE_MS, SLICES, 4);
  #state: State = { kind: 'closed', sinceMs: 0 };
  /** The era whose results count; passes are eras, so never 0. */
  #era = 1;
  /** Until then the trial under way keeps others out; no trial is under way when it has passed. */
  #trialUntilMs = Number.NEGATIVE_INFINITY;
  #streak = 0;
  /** Where the last hard failure was. */
  #failedLast = '';
  /** Callers of the failures in a row. */
  #streakCallers = 0;
  readonly #callers = new CallerSets();
  /** Trips to be remembered while closed. */
  #trips = 0;
  #firstAdmittedMs = 0;
  /** Requests a second before the breaker opened; a ramp ends there. */
  #rateBefore = 0;
  #credit = 0;
  #creditMs = 0;
  /** It opened by its own verdict, and nobody took notice yet. */
  #untold: Trip | undefined = undefined;

  constructor(policy: BreakerPolicy, random: Random) {
    this.#policy = policy;
    this.#random = random;
  }

  /** A reload: state and window stay. */
  configure(policy: BreakerPolicy): void {
    this.#policy = policy;
  }

  /**
   * Asks to send one request.
   * @returns 0 when refused, else the request's pass, to be given back with `record` exactly once whatever happens to it.
   */
  allow(now: number): number {
    const state = this.#settle(now);
    switch (state.kind) {
      case 'closed':
        return this.#admit(now);
      case 'open':
        return 0;
      case 'half-open':
        if (now < this.#trialUntilMs) return 0;
        this.#trialUntilMs = now + TRIAL_MS;
        this.#era++;
        return this.#era;
      case 'ramping':
        return this.#takeCredit(state, now) ? this.#admit(now) : 0;
      case 'forced':
        return state.to === 'open' ? 0 : this.#admit(now);
      default:
        return state satisfies never;
    }
  }

  /**
   * Tells how an admitted request ended. `ignored` when it says nothing about the service; a trial that ends so is free
   * for the next request.
   * @param pass as `allow` returned it; one of an earlier era changes nothing
   * @param instance where it ended; empty when the service has no other
   * @param caller its caller's bit among 32; of a failure that is no caller's doing, all bits
   */
  record(result: BreakerResult, now: number, pass: number, instance = '', caller = ANYBODY): void {
    const state = this.#settle(now);
    if (pass !== this.#era) return;
    switch (state.kind) {
      case 'closed':
      case 'ramping':
        if (result !== 'ignored') this.#count(result, instance, caller, state, now);
        return;
      case 'half-open':
        this.#judgeTrial(result, state.trips, now);
        return;
      case 'open':
      case 'forced':
        return;
      default:
        state satisfies never;
    }
  }

  /**
   * An operator's word. `auto` ends a forced state with a fresh, closed breaker and is nothing to an unforced one, so
   * it may be repeated; `closed` then `auto` resets an open breaker.
   * @param untilMs when the breaker decides by itself again, monotonic ms; undefined: not before `auto`
   */
  force(to: 'open' | 'closed' | 'auto', untilMs: number | undefined, by: string): void {
    if (to === 'auto') {
      if (this.#state.kind === 'forced') this.#startOver(Number.NEGATIVE_INFINITY);
      return;
    }
    if (this.#state.kind !== 'forced') this.#newEra();
    this.#state = { kind: 'forced', to, untilMs: untilMs ?? Number.POSITIVE_INFINITY, by };
  }

  /** What failed was a dependency, and it is back: nothing is held against the service. An operator's word stays. */
  pardon(): void {
    if (this.#state.kind !== 'forced') this.#startOver(Number.NEGATIVE_INFINITY);
  }

  /** Its own trip since the last call, for the other workers. */
  takeTrip(): Trip | undefined {
    const trip = this.#untold;
    this.#untold = undefined;
    return trip;
  }

  /** Another worker's has opened: so does this one, unless it is open already or an operator's word holds. */
  adopt({ leftMs, trips, reason }: Trip, now: number): void {
    const state = this.#settle(now);
    if (state.kind === 'open' || state.kind === 'forced') return;
    if (state.kind === 'closed') this.#rateBefore = this.#rate(now);
    else if (state.kind === 'ramping') this.#rateBefore = state.rateBefore;
    this.#newEra();
    this.#state = { kind: 'open', untilMs: now + leftMs, trips, reason };
  }

  /** How long a refused caller should stay away, in ms: the rest of the pause, or a moment. */
  waitMs(now: number): number {
    const state = this.#settle(now);
    if (state.kind === 'open') return state.untilMs - now;
    if (state.kind === 'forced' && state.to === 'open') return Math.min(state.untilMs - now, MAX_OPEN_MS);
    return SLICE_MS;
  }

  /** The state as it stands at `now`; makes an object, so for admin and metrics only. */
  view(now: number): BreakerView {
    const state = this.#settle(now);
    switch (state.kind) {
      case 'closed':
        return { state: 'closed' };
      case 'open':
        return { state: 'open', leftMs: state.untilMs - now, trips: state.trips, reason: state.reason };
      case 'half-open':
        return { state: 'half-open', trips: state.trips };
      case 'ramping':
        return { state: 'ramping', ageMs: now - state.sinceMs, rateBefore: state.rateBefore };
      case 'forced':
        return { state: `forced-${state.to}`, leftMs: state.untilMs - now, by: state.by };
      default:
        return state satisfies never;
    }
  }

  /** What time alone changes. */
  #settle(now: number): State {
    const state = this.#state;
    if (state.kind === 'open' && now >= state.untilMs) {
      this.#newEra();
      this.#state = { kind: 'half-open', trips: state.trips };
    } else if (state.kind === 'ramping' && now - state.sinceMs >= RAMP_MS) {
      this.#trips = state.trips;
      this.#state = { kind: 'closed', sinceMs: state.sinceMs + RAMP_MS };
    } else if (state.kind === 'forced' && now >= state.untilMs) {
      this.#startOver(now);
    }
    return this.#state;
  }

  #admit(now: number): number {
    if (this.#window.sum(ADMITTED, now) === 0) this.#firstAdmittedMs = now;
    this.#window.add(ADMITTED, 1, now);
    return this.#era;
  }

  #count(
    result: 'ok' | 'slow' | 'hard',
    instance: string,
    caller: number,
    state: Extract<State, { kind: 'closed' | 'ramping' }>,
    now: number,
  ): void {
    this.#window.add(OUTCOMES, 1, now);
    this.#callers.add(caller, result === 'hard', now);
    if (result === 'slow') this.#window.add(SLOW, 1, now);
    if (result !== 'hard') {
      this.#streak = 0;
      this.#streakCallers = 0;
    } else {
      this.#streakCallers |= caller;
      if (this.#streak === 0 || instance === '' || instance !== this.#failedLast) this.#streak++;
      this.#failedLast = instance;
      this.#window.add(HARD, 1, now);
    }
    // Asked after a good outcome too: it may be the one that completes the twenty.
    const reason = this.#verdict(now);
    if (reason === '') return;
    if (state.kind === 'ramping') {
      this.#open(state.trips + 1, reason, state.rateBefore, now);
      return;
    }
    const trips = now - state.sinceMs >= FORGET_MS ? 0 : this.#trips;
    this.#open(trips + 1, reason, this.#rate(now), now);
  }

  #verdict(now: number): BreakerReason | '' {
    const { consecutive, minRequests, errorRatio, slowRatio } = this.#policy;
    if (this.#streak >= consecutive && !this.#callers.isOneOfMany(this.#streakCallers)) return 'consecutive';
    const outcomes = this.#window.sum(OUTCOMES, now);
    const hard = this.#window.sum(HARD, now);
    if (outcomes < minRequests) return '';
    if (hard > 0 && hard >= errorRatio * outcomes && !this.#callers.isOneOfMany(this.#callers.failed))
      return 'ratio';
    const slow = slowRatio === undefined ? 0 : this.#window.sum(SLOW, now);
    return slow > 0 && slow >= (slowRatio ?? 1) * outcomes ? 'slow' : '';
  }

  #judgeTrial(result: BreakerResult, trips: number, now: number): void {
    if (this.#trialUntilMs === Number.NEGATIVE_INFINITY) return;
    this.#trialUntilMs = Number.NEGATIVE_INFINITY;
    if (result === 'ignored') return;
    if (result === 'hard' || (result === 'slow' && this.#policy.slowRatio !== undefined)) {
      this.#open(trips + 1, 'trial', this.#rateBefore, now);
      return;
    }
    this.#newEra();
    this.#state = { kind: 'ramping', sinceMs: now, trips, rateBefore: this.#rateBefore };
    this.#credit = 1;
    this.#creditMs = now;
  }

  #open(trips: number, reason: BreakerReason, rateBefore: number, now: number): void {
    const pause =
      this.#policy.openMs * 2 ** Math.min(trips - 1, 30) * between(this.#random, 1 - JITTER, 1 + JITTER);
    const longest = Math.max(MAX_OPEN_MS, this.#policy.openMs);
    this.#newEra();
    this.#rateBefore = rateBefore;
    const leftMs = Math.min(longest, pause);
    this.#state = { kind: 'open', untilMs: now + leftMs, trips, reason };
    this.#untold = { leftMs, trips, reason };
  }

  /** Requests a second before a trip, over what the window really covers: nine full slices and a part of one, or less. */
  #rate(now: number): number {
    const coveredMs = SLICE_MS * (SLICES - 1) + (now - Math.floor(now / SLICE_MS) * SLICE_MS);
    const livedMs = Math.max(SLICE_MS, Math.min(coveredMs, now - this.#firstAdmittedMs));
    return (this.#window.sum(ADMITTED, now) * 1000) / livedMs;
  }

  /** A bucket that fills at the ramp's rate; it never holds more than a tenth of a second. */
  #takeCredit(state: Extract<State, { kind: 'ramping' }>, now: number): boolean {
    // The rate at the last look, which is the lower one: what is let through stays under the curve.
    const share = RAMP_START + ((1 - RAMP_START) * (this.#creditMs - state.sinceMs)) / RAMP_MS;
    const perSecond = Math.max(RAMP_LEAST_PER_SECOND, share * state.rateBefore);
    const most = Math.max(1, (perSecond * RAMP_BURST_MS) / 1000);
    this.#credit = Math.min(most, this.#credit + (perSecond * Math.max(0, now - this.#creditMs)) / 1000);
    this.#creditMs = Math.max(this.#creditMs, now);
    if (this.#credit < 1) return false;
    this.#credit--;
    return true;
  }

  #startOver(sinceMs: number): void {
    this.#newEra();
    this.#trips = 0;
    this.#untold = undefined;
    this.#state = { kind: 'closed', sinceMs };
  }

  /** What was learned of the time before says nothing about the time after, and its requests have no say in it. */
  #newEra(): void {
    this.#era++;
    this.#trialUntilMs = Number.NEGATIVE_INFINITY;
    this.#streak = 0;
    this.#streakCallers = 0;
    this.#callers.clear();
    this.#window.clear();
  }
}
