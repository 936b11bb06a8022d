import { Cluster, type Redis } from 'ioredis';
import { RateLimiterRedis } from 'rate-limiter-flexible';
import type { GuardRule } from '../../limits/guard.ts';
import { CappedMemory, KeyRing } from './capped-memory.ts';
import {
  figuresOf,
  guardKey,
  refigure,
  strike,
  type GuardName,
  type GuardStore,
  type TallyListener,
} from './guard-store.ts';

/**
 * Strikes in Redis: a `RateLimiterRedis` for each guard, insured by a `RateLimiterMemory` with an end.
 *
 * The connection is the guards' own: the library defines its script as a command of the connection, by one name, and the
 * last definition wins; here all use its own one. Only a connection that is ready is asked. The library knows no deadline,
 * and its wrapper for one forgets how long a block lasts; so while Redis stands still the insurance is asked at once, and a
 * socket that is silent for a second is destroyed, upon which the calls it owed are counted by the insurance too. A strike is
 * never counted by both.
 *
 * What the insurance counts stays in it and in the worker that asked; Redis is told nothing afterwards.
 */

/** Half takes a Redis that forks for lost; double counts twice as much in a queue that may never be read. */
const STANDSTILL_MS = 250;
/** As for the limit store: 500 ms would cut a Redis that swaps; 2 s delays recovery. */
const SILENT_MS = 1000;
const TICK_MS = 100;
/** A tick later than this means that our own loop stood still, and the silence was ours. */
const OWN_STANDSTILL_MS = 300;

interface Limiters {
  rule: GuardRule;
  readonly redis: RateLimiterRedis;
  readonly insurance: CappedMemory;
}

export interface RedisGuardOptions {
  /** Of the guards alone; this store ends it. */
  readonly client: Redis | Cluster;
  readonly told: TallyListener;
  /** Redis was not asked, or did not answer: the insurance counted. */
  readonly onInsured: () => void;
  /** Monotonic ms. */
  readonly now: () => number;
}

export class RedisGuardStore implements GuardStore {
  readonly #client: Redis | Cluster;
  readonly #told: TallyListener;
  readonly #onInsured: () => void;
  readonly #now: () => number;
  readonly #ring = new KeyRing();
  readonly #limiters = new Map<string, Limiters>();
  readonly #ticker: NodeJS.Timeout;
  #outstanding = 0;
  #heardMs: number;
  #lastTickMs: number;

  constructor({ client, told, onInsured, now }: RedisGuardOptions) {
    this.#told = told;
    this.#onInsured = onInsured;
    this.#now = now;
    this.#heardMs = now();
    this.#lastTickMs = this.#heardMs;
    this.#client = client;
    // Without this listener the first refused connection ends the process; that Redis is lost, the limit store tells.
    this.#client.on('error', () => undefined);
    this.#ticker = setInterval(() => {
      this.#tick();
    }, TICK_MS);
    this.#ticker.unref();
  }

  count(guard: GuardName, client: string): void {
    // The insurance answers for whatever fails; should the library fail in itself, no worker ends by it.
    this.#count(guard, client).catch(this.#onInsured);
  }

  async forgive(guards: readonly GuardName[], client: string): Promise<void> {
    await Promise.all(
      guards.map(async (guard) => {
        const { redis, insurance } = this.#limitersOf(guard);
        const key = guardKey(guard, client);
        await insurance.delete(key);
        // Where Redis stands still this lasts until its socket is given up.
        if (!this.#standsStill()) await this.#awaited(redis.delete(key));
      }),
    );
  }

  close(): void {
    clearInterval(this.#ticker);
    this.#client.disconnect();
  }

  async #count(guard: GuardName, client: string): Promise<void> {
    const { redis, insurance } = this.#limitersOf(guard);
    const key = guardKey(guard, client);
    const answer = this.#standsStill()
      ? await strike(insurance, key)
      : await this.#awaited(strike(redis, key));
    const shared = !insurance.gave(answer);
    if (!shared) this.#onInsured();
    this.#told(guard.name, client, { strikes: answer.consumedPoints, restMs: answer.msBeforeNext, shared });
  }

  #limitersOf({ name, rule }: GuardName): Limiters {
    let made = this.#limiters.get(name);
    if (made === undefined) {
      const insurance = new CappedMemory(figuresOf(rule), this.#ring);
      const redis = new RateLimiterRedis({
        ...figuresOf(rule),
        storeClient: this.#client,
        rejectIfRedisNotReady: true,
        insuranceLimiter: insurance,
      });
      made = { rule, redis, insurance };
      this.#limiters.set(name, made);
      refigure(insurance, rule);
    } else if (made.rule !== rule) {
      made.rule = rule;
      refigure(made.redis, rule);
      // Last: whoever sets an insurance overwrites how long it blocks.
      refigure(made.insurance, rule);
    }
    return made;
  }

  async #awaited<T>(call: Promise<T>): Promise<T> {
    if (this.#outstanding++ === 0) this.#heardMs = this.#now();
    try {
      return await call;
    } finally {
      this.#outstanding--;
      this.#heardMs = this.#now();
    }
  }

  #standsStill(): boolean {
    return this.#outstanding > 0 && this.#now() - this.#heardMs > STANDSTILL_MS;
  }

  #tick(): void {
    const now = this.#now();
    if (now - this.#lastTickMs > OWN_STANDSTILL_MS) this.#heardMs = now;
    this.#lastTickMs = now;
    if (this.#outstanding === 0 || now - this.#heardMs < SILENT_MS) return;
    this.#heardMs = now;
    const nodes = this.#client instanceof Cluster ? this.#client.nodes('all') : [this.#client];
    for (const { stream } of nodes) (stream as Redis['stream'] | undefined)?.destroy();
  }
}
