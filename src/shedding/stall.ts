/**
 * Do not send into a service that has just lost its pace.
 *
 * Signal: the service's present latency by Little's law, attempts × time ÷ those that ended, over the last 100 ms. When slots
 * are lost the windows see it when the first late answers come, the ages (brake.ts) when they are old; the pace falls at
 * once. Decision, while that latency is more than half of the SLA: only as many attempts as can be answered within half
 * of the SLA at the present pace, and if it has been so for 100 ms the limit follows the pace. It ends by itself when the
 * pace returns; a pause of the service costs nothing but the wait.
 *
 * A service that is merely slow loses its pace as well. So it is judged only where windows lately said "full and as fast as
 * known" (the governor arms it), never for longer than a second after that, and some attempts always pass. The other
 * workers' attempts count where they are known. Source: our own simulation, slots 20 → 5 under twice the load; it
 * saves about half of the critical requests that the windows and the brake alone lose in the first second.
 */
import type { Flight } from './flight.ts';

/** 3 steps cry wolf on Poisson noise, 10 come as late as the ages. */
const STEP_MS = 20;
const STEPS = 5;
/** Other workers that have told nothing for a quarter of a second have no part. */
const SILENT_STEPS = 12;
/** At half of it the windows have had time to see; double starves a service that turned slow. */
const ARMED_MS = 1000;
/** The limit follows a pace only after so long, and only a pace that was seen: half mistakes a burst for it. */
const LASTING_MS = 100;
const FEWEST_ENDED = 3;

/** Judged after so many windows that were full, no slower than this against the tolerance, and no later than half of the SLA. */
const FULL_WINDOWS = 3;
const AS_KNOWN = 1.5;
const SLA_SHARE = 0.5;
/** Of three a Poisson service ends none in one such span of twenty, of five in one of a hundred and fifty. */
const FEWEST_EXPECTED = 5;

/**
 * Present latency from which a service counts as stalled, ms; 0: it was not full and as fast as known for long enough, or
 * ends so few attempts (`ratePerMs`, of all workers) that none in 100 ms would be chance.
 */
export function stallBoundMs(
  fullWindows: number,
  p50Ms: number,
  toleranceMs: number,
  slaMs: number,
  ratePerMs: number,
): number {
  if (ratePerMs * STEPS * STEP_MS < FEWEST_EXPECTED) return 0;
  const boundMs = SLA_SHARE * slaMs;
  return fullWindows >= FULL_WINDOWS && p50Ms <= Math.min(boundMs, AS_KNOWN * toleranceMs) ? boundMs : 0;
}

export class Stall {
  /** Attempts of this worker that may be out; Infinity while the service keeps its pace. */
  limit = Number.POSITIVE_INFINITY;
  /** This worker's part of what ends, per ms. */
  ratePerMs = 0;
  readonly #ended = new Float64Array(STEPS);
  readonly #areaMs = new Float64Array(STEPS);
  readonly #otherAreaMs = new Float64Array(STEPS);
  /** This worker's part of all. */
  #part = 1;
  #silentSteps = 0;
  #step = 0;
  #steppedAtMs: number;
  #areaBeforeMs = 0;
  #boundMs = 0;
  #armedAtMs = Number.NEGATIVE_INFINITY;
  #sinceMs = Number.POSITIVE_INFINITY;
  #count = 0;

  constructor(now: number) {
    this.#steppedAtMs = now;
  }

  /** An attempt ended, with an answer or without; a caller who left ended none. */
  ended(): void {
    this.#ended[this.#step] = (this.#ended[this.#step] ?? 0) + 1;
  }

  /** What the other workers tell: attempts that ended, attempts × ms, and this worker's part of all. */
  others(ended: number, areaMs: number, part: number): void {
    this.#ended[this.#step] = (this.#ended[this.#step] ?? 0) + ended;
    this.#otherAreaMs[this.#step] = (this.#otherAreaMs[this.#step] ?? 0) + areaMs;
    this.#part = part;
    this.#silentSteps = 0;
  }

  /** Our own process stood still: what was seen tells nothing. */
  restart(flight: Flight, now: number): void {
    flight.advance(now);
    this.#ended.fill(0);
    this.#areaMs.fill(0);
    this.#otherAreaMs.fill(0);
    this.limit = Number.POSITIVE_INFINITY;
    this.#sinceMs = Number.POSITIVE_INFINITY;
    this.#nextStep(flight, now);
  }

  /** Has it lasted, with a pace that can be told? */
  lasts(now: number): boolean {
    return now - this.#sinceMs >= LASTING_MS && this.#count >= FEWEST_ENDED;
  }

  /** Every 5 ms. `boundMs`: latency from which it counts as stalled; 0: not armed. `least`: attempts that always pass. */
  tick(flight: Flight, boundMs: number, least: number, now: number): void {
    flight.advance(now);
    this.#areaMs[this.#step] = flight.awaitingAreaMs - this.#areaBeforeMs;
    if (boundMs > 0) this.#boundMs = boundMs;
    const stalled = this.#limit(boundMs > 0, least, now);
    if (stalled === Number.POSITIVE_INFINITY) {
      this.#sinceMs = Number.POSITIVE_INFINITY;
      this.#armedAtMs = boundMs > 0 ? now : Number.NEGATIVE_INFINITY;
    } else if (this.limit === Number.POSITIVE_INFINITY) this.#sinceMs = now;
    this.limit = stalled;
    if (now - this.#steppedAtMs >= STEP_MS) this.#nextStep(flight, now);
  }

  #limit(armed: boolean, least: number, now: number): number {
    let ended = 0;
    let areaMs = 0;
    for (let i = 0; i < STEPS; i += 1) {
      ended += this.#ended[i] ?? 0;
      areaMs += (this.#areaMs[i] ?? 0) + (this.#otherAreaMs[i] ?? 0);
    }
    const spanMs = (STEPS - 1) * STEP_MS + now - this.#steppedAtMs;
    this.#count = ended;
    this.ratePerMs = (this.#part * ended) / spanMs;
    const judged = armed || now - this.#armedAtMs < ARMED_MS;
    if (!judged || areaMs <= this.#boundMs * ended) return Number.POSITIVE_INFINITY;
    return Math.max(least, this.ratePerMs * this.#boundMs);
  }

  #nextStep(flight: Flight, now: number): void {
    this.#steppedAtMs = now;
    this.#areaBeforeMs = flight.awaitingAreaMs;
    this.#step = (this.#step + 1) % STEPS;
    this.#ended[this.#step] = 0;
    this.#areaMs[this.#step] = 0;
    this.#otherAreaMs[this.#step] = 0;
    this.#silentSteps += 1;
    if (this.#silentSteps > SILENT_STEPS) this.#part = 1;
  }
}
