/**
 * Slow by load or slow by itself? The answer is what latency does when the load changes.
 *
 * Signal: two steady levels, each a load (in flight) and a median. Elasticity is d ln(median) / d ln(in flight): in a
 * service that queues it is about 1 (twice the load, twice the wait), in one that has merely become slow about 0.
 * Evidence is the size of the movement times the root of the samples behind it: few samples need a bigger step.
 *
 * Decision in a congested window:
 * - *hold*: nobody waits for a permit; the service keeps up and a refusal would win nothing.
 * - *climb*: latency has jumped and answers still come well in time, so ask with more load, not less: a slow service then
 *   gets what it needs and nobody is shed for the question. The first hint of elasticity ends the climb, as does lateness,
 *   and until a calm window no other begins. Growth cannot make a jump, so a limit that has just found the knee never
 *   climbs: beside other workers it would see less elasticity than there is, and eat their share.
 * - *hold* too while a window is in transition and answers are in time.
 * - *cut*: less load. When that does not help, the service is slow by itself.
 * - *intrinsic*: not the load's doing: take the limit back to where it was and learn the new speed.
 *
 * Limits of the method: learning twice between calm windows is all that is believed (a congested gateway among others
 * reads too little elasticity; a worker beside others believes it only after a jump). *Stuck*: at a third of where the episode began and still slow, weaker evidence will
 * do, because those who were in flight at a brake are the long ones and make slowness look like congestion; nothing may
 * stay at the floor for that.
 */
import type { Reading } from './window.ts';

/** Below it latency does not follow load. Queueing ≈ 1, intrinsic ≈ 0. */
const INTRINSIC = 0.3;
/** Without a jump load is the likelier cause, and beside other workers it looks like half of what it is. */
const INTRINSIC_BLIND = 0.1;
/** The same once stuck: the midpoint of the two. */
const INTRINSIC_WHEN_STUCK = 0.5;
/** Movement × √samples: a standard error of about 0.2. Half believes noise, double never gets there at 100/s. */
const EVIDENCE = 4;
/** Less load and yet so much slower (as a logarithm): something else is still changing, the old level is no reference. */
const STILL_SLOWING = 0.25;
/** The load must have moved at least this far down for a comparison. */
const MOVED = 0.75;
/** A climb ends where latency follows load by more than this share of the step, plus the noise of two medians. */
const CLIMB_FOLLOWS = 0.5;
const CLIMB_NOISE = 1.3;
/** A smaller movement of the load (as a logarithm) explains nothing: ± 10 % is Poisson. */
const LEAST_STEP = 0.15;
/**
 * A jump: so many times the latency of the last window in which nobody waited, lately, and no less than the load rose
 * meanwhile. A surge onto a service of fixed capacity makes latency rise less than the load; only a service that has
 * changed makes it rise more. A full service beside greedy neighbours may look like this at any time: hence "nobody waited".
 */
const JUMP = 1.8;
/** Slow answers come late, so the windows of the jump itself may still look fine: 500 misses them, 5000 sees surges. */
const JUMP_WITHIN_MS = 1500;
/** Latency up by more than load can explain (elasticity above 1.3, with room for noise): the jump is still going on. */
const STILL_JUMPING = 1.3;
const JUMPING_NOISE = 0.3;
/** Eleven-fold; whoever asks for more has never had a steady window to judge by. */
const MOST_CLIMB_WINDOWS = 6;
const STUCK_SHARE = 1 / 3;
const STUCK_WINDOWS = 2;
/** Windows that a limit may sit low and congested before a climb is tried whatever the lateness; doubled each time. */
const FIRST_RETRY_WINDOWS = 8;
const MOST_RELEARNINGS = 2;

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
  | { readonly kind: 'climb' }
  | { readonly kind: 'cut' }
  /** The climb was answered: back to `limit`, then cut. */
  | { readonly kind: 'retreat'; readonly limit: number }
  /** `relearn` false: believed twice already, the baseline stays. `sure`: found by a climb, that is with more load, not less. */
  | { readonly kind: 'intrinsic'; readonly limit: number; readonly relearn: boolean; readonly sure: boolean };

const HOLD: CongestedStep = { kind: 'hold' };
const CLIMB: CongestedStep = { kind: 'climb' };
const CUT: CongestedStep = { kind: 'cut' };

