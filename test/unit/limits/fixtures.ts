/** What the limiter's tests share: a caller, a call of a store, a store whose answers the test gives. */
import { EmbeddedStore } from '../../../src/limits/embedded-store.ts';
import type { CompiledRate } from '../../../src/limits/gcra.ts';
import type { Charge, Level, LimitCaller, LimitDecision, Limiter } from '../../../src/limits/limiter.ts';
import type { LimitStore, StoreCall, StoreReply, StoreState, StoreView } from '../../../src/limits/store.ts';
import { seededRandom } from '../../../src/kernel/random.ts';

export function charge(level: Level, rate: CompiledRate, enforced = true, key: string = level): Charge {
  return { key, level, rate, enforced };
}

/** A request: keeps its decision and how often it was told. */
export class Caller implements LimitCaller {
  readonly charges: readonly Charge[];
  readonly cost: number;
  readonly done: Promise<LimitDecision>;
  told = 0;
  decision: LimitDecision | undefined;
  #resolve: (decision: LimitDecision) => void = () => {};

  constructor(charges: readonly Charge[], cost = 1) {
    this.charges = charges;
    this.cost = cost;
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  decided(decision: LimitDecision): void {
    this.told++;
    this.decision = decision;
    this.#resolve(decision);
  }
}

/** Decides one request and expects the answer at once. */
export function decideNow(
  limiter: Limiter,
  charges: readonly Charge[],
  now: number,
  cost = 1,
): LimitDecision {
  const caller = new Caller(charges, cost);
  limiter.decide(caller, now);
  if (caller.decision === undefined || caller.told !== 1) throw new Error(`told ${caller.told} times`);
  return caller.decision;
}

/** One call of a store; `reply` is undefined when the store was unavailable. */
export class Ask implements StoreCall {
  readonly keys: readonly string[];
  readonly terms: readonly number[];
  readonly done: Promise<StoreReply | undefined>;
  told = 0;
  reply: StoreReply | undefined;
  toldAt = 0;
  #resolve: (reply: StoreReply | undefined) => void = () => {};

  constructor(keys: readonly string[], terms: readonly number[]) {
    this.keys = keys;
    this.terms = terms;
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  answered(reply: StoreReply, now: number): void {
    this.told++;
    this.reply = reply;
    this.toldAt = now;
    this.#resolve(reply);
  }

  unavailable(now: number): void {
    this.told++;
    this.toldAt = now;
    this.#resolve(undefined);
  }
}

/** Terms of one level that charges `cost` of a limit. */
export function terms(rate: CompiledRate, cost = 1, veto = 1): number[] {
  return [rate.unitTicks, rate.burst, cost, cost, veto];
}

/** A store that is fit or not, late or not, as the test says; its buckets are exact. */
export class ScriptedStore implements LimitStore {
  readonly buckets = new EmbeddedStore(1000, seededRandom(7));
  mode: 'answers' | 'unfit' | 'late' = 'answers';
  asked = 0;
  live = 1;
  pause = 0;
  readonly waiting: StoreCall[] = [];

  decide(call: StoreCall, now: number): boolean {
    if (this.mode === 'unfit') return false;
    this.asked++;
    if (this.mode === 'late') {
      this.waiting.push(call);
      return true;
    }
    return this.buckets.decide(call, now);
  }

  gateways(): number {
    return this.live;
  }

  pauseMs(): number {
    return this.pause;
  }

  view(): StoreView {
    const state: StoreState = this.mode === 'unfit' ? 'open' : 'fit';
    return { ...this.buckets.view(), state };
  }
}
