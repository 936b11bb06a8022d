/**
 * May this store be asked now? One of these a connection; arithmetic only, the adapter brings the moments.
 *
 * Signal: pipelines answered, pipelines that missed the deadline, errors that say "not me" (READONLY, OOM …), the
 * connection's life, and heartbeats. Decision: a state.
 *
 *     connecting ──ready, one heartbeat in time──▶ fit ◀──late reply── suspect ◀──first missed deadline── fit
 *     fit, suspect ──5 failures in a row | ≥ 50 % of ≥ 20 in 1 s | suspect for 250 ms | lost──▶ open
 *     open ──2 heartbeats in time──▶ returning ──U(0, 500 ms)──▶ fit
 *
 * Why two stages: a store that stalls for 30 ms is common (a fork, a slow command), and one missed deadline must stop
 * all further waiting at once; but only a stall that lasts, or comes back, is worth a pause. While it stalls, the
 * pipelines that were already in flight belong to the same incident and count once in the row.
 * Why heartbeats try it: a request that tries a dead store waits for nothing. Why the spread at the end: all workers
 * of all gateways notice the recovery in the same second.
 * Cold start: no calls before the first heartbeat; the first time there is nobody to spread from, so no spread.
 * Limits: a store that answers heartbeats but not calls flaps with the pause below, at five waits of a deadline each.
 */
import type { Random } from '../kernel/random.ts';
import { between } from '../kernel/random.ts';
import type { StoreState } from './store.ts';

/** Serial failures that open it. 2 would open on two slow commands; 10 makes ten requests wait in a row. */
const FAILURES_IN_A_ROW = 5;
/** Ratio rule, for stores that fail now and then: under 20 pipelines a second the row decides. */
const LEAST_SAMPLE = 20;
const FAILED_RATIO = 0.5;
/** Longest stall that is forgiven without a pause: above a fork of a large Redis, below anybody's patience. */
const LONGEST_SUSPECT_MS = 250;
/** Pauses between trials. 125 ms would double the load on a starting Redis; past 1 s recovery takes longer than 2 s. */
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 1000;
const PAUSE_JITTER = 0.2;
const TRIALS_TO_CLOSE = 2;
const LONGEST_RETURN_MS = 500;
/** Heartbeats while fit: gateways are forgotten after three missed ones. */
const BEAT_EVERY_MS = 1000;
/** The window of the ratio rule: four slices of 250 ms, aged on use. */
const SLICE_MS = 250;
const SLICES = 4;

/** The reason of a missed deadline. */
export const SLOW = 'slow';

/** Told once a change between fit and unfit; a suspicion that ends by itself is not told. */
export type FitnessListener = (state: 'fit' | 'unfit', reason: string) => void;

export class StoreFitness {
  readonly #random: Random;
  readonly #changed: FitnessListener;
  #state: StoreState = 'connecting';
  #reason = 'connecting';
  #told: 'fit' | 'unfit' | 'nothing' = 'nothing';
  #connected = false;
  #everFit = false;
  #row = 0;
  #suspectSince = 0;
  #trialsPassed = 0;
  #trialsFailed = 0;
  #nextTrialAt = 0;
  #returnAt = 0;
  #nextBeatAt = 0;
  #slice = 0;
  readonly #good = new Float64Array(SLICES);
  readonly #bad = new Float64Array(SLICES);

  constructor(random: Random, changed: FitnessListener) {
    this.#random = random;
    this.#changed = changed;
  }

