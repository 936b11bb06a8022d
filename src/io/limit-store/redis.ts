/**
 * The limit store in Redis (≥ 6.2 or compatible), standalone: one connection a worker.
 *
 * A decision is one EVALSHA whatever the levels; the calls of one turn of the event loop leave in one write. Nothing is
 * queued while there is no connection, nothing is sent twice after a cut, nothing waits past the deadline
 * (`turn-batches.ts`), and whether it may be asked at all is `StoreFitness`'s word. A socket that says nothing for a
 * second with a call outstanding is destroyed: TCP alone would take minutes to notice.
 *
 * A call is a `Command` of the client library with its own `resolve` and `reject`: the replies of a batch are settled
 * together, without a promise for each.
 */
import { Command, Redis } from 'ioredis';
import type { Random } from '../../kernel/random.ts';
import { StoreFitness } from '../../limits/fitness.ts';
import type { FitnessListener } from '../../limits/fitness.ts';
import type { LimitStore, StoreCall, StoreReply, StoreView } from '../../limits/store.ts';
import { beforeDeadline } from './before-deadline.ts';
import { redisOptions, refusalWord } from './redis-options.ts';
import { BEAT, DECIDE, DECIDE_SHA, LIVE_KEY, LIVE_SECONDS } from './scripts.ts';
import type { Batch } from './turn-batches.ts';
import { TurnBatches } from './turn-batches.ts';

/** Half splits a burst of a busy turn needlessly; double keeps Redis busy for other workers' deadlines. */
const MOST_CALLS_IN_A_PIPELINE = 64;
/** How often the fitness and the socket are looked at. 25 ms finds nothing earlier; 100 ms delays recovery. */
const TICK_MS = 50;
/** A socket this silent with a call outstanding is dead. 500 ms would cut a Redis that swaps; 2 s delays recovery. */
const SILENT_MS = 1000;
/** A tick later than this means that our own loop stood still, and the silence was ours. */
const OWN_STANDSTILL_MS = 250;

export interface RedisLimitStoreOptions {
  /** `redis://` or `rediss://`, with credentials and database as usual. */
  readonly url: string;
  /** The longest that a decision waits, ms. */
  readonly timeoutMs: number;
  /** This gateway's name among those that share the Redis; the same for all its workers. */
  readonly gateway: string;
  /** Workers of this gateway. */
  readonly workers: number;
  /** Live gateways assumed until a heartbeat has told. */
  readonly gateways: number;
  readonly random: Random;
  /** Told each change between fit and unfit, once. */
  readonly onState: FitnessListener;
  /** Told each round trip, ms. */
  readonly onTrip?: (tripMs: number) => void;
  readonly clock?: () => number;
}

export class RedisLimitStore implements LimitStore {
  readonly #redis: Redis;
  readonly #fitness: StoreFitness;
  readonly #batches: TurnBatches;
  readonly #clock: () => number;
  readonly #gateway: string;
  readonly #timeoutMs: number;
  readonly #ticker: NodeJS.Timeout;
  #workers: number;
  #liveGateways: number;
  #liveWorkers: number;
  #lastError = 'closed';
  #lastTick: number;
  #bytesRead = 0;
  #silentSince: number;
  #outstanding = 0;
  #closed = false;

