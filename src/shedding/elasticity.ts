/**
 * Slow by load or slow by itself? The answer is what latency does when the load changes.
 *
 * Signal: two steady levels, each a load (in flight) and a median. Elasticity is d ln(median) / d ln(in flight): in a
 * service that queues it is about 1 (twice the load, twice the wait), in one that has merely become slow about 0.
 * Evidence is the size of the movement times the root of the samples behind it: few samples need a bigger step.
 *
 * Decision in a congested window:
 * - *hold*: nobody waits for a permit; the service keeps up and a refusal would win nothing.
 * - *climb*: latency has jumped (jump.ts) and answers still come well in time, so ask with more load, not less: a slow
 *   service then gets what it needs and nobody is shed for the question. The first hint of elasticity ends the climb, as
 *   does lateness, and until a calm window no other begins. Once nobody waits any more the service has what it needs:
 *   it is slow by itself.
 * - *hold* too while a window is in transition and answers are in time.
 * - *cut*: less load. When that does not help, the service is slow by itself.
 * - *intrinsic*: not the load's doing: take the limit back to where it was and learn the new speed.
 *
 * Limits of the method: learning twice between calm windows is all that is believed (a congested gateway among others
 * reads too little elasticity; a worker beside others believes a cut only after a jump). After a brake those in flight are
 * the long ones and make slowness look like congestion, and nothing may stay at the floor for that: a limit that has
 * sat at 0.6 of the highest since a calm window is tried with more load (trial.ts), whatever the lateness.
 */
import { Jump } from './jump.ts';
import { LEAST_STEP, Trial } from './trial.ts';
import type { Reading } from './window.ts';

/** Below it latency does not follow load. Queueing ≈ 1, intrinsic ≈ 0. */
const INTRINSIC = 0.3;
/** Without a jump load is the likelier cause, and beside other workers it looks like half of what it is. */
const INTRINSIC_BLIND = 0.1;
/** Movement × √samples: a standard error of about 0.2. Half believes noise, double never gets there at 100/s. */
const EVIDENCE = 4;
/** Less load and yet so much slower (as a logarithm): something else is still changing, the old level is no reference. */
const STILL_SLOWING = 0.25;
/** The load must have moved at least this far down for a comparison. */
const MOVED = 0.75;
/** A climb ends where latency follows load by more than this share of the step, plus the noise of two medians. */
const CLIMB_FOLLOWS = 0.5;
const CLIMB_NOISE = 1.3;
/** Latency up by more than load can explain (elasticity above 1.3, with room for noise): the jump is still going on. */
const STILL_JUMPING = 1.3;
const JUMPING_NOISE = 0.3;
/** In transition and slower by so much: where that ends is not known yet, so the climb waits. */
const RISING = 1.25;
/** Eleven-fold; whoever asks for more has never had a steady window to judge by. */
const MOST_CLIMB_WINDOWS = 6;
/** So far below the highest limit since a calm window: a surge onto a service as it was does not get there. */
const LOW_SHARE = 0.6;
/** Windows that a limit may sit low and congested before it is tried; then longer each time. */
const FIRST_RETRY_WINDOWS = 6;
const RETRY_GROWTH = 1.5;
/** Next to the floor: answers are rare there, so half the windows do. */
const AT_FLOOR = 1.5;
const MOST_RELEARNINGS = 2;
/** Windows in a row without waiting that end a climb well: one may be a gap between arrivals. */
const CONTENT_WINDOWS = 2;

/** A load and the latency that belongs to it. */
export interface Level {
  readonly inFlight: number;
  readonly p50Ms: number;
  readonly samples: number;
  /** The limit to go back to, should the load turn out not to matter. */
  readonly limit: number;
}

/** What a congested window is judged against. */
export interface Circumstances {
  readonly limit: number;
  /** The least that the limit can be. */
  readonly floor: number;
  /** Most answers are about to miss the SLA. */
  readonly late: boolean;
  /** No other worker shares the service: all its load is seen here. */
  readonly alone: boolean;
}

