/**
 * Our decision in the shape of rate-limiter-flexible, for code that is written against that library and for operators
 * who look at or reset one client: one bucket, the same script as the gateway's own decisions, so the two can be mixed
 * on one key. What a GCRA bucket cannot do (a set figure, a block longer than its depth) is refused in one sentence
 * instead of approximated.
 */
import { RateLimiterCompatibleAbstract, RateLimiterRes } from 'rate-limiter-flexible';
import type { CompiledRate } from '../../limits/gcra.ts';
import { TICKS_PER_MS } from '../../limits/gcra.ts';
import type { LimitStore, StoreCall, StoreReply } from '../../limits/store.ts';
import { systemNow } from '../system-clock.ts';

/** A store that can also forget a bucket; rejects when it may not be asked or does not answer in time. */
export interface BucketStore extends LimitStore {
  forget(key: string): Promise<boolean> | boolean;
}

export interface GcraLimiterOptions {
  readonly store: BucketStore;
  readonly rate: CompiledRate;
  /** Put before each key as it stands; default none. */
  readonly keyPrefix?: string;
  /** Monotonic ms. */
  readonly clock?: () => number;
}

/** Thrown when the store may not be asked or did not answer in time. */
export class LimitStoreUnavailable extends Error {
  override readonly name = 'LimitStoreUnavailable';
}

export class GcraLimiter extends RateLimiterCompatibleAbstract {
  readonly #store: BucketStore;
  readonly #rate: CompiledRate;
  readonly #keyPrefix: string;
  readonly #clock: () => number;

  constructor(options: GcraLimiterOptions) {
    super();
    this.#store = options.store;
    this.#rate = options.rate;
    this.#keyPrefix = options.keyPrefix ?? '';
    this.#clock = options.clock ?? systemNow;
  }

  // @ts-expect-error the library's class has accessors here, its typings say properties
  override get keyPrefix(): string {
    return this.#keyPrefix;
  }

  /** Units in a full bucket. */
  get points(): number {
    return this.#rate.burst;
  }

  /** Resolves when `points` were charged; rejects with a RateLimiterRes, whose `msBeforeNext` is the wait, when not. */
  override consume(key: string | number, points = 1): Promise<RateLimiterRes> {
    return this.#ask(key, points, points, true);
  }

  /** Charges as many of `points` as there are, and never rejects for want of them. */
  override penalty(key: string | number, points = 1): Promise<RateLimiterRes> {
    return this.#ask(key, 0, points, false);
  }

  /** What the bucket holds, uncharged; null when it is full, since a full bucket is an absent one. */
  override async get(key: string | number): Promise<RateLimiterRes | null> {
    const seen = await this.#ask(key, 0, 0, false);
    return seen.msBeforeNext === 0 ? null : seen;
  }

  /** Fills the bucket. False when it was full. After a `LimitStoreUnavailable` it may be filled all the same. */
  override async delete(key: string | number): Promise<boolean> {
    try {
      return await this.#store.forget(this.#keyPrefix + key);
    } catch (cause) {
      throw new LimitStoreUnavailable('the limit store did not confirm', { cause });
    }
  }

  override reward(): Promise<RateLimiterRes> {
    return Promise.reject(new Error('units of a GCRA bucket come back with time; delete() fills it'));
  }

  override set(): Promise<RateLimiterRes> {
    return Promise.reject(new Error('a GCRA bucket has no counter to set; use consume() or delete()'));
  }

  override block(): Promise<RateLimiterRes> {
    return Promise.reject(
      new Error('a GCRA bucket cannot block for longer than it takes to fill; use a guard'),
    );
  }

  #ask(key: string | number, must: number, want: number, refusable: boolean): Promise<RateLimiterRes> {
    return new Promise((resolve, reject) => {
      const call = new OneBucket(this.#keyPrefix + key, this.#rate, must, want, refusable, resolve, reject);
      if (!this.#store.decide(call, this.#clock()))
        reject(new LimitStoreUnavailable('the limit store is not fit'));
    });
  }
}

class OneBucket implements StoreCall {
  readonly keys: readonly string[];
  readonly terms: readonly number[];
  readonly #burst: number;
  readonly #refusable: boolean;
  readonly #resolve: (res: RateLimiterRes) => void;
  readonly #reject: (reason: unknown) => void;

  constructor(
    key: string,
    rate: CompiledRate,
    must: number,
    want: number,
    refusable: boolean,
    resolve: (res: RateLimiterRes) => void,
    reject: (reason: unknown) => void,
  ) {
    this.keys = [key];
    this.terms = [rate.unitTicks, rate.burst, must, want, 1];
    this.#burst = rate.burst;
    this.#refusable = refusable;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  answered(reply: StoreReply): void {
    const [ok = 0, granted = 0, remaining = 0, waitTicks = 0, fullTicks = 0] = reply;
    const waitMs = Math.ceil((ok === 1 ? fullTicks : waitTicks) / TICKS_PER_MS);
    const consumed = this.#burst - remaining;
    const res = new RateLimiterRes(remaining, waitMs, consumed, granted > 0 && consumed === granted);
    if (ok === 1 || !this.#refusable) this.#resolve(res);
    else this.#reject(res);
  }

  unavailable(): void {
    this.#reject(new LimitStoreUnavailable('the limit store did not answer in time'));
  }
}
