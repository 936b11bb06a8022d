import type { Random } from '../kernel/random.ts';
import { ANY_VERSION, type SilentSlot, type VersionRow } from './candidates.ts';
import type { InstanceView } from './fleet.ts';
import { InstanceCap, type CapUse } from './instance-cap.ts';
import type { InstanceState } from './instance-state.ts';
import { ChoiceOfTwo } from './choice-of-two.ts';
import { Dice } from './dice.ts';
import { grown } from './grown.ts';
import { LatencyBook } from './latency-book.ts';
import type { LoadTold } from './load-gate.ts';
import { ALL_AT_CAP, NONE_READY, type PickReason, type PickRequest } from './pick.ts';
import { PinCounts } from './pin-counts.ts';
import { Roster } from './roster.ts';
import { Silence } from './silence.ts';

/**
 * Which instance gets the next request: two random choices over peak EWMA × in-flight, local to a worker.
 *
 * Signal: the supervisor's picture of who takes what, and what this worker saw: time to headers, in-flight, blame, silence.
 * Decision: of two drawn at random the cheaper, the first drawn if they are nearly equal. Why two and not all: workers do
 * not see each other, and if each took the best of all they would take the same one. Cold start: median, see `LatencyBook`;
 * a young one is thinned, and what a slow one gets stands in `ChoiceOfTwo`.
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
  /** What it says of its own load, while that is fresh. */
  readonly load: LoadTold | undefined;
}

/**
 * Pairs drawn before a scan: with half of all full, or failing, three miss in 1 of 64. A pick that pins takes, of the best of
 * each pair, the one with the fewest sessions: of one pair, the fullest of five has up to 1.4 times its share of sessions after a
 * roll, too many at 70 % load; of three 1.1 times. The cheapest of three would be the quickest one again and again.
 */
const DRAWS = 3;
/** From here on another pair is drawn rather than one of two such. Half: one stray 500 does it; double: nothing does. */
const FAILING_BLAME = 0.5;

export class Balancer {
  readonly #dice: Dice;
  readonly #choice: ChoiceOfTwo;
  readonly #roster = new Roster();
  readonly #table = this.#roster.table;
  readonly #candidates = this.#roster.candidates;
  readonly #book = new LatencyBook();
  readonly #pins = new PinCounts();
  readonly #silence = new Silence();
  #policy: BalancerPolicy;
  #inFlight = new Float64Array(0);
  #now = 0;
  lastReason: PickReason = 'p2c';
  readonly cap = new InstanceCap();

  constructor(policy: BalancerPolicy, random: Random) {
    this.#policy = policy;
    this.#dice = new Dice(random);
    this.#choice = new ChoiceOfTwo(this.#roster, this.#book, this.#silence, this.#pins, this.#dice);
    this.configure(policy);
  }

  configure(policy: BalancerPolicy): void {
    this.#policy = policy;
    this.cap.configure(policy.maxConcurrencyPerInstance, policy.workers);
  }