export type CongestedStep =
  | { readonly kind: 'hold' }
  | { readonly kind: 'climb'; readonly factor: number }
  | { readonly kind: 'cut' }
  /** The climb was answered: back to `limit`, then cut. */
  | { readonly kind: 'retreat'; readonly limit: number }
  /** `relearn` false: believed twice already, the baseline stays. `sure`: found by a climb, that is with more load, not less. */
  | { readonly kind: 'intrinsic'; readonly limit: number; readonly relearn: boolean; readonly sure: boolean };

const HOLD: CongestedStep = { kind: 'hold' };
/** A climb is short or it is wrong: at 1.25 a service that needs twice the permits sheds for three windows, not two. */
const CLIMB: CongestedStep = { kind: 'climb', factor: 1.5 };
const CUT: CongestedStep = { kind: 'cut' };

export class Elasticity {
  /** The most loaded steady level of this episode. */
  #reference: Level | undefined;
  #climbing = false;
  #climbedFrom: Level | undefined;
  #trial: Trial | undefined;
  #trialFrom = 0;
  #climbRefuted = false;
  #relearned = 0;
  #beganAt = 0;
  #climbWindows = 0;
  /** Median of the climb's last window. */
  #climbMs = 0;
  #contentWindows = 0;
  #lowWindows = 0;
  #retryAfter = FIRST_RETRY_WINDOWS;
  /** The highest limit since the last calm window. */
  #highest = 0;
  readonly #jump = new Jump();
  #jumped = false;

  /** The level that a brake interrupted, as far as its stragglers tell. */
  remember(level: Level): void {
    this.#reference = level;
  }

  /** A brake starts the episode before any window could: the ages are a jump of their own, and answers are late. */
  begin(limit: number): void {
    this.#jumped = true;
    this.#climbRefuted = true;
    if (this.#beganAt === 0) this.#beganAt = limit;
  }

  /** The window was not congested. */
  fine(reading: Reading): void {
    this.cleared();
    this.#jump.note(reading);
  }

  /** What is known of this episode no longer holds. */
  cleared(): void {
    this.#jumped = false;
    this.#reference = undefined;
    this.#climbing = false;
    this.#trial = undefined;
    this.#climbedFrom = undefined;
    this.#beganAt = 0;
  }

  /** The window was calm as well: what was believed in the last episode no longer counts. */
  calmed(): void {
    this.#climbRefuted = false;
    this.#relearned = 0;
    this.#forgetLow();
  }

  #forgetLow(): void {
    this.#highest = 0;
    this.#lowWindows = 0;
    this.#retryAfter = FIRST_RETRY_WINDOWS;
  }