export class Elasticity {
  /** The most loaded steady level of this episode. */
  #reference: Level | undefined;
  #climbing = false;
  #climbedFrom: Level | undefined;
  /** The climb began without a jump, only because the limit sat low for long. */
  #climbingBlind = false;
  #climbRefuted = false;
  #relearned = 0;
  #beganAt = 0;
  #climbWindows = 0;
  #lowWindows = 0;
  #retryAfter = FIRST_RETRY_WINDOWS;
  /** The last window in which nobody waited, and the time since. */
  #unbound: Reading | undefined;
  #unboundForMs = 0;
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
    this.#pass(reading);
  }

  /** What is known of this episode no longer holds. */
  cleared(): void {
    this.#jumped = false;
    this.#reference = undefined;
    this.#climbing = false;
    this.#climbingBlind = false;
    this.#climbedFrom = undefined;
    this.#beganAt = 0;
    this.#lowWindows = 0;
    this.#retryAfter = FIRST_RETRY_WINDOWS;
  }

  /** The window was calm as well: what was believed in the last episode no longer counts. */
  calmed(): void {
    this.#climbRefuted = false;
    this.#relearned = 0;
  }

  /** A congested window. */
  judge(reading: Reading, at: Circumstances): CongestedStep {
    const { limit, late } = at;
    if (this.#beganAt === 0) this.#beganAt = limit;
    if (this.#unboundForMs <= JUMP_WITHIN_MS && hasJumped(this.#unbound, reading)) this.#jumped = true;
    this.#pass(reading);
    if (late) this.#climbRefuted = true;
    const level: Level = {
      inFlight: reading.inFlight,
      p50Ms: reading.p50Ms,
      samples: reading.samples,
      limit,
    };
    if (this.#climbing) return this.#climb(level, reading, late);
    if (!reading.bound) return HOLD;
    const low = limit <= Math.max(at.floor, this.#beganAt * STUCK_SHARE);
    this.#lowWindows = low ? this.#lowWindows + 1 : 0;
    if (reading.steady) {
      const found = this.#compare(level, at.alone || this.#jumped);
      if (found !== undefined) return found;
    }
    const overdue = this.#lowWindows >= this.#retryAfter;
    if ((this.#climbRefuted || !this.#jumped) && !overdue) return reading.steady || late ? CUT : HOLD;
    if (overdue) this.#retryAfter *= 2;
    this.#lowWindows = 0;
    this.#climbing = true;
    this.#climbWindows = 0;
    this.#climbingBlind = !this.#jumped;
    // The window of the jump is a mixture of before and after: the next one is what a climb is measured from.
    this.#climbedFrom = undefined;
    return CLIMB;
  }

  #pass(reading: Reading): void {
    this.#unboundForMs += reading.elapsedMs;
    if (reading.bound) return;
    this.#unbound = reading;
    this.#unboundForMs = 0;
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
    const stuck = this.#lowWindows >= STUCK_WINDOWS && level.inFlight <= MOVED * reference.inFlight;
    const evident =
      level.inFlight <= MOVED * reference.inFlight &&
      step * Math.sqrt(Math.min(level.samples, reference.samples)) >= EVIDENCE;
    if (!evident && !stuck) return undefined;
    if (followed < (stuck ? INTRINSIC_WHEN_STUCK : INTRINSIC) * step) {
      if (!believable) return undefined;
      return this.#intrinsic(Math.max(level.limit, reference.limit), false);
    }
    this.#reference = level;
    return undefined;
  }

  /** Up: does latency follow? */
  #climb(level: Level, reading: Reading, late: boolean): CongestedStep {
    // Nobody waits any more: the service has what it needs, and whatever its latency does now is not the climb's doing.
    if (!reading.bound) return HOLD;
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
    if (late && !this.#climbingBlind) return this.#retreat(level, from?.limit ?? this.#beganAt);
    return CLIMB;
  }

  /** There is evidence enough. */
  #settle(level: Level, elasticity: number): CongestedStep {
    if (elasticity < (this.#climbingBlind ? INTRINSIC_BLIND : INTRINSIC))
      return this.#intrinsic(level.limit, !this.#climbingBlind);
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
    return { kind: 'intrinsic', limit, relearn, sure };
  }
}

function hasJumped(before: Reading | undefined, now: Reading): boolean {
  if (before === undefined) return false;
  const slower = now.p50Ms / before.p50Ms;
  return slower > JUMP && slower >= now.inFlight / Math.max(before.inFlight, 1e-3);
}
