/**
 * The port to whatever keeps the buckets: Redis, the supervisor's memory over the message channel, or memory here.
 *
 * One call is one decision over all levels of a request, all or nothing. A store that may not be asked now says so by
 * returning false, at once and without a promise: the caller then decides by its own share. A call that was taken is
 * settled exactly once, inside `decide` or later, and never later than the store's own deadline.
 */

/** ok (1 or 0), then granted, remaining, waitTicks, fullTicks for each level. Ticks are 0.1 µs. */
export type StoreReply = readonly number[];

/** One decision asked of a store. An object of fixed shape instead of callbacks: no closures on the request's path. */
export interface StoreCall {
  /** One bucket a level; no key twice. */
  readonly keys: readonly string[];
  /** Five numbers a level, see `decideLevels`. */
  readonly terms: readonly number[];
  /** Ticks that each bucket is away from full at least, by what another store knew; only a store in memory heeds them. */
  readonly floors?: readonly number[];
  /**
   * In a hurry: when it is told `unavailable`, monotonic ms, whatever the store's own deadline; what comes after is `late`.
   * Only the store over the message channel heeds it.
   */
  readonly dueMs?: number;
  answered(reply: StoreReply, now: number): void;
  /** No answer in time or no connection: whether the store has charged is not known. */
  unavailable(now: number): void;
  /** The answer after all, later than `unavailable`: what it granted has been charged. Not every answer comes. */
  late?(reply: StoreReply, now: number): void;
}

/**
 * One worker's question for concurrency slots of a client: it holds `granted` from the answer on, whatever it held
 * before. Slots end by themselves unless they are asked for again, see `SLOT_TTL_MS` in `slot-table.ts`.
 */
export interface SlotsCall {
  /** The client's hash of slots, see `slotsKey`. */
  readonly key: string;
  /** This worker's name among all workers of all gateways. */
  readonly worker: string;
  /** Slots that it needs in all; 0 gives back all but `keep`. */
  readonly need: number;
  /** Slots that requests may be using when the answer comes, so that cannot be taken away. */
  readonly keep: number;
  /** The client's limit, over all workers. */
  readonly most: number;
  /** At least `keep`. Less than `need`: the others hold the rest. More: there is plenty, and idle ones may be kept. */
  answered(granted: number, now: number): void;
  /** No answer in time or no connection: what the store counts for this worker is not known. */
  unavailable(now: number): void;
}

/** What a store is for its callers: `suspect` and `open` take no calls, `returning` takes none for a moment more. */
export type StoreState = 'connecting' | 'fit' | 'suspect' | 'open' | 'returning';

export interface StoreView {
  readonly kind: 'redis' | 'ipc' | 'memory';
  readonly state: StoreState;
  /** Why it is not fit: an error's first word, `slow`, `silent`, `closed`; empty when it is. */
  readonly reason: string;
  /** Live gateways as last heard, at least 1. */
  readonly gateways: number;
  /** Live workers of all gateways as last heard, at least 1. */
  readonly workers: number;
  /** Decisions asked, batches that carried them, batches that missed the deadline, calls that failed otherwise. */
  readonly calls: number;
  readonly batches: number;
  readonly missed: number;
  readonly failed: number;
}

export interface LimitStore {
  /** Takes the call (true) or is unfit (false, and the call will hear nothing). `now`: monotonic ms of this process. */
  decide(call: StoreCall, now: number): boolean;
  /**
   * Gives units back to buckets, with the next batch: taken (true) or unfit (false). Nothing is heard of it, and it is
   * never sent twice: what is lost on the way was charged once, and comes back with time.
   * @param unitTicks of each bucket's limit
   */
  refund(
    keys: readonly string[],
    units: readonly number[],
    unitTicks: readonly number[],
    now: number,
  ): boolean;
  /** Takes the call (true) or is unfit (false, and the call will hear nothing). */
  slots(call: SlotsCall, now: number): boolean;
  /** Live gateways that share the store, at least 1; the last figure heard while the store is lost. */
  gateways(): number;
  /** Live workers of all gateways as last heard, at least 1; 0 = the store cannot know, so gateways × own workers. */
  workers(): number;
  /** How long until an unfit store is tried again, ms; 0 when it is fit. */
  pauseMs(now: number): number;
  view(now: number): StoreView;
}
