/**
 * The limiter's arithmetic: GCRA over any number of levels, in integers.
 *
 * A bucket is one number, its TAT: the moment when it will be full again. Time is counted in ticks of 0.1 µs (since
 * 2025-01-01 where the clock is a wall clock), so that every figure is a whole number below 2^53 until 2053 and no
 * comparison needs an epsilon. Whole microseconds would round the cost of one unit by up to 5 % at 50,000 units a
 * second; ticks round it by rate/10^7, always to the strict side.
 *
 * All levels make one decision: each has room and every one is charged, or none is. The lower clamp forgets the past
 * (a full bucket does not get fuller), the upper one covers a clock that was stepped back and a limit that was lowered.
 *
 * `src/io/limit-store/scripts.ts` is the same function in Lua; a differential test holds the two together.
 * Source: ITU-T I.371 (GCRA, virtual scheduling).
 */

export const TICKS_PER_MS = 10_000;
export const TICKS_PER_SECOND = 10_000_000;
/** 2025-01-01T00:00:00Z. A later epoch gains nothing; 1970 would leave 2^53 in 1998 already. */
export const EPOCH_SECONDS = 1_735_689_600;

/** Below 10 ticks a unit, rounding a unit up to a whole tick would take more than 10 % off the rate. */
const LEAST_UNIT_TICKS = 10;
/** A year. A bucket that fills for longer is a mistake in the configuration, and twice as long leaves 2^53 sooner. */
const MOST_DEPTH_TICKS = 366 * 86_400 * TICKS_PER_SECOND;
/** Relative error of the divisions that turn `10/m` into units a second and back; half would let `t` grow by one. */
const DIVISION_SLACK = 1e-12;

/** Numbers of one level in `terms`: unitTicks, burst, must, want, veto. */
export const TERMS_PER_LEVEL = 5;
/** Numbers of one level in a reply, after the leading `ok`: granted, remaining, waitTicks, fullTicks. */
export const REPLY_PER_LEVEL = 4;

/** A limit made ready for the decision; immutable and shared by all requests under it. */
export interface CompiledRate {
  readonly ratePerSecond: number;
  /** Units that may be taken at once from a full bucket. */
  readonly burst: number;
  /** The most units that one request can ask of this limit. */
  readonly largestCost: number;
  /** Ticks that one unit takes to come back (T). */
  readonly unitTicks: number;
  /** Ticks from empty to full (τ = burst · T). */
  readonly depthTicks: number;
  /** The window told to callers, whole seconds. */
  readonly windowSeconds: number;
  /** The quota told to callers for that window. */
  readonly quota: number;
}

/**
 * Compiles units a second and burst (whole, ≥ 1).
 * @throws RangeError in one sentence when the limit cannot be kept exactly: rate above 10^6/s, a year to fill, a burst
 * that is no whole number or smaller than `largestCost`.
 */
export function compileRate(ratePerSecond: number, burst: number, largestCost = 1): CompiledRate {
  if (!(ratePerSecond > 0) || !Number.isFinite(ratePerSecond))
    throw new RangeError('a rate is more than 0 units a second');
  if (!Number.isSafeInteger(burst) || burst < 1)
    throw new RangeError('a burst is a whole number, at least 1');
  if (burst < largestCost)
    throw new RangeError(`a burst of ${burst} can never serve a request that costs ${largestCost}`);
  if (ratePerSecond > TICKS_PER_SECOND / LEAST_UNIT_TICKS) {
    throw new RangeError('a rate is at most 1,000,000 units a second');
  }
  const unitTicks = ceilNear(TICKS_PER_SECOND / ratePerSecond);
  const depthTicks = burst * unitTicks;
  if (depthTicks > MOST_DEPTH_TICKS) throw new RangeError('a bucket fills within a year');
  const windowSeconds = Math.max(1, ceilNear(burst / ratePerSecond));
  const quota = Math.max(burst, floorNear(ratePerSecond * windowSeconds));
  return { ratePerSecond, burst, largestCost, unitTicks, depthTicks, windowSeconds, quota };
}

function ceilNear(value: number): number {
  const nearest = Math.round(value);
  return Math.abs(value - nearest) <= nearest * DIVISION_SLACK ? nearest : Math.ceil(value);
}

function floorNear(value: number): number {
  const nearest = Math.round(value);
  return Math.abs(value - nearest) <= nearest * DIVISION_SLACK ? nearest : Math.floor(value);
}

/**
 * Decides over `levels` buckets at once.
 *
 * @param tats in: the TAT of each level, any value ≤ `now` for a bucket that does not exist; out: the new TAT of each
 * level. To be stored are those whose `granted` is above 0, and those that came down although something was wanted: a
 * bucket beyond its depth (the clock was stepped back, the limit is another) would else be emptied anew with each look,
 * and nobody admitted before the old moment, however long he waits.
 * @param terms five numbers a level, beginning at `from`: unitTicks, burst, must (least worth having), want (most),
 * veto (1 = a refusal of this level refuses all).
 * @param reply gets ok (1 or 0) and four numbers a level appended: granted, remaining, waitTicks, fullTicks.
 */
export function decideLevels(
  tats: number[],
  terms: readonly number[],
  from: number,
  levels: number,
  now: number,
  reply: number[],
): void {
  let ok = 1;
  for (let i = 0; i < levels; i++) {
    const at = from + i * TERMS_PER_LEVEL;
    const unit = terms[at] as number;
    const depth = unit * (terms[at + 1] as number);
    const value = Math.min(Math.max(tats[i] as number, now), now + depth);
    tats[i] = value;
    const must = terms[at + 2] as number;
    if (Math.floor((now + depth - value) / unit) < must && terms[at + 4] === 1) ok = 0;
  }
  reply.push(ok);
  for (let i = 0; i < levels; i++) {
    const at = from + i * TERMS_PER_LEVEL;
    const unit = terms[at] as number;
    const depth = unit * (terms[at + 1] as number);
    const must = terms[at + 2] as number;
    let value = tats[i] as number;
    const room = Math.floor((now + depth - value) / unit);
    const wait = room >= must ? 0 : value + must * unit - depth - now;
    const granted = ok === 1 && wait === 0 ? Math.min(terms[at + 3] as number, room) : 0;
    value += granted * unit;
    tats[i] = value;
    reply.push(granted, Math.floor((now + depth - value) / unit), wait, value - now);
  }
}

/** The TAT of a bucket that gets units back; at or before `now` the bucket is full, and its key goes. */
export function refundedTat(tat: number, units: number, unitTicks: number): number {
  return tat - units * unitTicks;
}
