/**
 * The limit store of a gateway without Redis: the buckets live in the supervisor, workers ask over the message channel.
 *
 * One message a turn of the event loop carries all its calls, as flat arrays: names, numbers, and what each call is. An empty
 * message is a heartbeat. The same deadline, suspicion and pauses hold for the supervisor as for Redis, so that one that
 * stands still delays nobody for longer than a deadline: the worker then decides by its own share. Moments never cross the
 * channel; the supervisor's own monotonic clock decides.
 *
 * With Redis the same store is asked for the gateway's share while Redis is lost. Such a call has less time, since it may
 * have waited for Redis already; but a supervisor that is late for it is not lost, and its answer is kept when it comes.
 */
import { SLOW } from '../../limits/fitness.ts';
import type { EmbeddedStore } from '../../limits/embedded-store.ts';
import { REPLY_PER_LEVEL, TERMS_PER_LEVEL } from '../../limits/gcra.ts';
import type { StoreCall, StoreView } from '../../limits/store.ts';
import { systemNow } from '../system-clock.ts';
import { BatchedStore } from './batched-store.ts';
import type { BatchedStoreOptions } from './batched-store.ts';
import { RefundOrder, SlotsQuestion } from './calls.ts';
import type { Batch } from './turn-batches.ts';

/**
 * Number of the message, names of all calls, numbers of all calls, and a sign for each call: n > 0, a decision over n
 * buckets, five terms each; `FLOORED` + n, the same, and after the terms the ticks that each bucket is away from full at
 * least; 0, a question for slots: names of the hash and of the worker, then need, keep and most; -n, units for n buckets,
 * with the ticks of a unit. No calls = a heartbeat, or with a last element the order to forget these buckets.
 */
export type LimitBatchMessage = readonly [
  id: number,
  keys: readonly string[],
  terms: readonly number[],
  calls: readonly number[],
  order?: 'forget',
];
/** Number of the message, then all replies one after the other; for each forgotten bucket 1, or 0 when it was full. */
export type LimitBatchReply = readonly [id: number, replies: readonly number[]];

/** More than the levels of a decision. */
const FLOORED = 64;
/** The shortest timer. Half is none; double asks for less than there is time for. */
const TRIP_MS = 1;

export interface IpcLimitStoreOptions extends BatchedStoreOptions {
  /** Sends one message to the supervisor; throws or returns false when the channel is closed. */
  readonly send: (message: LimitBatchMessage) => boolean | void;
}

/** The worker's side. */
export class IpcLimitStore extends BatchedStore {
  readonly #sendMessage: IpcLimitStoreOptions['send'];
  readonly #unanswered = new Map<number, Batch>();
  readonly #forgetting = new Map<number, PromiseWithResolvers<boolean>>();
  readonly #onUnanswered: IpcLimitStoreOptions['onUnanswered'];
  #nextId = 1;
  /** A call in a hurry has waited in vain, and the supervisor has not said a word since. */
  #isLate = false;

  constructor(options: IpcLimitStoreOptions) {
    super(options, Infinity);
    this.#sendMessage = options.send;
    this.#onUnanswered = options.onUnanswered;
    // No first heartbeat to wait for: until it came back, a starting worker would hand out shares beside the store.
    this.fitness.trusted(systemNow());
  }

