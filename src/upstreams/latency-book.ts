/**
 * What one worker has learned of the instances' speed and failures: peak EWMA of time to response headers, and blame.
 *
 * Signal: each attempt's time and status. Decision: `expect`, what a request there would cost in time, a rise believed
 * at once, a fall slowly. Failures never lower it: a failing instance is a fast one, and would draw all traffic to itself;
 * they feed `blame` instead, which two in a row turn into a floor of seconds.
 * Why blame and not a flat floor after each failure: one stray 500 in a hundred on two instances then moves a tenth of the
 * traffic and raises p99 by half. Cold start: the service's median, else SLA/2; zero would be a stampede.
 * A guess is only that: until something was measured, the instance counts as fast as whoever it is compared with, and the
 * first good answer takes the guess's place. Else it is avoided for a minute while those whose peaks the guess was made of
 * recover from them twice as fast, by their answers. Idle gap: both fade, so a recovered instance is tried again.
 * Limits: sees headers, not bodies; a slow download is not a slow instance. Source: Finagle and linkerd2 peak EWMA; blame
 * is ours.
 */

import { ANY_VERSION, type Candidates } from './candidates.ts';
import { grown } from './grown.ts';
import { LoadGate } from './load-gate.ts';
import { Pace } from './pace.ts';

/** Fade of a stale value. Half: one slow answer is forgotten within a burst; double: a repaired instance idles for a minute. */
const FADE_MS = 10_000;
/** Fade of blame. Half: a black hole is tried twice a second more; double: a blip of 50 ms is punished for long. */
const BLAME_FADE_MS = 2000;
/** What full blame adds, above any sane answer time; below the 10 s of a request's usual deadline it would not deter. */
const FLOOR_MS = 5000;
/** Blame up to this costs nothing: one 500 by itself gives exactly this much. */
const FREE_BLAME = 0.25;
/** Below this no cost is told from another; also keeps the product with in-flight above zero. */
const MIN_MS = 0.01;
/** What failed within it fails now. Half: at 5 requests/s nobody ever does; double: a quick roll looks like an outage. */
const FAILS_NOW_MS = 500;
/** An instance may ask for a pause of at most this. Half: 5 s is a common value; double: one hostile header is an outage. */
const MAX_RETRY_AFTER_MS = 10_000;

export class LatencyBook {
  readonly pace = new Pace();
  readonly load = new LoadGate();
  #ewmaMs = new Float64Array(0);
  #at = new Float64Array(0);
  /** 1 once something was measured since it came (back). */
  #sampled = new Uint8Array(0);
  #blame = new Float64Array(0);
  #blameAt = new Float64Array(0);
  /** Moment of the last failure. */
  #failedAt = new Float64Array(0);
  /** The same while that was a connection that could not be made and nothing came since; else 0. */
  #refusedAt = new Float64Array(0);

