import type { Random } from '../kernel/random.ts';
import type { InstanceView } from './fleet.ts';
import type { InstanceState } from './instance-state.ts';
import { grown } from './grown.ts';
import { LatencyBook } from './latency-book.ts';
import { PinCounts } from './pin-counts.ts';
import { Roster } from './roster.ts';
import { Silence } from './silence.ts';

/**
 * Which instance gets the next request: two random choices over peak EWMA × in-flight, local to a worker.
 *
 * Signal: the supervisor's picture of who takes what, and what this worker saw: time to headers, in-flight, blame, silence.
 * Decision: of two drawn at random the cheaper, the first drawn if they are nearly equal. Why two and not all: workers do
 * not see each other, and if each took the best of all they would take the same one. Cold start: median, see `LatencyBook`.
 * A young instance is thinned: drawn, it stays with probability warm = age / slow start, and then wins only its half, or by
 * a cost below warm² of the other's: it is idle because it is thinned, and its short queue and the short times that come
 * of that must not give back what thinning took. A fixed ratio (8) gave it 1.33 times its share while the others still
 * worked off the queue of its absence, and 0.8 of it towards the end; without any, one grown alone drowns beside it.
 * Dividing its cost instead of thinning starves it at low load and floods it at high load. One on trial gets that share whatever it costs: it
 * is there to be judged by requests, and a slow first answer must not put off the next for a minute.
 * Idle gap: estimates fade. Limits: uniform draws, so a weight of more than about three among many is not fully reached.
 * Source: Mitzenmacher, *The power of two choices*; linkerd2-proxy `p2c`, `peak_ewma`.
 */

export interface BalancerPolicy {
  readonly slaMs: number;
  readonly slowStartMs: number;
  /** Of this gateway, over all its workers; Infinity for none. */
  readonly maxConcurrencyPerInstance: number;
  readonly workers: number;
}

export interface PickRequest {
  /** Slot of the instance that the session is pinned to, or -1. */
  readonly pinned: number;
  /** Slots that earlier attempts of this request used. */
  readonly tried: readonly number[];
  /** A session will be pinned to what is picked. */
  readonly makesPin: boolean;
  /** The caps only count: nobody may be refused for them. */
  readonly uncapped?: boolean;
}

/** `spill`: pinned, but full, the pin stays; `repin`: pinned to one that serves no more; `panic`: nothing is open. */
export type PickReason = 'p2c' | 'pinned' | 'spill' | 'repin' | 'panic' | 'retry';

export type AttemptFault = 'connect' | 'reset' | 'timeout' | 'protocol';

/** What a worker shows of an instance. */
export interface SlotView {
  readonly slot: number;
  readonly id: string;
  readonly version: string;
  readonly state: InstanceState;
  readonly inFlight: number;
  readonly cap: number;
  readonly rttMs: number;
  readonly blame: number;
}

/** No instance may take it; in less than a millisecond a 503. */
export const NONE_READY = -1;
/** Every instance that could take it is at its cap. */
export const ALL_AT_CAP = -2;

/** Costs within this ratio are equal. Half the margin: noise decides, no gain; double: p99 beside a slow instance + 8 %. */
const EQUAL_RATIO = 1.25;
/** The same for a pick that pins: its load comes later, so the number of sessions counts for more. */
const EQUAL_RATIO_PIN = 2;
/** Pairs drawn before a scan. With half of all full, or failing, three pairs miss in 1 of 64. */
const DRAWS = 3;
/** From here on another pair is drawn rather than one of two such. Half: one stray 500 does it; double: nothing does. */
const FAILING_BLAME = 0.5;

export class Balancer {
  readonly #random: Random;
  readonly #roster = new Roster();
  readonly #table = this.#roster.table;
  readonly #book = new LatencyBook();
  readonly #pins = new PinCounts();
  readonly #silence = new Silence();
  #policy: BalancerPolicy;
  #inFlight = new Float64Array(0);
  #share = 1;
  #now = 0;
  lastReason: PickReason = 'p2c';