  /** Takes the supervisor's picture, always a complete one. What was learned of instances that stay, stays. */
  update(views: readonly InstanceView[], now: number): void {
    this.#now = now;
    const guessMs = this.#book.medianMs(this.#candidates, now) ?? this.#policy.slaMs / 2;
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
    if (pinned >= 0 && !tried.includes(pinned)) {
      if (!this.keepsPinned(pinned)) reason = 'repin';
      else if (this.#isFull(pinned, request, now)) reason = 'spill';
      else {
        this.lastReason = 'pinned';
        return pinned;
      }
    }
    this.lastReason = this.#candidates.panicking ? 'panic' : reason;
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

  /** Serves the sessions that are pinned to it; in panic they stay too: one silent instance is as good as another. */
  keepsPinned(slot: number): boolean {
    return this.#roster.keepsPinned(slot) || (this.#candidates.panicking && this.#roster.isCandidate(slot));
  }

  /** Age of its drain, or -1. */
  drainForMs(slot: number, now: number): number {
    return this.#roster.drainForMs(slot, now);
  }

  /** A session that another worker may have pinned there. */
  hasSession(slot: number, now: number): void {
    this.#pins.add(slot, now);
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

  /** The instance told its own utilisation at that moment: 1 is all it wants. */
  reported(slot: number, utilization: number, at: number): void {
    if (this.#table.isKnown(slot)) this.#book.load.note(slot, utilization, at);
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
  openCap(cap = this.cap.at(this.#now)): number {
    let sum = 0;
    for (let index = 0; index < this.candidatesOf(ANY_VERSION); index++) {
      sum += this.#capOf(this.#candidates.slotAt(index), this.#now, cap);
    }
    return sum;
  }

  /** What this worker has of the caps, for its claim. */
  capUse(now: number): CapUse {
    this.#now = now;
    const use = { inFlight: 0, openCap: 0, mostAtOne: 0 };
    for (let index = 0; index < this.candidatesOf(ANY_VERSION); index++) {
      const slot = this.#candidates.slotAt(index);
      use.mostAtOne = Math.max(use.mostAtOne, this.inFlight(slot));
      if (this.#roster.onTrial(slot)) continue;
      use.inFlight += this.inFlight(slot);
      use.openCap += this.#capOf(slot, now);
    }
    return use;
  }

  /** How many instances a request for a version, or a range of them, may be drawn from now. */
  candidatesOf(version: number): number {
    return this.#candidates.lengthOf(version);
  }

  /** The slot at a place of their list. */
  candidateAt(version: number, index: number): number {
    return this.#candidates.slotAt(this.#candidates.fromOf(version) + index);
  }

  /** Those with an instance that is known, by the last picture. */
  get versions(): readonly VersionRow[] {
    return this.#candidates.rows;
  }

  /** Those that a few requests may try, by the last picture; empty as a rule. */
  get silent(): readonly SilentSlot[] {
    return this.#candidates.silent;
  }

  /** The versions that only those get who ask for them, from the next picture on. */
  setApart(names: ReadonlySet<string>): void {
    this.#candidates.apart = names;
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
    return this.#book.failingRatio(this.#candidates, now);
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
        load: this.#book.load.told(slot, now),
      });
    }
    return views;
  }

  #draw(request: PickRequest, now: number): number {
    const { version = ANY_VERSION } = request;
    const { slowStartMs } = this.#policy;
    const n = this.candidatesOf(version);
    if (n === 0) return NONE_READY;
    let chosen = NONE_READY;
    this.#book.pace.drawn(version, n);
    for (let left = n > 1 ? DRAWS : 0; left > 0; left--) {
      const first = this.#dice.below(n);
      let second = this.#dice.below(n - 1);
      if (second >= first) second++;
      const a = this.candidateAt(version, first);
      const b = this.candidateAt(version, second);
      const aFits = this.#fits(a, request, now);
      const bFits = this.#fits(b, request, now);
      const aGood = aFits && !this.#isPoor(a, now);
      const bGood = bFits && !this.#isPoor(b, now);
      if (!aGood && !bGood && (left > 1 || (!aFits && !bFits))) continue;
      let best = aFits && bFits ? this.#choose(a, b, request.makesPin, now) : aFits ? a : b;
      if (n > 2 && !(aGood && bGood)) {
        const other = best === a ? b : a;
        const isChoice = best === a ? bGood : aGood;
        // Thinned, the other has left its request to one that is slow.
        if (!isChoice || !this.#roster.isGrown(other, slowStartMs, now))
          best = this.#beside(best, request, version, now);
      }
      if (!request.makesPin) return best;
      // A later pair gives no other chance to who is thinned, tried or failing.
      const mayFollow = !this.#isPoor(best, now) && this.#roster.isGrown(best, slowStartMs, now);
      if (chosen < 0 || (mayFollow && this.#choice.pinLoad(best, now) < this.#choice.pinLoad(chosen, now)))
        chosen = best;
    }
    if (chosen >= 0) return chosen;
    return this.#scan(request, version, now);
  }

  /**
   * The better of one, whose pair was no choice, and a good one. Of five in ten that are slow half of all pairs would be none:
   * two of ten that take three times as long, at 0.85 load, raise p99 by 1.14 instead of 1.11 times.
   */
  #beside(best: number, request: PickRequest, version: number, now: number): number {
    if (!this.#roster.isGrown(best, this.#policy.slowStartMs, now)) return best;
    for (let left = DRAWS; left > 0; left--) {
      const other = this.candidateAt(version, this.#dice.below(this.candidatesOf(version)));
      if (other === best || !this.#fits(other, request, now) || this.#isPoor(other, now)) continue;
      return this.#choose(best, other, request.makesPin, now);
    }
    return best;
  }

  /** The first that fits, from a random one on. */
  #scan(request: PickRequest, version: number, now: number): number {
    const n = this.candidatesOf(version);
    const offset = this.#dice.below(n);
    let untried = false;
    for (let step = 0; step < n; step++) {
      const slot = this.candidateAt(version, (offset + step) % n);
      if (this.#fits(slot, request, now)) return slot;
      if (!request.tried.includes(slot)) untried = true;
    }
    return untried ? ALL_AT_CAP : NONE_READY;
  }

  #fits(slot: number, request: PickRequest, now: number): boolean {
    if (request.uncapped !== true && this.#isFull(slot, request, now)) return false;
    return !request.tried.includes(slot);
  }

  #isFull(slot: number, { streams }: PickRequest, now: number): boolean {
    if (this.inFlight(slot) >= this.#capOf(slot, now)) return true;
    return streams === true && this.cap.streamsAt(slot) >= this.#capOf(slot, now, this.cap.even);
  }

  #isPoor(slot: number, now: number): boolean {
    const { pace, load } = this.#book;
    return this.#book.blame(slot, now) >= FAILING_BLAME || pace.isSlow(slot, now) || load.isFull(slot, now);
  }

  #choose(a: number, b: number, makesPin: boolean, now: number): number {
    const { slowStartMs } = this.#policy;
    const { load } = this.#book;
    const aFull = load.isFull(a, now);
    if (aFull !== load.isFull(b, now)) {
      if (this.lastReason === 'p2c') this.lastReason = 'load';
      return aFull ? b : a;
    }
    return this.#choice.pick(a, this.inFlight(a), b, this.inFlight(b), makesPin, slowStartMs, now);
  }

  #capOf(slot: number, now: number, cap = this.cap.at(now)): number {
    if (this.#roster.onTrial(slot)) return 1;
    const warm = this.#roster.warm(slot, this.#policy.slowStartMs, now);
    return warm === 1 ? cap : Math.max(1, Math.ceil(cap * warm));
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
}
