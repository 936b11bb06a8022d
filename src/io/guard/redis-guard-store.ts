import { Cluster, type Redis } from 'ioredis';
import { RateLimiterRedis } from 'rate-limiter-flexible';
import type { GuardRule } from '../../limits/guard.ts';
import { CappedMemory } from './capped-memory.ts';
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
 * Strikes in Redis: a `RateLimiterRedis` for each guard, and beside them a `RateLimiterMemory` with an end as insurance.
 *
 * The connection is the guards' own: the library defines its script as a command of the connection, by one name, and the
 * last definition wins; here all use its own one. Only a connection that is ready is asked. The library knows no deadline,
 * its wrapper for one forgets how long a block lasts, and the insurance that it would keep itself has it overwritten; so the
 * insurance is asked here: at once while Redis stands still, and for what Redis has not answered. A socket that is silent
 * for a second is destroyed, upon which the calls it owed are counted, too. A strike is never counted by both.
 *
 * What the insurance counts stays in it and in the worker that asked; Redis is told nothing afterwards. The strike that
 * blocks takes a second trip, so who is to be forgiven is deleted when all strikes under way have been counted.
 */

/** Half takes a Redis that forks for lost; double counts twice as much in a queue that may never be read. */
const STANDSTILL_MS = 250;
/** As for the limit store: 500 ms would cut a Redis that swaps; 2 s delays recovery. */
const SILENT_MS = 1000;
const TICK_MS = 100;
/** A tick later than this means that our own loop stood still, and the silence was ours. */
const OWN_STANDSTILL_MS = 300;

interface Limiter {
  rule: GuardRule;
  readonly redis: RateLimiterRedis;
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
  readonly #insurance = new CappedMemory();
  /** One for each guard, also of those that count together: what an answer means is judged when it comes, by its own figures. */
  readonly #limiters = new Map<string, Limiter>();
  readonly #counting = new Set<Promise<void>>();
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
    const counting = this.#count(guard, client)
      .catch(this.#onInsured)
      .finally(() => this.#counting.delete(counting));
    this.#counting.add(counting);
  }

  async forgive(guards: readonly GuardName[], client: string): Promise<void> {
    // Where Redis stands still this lasts until its socket is given up.
    await Promise.all(this.#counting);
    await Promise.all(
      guards.map(async (guard) => {
        const key = guardKey(guard, client);
        await this.#insurance.delete(key);
        if (!this.#standsStill()) await this.#answered(this.#limiterOf(guard).delete(key));
      }),
    );
  }

  close(): void {
    clearInterval(this.#ticker);
    this.#client.disconnect();
  }

  async #count(guard: GuardName, client: string): Promise<void> {
    const key = guardKey(guard, client);
    const answer = this.#standsStill()
      ? undefined
      : await this.#answered(strike(this.#limiterOf(guard), key));
    const shared = answer !== undefined;
    if (!shared) this.#onInsured();
    const { consumedPoints, msBeforeNext } = answer ?? (await this.#insurance.strike(key, guard.rule));
    this.#told(guard.name, client, { strikes: consumedPoints, restMs: msBeforeNext, shared });
  }

  #limiterOf({ name, rule }: GuardName): RateLimiterRedis {
    let made = this.#limiters.get(name);
    if (made === undefined) {
      const redis = new RateLimiterRedis({
        ...figuresOf(rule),
        storeClient: this.#client,
        rejectIfRedisNotReady: true,
      });
      this.#limiters.set(name, (made = { rule, redis }));
    } else if (made.rule !== rule) {
      made.rule = rule;
      refigure(made.redis, rule);
    }
    return made.redis;
  }

  /** Undefined when Redis has not answered, or with an error. */
  async #answered<T>(call: Promise<T>): Promise<T | undefined> {
    if (this.#outstanding++ === 0) this.#heardMs = this.#now();
    try {
      return await call;
    } catch {
      return undefined;
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
