import type { Logger } from 'pino';
import type { Configuration, RedisConfiguration } from '../../config/schema.ts';
import { Limiter } from '../limits/limiter.ts';
import type { BucketStore } from './limit-store/gcra-limiter.ts';
import { IpcLimitStore, type LimitBatchReply } from './limit-store/ipc.ts';
import { RedisLimitStore } from './limit-store/redis.ts';
import type { ToSupervisor } from './ipc.ts';
import type { Meter } from './meter.ts';
import os from 'node:os';
import process from 'node:process';

/**
 * The worker's limiter and the store it asks: Redis where one is configured, else the supervisor's memory.
 *
 * A reload that keeps the store's address keeps the connection and everything learned; another address opens the new
 * connection first and closes the old one after.
 */

/**
 * The embedded store answers from another process of this machine. Half and a saturated machine, on which the supervisor
 * is scheduled late, counts as a lost store; double and a supervisor that stands still costs each request that much.
 */
const EMBEDDED_TIMEOUT_MS = 100;

export interface StoreCondition {
  readonly state: 'embedded' | 'up' | 'down';
  readonly reason: string;
}

interface OpenStore {
  readonly mark: string;
  readonly store: IpcLimitStore | RedisLimitStore;
  condition: StoreCondition;
}

export class WorkerLimits {
  readonly limiter: Limiter;
  readonly #meter: Meter;
  readonly #log: Logger;
  readonly #send: (message: ToSupervisor) => boolean;
  #open: OpenStore;

  constructor(parts: { meter: Meter; log: Logger; send: (message: ToSupervisor) => boolean }) {
    this.#meter = parts.meter;
    this.#log = parts.log;
    this.#send = parts.send;
    this.#open = this.#openEmbedded();
    this.limiter = new Limiter({
      store: this.#open.store,
      onUnavailable: 'local',
      workers: 1,
      random: Math.random,
    });
  }

  /** The store in force, for questions about single buckets. */
  get store(): BucketStore {
    return this.#open.store;
  }

  get condition(): StoreCondition {
    return this.#open.condition;
  }

  configure({ redis, limits }: Configuration, workers: number): void {
    const mark = redis === null ? 'embedded' : JSON.stringify([redis.url, redis.timeout, redis.gateways]);
    const before = this.#open;
    if (mark !== before.mark)
      this.#open = redis === null ? this.#openEmbedded() : this.#openRedis(redis, mark, workers);
    const { store } = this.#open;
    if (store instanceof RedisLimitStore) store.setWorkers(workers);
    this.limiter.setWorkers(workers);
    this.limiter.configure({
      onUnavailable: redis?.onUnavailable ?? 'local',
      store,
      leases: { enforcement: limits.enforcement, maxOverRatio: limits.maxOverAdmission },
    });
    if (before.store !== store) before.store.close();
  }

  /** The supervisor's answer to a batch. */
  receive(reply: LimitBatchReply): void {
    const { store } = this.#open;
    if (store instanceof IpcLimitStore) store.receive(reply);
  }

  close(): void {
    this.#open.store.close();
  }

  #openEmbedded(): OpenStore {
    const store = new IpcLimitStore({
      send: (batch) => this.#send({ type: 'limits', batch }),
      timeoutMs: EMBEDDED_TIMEOUT_MS,
      random: Math.random,
      onState: (state, reason) => {
        if (state === 'unfit') this.#failed('supervisor', reason);
      },
      onTrip: (tripMs) => {
        this.#meter.observe('limit_store_seconds', ['embedded'], tripMs / 1000);
      },
    });
    return { mark: 'embedded', store, condition: { state: 'embedded', reason: '' } };
  }

  #openRedis(redis: RedisConfiguration, mark: string, workers: number): OpenStore {
    const open: OpenStore = {
      mark,
      condition: { state: 'down', reason: 'connecting' },
      store: new RedisLimitStore({
        url: redis.url ?? '',
        timeoutMs: redis.timeout,
        gateway: gatewayName(),
        workers,
        gateways: redis.gateways,
        random: Math.random,
        onState: (state, reason) => {
          open.condition = { state: state === 'fit' ? 'up' : 'down', reason };
          this.#meter.set('redis_up', [], state === 'fit' ? 1 : 0);
          this.#log[state === 'fit' ? 'info' : 'warn'](
            { reason },
            state === 'fit' ? 'Redis is up' : 'Redis is down',
          );
          if (state === 'unfit') this.#failed('redis', reason);
        },
        onTrip: (tripMs) => {
          this.#meter.observe('limit_store_seconds', ['redis'], tripMs / 1000);
        },
      }),
    };
    this.#meter.set('redis_up', [], 0);
    return open;
  }

  #failed(kind: string, reason: string): void {
    this.#meter.add('limit_store_errors_total', [reason === '' ? kind : reason]);
  }
}

/** The same in all workers of this gateway: host and supervisor. */
function gatewayName(): string {
  return `${os.hostname()}-${process.ppid}`;
}
