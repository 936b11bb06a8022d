/**
 * The limit store in one Redis (≥ 6.2 or compatible): a server, the primary that sentinels name, or one primary of a cluster
 * (`redis-cluster.ts` holds one of these for each). One connection a worker.
 *
 * A decision is one EVALSHA whatever the levels; the calls of one turn of the event loop leave in one write. Nothing is
 * queued while there is no connection, nothing is sent twice after a cut, nothing waits past the deadline
 * (`turn-batches.ts`), and whether it may be asked at all is `StoreFitness`'s word. A socket that says nothing for a
 * second with a call outstanding is destroyed: TCP alone would take minutes to notice.
 */
import type { Redis } from 'ioredis';
import { SLOW } from '../../limits/fitness.ts';
import type { FitnessListener } from '../../limits/fitness.ts';
import type { StoreCall, StoreReply, StoreView } from '../../limits/store.ts';
import { systemNow } from '../system-clock.ts';
import { BatchedStore } from './batched-store.ts';
import type { BatchedStoreOptions } from './batched-store.ts';
import { scriptArguments } from './calls.ts';
import { refusalWord } from './redis-options.ts';
import { BEAT, LIVE_KEY, LIVE_SECONDS, SCRIPTS } from './scripts.ts';
import { ScriptCall } from './script-call.ts';
import type { NodeStore } from './script-call.ts';
import type { Batch } from './turn-batches.ts';

/** Half splits a burst of a busy turn needlessly; double keeps Redis busy for other workers' deadlines. */
const MOST_CALLS_IN_A_PIPELINE = 64;
/** A socket this silent with a call outstanding is dead. 500 ms would cut a Redis that swaps; 2 s delays recovery. */
const SILENT_MS = 1000;
/** A tick later than this means that our own loop stood still, and the silence was ours. */
const OWN_STANDSTILL_MS = 250;

export interface RedisLimitStoreOptions extends BatchedStoreOptions {
  /** Opened just now, see `redis-options.ts`; ended by `close`. */
  readonly client: Redis;
  /** This gateway's name among those that share the Redis; the same for all its workers. */
  readonly gateway: string;
  /** Workers of this gateway. */
  readonly workers: number;
  /** Live gateways assumed until a heartbeat has told. */
  readonly gateways: number;
  /** In a cluster: takes a call that this node has sent away (true), to be told its end as if this node had answered. */
  readonly elsewhere?: (error: string, call: ScriptCall) => boolean;
}

export class RedisLimitStore extends BatchedStore implements NodeStore {
  readonly #redis: Redis;
  readonly #gateway: string;
  readonly #elsewhere: RedisLimitStoreOptions['elsewhere'];
  #workers: number;
  #liveGateways: number;
  #liveWorkers: number;
  /** Infinity while it is lost, and before it was ever fit. */
  #fitSince = Infinity;
  #lastError = 'closed';
  #lastTick = systemNow();
  #bytesRead = 0;
  #silentSince = this.#lastTick;
  #outstanding = 0;
  #closed = false;
  /** Another key than that of all gateways, where only the connection is to be tried. */
  #trialKey = '';

