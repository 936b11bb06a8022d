/**
 * One command of a batch: a `Command` of the client library with its own `resolve` and `reject`, so that the replies of a
 * batch are settled together.
 *
 * It also makes its own promise. The library's `initPromise` assigns a closure over the command to a field; V8 allocates such
 * closures in old space, so that the command and all that hangs on it, down to the request, outlive every scavenge. At 500
 * decisions a second each scavenge copied 6 MB that was garbage, for 10 to 20 ms.
 */
import { Command } from 'ioredis';
import type { Redis } from 'ioredis';
import type { StoreReply } from '../../limits/store.ts';
import type { Batch } from './turn-batches.ts';

/** One Redis, as its calls see it; in a cluster a call that was sent away ends on the connection of another. */
export interface NodeStore {
  readonly client: Redis;
  /** A call has come to an end on this connection. */
  ended(): void;
  replied(batch: Batch, index: number, reply: StoreReply): void;
  failed(call: ScriptCall, error: Error): void;
  /** Nobody could be asked instead; that says nothing about this node. */
  abandon(batch: Batch): void;
  loadScripts(): void;
  /** Sends here what another node has sent away; the answer is that node's to give. False without a connection. */
  sendFor(call: ScriptCall, asking: boolean): boolean;
}

export class ScriptCall extends Command {
  readonly store: NodeStore;
  readonly batch: Batch;
  readonly index: number;
  /** On whose connection it is. */
  readonly via: NodeStore;
  /** How often it was sent elsewhere. */
  readonly hops: number;
  readonly end: (value: null) => void;

  static {
    // Private in the library's types, hence not by `override`.
    Object.defineProperty(this.prototype, 'initPromise', { value: initPromise });
  }

  constructor(
    name: string,
    args: (string | number)[],
    store: NodeStore,
    batch: Batch,
    index: number,
    via = store,
    hops = 0,
  ) {
    super(name, args);
    this.store = store;
    this.batch = batch;
    this.index = index;
    this.via = via;
    this.hops = hops;
    // The library calls these as methods of the command. The promise always resolves, so that it is never unhandled
    // and whoever traces the library sees it end.
    this.end = this.resolve;
    this.resolve = takeReply;
    this.reject = takeError;
  }
}

function initPromise(this: Command): void {
  this.stringifyArguments();
  ({ promise: this.promise, resolve: this.resolve } = Promise.withResolvers<unknown>());
}

function takeReply(this: ScriptCall, reply: unknown): void {
  this.end(null);
  this.via.ended();
  this.store.replied(this.batch, this.index, reply as StoreReply);
}

function takeError(this: ScriptCall, error: Error): void {
  this.end(null);
  this.via.ended();
  this.store.failed(this, error);
}
