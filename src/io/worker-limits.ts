import type { Logger } from 'pino';
import type { Configuration, RedisConfiguration } from '../../config/schema.ts';
import { randomBytes } from 'node:crypto';
import { Limiter } from '../limits/limiter.ts';
import { Slots } from '../limits/slots.ts';
import type { BucketStore } from './limit-store/gcra-limiter.ts';
import { IpcLimitStore, type LimitBatchReply } from './limit-store/ipc.ts';
import { RedisClusterStore } from './limit-store/redis-cluster.ts';
import { RedisLimitStore } from './limit-store/redis.ts';
import { openPrimary } from './limit-store/redis-options.ts';
import type { ToSupervisor } from './ipc.ts';
import type { Meter } from './meter.ts';
import { systemNow } from './system-clock.ts';
import { setImmediate as turnEnd } from 'node:timers/promises';

/**
 * The worker's limiter and the store it asks: Redis where one is configured, else the supervisor's memory, which also
 * keeps this gateway's share of every limit while Redis is lost.
 *
 * A reload that keeps the store's address keeps the connection and everything learned; another address opens the new
 * connection first and closes the old one after.
 */

/**
 * The embedded store answers from another process of this machine. Half and a saturated machine, on which the supervisor
 * is scheduled late, counts as a lost store; double and a supervisor that stands still costs each request that much.
 */
const EMBEDDED_TIMEOUT_MS = 100;

/**
 * What the share of an outage may add to a missed `redis.timeout`, so that with two timers, each up to a millisecond late,
 * it stays below 5 ms (limits.md, L6). At half the first question hardly ever makes it, at double that is not kept.
 */
const SHARE_EXTRA_MS = 2;

const LEASE_EVENTS = ['granted', 'spent', 'expired', 'refunded'] as const;

export interface StoreCondition {
  readonly state: 'embedded' | 'up' | 'down';
  readonly reason: string;
}

type RedisStore = RedisLimitStore | RedisClusterStore;

interface OpenStore {
  readonly mark: string;
  readonly store: IpcLimitStore | RedisStore;
  condition: StoreCondition;
}

const EMBEDDED = 'embedded';

export class WorkerLimits {
  readonly limiter: Limiter;
  readonly slots: Slots;
  readonly #meter: Meter;
  readonly #log: Logger;
  readonly #supervisor: IpcLimitStore;
  #usesRedis = false;
  #open: OpenStore;