  /** A congested window. */
  judge(reading: Reading, at: Circumstances): CongestedStep {
    const { limit, late } = at;
    if (this.#beganAt === 0) this.#beganAt = limit;
    if (this.#jump.seen(reading)) this.#jumped = true;
    this.#jump.note(reading);
    if (late) this.#climbRefuted = true;
    const level: Level = {
      inFlight: reading.inFlight,
      p50Ms: reading.p50Ms,
      samples: reading.samples,
      limit,
    };
    if (this.#climbing) return this.#climb(level, reading, late);
    if (!reading.bound) return HOLD;
    if (this.#trial !== undefined) return this.#try(this.#trial, level, reading, at.alone);
    this.#highest = Math.max(this.#highest, limit);
    if (limit <= Math.max(at.floor, LOW_SHARE * this.#highest)) this.#lowWindows += 1;
    if (reading.steady) {
      const found = this.#compare(level, at.alone || this.#jumped);
      if (found !== undefined) return found;
    }
    const atFloor = limit <= AT_FLOOR * at.floor;
    if (this.#lowWindows >= (atFloor ? this.#retryAfter / 2 : this.#retryAfter)) {
      this.#retryAfter *= RETRY_GROWTH;
      this.#lowWindows = 0;
      this.#trial = new Trial(atFloor);
      this.#trialFrom = limit;
      return HOLD;
    }
    if (this.#climbRefuted || !this.#jumped) return reading.steady || late ? CUT : HOLD;
    this.#lowWindows = 0;
    this.#climbing = true;
    this.#climbMs = level.p50Ms;
    this.#climbWindows = 0;
    this.#contentWindows = 0;
    // The window of the jump is a mixture of before and after: the next one is what a climb is measured from.
    this.#climbedFrom = undefined;
    return CLIMB;
  }

  /** Down: did less load help? Undefined: cannot be told yet, or it did. */
  #compare(level: Level, believable: boolean): CongestedStep | undefined {
    const reference = this.#reference;
    if (reference === undefined || level.inFlight > reference.inFlight) {
      this.#reference = { ...level, limit: Math.max(level.limit, reference?.limit ?? 0) };
      return undefined;
    }
    const step = Math.log(reference.inFlight / level.inFlight);
    const followed = Math.log(reference.p50Ms / level.p50Ms);
    if (followed < -STILL_SLOWING) {
      this.#reference = { ...level, limit: reference.limit };
      return undefined;
    }
    const evident =
      level.inFlight <= MOVED * reference.inFlight &&
      step * Math.sqrt(Math.min(level.samples, reference.samples)) >= EVIDENCE;
    if (!evident) return undefined;
    if (followed < INTRINSIC * step) {
      if (!believable) return undefined;
      return this.#intrinsic(Math.max(level.limit, reference.limit), false);
    }
    this.#reference = level;
    return undefined;
  }

  #try(trial: Trial, level: Level, reading: Reading, alone: boolean): CongestedStep {
    const step = trial.add(reading);
    if (step.kind === 'wait') return HOLD;
    if (step.kind === 'raise') return { kind: 'climb', factor: step.factor };
    this.#trial = undefined;
    if (step.elasticity < (alone ? INTRINSIC : INTRINSIC_BLIND)) return this.#intrinsic(level.limit, true);
    return { kind: 'retreat', limit: Math.min(this.#trialFrom, level.limit) };
  }

  /** Up: does latency follow? */
  #climb(level: Level, reading: Reading, late: boolean): CongestedStep {
    if (!reading.bound) {
      this.#contentWindows += 1;
      return this.#contentWindows < CONTENT_WINDOWS ? HOLD : this.#intrinsic(level.limit, true);
    }
    this.#contentWindows = 0;
    this.#climbWindows += 1;
    if (this.#climbWindows > MOST_CLIMB_WINDOWS) return this.#retreat(level, level.limit);
    const from = this.#climbedFrom;
    if (reading.steady && from === undefined) this.#climbedFrom = level;
    if (reading.steady && from !== undefined) {
      const samples = Math.min(level.samples, from.samples);
      const step = Math.log(level.inFlight / from.inFlight);
      const followed = Math.log(level.p50Ms / from.p50Ms);
      if (followed > STILL_JUMPING * Math.max(0, step) + JUMPING_NOISE) this.#climbedFrom = level;
      else if (step > LEAST_STEP && followed > CLIMB_FOLLOWS * step + CLIMB_NOISE / Math.sqrt(samples))
        return this.#retreat(level, from.limit);
      else if (step * Math.sqrt(samples) >= EVIDENCE) return this.#settle(level, followed / step);
    }
    if (late) return this.#retreat(level, from?.limit ?? this.#beganAt);
    const rising = !reading.steady && level.p50Ms > RISING * this.#climbMs;
    this.#climbMs = level.p50Ms;
    return rising ? HOLD : CLIMB;
  }

  /** There is evidence enough. */
  #settle(level: Level, elasticity: number): CongestedStep {
    if (elasticity < INTRINSIC) return this.#intrinsic(level.limit, true);
    // Neither: a worker that had starved beside others keeps what it has won, and believes nothing.
    this.#climbing = false;
    this.#climbRefuted = true;
    return HOLD;
  }

  #retreat(level: Level, limit: number): CongestedStep {
    this.#climbing = false;
    this.#climbedFrom = undefined;
    this.#climbRefuted = true;
    if (this.#reference === undefined || level.inFlight > this.#reference.inFlight) this.#reference = level;
    return { kind: 'retreat', limit: Math.min(limit, level.limit) };
  }

  #intrinsic(limit: number, sure: boolean): CongestedStep {
    const relearn = this.#relearned < MOST_RELEARNINGS;
    if (relearn) this.#relearned += 1;
    this.cleared();
    this.#forgetLow();
    return { kind: 'intrinsic', limit, relearn, sure };
  }
}