  override decide(call: StoreCall, now: number): boolean {
    // One has waited in vain, so nobody else does; nor who has no time for a trip, that of a timer at least.
    const isVain = call.dueMs !== undefined && (this.#isLate || call.dueMs - now < TRIP_MS);
    return !isVain && super.decide(call, now);
  }

  /** Forgets a bucket: it is full again; whether it was there. For operators, see `ordered`. */
  async forget(key: string): Promise<boolean> {
    const id = this.#nextId++;
    const waiting = Promise.withResolvers<boolean>();
    this.#forgetting.set(id, waiting);
    try {
      return await this.ordered(async () => {
        if (!this.#sent([id, [key], [], [], 'forget'])) throw new Error('closed');
        return await waiting.promise;
      });
    } finally {
      this.#forgetting.delete(id);
    }
  }

  /** The supervisor's answer to a message; one that nobody waits for any more only shows that it lives. */
  receive(reply: LimitBatchReply): void {
    this.#isLate = false;
    const forgetting = this.#forgetting.get(reply[0]);
    if (forgetting !== undefined) forgetting.resolve(reply[1][0] === 1);
    const batch = this.#unanswered.get(reply[0]);
    if (batch === undefined) return;
    this.#unanswered.delete(reply[0]);
    if (batch.beat) {
      this.batches.replied(batch, 0, []);
      return;
    }
    let at = 0;
    for (let i = 0; i < batch.calls.length; i++) {
      const length = replyLength(batch.calls[i] as StoreCall);
      this.batches.replied(batch, i, reply[1].slice(at, at + length));
      at += length;
    }
  }

  gateways(): number {
    return 1;
  }

  workers(): number {
    return 0;
  }

  override close(): void {
    super.close();
    for (const batch of this.#unanswered.values()) this.#fail(batch);
    this.#unanswered.clear();
  }

  protected kind(): StoreView['kind'] {
    return 'ipc';
  }

  protected isOpen(): boolean {
    return true;
  }

  protected transmit(batch: Batch): void {
    const keys: string[] = [];
    const terms: number[] = [];
    const signs: number[] = [];
    let dueMs = Infinity;
    for (const call of batch.calls) {
      for (const key of call.keys) keys.push(key);
      for (const term of call.terms) terms.push(term);
      if (call instanceof SlotsQuestion) {
        const { worker, need, keep, most } = call.call;
        keys.push(worker);
        terms.push(need, keep, most);
        signs.push(0);
      } else if (call.floors !== undefined) {
        dueMs = Math.min(dueMs, call.dueMs ?? Infinity);
        terms.push(...call.floors);
        signs.push(FLOORED + call.keys.length);
      } else signs.push(call instanceof RefundOrder ? -call.keys.length : call.keys.length);
    }
    const id = this.#nextId++;
    // While the supervisor is silent only heartbeats are added; each throws out what nobody waits for any more.
    if (batch.beat) this.#forgetExpired();
    this.#unanswered.set(id, batch);
    if (this.#sent([id, keys, terms, signs])) {
      const leftMs = dueMs - systemNow();
      if (leftMs < TRIP_MS) setImmediate(this.#hurry, batch);
      else if (leftMs < Infinity) setTimeout(setImmediate, leftMs, this.#hurry, batch);
      return;
    }
    this.#unanswered.delete(id);
    this.fitness.refused(systemNow(), 'closed');
    this.#fail(batch);
  }

  /** The calls in a hurry are due, and the channel has been read once more, as for every deadline. */
  readonly #hurry = (batch: Batch): void => {
    if (batch.left === 0 || batch.expired) return;
    const now = systemNow();
    const late = batch.calls.filter((call) => call.dueMs !== undefined);
    this.#isLate = true;
    this.#onUnanswered?.(SLOW, late.length);
    for (const call of late) call.unavailable(now);
  };

  #sent(message: LimitBatchMessage): boolean {
    try {
      return this.#sendMessage(message) !== false;
    } catch {
      return false;
    }
  }

  #forgetExpired(): void {
    for (const [id, batch] of this.#unanswered) if (batch.expired) this.#unanswered.delete(id);
  }

  #fail(batch: Batch): void {
    for (let left = batch.left; left > 0; left--)
      this.batches.refused(batch, batch.beat ? 'closed' : '', 'closed');
  }
}

/** The supervisor's side: decides a worker's message. `now`: monotonic ms of this process. */
export function serveLimitBatch(
  store: EmbeddedStore,
  message: LimitBatchMessage,
  now: number,
): LimitBatchReply {
  const [id, keys, terms, calls, order] = message;
  if (order === 'forget') return [id, keys.map((key) => (store.forget(key) ? 1 : 0))];
  const replies: number[] = [];
  let first = 0;
  let from = 0;
  for (const sign of calls) {
    if (sign > 0) {
      const levels = sign % FLOORED;
      const end = from + levels * TERMS_PER_LEVEL;
      const floors = sign > FLOORED ? levels : 0;
      for (let i = 0; i < floors; i++) store.raise(keys[first + i] ?? '', terms[end + i] ?? 0, now);
      store.decideInto(keys, terms, first, levels, now, replies, from);
      first += levels;
      from = end + floors;
    } else if (sign === 0) {
      const [key = '', worker = ''] = keys.slice(first, first + 2);
      const [need = 0, keep = 0, most = 0] = terms.slice(from, from + 3);
      replies.push(store.grantSlots(key, worker, need, keep, most, now));
      first += 2;
      from += 3;
    } else {
      for (let i = 0; i < -sign; i++) {
        const [units = 0, unitTicks = 0] = terms.slice(from, from + 2);
        store.refundOne(keys[first++] ?? '', units, unitTicks, now);
        from += 2;
      }
      replies.push(-sign);
    }
  }
  // A heartbeat is an idle moment: buckets that are full again leave without a timer of their own.
  if (calls.length === 0) store.sweep(now);
  return [id, replies];
}

/** Numbers of the reply to one call. */
function replyLength(call: StoreCall): number {
  const single = call instanceof SlotsQuestion || call instanceof RefundOrder;
  return single ? 1 : 1 + REPLY_PER_LEVEL * call.keys.length;
}