  /** May a decision be sent now? */
  mayAsk(now: number): boolean {
    if (this.#state === 'fit') return true;
    if (this.#state !== 'returning' || now < this.#returnAt) return false;
    this.#becomeFit();
    return true;
  }

  /** The connection is up. It is tried at once, unless trials have failed before: then at the end of the pause. */
  connected(now: number): void {
    this.#connected = true;
    if (this.#trialsFailed === 0) this.#nextTrialAt = now;
    this.#nextBeatAt = now;
  }

  /** A store that is known to be there (the process that started us): fit from the first moment. */
  trusted(now: number): void {
    this.connected(now);
    this.#becomeFit();
  }

  /** The connection is gone. */
  disconnected(now: number, reason: string): void {
    this.#connected = false;
    this.#open(now, reason);
  }

  /** The store says that it cannot serve (READONLY, LOADING, OOM …): no further call until heartbeats pass. */
  refused(now: number, reason: string): void {
    this.#open(now, reason);
  }

  /** A pipeline was answered; `inTime` is false when its deadline had already counted. */
  answered(now: number, inTime: boolean): void {
    if (inTime) {
      this.#row = 0;
      this.#age(now);
      this.#good[this.#slice % SLICES]! += 1;
    }
    if (this.#state === 'suspect') this.#state = 'fit';
  }

  /** A pipeline missed its deadline, and our own loop was not the reason. */
  missed(now: number): void {
    if (this.#state === 'fit') {
      this.#state = 'suspect';
      this.#reason = SLOW;
      this.#suspectSince = now;
      this.#row++;
    }
    this.#countFailure(now, SLOW);
  }

  /** A pipeline failed in a way that says nothing about the next one. */
  failed(now: number, reason: string): void {
    this.#row++;
    this.#countFailure(now, reason);
  }

  /** Time passes: a suspicion that lasts becomes a pause, a return ends. */
  tick(now: number): void {
    if (this.#state === 'suspect' && now - this.#suspectSince >= LONGEST_SUSPECT_MS)
      this.#open(now, 'silent');
    if (this.#state === 'returning' && now >= this.#returnAt) this.#becomeFit();
  }

  /** Is a heartbeat to be sent now? */
  beatDue(now: number): boolean {
    if (!this.#connected || this.#state === 'suspect') return false;
    const alive = this.#state === 'fit' || this.#state === 'returning';
    return now >= (alive ? this.#nextBeatAt : this.#nextTrialAt);
  }

  beatSent(now: number): void {
    this.#nextBeatAt = now + BEAT_EVERY_MS;
    // Not a second trial while this one is under way; its end sets the next.
    this.#nextTrialAt = now + LONGEST_PAUSE_MS;
  }

  beatAnswered(now: number, inTime: boolean): void {
    if (this.#state !== 'open' && this.#state !== 'connecting') {
      this.answered(now, inTime);
      return;
    }
    if (!inTime) return;
    this.#trialsPassed++;
    this.#nextTrialAt = now;
    if (this.#everFit && this.#trialsPassed < TRIALS_TO_CLOSE) return;
    this.#row = 0;
    this.#good.fill(0);
    this.#bad.fill(0);
    if (!this.#everFit) {
      this.#becomeFit();
      return;
    }
    this.#state = 'returning';
    this.#returnAt = now + between(this.#random, 0, LONGEST_RETURN_MS);
  }

  /** A heartbeat got no answer in time, or an error. */
  beatFailed(now: number, reason: string): void {
    if (this.#state === 'fit') {
      if (reason === SLOW) this.missed(now);
      else this.failed(now, reason);
      return;
    }
    if (this.#state === 'returning') this.#open(now, reason);
    if (this.#state !== 'open' && this.#state !== 'connecting') return;
    this.#reason = reason;
    this.#trialsPassed = 0;
    this.#nextTrialAt = now + this.#pause(this.#trialsFailed);
    this.#trialsFailed++;
  }

  state(now: number): StoreState {
    this.tick(now);
    return this.#state;
  }

  /** Why it is not fit; empty when it is. */
  reason(): string {
    return this.#state === 'fit' ? '' : this.#reason;
  }

  /** Until the next trial, ms; a lost connection counts as the longest pause. */
  pauseMs(now: number): number {
    if (this.#state === 'fit') return 0;
    return this.#connected
      ? Math.min(LONGEST_PAUSE_MS, Math.max(1, this.#nextTrialAt - now))
      : LONGEST_PAUSE_MS;
  }

  #countFailure(now: number, reason: string): void {
    this.#age(now);
    this.#bad[this.#slice % SLICES]! += 1;
    if (this.#state === 'open' || this.#state === 'connecting') return;
    let good = 0;
    let bad = 0;
    for (let i = 0; i < SLICES; i++) {
      good += this.#good[i] as number;
      bad += this.#bad[i] as number;
    }
    const often = good + bad >= LEAST_SAMPLE && bad >= (good + bad) * FAILED_RATIO;
    if (often || this.#row >= FAILURES_IN_A_ROW) this.#open(now, reason);
  }

  #age(now: number): void {
    const slice = Math.floor(now / SLICE_MS);
    for (let i = Math.max(this.#slice + 1, slice - SLICES + 1); i <= slice; i++) {
      this.#good[i % SLICES] = 0;
      this.#bad[i % SLICES] = 0;
    }
    if (slice > this.#slice) this.#slice = slice;
  }

  #open(now: number, reason: string): void {
    const before = this.#state;
    this.#reason = reason;
    if (before === 'open' || before === 'connecting') {
      this.#trialsPassed = 0;
      this.#tell('unfit');
      return;
    }
    this.#state = 'open';
    this.#trialsPassed = 0;
    // A return that failed goes on where it was; otherwise the pauses begin anew.
    if (before !== 'returning') this.#trialsFailed = 0;
    this.#nextTrialAt = now + this.#pause(this.#trialsFailed);
    this.#tell('unfit');
  }

  #becomeFit(): void {
    this.#state = 'fit';
    this.#everFit = true;
    this.#trialsFailed = 0;
    this.#trialsPassed = 0;
    this.#tell('fit');
  }

  #tell(state: 'fit' | 'unfit'): void {
    if (this.#told === state) return;
    this.#told = state;
    this.#changed(state, state === 'fit' ? '' : this.#reason);
  }

  #pause(failures: number): number {
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures, 8));
    return pause * between(this.#random, 1 - PAUSE_JITTER, 1 + PAUSE_JITTER);
  }
}
