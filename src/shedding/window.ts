/**
 * One window of observation, and the reading that it closes with.
 *
 * A window closes when it is both long enough and full enough: long enough to outlast a round trip (else the
 * controller chases its own echo), full enough for its median to mean something. A window that is neither decides
 * nothing and goes on. More samples than the store holds are sampled at random (reservoir), so a window costs the
 * same at 100/s and at 10 000/s.
 *
 * *Steady* is Little's law: over a window in balance, the time that those who left had spent equals the time-weighted
 * number under way times the elapsed time. A window in transition (capacity has just changed, the queue behind it
 * still fills) fails this; it shows a latency that belongs to no load, so it is neither reference nor evidence.
 */
import type { Random } from '../kernel/random.ts';
import type { Flight } from './flight.ts';

/** Half makes the 95th percentile of a busy window jumpy; double only sorts longer. */
const RESERVOIR = 512;
/** The median of 30 is ± 11 % where latency spreads by half: 15 see noise, 60 come late. */
export const ENOUGH_SAMPLES = 30;
/** In a worker among others: the median of fewer is a coin, and what the workers tell each other averages the rest. */
const ENOUGH_AMONG_OTHERS = 12;
/** The least that may decide anything, and only after a long wait: a median of 5 is a coin. */
export const FEWEST_SAMPLES = 10;
/** How much longer a thin window waits; at half, quiet services are judged by noise, at double they are learned late. */
const PATIENCE = 5;
const SHORTEST_MS = 200;
const LONGEST_MS = 5000;
/** Little's law holds within this share; at half, real windows fail by noise, at double transitions pass for truth. */
const BALANCE = 0.25;

/** What a closed window says. Times in ms; `ratePerMs` counts every attempt that ended. */
export interface Reading {
  readonly elapsedMs: number;
  readonly samples: number;
  readonly drops: number;
  /** Drops as a share of answers and drops, 0..1. */
  readonly dropRatio: number;
  /** 500, 502 and connect failures as a share of all outcomes, 0..1. */
  readonly failureRatio: number;
  /** Own loop lag taken off. */
  readonly p50Ms: number;
  readonly p95Ms: number;
  /** Time-weighted permits in flight. */
  readonly inFlight: number;
  readonly ratePerMs: number;
  readonly steady: boolean;
  /** Somebody waited or was refused for want of a permit. */
  readonly bound: boolean;
  /** Somebody was refused. */
  readonly refused: boolean;
}

export class Window {
  bound = false;
  refused = false;
  readonly #random: Random;
  readonly #values = new Float64Array(RESERVOIR);
  #samples = 0;
  #outcomes = 0;
  #drops = 0;
  #failures = 0;
  #ended = 0;
  #spentMs = 0;
  #sinceMs: number;
  #inFlightAreaMs = 0;
  #awaitingAreaMs = 0;

  constructor(random: Random, now: number) {
    this.#random = random;
    this.#sinceMs = now;
  }

  /** Empties the window; it begins now. */
  restart(flight: Flight, now: number): void {
    flight.advance(now);
    this.#inFlightAreaMs = flight.inFlightAreaMs;
    this.#awaitingAreaMs = flight.awaitingAreaMs;
    this.#sinceMs = now;
    this.#samples = 0;
    this.#outcomes = 0;
    this.#drops = 0;
    this.#failures = 0;
    this.#ended = 0;
    this.#spentMs = 0;
    this.bound = false;
    this.refused = false;
  }

  get samples(): number {
    return this.#samples;
  }

  /** An attempt ended after `ageMs`, whatever its outcome (Little's law needs them all). */
  ended(ageMs: number): void {
    this.#ended += 1;
    this.#spentMs += ageMs;
  }

  /** A latency that tells the service's speed. */
  sample(ms: number): void {
    this.#outcomes += 1;
    this.#store(ms);
  }

  /** A drop; `ms` above 0: it also says "at least this long". */
  drop(ms: number): void {
    this.#outcomes += 1;
    this.#drops += 1;
    if (ms > 0) this.#store(ms);
  }

  #store(ms: number): void {
    const seen = this.#samples;
    this.#samples = seen + 1;
    const slot = seen < RESERVOIR ? seen : Math.floor(this.#random() * (seen + 1));
    if (slot < RESERVOIR) this.#values[slot] = ms;
  }

  failure(): void {
    this.#failures += 1;
  }

  /** May it close? `p50Ms` is the last known median, 0 when there is none. */
  ripe(p50Ms: number, enough: number, now: number): boolean {
    const elapsedMs = now - this.#sinceMs;
    const spanMs = windowSpanMs(p50Ms);
    if (elapsedMs < spanMs) return false;
    const outcomes = this.#outcomes;
    return outcomes >= enough || (outcomes >= FEWEST_SAMPLES && elapsedMs >= PATIENCE * spanMs);
  }

  /** Reads the window; the caller restarts it. */
  read(flight: Flight, now: number): Reading {
    flight.advance(now);
    const elapsedMs = Math.max(now - this.#sinceMs, 1e-3);
    const values = this.#values.subarray(0, Math.min(this.#samples, RESERVOIR)).sort();
    const outcomes = this.#outcomes;
    const awaitingAreaMs = flight.awaitingAreaMs - this.#awaitingAreaMs;
    return {
      elapsedMs,
      samples: this.#samples,
      drops: this.#drops,
      dropRatio: outcomes === 0 ? 0 : this.#drops / outcomes,
      failureRatio: this.#failures === 0 ? 0 : this.#failures / this.#ended,
      p50Ms: quantile(values, 0.5),
      p95Ms: quantile(values, 0.95),
      inFlight: (flight.inFlightAreaMs - this.#inFlightAreaMs) / elapsedMs,
      ratePerMs: this.#ended / elapsedMs,
      steady: Math.abs(this.#spentMs - awaitingAreaMs) <= BALANCE * awaitingAreaMs,
      bound: this.bound,
      refused: this.refused,
    };
  }
}

/** Samples that close a window of one of so many workers. */
export function enoughSamples(workers: number): number {
  return Math.max(ENOUGH_AMONG_OTHERS, ENOUGH_SAMPLES / workers);
}

/** Twice the median round trip, within 200 ms and 5 s. */
function windowSpanMs(p50Ms: number): number {
  return Math.min(LONGEST_MS, Math.max(SHORTEST_MS, 2 * p50Ms));
}

function quantile(sorted: Float64Array, share: number): number {
  return sorted.length === 0
    ? 0
    : (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0);
}
