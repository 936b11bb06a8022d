import type { Charge } from '../limits/decision.ts';
import { REPLY_PER_LEVEL, TICKS_PER_MS } from '../limits/gcra.ts';
import type { LimitStore, StoreCall, StoreReply } from '../limits/store.ts';
import { LimitStoreUnavailable } from './limit-store/gcra-limiter.ts';

/**
 * What would become of a request, without making it: the decision that it would ask of the store, with nothing wanted, so
 * that no bucket is written and none is created. All levels are asked in one call, as for a request.
 *
 * Limits: the store's word. A worker that holds a refusal would refuse a moment longer, one that holds leased units may
 * serve without asking (these are added by whoever sums the workers, as are requests in flight and blocks).
 */

/** One level as it would decide. */
export interface PeekFigures {
  readonly level: Charge['level'];
  readonly enforced: boolean;
  /** Whole units left in the store. */
  readonly remaining: number;
  /** Units that this worker holds beside. */
  readonly leased: number;
  /** Until the cost fits, ms; 0 when it does. */
  readonly waitMs: number;
  /** The cost is more than the bucket ever holds. */
  readonly never: boolean;
}

export async function peek(
  store: Pick<LimitStore, 'decide'>,
  charges: readonly Charge[],
  cost: number,
  now: () => number,
  leased: (key: string) => number,
): Promise<readonly PeekFigures[]> {
  if (charges.length === 0) return [];
  const { promise, resolve, reject } = Promise.withResolvers<StoreReply>();
  if (!store.decide(new Peek(charges, cost, resolve, reject), now()))
    throw new LimitStoreUnavailable('the limit store is not fit');
  const reply = await promise;
  return charges.map(({ key, level, enforced, rate }, i) => {
    const at = 1 + i * REPLY_PER_LEVEL;
    return {
      level,
      enforced,
      remaining: reply[at + 1] ?? 0,
      leased: leased(key),
      waitMs: Math.ceil((reply[at + 2] ?? 0) / TICKS_PER_MS),
      never: cost > rate.burst,
    };
  });
}

class Peek implements StoreCall {
  readonly keys: readonly string[];
  readonly terms: readonly number[];
  readonly #resolve: (reply: StoreReply) => void;
  readonly #reject: (reason: Error) => void;

  constructor(
    charges: readonly Charge[],
    cost: number,
    resolve: (reply: StoreReply) => void,
    reject: (reason: Error) => void,
  ) {
    this.keys = charges.map(({ key }) => key);
    this.terms = charges.flatMap(({ rate, enforced }) => [
      rate.unitTicks,
      rate.burst,
      cost,
      0,
      enforced ? 1 : 0,
    ]);
    this.#resolve = resolve;
    this.#reject = reject;
  }

  answered(reply: StoreReply): void {
    this.#resolve(reply);
  }

  unavailable(): void {
    this.#reject(new LimitStoreUnavailable('the limit store did not answer in time'));
  }
}