  constructor(policy: BalancerPolicy, random: Random) {
    this.#policy = policy;
    this.#random = random;
    this.configure(policy);
  }

  configure(policy: BalancerPolicy): void {
    this.#policy = policy;
    this.#share = Math.max(1, Math.ceil(policy.maxConcurrencyPerInstance / Math.max(1, policy.workers)));
  }

  /** Takes the supervisor's picture, always a complete one. What was learned of instances that stay, stays. */
  update(views: readonly InstanceView[], now: number): void {
    this.#now = now;
    const guessMs = this.#medianMs(now);
    const kept = new Set<number>();
    for (const view of views) {
      const found = this.#table.find(view);
      const slot = found >= 0 ? found : this.#add(view, guessMs, now);
      kept.add(slot);
      if (found >= 0 && view.opensNew && !this.#roster.serves(slot)) {
        this.#book.reopen(slot, guessMs, now);
        this.#pins.reset(slot);
      }
      this.#roster.take(slot, view, now);
    }
    for (let slot = 0; slot < this.#table.size; slot++) {
      if (kept.has(slot) || !this.#table.isKnown(slot)) continue;
      this.#roster.drop(slot, this.inFlight(slot));
    }
    this.#roster.list(views, this.#policy.slowStartMs);
  }

  /**
   * The slot for a request, or `NONE_READY` or `ALL_AT_CAP`; why, is in `lastReason`. Reserves nothing: `started` does.
   * A retry never gets an instance that was tried; with none left it gets `NONE_READY`.
   */
  pick(request: PickRequest, now: number): number {
    this.#now = now;
    const { pinned, tried } = request;
    let reason: PickReason = tried.length > 0 ? 'retry' : 'p2c';
    if (pinned >= 0 && !includes(tried, pinned)) {
      if (!this.#servesPinned(pinned)) reason = 'repin';
      else if ((this.#inFlight[pinned] ?? 0) >= this.#capOf(pinned, now)) reason = 'spill';
      else {
        this.lastReason = 'pinned';
        return pinned;
      }
    }
    this.lastReason = this.#roster.panicking ? 'panic' : reason;
    const slot = this.#draw(request, now);
    if (slot >= 0 && request.makesPin && reason !== 'spill') this.#pins.add(slot, now);
    return slot;
  }

  /** The known instance's slot, or -1. */
  slotOf(id: string): number {
    return this.#table.slotOf(id);
  }

  idOf(slot: number): string {
    return this.#table.idOf(slot);
  }

  urlOf(slot: number): string {
    return this.#table.urlOf(slot);
  }

  versionOf(slot: number): string {
    return this.#table.versionOf(slot);
  }

  stateOf(slot: number): InstanceState {
    return this.#table.stateOf(slot);
  }

  /** Serves the sessions that are pinned to it. */
  keepsPinned(slot: number): boolean {
    return this.#roster.keepsPinned(slot);
  }

  /** Age of its drain, or -1. */
  drainForMs(slot: number, now: number): number {
    return this.#roster.drainForMs(slot, now);
  }

  /** An attempt begins. Each is ended by one `finished`, whatever happens in between. */
  started(slot: number, now: number): void {
    this.#now = now;
    this.#inFlight[slot] = (this.#inFlight[slot] ?? 0) + 1;
    this.#silence.asked(slot, now);
  }

  /** Response headers came. `retryAfterMs` is negative without that header. */
  head(slot: number, rttMs: number, status: number, retryAfterMs: number, now: number): void {
    this.#now = now;
    this.#silence.heard(slot, now);
    if (this.#table.isKnown(slot)) this.#book.answer(slot, rttMs, status, retryAfterMs, now);
  }

  /**
   * The attempt failed by the instance's fault; the caller's own leaving is not one.
   * @param heard `head` was told of this attempt before
   */
  failed(slot: number, kind: AttemptFault, now: number, heard = false): void {
    this.#now = now;
    if (!heard) this.#silence.heard(slot, now);
    if (this.#table.isKnown(slot)) this.#book.failed(slot, now, kind === 'connect');
  }

  /**
   * The last byte, or the end of a failed attempt. Safe when the instance is gone.
   * @param heard `head` or `failed` was told of this attempt
   */
  finished(slot: number, now: number, heard = true): void {
    this.#now = now;
    if (!heard) this.#silence.forget(slot);
    const left = (this.#inFlight[slot] ?? 0) - 1;
    if (left < 0) return;
    this.#inFlight[slot] = left;
    if (left === 0 && !this.#table.isKnown(slot)) this.#table.release(slot);
  }

  /** Requests that this worker may have in flight at all instances that take some. The ceiling of the limit. */
  openCap(): number {
    let sum = 0;
    for (let index = 0; index < this.#roster.count; index++) {
      sum += this.#capOf(this.#roster.candidate(index), this.#now);
    }
    return sum;
  }

  /** How many instances a request may be drawn from now. */
  get candidates(): number {
    return this.#roster.count;
  }

  /** The slot at a place of their list. */
  candidateAt(index: number): number {
    return this.#roster.candidate(index);
  }

  /** 1 / weight, more for one that warns. */
  factorOf(slot: number): number {
    return this.#roster.factor(slot);
  }

  inFlight(slot: number): number {
    return this.#inFlight[slot] ?? 0;
  }

  /** 0..1: how much of this service's open instances this worker finds failing just now. */
  failingRatio(now: number): number {
    let failing = 0;
    for (let index = 0; index < this.#roster.count; index++) {
      if (this.#book.failsNow(this.#roster.candidate(index), now)) failing++;
    }
    return this.#roster.count === 0 ? 0 : failing / this.#roster.count;
  }

  view(now: number): SlotView[] {
    const views: SlotView[] = [];
    for (let slot = 0; slot < this.#table.size; slot++) {
      if (!this.#table.isKnown(slot)) continue;
      views.push({
        slot,
        id: this.idOf(slot),
        version: this.versionOf(slot),
        state: this.stateOf(slot),
        inFlight: this.inFlight(slot),
        cap: this.#capOf(slot, now),
        rttMs: this.#book.rttMs(slot, now),
        blame: this.#book.blame(slot, now),
      });
    }
    return views;
  }

  #draw(request: PickRequest, now: number): number {
    const n = this.#roster.count;
    if (n === 0) return NONE_READY;
    if (n > 1) {
      for (let draw = 0; draw < DRAWS; draw++) {
        const first = Math.floor(this.#random() * n);
        let second = Math.floor(this.#random() * (n - 1));
        if (second >= first) second++;
        const a = this.#roster.candidate(first);
        const b = this.#roster.candidate(second);
        const aFits = this.#fits(a, request, now);
        const bFits = this.#fits(b, request, now);
        const last = draw === DRAWS - 1;
        const aGood = aFits && (last || !this.#isFailing(a, now));
        const bGood = bFits && (last || !this.#isFailing(b, now));
        if (aGood || bGood) {
          if (aFits && bFits) return this.#choose(a, b, request.makesPin, now);
          return aFits ? a : b;
        }
      }
    }
    return this.#scan(request, now);
  }

  /** The first that fits, from a random one on. */
  #scan(request: PickRequest, now: number): number {
    const n = this.#roster.count;
    const offset = Math.floor(this.#random() * n);
    let untried = false;
    for (let step = 0; step < n; step++) {
      const slot = this.#roster.candidate((offset + step) % n);
      if (this.#fits(slot, request, now)) return slot;
      if (!includes(request.tried, slot)) untried = true;
    }
    return untried ? ALL_AT_CAP : NONE_READY;
  }

  #fits(slot: number, request: PickRequest, now: number): boolean {
    if (request.uncapped !== true && (this.#inFlight[slot] ?? 0) >= this.#capOf(slot, now)) return false;
    return !includes(request.tried, slot);
  }

  #isFailing(slot: number, now: number): boolean {
    return this.#book.blame(slot, now) >= FAILING_BLAME;
  }

  #choose(a: number, b: number, makesPin: boolean, now: number): number {
    const aWarm = this.#warm(a, now);
    const bWarm = this.#warm(b, now);
    const aTrial = this.#roster.onTrial(a);
    if (aTrial !== this.#roster.onTrial(b)) {
      const tried = aTrial ? a : b;
      // Two of n draws meet it, so a half of them is its share.
      const chance = (aTrial ? aWarm : bWarm) / 2;
      if (this.#book.isBlameless(tried, now)) return this.#random() < chance === aTrial ? a : b;
    }
    const aYoung = aWarm < 1;
    const bYoung = bWarm < 1;
    if (aYoung !== bYoung && this.#random() >= Math.min(aWarm, bWarm)) return aYoung ? b : a;
    const aCost = this.#cost(a, b, now);
    const bCost = this.#cost(b, a, now);
    const equal = makesPin ? EQUAL_RATIO_PIN : EQUAL_RATIO;
    if (aCost > bCost * (bYoung && !aYoung ? equal / (bWarm * bWarm) : equal)) return b;
    if (bCost > aCost * (aYoung && !bYoung ? equal / (aWarm * aWarm) : equal)) return a;
    return makesPin && this.#pinLoad(b, now) < this.#pinLoad(a, now) ? b : a;
  }

  #cost(slot: number, beside: number, now: number): number {
    const queue = (this.#inFlight[slot] ?? 0) + 1;
    const expectedMs = Math.max(this.#book.expectedMs(slot, now, beside), this.#silence.spanMs(slot, now));
    return expectedMs * queue * this.#roster.factor(slot);
  }

  /** 0.1..1; 1 for whoever is not thinned. */
  #warm(slot: number, now: number): number {
    return this.#roster.warm(slot, this.#policy.slowStartMs, now);
  }

  #capOf(slot: number, now: number): number {
    if (this.#roster.onTrial(slot)) return 1;
    const warm = this.#warm(slot, now);
    return warm === 1 ? this.#share : Math.max(1, Math.ceil(this.#share * warm));
  }

  #pinLoad(slot: number, now: number): number {
    return this.#pins.count(slot, now) * this.#roster.factor(slot);
  }

  /** In panic a session stays where it is: one silent instance is as good as another. */
  #servesPinned(slot: number): boolean {
    return this.#roster.keepsPinned(slot) || (this.#roster.panicking && this.#roster.isCandidate(slot));
  }

  #add(view: InstanceView, guessMs: number, now: number): number {
    const slot = this.#roster.add(view);
    const { capacity } = this.#roster;
    if (capacity > this.#inFlight.length) {
      this.#inFlight = grown(this.#inFlight, capacity);
      this.#book.grow(capacity);
      this.#pins.grow(capacity);
      this.#silence.grow(capacity);
    }
    this.#inFlight[slot] = 0;
    this.#pins.reset(slot);
    this.#book.begin(slot, guessMs, now);
    this.#silence.begin(slot);
    return slot;
  }

  /** The median of what open instances were measured at; without any, half of the SLA. */
  #medianMs(now: number): number {
    const known: number[] = [];
    for (let index = 0; index < this.#roster.count; index++) {
      const slot = this.#roster.candidate(index);
      if (this.#book.isSampled(slot)) known.push(this.#book.rttMs(slot, now));
    }
    known.sort((x, y) => x - y);
    return known[known.length >> 1] ?? this.#policy.slaMs / 2;
  }
}

/** Without a closure or an iterator; lists here have at most two entries. */
function includes(slots: readonly number[], slot: number): boolean {
  for (let index = 0; index < slots.length; index++) if (slots[index] === slot) return true;
  return false;
}
