/**
 * What the service's latency is when nothing waits inside it.
 *
 * Down it moves readily (30 % of the way: nothing but the service can make answers faster), up slowly (5 %) and only
 * in calm windows: a baseline that follows load upward forgives every overload (poisoning). A baseline first learnt
 * while requests already waited is *unverified*: it may be the latency of a full service. A calm window verifies it, or
 * twice the load without a slower answer, or a probe.
 *
 * Tolerance: how slow the median may be before it counts as congestion. Relative (1.25..1.5 times the baseline, by
 * how much of the SLA its 95th percentile already takes) or a tenth of the SLA, whichever is more: a wait that costs
 * less is worth no refusal, and it keeps a busy event loop in front of a 2 ms service from
 * looking like a congested service.
 */
import type { Reading } from './window.ts';
import { ENOUGH_SAMPLES } from './window.ts';

/** Slower down keeps a bad first baseline; twice this follows single lucky windows. */
const DOWN = 0.3;
/** A calm window below it is no mere luck; above it calm windows are averaged, so that two gateways learn the same. */
const FAR_BELOW = 0.8;
/** The 95th percentile of forty samples is the second largest of them: at 30 % it would follow every lucky window. */
const DOWN_95 = 0.1;
/** Faster up is poisoning. */
const UP = 0.05;
/** Twice the load at next to the same latency cannot be a service that queues; with less of a step noise could say so. */
const MORE = 2;
const SAME = 1.15;
/** A first baseline may be too low by so much by luck; what is slower than that has changed (elasticity.ts). */
const LUCK = 1.35;
/** Below it noise sheds; see Envoy 1.25, Gradient2 1.5. */
const TAU_LEAST = 1.25;
/**
 * Above it the service's own queue eats the SLA, and two workers whose 95th percentiles differ by noise tolerate so
 * differently that one starves the other.
 */
const TAU_MOST = 1.5;
/** A window of few samples: its median is ± 20 %. */
const TAU_THIN = 1.8;
/** Share of the SLA that the tolerated 95th percentile may take. */
const TAU_SLA_SHARE = 0.6;
/** Half of it sheds in front of fast services, double lets a third of the SLA wait inside the service. */
const SLACK_SLA_SHARE = 0.1;
/**
 * The smaller a limit, the more it tolerates: a queue of so many requests inside the service, whoever sends them, as Vegas
 * counts it. Gateways that do not know each other see the same latency; were they to tolerate the same, their shares would
 * wander (in simulation two were up to 38 % from even over half a minute, with this at most 8 %). The one with less now
 * grows when the other falls. Above 20 permits four fifths of the tolerance are left: at half a heavier mix is shed.
 */
const QUEUED = 16;
const LEAST_SHARE = 0.8;

export class Baseline {
  /** Median and 95th percentile, ms; 0 while nothing is known. */
  p50Ms = 0;
  p95Ms = 0;
  verified = false;
  /** A load, and the latency that belonged to it: what a larger load is compared with. */
  #levelInFlight = 0;
  #levelMs = 0;

  get known(): boolean {
    return this.p50Ms > 0;
  }

  /** Takes a window in. `calm`: well below the limit and nobody waited; `clean`: few drops. */
  learn(reading: Reading, calm: boolean, clean: boolean): void {
    if (!this.known) {
      this.p50Ms = reading.p50Ms;
      this.p95Ms = reading.p95Ms;
      this.verified = !reading.bound;
      this.#level(reading);
      return;
    }
    if (reading.steady) this.#compare(reading);
    const mayRise = calm && clean;
    this.p50Ms = moved(
      this.p50Ms,
      reading.p50Ms,
      mayRise && reading.p50Ms > FAR_BELOW * this.p50Ms ? UP : DOWN,
      mayRise,
    );
    this.p95Ms = Math.max(this.p50Ms, moved(this.p95Ms, reading.p95Ms, DOWN_95, mayRise));
    if (mayRise) this.verified = true;
  }

  /** Far more load without a slower answer: that is the speed, even if the first windows were lucky. */
  #compare(reading: Reading): void {
    if (reading.p50Ms > SAME * this.#levelMs || reading.inFlight < this.#levelInFlight) this.#level(reading);
    else if (reading.inFlight >= MORE * this.#levelInFlight) {
      this.verified = true;
      const speedMs = Math.min(this.#levelMs, reading.p50Ms);
      if (speedMs > this.p50Ms && speedMs < LUCK * this.p50Ms) this.p50Ms = speedMs;
      this.p95Ms = Math.max(this.p95Ms, this.p50Ms);
      this.#level(reading);
    }
  }

  #level({ inFlight, p50Ms }: Reading): void {
    this.#levelInFlight = inFlight;
    this.#levelMs = p50Ms;
  }

  /** The service is found to be slow by itself: this is its speed now. `sure`: as certain as a calm window. */
  relearn(reading: Reading, sure: boolean): void {
    this.p50Ms = reading.p50Ms;
    this.p95Ms = Math.max(reading.p50Ms, reading.p95Ms);
    this.verified = sure;
    this.#level(reading);
  }

  /** The median above which the service counts as congested, ms. `limit`: permits of all workers. */
  toleranceMs(samples: number, slaMs: number, limit: number): number {
    const tau =
      samples < ENOUGH_SAMPLES
        ? TAU_THIN
        : Math.min(TAU_MOST, Math.max(TAU_LEAST, (TAU_SLA_SHARE * slaMs) / Math.max(this.p95Ms, 1e-3)));
    const share = Math.max(LEAST_SHARE, QUEUED / limit);
    const toleratedMs = this.p50Ms + share * Math.max((tau - 1) * this.p50Ms, SLACK_SLA_SHARE * slaMs);
    // Where the service keeps the SLA an answer past it is never fine; where it does not, a tenth of it is nobody's business.
    return Math.min(toleratedMs, Math.max(slaMs, this.p50Ms + SLACK_SLA_SHARE * slaMs));
  }
}

function moved(from: number, to: number, down: number, mayRise: boolean): number {
  if (to < from) return from + down * (to - from);
  return mayRise ? from + UP * (to - from) : from;
}