  constructor(parts: { meter: Meter; log: Logger; send: (message: ToSupervisor) => boolean }) {
    this.#meter = parts.meter;
    this.#log = parts.log;
    this.#supervisor = this.#supervisorStore(parts.send);
    this.#open = this.#embedded();
    this.limiter = new Limiter({
      store: this.#open.store,
      onUnavailable: 'local',
      workers: 1,
      random: Math.random,
    });
    // A name of its own: a worker that is started again must not answer for what the dead one held.
    this.slots = new Slots(randomBytes(9).toString('base64url'), this.#open.store, 'local');
  }

  /** The store in force, for questions about single buckets. */
  get store(): BucketStore {
    return this.#open.store;
  }

  get condition(): StoreCondition {
    return this.#open.condition;
  }

  /**
   * @param index of this worker among those of this gateway
   * @param gateway this gateway's name among those that share the store: the same in all its workers, no other's
   */
  configure({ redis, limits }: Configuration, workers: number, index: number, gateway: string): void {
    const mark = redis === null ? EMBEDDED : markOf(redis);
    const before = this.#open;
    if (mark !== before.mark)
      this.#open = redis === null ? this.#embedded() : this.#openRedis(redis, mark, workers, gateway);
    this.#usesRedis = redis !== null;
    const { store } = this.#open;
    if (!(store instanceof IpcLimitStore)) store.setWorkers(workers);
    this.limiter.setWorkers(workers, index);
    const onUnavailable = redis?.onUnavailable ?? 'local';
    this.slots.configure({ store, onUnavailable, workers });
    this.limiter.configure({
      onUnavailable,
      store,
      share:
        redis === null ? undefined : { store: this.#supervisor, withinMs: redis.timeout + SHARE_EXTRA_MS },
      isWhole: !(store instanceof RedisClusterStore),
      leases: { enforcement: limits.enforcement, maxOverRatio: limits.maxOverAdmission },
    });
    if (before.store !== store && before.store !== this.#supervisor) before.store.close();
  }

  /** The supervisor's answer to a batch. */
  receive(reply: LimitBatchReply): void {
    this.#supervisor.receive(reply);
  }

  /** This worker ends: what it holds goes back to the store in one batch, which nobody waits for. */
  async leave(): Promise<void> {
    const now = systemNow();
    this.limiter.drain(now);
    this.slots.drain(now);
    // The batch is written at the end of this turn; an ended connection still sends what was written.
    await turnEnd();
    const { store } = this.#open;
    store.close();
    if (store !== this.#supervisor) this.#supervisor.close();
  }

  #embedded(): OpenStore {
    this.#meter.set('limit_fallback', [], this.#supervisor.pauseMs(systemNow()) === 0 ? 0 : 1);
    return { mark: EMBEDDED, store: this.#supervisor, condition: { state: 'embedded', reason: '' } };
  }

  #supervisorStore(send: (message: ToSupervisor) => boolean): IpcLimitStore {
    return new IpcLimitStore({
      send: (batch) => send({ type: 'limits', batch }),
      timeoutMs: EMBEDDED_TIMEOUT_MS,
      random: Math.random,
      onState: (state, reason) => {
        if (!this.#usesRedis) this.#meter.set('limit_fallback', [], state === 'fit' ? 0 : 1);
        if (state === 'unfit') this.#unanswered(reason, 1);
      },
      onUnanswered: (kind, calls) => {
        this.#unanswered(kind, calls);
      },
      onTrip: (tripMs) => {
        this.#meter.observe('limit_store_seconds', ['embedded'], tripMs / 1000);
      },
    });
  }

  #openRedis(redis: RedisConfiguration, mark: string, workers: number, gateway: string): OpenStore {
    const options = {
      timeoutMs: redis.timeout,
      gateway,
      workers,
      gateways: redis.gateways,
      random: Math.random,
      onState: (state: 'fit' | 'unfit', reason: string): void => {
        open.condition = { state: state === 'fit' ? 'up' : 'down', reason };
        this.#meter.set('redis_up', [], state === 'fit' ? 1 : 0);
        this.#meter.set('limit_fallback', [], state === 'fit' ? 0 : 1);
        this.#log[state === 'fit' ? 'info' : 'warn'](
          { reason },
          state === 'fit' ? 'Redis is up' : 'Redis is down',
        );
        if (state === 'unfit') this.#unanswered(reason, 1);
      },
      onTrip: (tripMs: number): void => {
        this.#meter.observe('limit_store_seconds', ['redis'], tripMs / 1000);
      },
      onUnanswered: (kind: string, calls: number): void => {
        this.#unanswered(kind, calls);
      },
    };
    const open: OpenStore = {
      mark,
      condition: { state: 'down', reason: 'connecting' },
      store:
        redis.cluster === null
          ? new RedisLimitStore({ ...options, client: openPrimary(redis, Math.random) })
          : new RedisClusterStore({ ...options, place: redis }),
    };
    this.#meter.set('redis_up', [], 0);
    this.#meter.set('limit_fallback', [], 1);
    return open;
  }

  /** Tells the meter what the limiter counts by itself; before each report. */
  countTokens(): void {
    const tokens = this.limiter.leaseTokens(systemNow());
    for (const event of LEASE_EVENTS)
      this.#meter.slot('limit_lease_tokens_total', [event]).value = tokens[event];
  }

  #unanswered(kind: string, calls: number): void {
    this.#meter.add('limit_store_errors_total', [kind], calls);
  }
}

/** What makes a connection another one; the rest of the section may change while it stays. */
function markOf(redis: RedisConfiguration): string {
  return JSON.stringify({ ...redis, onUnavailable: null, keySecret: null });
}