  constructor(options: RedisLimitStoreOptions) {
    this.#clock = options.clock ?? monotonicMs;
    this.#gateway = options.gateway;
    this.#timeoutMs = options.timeoutMs;
    this.#workers = options.workers;
    this.#liveGateways = options.gateways;
    this.#liveWorkers = options.gateways * options.workers;
    this.#fitness = new StoreFitness(options.random, options.onState);
    this.#batches = new TurnBatches({
      timeoutMs: options.timeoutMs,
      mostCalls: MOST_CALLS_IN_A_PIPELINE,
      fitness: this.#fitness,
      clock: this.#clock,
      transmit: (batch) => this.#transmit(batch),
      onTrip: options.onTrip,
    });
    this.#lastTick = this.#clock();
    this.#silentSince = this.#lastTick;
    this.#redis = new Redis(options.url, redisOptions(options.random));
    // Without this listener the first refused connection ends the process.
    this.#redis.on('error', (error: Error) => this.connectionError(error));
    this.#redis.on('ready', () => this.#ready());
    this.#redis.on('close', () => {
      if (!this.#closed) this.#fitness.disconnected(this.#clock(), this.#lastError);
    });
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    this.#ticker.unref();
  }

  decide(call: StoreCall, now: number): boolean {
    return this.#batches.add(call, now);
  }

  /**
   * Forgets a bucket: it is full again. For operators, not for requests. Rejects when Redis may not be asked now, or has
   * not answered by the deadline: then it may still come to it.
   */
  async forget(key: string): Promise<boolean> {
    if (!this.#fitness.mayAsk(this.#clock())) throw new Error(this.#fitness.reason());
    return (await beforeDeadline(this.#delete(key), this.#timeoutMs)) > 0;
  }

  /** Workers of this gateway, told with the next heartbeat. */
  setWorkers(workers: number): void {
    this.#workers = workers;
  }

  gateways(): number {
    return this.#liveGateways;
  }

  pauseMs(now: number): number {
    return this.#fitness.pauseMs(now);
  }

  view(now: number): StoreView {
    return {
      kind: 'redis',
      state: this.#fitness.state(now),
      reason: this.#fitness.reason(),
      gateways: this.#liveGateways,
      workers: this.#liveWorkers,
      calls: this.#batches.calls,
      batches: this.#batches.batches,
      missed: this.#batches.missed,
      failed: this.#batches.failed,
    };
  }

  /** Whoever waits is told that there is no store; calls in flight may still be charged. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#ticker);
    this.#batches.close();
    this.#redis.disconnect();
  }

  /** For `ScriptCall`: one reply of a batch. */
  replied(batch: Batch, index: number, reply: StoreReply): void {
    this.#outstanding--;
    if (batch.beat) this.#heard(reply);
    this.#batches.replied(batch, index, reply);
    this.#repeatWhenAllAnswered(batch);
  }

  /** For `ScriptCall`: one call of a batch failed. */
  failed(batch: Batch, index: number, error: Error): void {
    this.#outstanding--;
    if (error.message.startsWith('NOSCRIPT') && !batch.repeated) {
      batch.again.push(index);
      this.#repeatWhenAllAnswered(batch);
      return;
    }
    const word = refusalWord(error.message);
    if (word !== '') {
      this.#fitness.refused(this.#clock(), word);
      this.#batches.refused(batch, batch.beat ? word : '');
    } else {
      // A lost connection is told by its own event; a reply that nobody expected counts against the store.
      this.#batches.refused(batch, error.name === 'ReplyError' ? 'error' : '');
    }
    this.#repeatWhenAllAnswered(batch);
  }

  /** Counted like a call, so that a silent socket is replaced and the promise ends. */
  async #delete(key: string): Promise<number> {
    if (this.#outstanding++ === 0) this.#silentSince = this.#clock();
    try {
      return await this.#redis.del(key);
    } finally {
      this.#outstanding--;
    }
  }

  #transmit(batch: Batch): void {
    const stream = this.#redis.stream;
    stream.cork();
    if (batch.beat) {
      const args = [BEAT, 1, LIVE_KEY, this.#gateway, this.#workers, LIVE_SECONDS];
      this.#send(new ScriptCall('eval', args, this, batch, 0));
    } else {
      for (let i = 0; i < batch.calls.length; i++) this.#sendCall(batch, i);
    }
    stream.uncork();
  }

  #sendCall(batch: Batch, index: number): void {
    const call = batch.calls[index] as StoreCall;
    const args: (string | number)[] = [DECIDE_SHA, call.keys.length];
    for (const key of call.keys) args.push(key);
    for (const term of call.terms) args.push(term);
    this.#send(new ScriptCall('evalsha', args, this, batch, index));
  }

  #send(call: ScriptCall): void {
    if (this.#outstanding++ === 0) this.#silentSince = this.#clock();
    void this.#redis.sendCommand(call);
  }

  /** Redis had lost the script: once a pipeline's other answers are here, those calls are sent once more. */
  #repeatWhenAllAnswered(batch: Batch): void {
    if (batch.again.length === 0 || batch.again.length < batch.left) return;
    const again = batch.again;
    batch.again = [];
    batch.repeated = true;
    // Too late for these calls: load for the next ones, but charge nothing that has been decided elsewhere.
    this.#loadScript();
    if (batch.expired) {
      for (let i = 0; i < again.length; i++) this.#batches.refused(batch, '');
      return;
    }
    for (const index of again) this.#sendCall(batch, index);
  }

  #loadScript(): void {
    this.#redis.script('LOAD', DECIDE).catch((error: unknown) => this.connectionError(error));
  }

  #ready(): void {
    const now = this.#clock();
    this.#lastError = 'closed';
    this.#outstanding = 0;
    this.#loadScript();
    this.#fitness.connected(now);
    this.#tick();
  }

  connectionError(error: unknown): void {
    if (!(error instanceof Error)) return;
    const code: unknown = 'code' in error ? error.code : undefined;
    this.#lastError = refusalWord(error.message) || (typeof code === 'string' ? code : 'error');
  }

  #heard(reply: StoreReply): void {
    this.#liveGateways = Math.max(1, reply[0] ?? 1);
    this.#liveWorkers = Math.max(1, reply[1] ?? 1);
  }

  #tick(): void {
    const now = this.#clock();
    if (now - this.#lastTick > OWN_STANDSTILL_MS) this.#silentSince = now;
    this.#lastTick = now;
    this.#fitness.tick(now);
    this.#watchSocket(now);
    if (this.#redis.status === 'ready' && this.#fitness.beatDue(now)) this.#batches.sendBeat(now);
  }

  /** A socket in its handshake or with calls outstanding that brings no byte for a second is replaced. */
  #watchSocket(now: number): void {
    const status = this.#redis.status;
    const waiting = status === 'connect' || (status === 'ready' && this.#outstanding > 0);
    const stream = this.#redis.stream as Redis['stream'] | undefined;
    const bytesRead = stream?.bytesRead ?? 0;
    if (!waiting || bytesRead !== this.#bytesRead) {
      this.#bytesRead = bytesRead;
      this.#silentSince = now;
      return;
    }
    if (now - this.#silentSince < SILENT_MS) return;
    this.#silentSince = now;
    this.#lastError = 'silent';
    stream?.destroy();
  }
}

/** One EVALSHA or EVAL of a batch. */
class ScriptCall extends Command {
  readonly store: RedisLimitStore;
  readonly batch: Batch;
  readonly index: number;
  readonly end: (value: unknown) => void;

  constructor(name: string, args: (string | number)[], store: RedisLimitStore, batch: Batch, index: number) {
    super(name, args);
    this.store = store;
    this.batch = batch;
    this.index = index;
    // The library calls these as methods of the command. Its promise always resolves, so that it is never unhandled
    // and whoever traces the library sees it end.
    this.end = this.resolve;
    this.resolve = takeReply;
    this.reject = takeError;
  }
}

function takeReply(this: ScriptCall, reply: unknown): void {
  this.end(reply);
  this.store.replied(this.batch, this.index, reply as StoreReply);
}

function takeError(this: ScriptCall, error: Error): void {
  this.end(null);
  this.store.failed(this.batch, this.index, error);
}

function monotonicMs(): number {
  return performance.now();
}
