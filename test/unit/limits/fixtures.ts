/** What the limiter's tests share: a caller, a call of a store, a store whose answers the test gives. */
import { EmbeddedStore } from '../../../src/limits/embedded-store.ts';
import type { CompiledRate } from '../../../src/limits/gcra.ts';
import type { Charge, Level, LimitCaller, LimitDecision } from '../../../src/limits/decision.ts';
import { Limiter } from '../../../src/limits/limiter.ts';
import type {
  LimitStore,
  SlotsCall,
  StoreCall,
  StoreReply,
  StoreState,
  StoreView,
} from '../../../src/limits/store.ts';
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

/** A question for slots that keeps what it was told: what was granted, or -1 when no answer came. */
export class AskSlots implements SlotsCall {
  readonly key: string;
  readonly worker: string;
  readonly need: number;
  readonly keep: number;
  readonly most: number;
  readonly done: Promise<number>;
  #resolve: (granted: number) => void = () => {};

  constructor(key: string, worker: string, need: number, keep: number, most: number) {
    this.key = key;
    this.worker = worker;
    this.need = need;
    this.keep = keep;
    this.most = most;
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  answered(granted: number): void {
    this.#resolve(granted);
  }

  unavailable(): void {
    this.#resolve(-1);
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
  /** Buckets of the last call. */
  last: readonly string[] = [];
  live = 1;
  /** Workers of all gateways, as a heartbeat tells; 0: it does not. */
  holders = 0;
  pause = 0;
  readonly waiting: StoreCall[] = [];

  decide(call: StoreCall, now: number): boolean {
    if (this.mode === 'unfit') return false;
    this.asked++;
    this.last = call.keys;
    if (this.mode === 'late') {
      this.waiting.push(call);
      return true;
    }
    return this.buckets.decide(call, now);
  }

  refund(
    keys: readonly string[],
    units: readonly number[],
    unitTicks: readonly number[],
    now: number,
  ): boolean {
    return this.mode === 'unfit' ? false : this.buckets.refund(keys, units, unitTicks, now);
  }

  slots(call: SlotsCall, now: number): boolean {
    return this.mode === 'unfit' ? false : this.buckets.slots(call, now);
  }

  gateways(): number {
    return this.live;
  }

  workers(): number {
    return this.holders;
  }

  pauseMs(): number {
    return this.pause;
  }

  view(): StoreView {
    const state: StoreState = this.mode === 'unfit' ? 'open' : 'fit';
    return { ...this.buckets.view(), state };
  }
}

/** Leases where they are worth it, with `maxOverAdmission` as it comes. */
export const AUTO = { enforcement: 'auto', maxOverRatio: 0.05 } as const;

/** A worker that leases, asked each millisecond from 0 to 199 for each of these. */
export function leasing(store: ScriptedStore, ...asked: readonly (readonly Charge[])[]): Limiter {
  const limiter = new Limiter({ store, onUnavailable: 'local', workers: 1, random: seededRandom(5) });
  limiter.configure({ onUnavailable: 'local', leases: AUTO });
  for (let now = 0; now < 200; now++) for (const charges of asked) decideNow(limiter, charges, now);
  return limiter;
}

/** Units left of a bucket in the store. */
export function room(store: ScriptedStore, { key, rate }: Charge, now: number): number {
  const ask = new Ask([key], [rate.unitTicks, rate.burst, 0, 0, 0]);
  store.buckets.decide(ask, now);
  return ask.reply?.[2] ?? NaN;
}

/** Takes units out of a bucket beside the worker. */
export function takeOut(store: ScriptedStore, { key, rate }: Charge, units: number, now: number): void {
  store.buckets.decide(new Ask([key], terms(rate, units)), now);
}