  /** Makes room for slots below `size`; what is known stays. */
  grow(size: number): void {
    this.pace.grow(size);
    this.load.grow(size);
    this.#ewmaMs = grown(this.#ewmaMs, size);
    this.#at = grown(this.#at, size);
    this.#blame = grown(this.#blame, size);
    this.#blameAt = grown(this.#blameAt, size);
    this.#failedAt = grown(this.#failedAt, size);
    this.#refusedAt = grown(this.#refusedAt, size);
    const sampled = new Uint8Array(size);
    sampled.set(this.#sampled);
    this.#sampled = sampled;
  }

  /** A new instance: nothing is known, `guessMs` is assumed. */
  begin(slot: number, guessMs: number, now: number): void {
    this.pace.forget(slot);
    this.load.forget(slot);
    this.#ewmaMs[slot] = guessMs;
    this.#at[slot] = now;
    this.#sampled[slot] = 0;
    this.#blame[slot] = 0;
    this.#blameAt[slot] = now;
    this.#failedAt[slot] = -Infinity;
    this.#refusedAt[slot] = 0;
  }

  /**
   * It comes back: what has faded while it was away is no sign of speed, and whoever opened it again has forgiven its
   * failures. Its own `Retry-After` still holds.
   */
  reopen(slot: number, guessMs: number, now: number): void {
    this.pace.forget(slot);
    this.load.forget(slot);
    this.#ewmaMs[slot] = Math.max(this.rttMs(slot, now), guessMs);
    this.#at[slot] = now;
    this.#sampled[slot] = 0;
    this.#setBlame(slot, 0, now);
  }

  /**
   * Takes an answer.
   * @param rttMs attempt start to response headers, connecting included
   * @param retryAfterMs the header's span; negative or NaN without one
   */
  answer(slot: number, rttMs: number, status: number, retryAfterMs: number, now: number): void {
    if (status >= 500 || status === 429) {
      this.#fault(slot, status, retryAfterMs, now);
      return;
    }
    if (!(rttMs >= 0)) return;
    const rtt = this.rttMs(slot, now);
    if (rttMs >= rtt || (status < 400 && this.#sampled[slot] === 0)) {
      this.#ewmaMs[slot] = rttMs;
      this.#at[slot] = now;
      this.#sampled[slot] = 1;
    } else if (status < 400) {
      const w = Math.exp(-Math.max(0, now - (this.#at[slot] ?? 0)) / FADE_MS);
      this.#ewmaMs[slot] = rtt * w + rttMs * (1 - w);
      this.#at[slot] = now;
      this.#sampled[slot] = 1;
    }
    if (status >= 400) return;
    this.pace.note(slot, rttMs, now);
    // Asked after nobody had listened, it has answered: that is over.
    const refusedAt = this.#refusedAt[slot] ?? 0;
    const isBack = refusedAt > 0 && now - rttMs >= refusedAt;
    if (isBack) this.#refusedAt[slot] = 0;
    this.#setBlame(slot, isBack ? 0 : this.blame(slot, now) * 0.75, now);
  }

  /** Takes a failure without an answer: connect, TLS, reset, timeout, not HTTP. */
  failed(slot: number, now: number, isConnect = false): void {
    this.#failedAt[slot] = now;
    this.#refusedAt[slot] = isConnect ? now : 0;
    this.#setBlame(slot, 1, now);
  }

  /** It is found failing and not only remembered for it: it failed within the last half second, or asked for a pause. */
  failsNow(slot: number, now: number): boolean {
    if (this.blame(slot, now) < 0.5) return false;
    return now - (this.#failedAt[slot] ?? 0) <= FAILS_NOW_MS || (this.#blameAt[slot] ?? 0) > now;
  }

  /** The faded peak EWMA. */
  rttMs(slot: number, now: number): number {
    const age = now - (this.#at[slot] ?? 0);
    return (this.#ewmaMs[slot] ?? 0) * (age > 0 ? Math.exp(-age / FADE_MS) : 1);
  }

  /** 0..1; held at 1 while a `Retry-After` runs. */
  blame(slot: number, now: number): number {
    const blame = this.#blame[slot] ?? 0;
    if (blame === 0) return 0;
    const age = now - (this.#blameAt[slot] ?? 0);
    return age > 0 ? blame * Math.exp(-age / BLAME_FADE_MS) : blame;
  }

  /**
   * What a request there is expected to take in ms, failures included; into a place of an array, and by itself, since every
   * number that a call returns may be an object.
   * @param beside the slot it is compared with; one that was not measured is taken to be as fast
   */
  expect(into: Float64Array, place: number, slot: number, now: number, beside: number): void {
    let floor = 0;
    const blamed = this.#blame[slot] ?? 0;
    if (blamed > 0) {
      const age = Math.max(0, now - (this.#blameAt[slot] ?? 0));
      const over = (blamed * Math.exp(-age / BLAME_FADE_MS) - FREE_BLAME) / FREE_BLAME;
      floor = FLOOR_MS * Math.min(1, Math.max(0, over));
    }
    const guessed = this.#sampled[slot] === 0 && this.#sampled[beside] === 1;
    const known = guessed ? beside : slot;
    const age = Math.max(0, now - (this.#at[known] ?? 0));
    into[place] = Math.max((this.#ewmaMs[known] ?? 0) * Math.exp(-age / FADE_MS), floor, MIN_MS);
  }

  /** Its failures cost it nothing. */
  isBlameless(slot: number, now: number): boolean {
    return this.blame(slot, now) <= FREE_BLAME;
  }

  /** True once an answer was measured since it came (back). */
  isSampled(slot: number): boolean {
    return this.#sampled[slot] === 1;
  }

  /** The median of what the candidates were measured at, undefined without any. */
  medianMs(candidates: Candidates, now: number): number | undefined {
    const known: number[] = [];
    for (let place = candidates.lengthOf(ANY_VERSION) - 1; place >= 0; place--) {
      const slot = candidates.slotAt(place);
      if (this.isSampled(slot)) known.push(this.rttMs(slot, now));
    }
    known.sort((x, y) => x - y);
    return known[known.length >> 1];
  }

  /** 0..1: how much of the candidates fails just now. */
  failingRatio(candidates: Candidates, now: number): number {
    const count = candidates.lengthOf(ANY_VERSION);
    let failing = 0;
    for (let place = 0; place < count; place++) if (this.failsNow(candidates.slotAt(place), now)) failing++;
    return count === 0 ? 0 : failing / count;
  }

  #fault(slot: number, status: number, retryAfterMs: number, now: number): void {
    this.#failedAt[slot] = now;
    this.#refusedAt[slot] = 0;
    const gateway = status === 502 || status === 503 || status === 504;
    if (!gateway) {
      const blame = this.blame(slot, now);
      // A hold stays until its end.
      if (blame < 1) this.#setBlame(slot, blame + (1 - blame) / 4, now);
      return;
    }
    const holdMs = status === 503 && retryAfterMs > 0 ? Math.min(retryAfterMs, MAX_RETRY_AFTER_MS) : 0;
    this.#setBlame(slot, 1, now + holdMs);
  }

  /** A moment ahead of `now` is the end of a hold: an earlier one never shortens it, nor does a success. */
  #setBlame(slot: number, blame: number, at: number): void {
    const held = this.#blame[slot] === 1 ? (this.#blameAt[slot] ?? 0) : -Infinity;
    if (held > at) return;
    this.#blame[slot] = blame;
    this.#blameAt[slot] = at;
  }
}
