/**
 * Is the baseline the latency of a full service? Only less load can tell.
 *
 * Signal: steps of 15 % less load, each some windows long. Decision: while completions keep up (≥ 0.95 of the start) and
 * latency falls with the load, the service was fuller than it needed to be: go on. The first step that costs completions,
 * or wins no latency, or meets drops or the floor, ends the probe: back to the limit of the last good step, whose latency
 * is the baseline if that is lower.
 *
 * It runs when somebody is being refused and the baseline is in doubt, or no window was calm for half a minute.
 * Without refusals there is nothing to win, and a probe would be the one who refuses. It ends one step past the knee:
 * goodput loses at most one step for one step's time.
 */
import { between, type Random } from '../kernel/random.ts';
import type { Baseline } from './baseline.ts';
import { MANY_DROPS } from './drops.ts';
import type { Reading } from './window.ts';

/** 7 % needs twice the time for the same evidence, 30 % costs a third of the goodput when it was needless. */
const STEP = 0.85;
/** An unverified baseline is looked for in bigger steps: until it is found, most answers may be late. */
const BIG_STEP = 0.75;
const KEEPS_UP = 0.95;
/** Over a big step few completions are seen: the noise of 150 is a twelfth. */
const BIG_KEEPS_UP = 0.9;
const INTRINSIC = 0.3;
const COMPLETIONS = 400;
const BIG_COMPLETIONS = 150;
const WINDOWS = 5;
const BIG_WINDOWS = 2;
const EVERY_MS = 30_000;
const SPREAD = 0.2;

interface Step {
  readonly limit: number;
  readonly inFlight: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
}

export class Probe {
  readonly #random: Random;
  #dueAtMs: number;
  #running = false;
  #big = false;
  /** The next window is in transition: the limit has just moved. */
  #settling = false;
  #startRatePerMs = 0;
  #good: Step | undefined;
  #windows = 0;
  #completions = 0;
  #elapsedMs = 0;
  #areaMs = 0;
  #p50Sum = 0;
  #p95Sum = 0;
  #drops = 0;

  constructor(random: Random, now: number) {
    this.#random = random;
    this.#dueAtMs = now + this.#pauseMs();
  }

  /** A calm window: the baseline is fine. */
  calmed(now: number): void {
    this.stop();
    this.#dueAtMs = now + this.#pauseMs();
  }

  stop(): void {
    this.#running = false;
  }

  /** Somebody important was refused meanwhile. The limit of the last good step; 0: no probe was running. */
  abandon(now: number): number {
    if (!this.#running) return 0;
    this.#running = false;
    this.#dueAtMs = now + this.#pauseMs();
    return this.#good?.limit ?? 0;
  }

  /** Does the probe want this window? `doubtful`: the baseline is unverified and something looks wrong. */
  wants(reading: Reading, doubtful: boolean, now: number): boolean {
    if (this.#running) return true;
    if (!reading.refused || (!doubtful && now < this.#dueAtMs)) return false;
    this.#running = true;
    this.#big = doubtful;
    this.#settling = false;
    this.#good = undefined;
    this.#clear();
    return true;
  }

  /** Takes a window in; the new limit. */
  step(reading: Reading, limit: number, floor: number, baseline: Baseline, now: number): number {
    if (this.#settling) {
      this.#settling = false;
      return limit;
    }
    this.#add(reading);
    const enough = this.#big ? BIG_COMPLETIONS : COMPLETIONS;
    if (this.#completions < enough && this.#windows < (this.#big ? BIG_WINDOWS : WINDOWS)) return limit;
    const at: Step = {
      limit,
      inFlight: this.#areaMs / this.#elapsedMs,
      p50Ms: this.#p50Sum / this.#completions,
      p95Ms: this.#p95Sum / this.#completions,
    };
    const ratePerMs = this.#completions / this.#elapsedMs;
    const dropRatio = this.#drops / this.#completions;
    this.#clear();
    const good = this.#good;
    if (good === undefined) this.#startRatePerMs = ratePerMs;
    else if (
      ratePerMs < (this.#big ? BIG_KEEPS_UP : KEEPS_UP) * this.#startRatePerMs ||
      dropRatio > MANY_DROPS ||
      Math.log(good.p50Ms / at.p50Ms) < INTRINSIC * Math.log(good.inFlight / at.inFlight)
    ) {
      return this.#end(good, baseline, now);
    }
    this.#good = at;
    if (limit <= floor) return this.#end(at, baseline, now);
    this.#settling = true;
    return Math.max(floor, limit * (this.#big ? BIG_STEP : STEP));
  }

  #end(good: Step, baseline: Baseline, now: number): number {
    this.#running = false;
    this.#dueAtMs = now + this.#pauseMs();
    baseline.p50Ms = Math.min(baseline.p50Ms, good.p50Ms);
    baseline.p95Ms = Math.min(baseline.p95Ms, good.p95Ms);
    baseline.verified = true;
    return good.limit;
  }

  #add(reading: Reading): void {
    const ended = reading.ratePerMs * reading.elapsedMs;
    this.#windows += 1;
    this.#completions += ended;
    this.#elapsedMs += reading.elapsedMs;
    this.#areaMs += reading.inFlight * reading.elapsedMs;
    this.#p50Sum += reading.p50Ms * ended;
    this.#p95Sum += reading.p95Ms * ended;
    this.#drops += reading.drops;
  }

  #clear(): void {
    this.#windows = 0;
    this.#completions = 0;
    this.#elapsedMs = 0;
    this.#areaMs = 0;
    this.#p50Sum = 0;
    this.#p95Sum = 0;
    this.#drops = 0;
  }

  #pauseMs(): number {
    return EVERY_MS * between(this.#random, 1 - SPREAD, 1 + SPREAD);
  }
}
