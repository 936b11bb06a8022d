/**
 * Requests that try a silent instance while few are open.
 *
 * Situation: probes lie. Their path hangs, or the network between them and the instances does, and more than half of a
 * service is out of use although it would answer: at a start every instance is silent before its first pass, where no
 * governor bounds it. The few left are overloaded and shed, and no traffic reaches the others that could clear them.
 * Signal: fewer than half of the enabled, present instances are open, and some are down by timeouts (`candidates.ts`);
 * safe requests without a session; how a try ended. Decision: which silent instance, if any, this request tries.
 * - A try needs twenty safe requests (5 %), or a second since the last one.
 * - They go to the first of the list that answered its last try and was not asked just now; when there is none, to the
 *   next of the others. So at one a second all go to the same one until it is back, since an answer now and then clears
 *   nobody; where the load pays for more, several come back together; workers, which do not see each other, begin alike.
 * - One is on its way at a time, and after one that came to nothing only those that answered are tried for a second: while
 *   instances are what their probes say, a worker delays one request a second whatever its load, by `tryLimitMs`, and no
 *   request fails for it. Without this rule for those that answer, three dead of six kept the other three out for good.
 * A good answer (`isGoodAnswer`) counts as a probe's pass (`fleet.ts`): `rise` of them, one an interval, bring it back.
 *
 * Cold start: the first safe request is a try. Idle gap: what was earned stays, at most one try. Recovery: no tries any more
 * once half are open: from there the governor holds who is open, and the rest waits for its probes. Limits: what gets no
 * safe request of a session-less caller is not cleared; a service whose every answer takes longer than `tryLimitMs` is not
 * either; an instance that answers requests badly, below 500, is taken for a good one; the caller of a try gets the 502 for a
 * head that nobody may be passed. At a service with versions navigations do not try, or the page would be of a version that
 * has nobody else for its parts; a version that stands apart and is wholly silent is tried by its own wish or session only.
 * Source: ours; Envoy's panic threshold sends everybody everywhere instead.
 */
import { ANY_VERSION, COMMON_VERSIONS, type SilentSlot } from './candidates.ts';

/** Of safe requests. Half: four of ten come back one after the other at 50/s; double: a tenth of all may be delayed. */
const TRY_RATIO = 0.05;
/** Half: two requests a second are delayed at instances that are dead; double: a try is older than the next one's evidence. */
const PAUSE_MS = 1000;
/** Between two tries of one instance. Half: of a hundred half as many come back at a time; double: every second pass is missed. */
const SPACING_MS = 500;

/** In medians of the service. Half: an answer that is merely slow is given up; double: its caller waits for nothing. */
const LIMIT_MEDIANS = 4;
/** Half: a pause of the garbage collection looks like silence; double: twice the wait at services that answer at once. */
const LEAST_LIMIT_MS = 50;

/**
 * How long a try may wait for its answer, ms: four times what is usual, at most half of what is left of the SLA, so that the
 * other half is left for another instance.
 * @param slaLeftMs until the request is late by its SLA
 * @param p50Ms the service's usual time to a response head, 0 when unknown
 * @param leftMs to the deadline
 */
export function tryLimitMs(slaLeftMs: number, p50Ms: number, perTryMs: number, leftMs: number): number {
  const usual = p50Ms > 0 ? Math.max(LEAST_LIMIT_MS, LIMIT_MEDIANS * p50Ms) : Infinity;
  return Math.min(usual, slaLeftMs / 2, perTryMs, leftMs / 3);
}

/** Whether an answer speaks for the instance that was tried; another one is asked otherwise. */
export function isGoodAnswer(status: number): boolean {
  return status < 500 && status !== 429;
}

export class PanicTries {
  #silent: readonly SilentSlot[] = [];
  /** By place in the list; who answered its last try. */
  #askedAt: number[] = [];
  #answers: boolean[] = [];
  /** Where the search among those that did not begins. */
  #next = 0;
  /** Parts of a try that safe requests have paid for, 0..1. */
  #earned = 0;
  #lastAt = -Infinity;
  /** The one on its way is over, and the last failure is long enough ago. */
  #freeAt = -Infinity;
  #calmAt = -Infinity;
  /** How long the one on its way may wait for its answer. */
  limitMs = 0;

  /** False as a rule: then nothing else is asked. */
  get active(): boolean {
    return this.#silent.length > 0;
  }

  /** Takes who may be tried, a complete list; what was learned of those that stay, stays. */
  list(silent: readonly SilentSlot[]): void {
    if (silent.length === 0 && !this.active) return;
    const next = this.#silent[this.#next]?.slot ?? -1;
    const before = silent.map(({ slot }) => this.#placeOf(slot));
    this.#askedAt = before.map((place) => this.#askedAt[place] ?? -Infinity);
    this.#answers = before.map((place) => this.#answers[place] ?? false);
    this.#silent = silent;
    const place = this.#placeOf(next);
    // Who took its place in the list is the one after it.
    this.#next = place >= 0 ? place : this.#next % Math.max(1, silent.length);
  }

  /**
   * Counts a safe request. @returns the slot that it should try, or -1; `begun` must follow where it does
   * @param version as of a pick
   */
  ask(version: number, now: number): number {
    this.#earned = Math.min(1, this.#earned + TRY_RATIO);
    if (now < this.#freeAt || (this.#earned < 1 && now - this.#lastAt < PAUSE_MS)) return -1;
    let place = this.#find(0, true, version, now);
    if (place < 0 && now >= this.#calmAt) place = this.#find(this.#next, false, version, now);
    if (place < 0) return -1;
    this.#askedAt[place] = now;
    this.#earned = 0;
    this.#lastAt = now;
    return this.#silent[place]?.slot ?? -1;
  }

  /** Nobody else tries until this one has ended, or twice its time is over: its caller may leave, and timers are late. */
  begun(limitMs: number, now: number): void {
    this.limitMs = limitMs;
    this.#freeAt = now + 2 * limitMs;
  }

  /** @param good it was answered, and well (`isGoodAnswer`) */
  ended(slot: number, good: boolean, now: number): void {
    this.#freeAt = now;
    if (!good) this.#calmAt = now + PAUSE_MS;
    const place = this.#placeOf(slot);
    if (place < 0) return;
    this.#answers[place] = good;
    if (!good) this.#next = (place + 1) % this.#silent.length;
  }

  /** The first place from `start` on that may be asked, or -1. */
  #find(start: number, answers: boolean, version: number, now: number): number {
    const n = this.#silent.length;
    for (let step = 0; step < n; step++) {
      const place = (start + step) % n;
      const one = this.#silent[place];
      if (one === undefined || this.#answers[place] !== answers || !isOf(one, version)) continue;
      if (now - (this.#askedAt[place] ?? -Infinity) >= SPACING_MS) return place;
    }
    return -1;
  }

  #placeOf(slot: number): number {
    return this.#silent.findIndex((one) => one.slot === slot);
  }
}

function isOf({ version, apart }: SilentSlot, wanted: number): boolean {
  if (wanted === ANY_VERSION) return true;
  return wanted === COMMON_VERSIONS ? !apart : version === wanted;
}