  constructor(options: RedisLimitStoreOptions) {
    const onState: FitnessListener = (state, reason) => {
      this.#fitSince = state === 'fit' ? systemNow() : Infinity;
      options.onState(state, reason);
    };
    super({ ...options, onState }, MOST_CALLS_IN_A_PIPELINE);
    this.#redis = options.client;
    this.#gateway = options.gateway;
    this.#elsewhere = options.elsewhere;
    this.#workers = options.workers;
    this.#liveGateways = options.gateways;
    this.#liveWorkers = options.gateways * options.workers;
    // Without this listener the first refused connection ends the process.
    this.#redis.on('error', (error: Error) => {
      this.connectionError(error);
      // No sentinel could be asked: there was no connection that could close.
      if (this.#redis.status === 'connecting') this.fitness.disconnected(systemNow(), this.#lastError);
    });
    this.#redis.on('ready', () => this.#ready());
    this.#redis.on('close', () => {
      if (!this.#closed) this.fitness.disconnected(systemNow(), this.#lastError);
    });
  }

  /** Forgets a bucket: it is full again; whether it was there. For operators, see `ordered`. */
  async forget(key: string): Promise<boolean> {
    return (await this.ordered(() => this.#delete(key))) > 0;
  }

  /** For a cluster: what the node is asked besides. */
  get client(): Redis {
    return this.#redis;
  }

  /** For a cluster: may the node be asked now? */
  mayAsk(now: number): boolean {
    return !this.#closed && this.fitness.mayAsk(now);
  }

  /** For a cluster: heartbeats only try this node, by writing to this key of it; empty: they tell of this gateway. */
  tryBy(key: string): void {
    this.#trialKey = key;
  }

  /** For a cluster: sends here what another node has sent away; the answer is that node's to give. */
  sendFor(call: ScriptCall, asking: boolean): boolean {
    if (this.#closed || !this.isOpen()) return false;
    const { args, name, store, batch, index, hops } = call;
    const stream = this.#redis.stream;
    stream.cork();
    if (asking) this.#redis.asking().catch((error: unknown) => this.connectionError(error));
    this.#send(new ScriptCall(name, args as string[], store, batch, index, this, hops + 1));
    stream.uncork();
    return true;
  }

  /** Workers of this gateway, told with the next heartbeat. */
  setWorkers(workers: number): void {
    this.#workers = workers;
  }

  gateways(): number {
    return this.#liveGateways;
  }

  workers(): number {
    return this.#liveWorkers;
  }

  override close(): void {
    this.#closed = true;
    super.close();
    this.#redis.disconnect();
  }

  /** For a cluster: nobody could be asked instead; that says nothing about this node. */
  abandon(batch: Batch): void {
    this.batches.refused(batch, '', 'moved');
    this.#repeatWhenAllAnswered(batch);
  }

  /** For `ScriptCall`: it has come to an end on this connection. */
  ended(): void {
    this.#outstanding--;
  }

  /** For `ScriptCall`: one reply of a batch. */
  replied(batch: Batch, index: number, reply: StoreReply): void {
    if (batch.beat && this.#trialKey === '') this.#heard(reply);
    this.batches.replied(batch, index, reply);
    this.#repeatWhenAllAnswered(batch);
  }

  /** For `ScriptCall`: one call of a batch failed. */
  failed(call: ScriptCall, error: Error): void {
    const { batch, index } = call;
    if (this.#elsewhere?.(error.message, call) === true) return;
    if (error.message.startsWith('NOSCRIPT') && !batch.repeated) {
      if (call.via !== this) call.via.loadScripts();
      batch.again.push(index);
      this.#repeatWhenAllAnswered(batch);
      return;
    }
    const word = refusalWord(error.message);
    if (word !== '') {
      this.fitness.refused(systemNow(), word);
      this.batches.refused(batch, batch.beat ? word : '', word);
    } else {
      // A lost connection is told by its own event; a reply that nobody expected counts against the store.
      const answered = error.name === 'ReplyError';
      this.batches.refused(batch, answered ? 'error' : '', answered ? 'error' : this.#lastError);
    }
    this.#repeatWhenAllAnswered(batch);
  }

  /** Counted like a call, so that a silent socket is replaced and the promise ends. */
  async #delete(key: string): Promise<number> {
    if (this.#outstanding++ === 0) this.#silentSince = systemNow();
    try {
      return await this.#redis.del(key);
    } finally {
      this.#outstanding--;
    }
  }

  protected kind(): StoreView['kind'] {
    return 'redis';
  }

  protected isOpen(): boolean {
    return this.#redis.status === 'ready';
  }

  protected transmit(batch: Batch): void {
    const stream = this.#redis.stream;
    stream.cork();
    if (batch.beat && this.#trialKey !== '') {
      this.#send(new ScriptCall('set', [this.#trialKey, 1, 'EX', LIVE_SECONDS], this, batch, 0));
    } else if (batch.beat) {
      const args = [BEAT, 1, LIVE_KEY, this.#gateway, this.#workers, LIVE_SECONDS];
      this.#send(new ScriptCall('eval', args, this, batch, 0));
    } else {
      for (let i = 0; i < batch.calls.length; i++) this.#sendCall(batch, i);
    }
    stream.uncork();
  }

  #sendCall(batch: Batch, index: number): void {
    const call = batch.calls[index] as StoreCall;
    this.#send(new ScriptCall('evalsha', scriptArguments(call), this, batch, index));
  }

  #send(call: ScriptCall): void {
    if (this.#outstanding++ === 0) this.#silentSince = systemNow();
    void this.#redis.sendCommand(call);
  }

  /** Redis had lost the script: once a pipeline's other answers are here, those calls are sent once more. */
  #repeatWhenAllAnswered(batch: Batch): void {
    if (batch.again.length === 0 || batch.again.length < batch.left) return;
    const again = batch.again;
    batch.again = [];
    batch.repeated = true;
    // Too late for these calls: load for the next ones, but charge nothing that has been decided elsewhere.
    this.loadScripts();
    if (batch.expired) {
      for (let i = 0; i < again.length; i++) this.batches.refused(batch, '', SLOW);
      return;
    }
    for (const index of again) this.#sendCall(batch, index);
  }

  /** For `NodeStore`. */
  loadScripts(): void {
    for (const script of SCRIPTS)
      this.#redis.script('LOAD', script).catch((error: unknown) => this.connectionError(error));
  }

  #ready(): void {
    const now = systemNow();
    this.#lastError = 'closed';
    this.#outstanding = 0;
    this.loadScripts();
    this.fitness.connected(now);
    this.tick(now);
  }

  connectionError(error: unknown): void {
    if (!(error instanceof Error)) return;
    const code: unknown = 'code' in error ? error.code : undefined;
    const word = error.message.startsWith('All sentinels') ? 'sentinels' : refusalWord(error.message);
    this.#lastError = word || (typeof code === 'string' ? code : 'error');
  }

  /**
   * At the start and after a loss the others have to be heard anew: until all have had the time, nobody is taken for gone.
   * Else whoever is there first would think himself alone, and take the whole of each limit for his share.
   */
  #heard([gateways = 1, workers = 1]: StoreReply): void {
    const settled = systemNow() - this.#fitSince >= LIVE_SECONDS * 1000;
    this.#liveGateways = Math.max(settled ? 1 : this.#liveGateways, gateways);
    this.#liveWorkers = Math.max(settled ? 1 : this.#liveWorkers, workers);
  }

  protected override tick(now: number): void {
    if (now - this.#lastTick > OWN_STANDSTILL_MS) this.#silentSince = now;
    this.#lastTick = now;
    this.#watchSocket(now);
    super.tick(now);
  }

  /** A socket in its handshake or with calls outstanding that brings no byte for a second is replaced. */
  #watchSocket(now: number): void {
    const status = this.#redis.status;
    const waiting = status === 'connect' || (this.isOpen() && this.#outstanding > 0);
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
