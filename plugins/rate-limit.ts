import type { LimitDecision } from '../src/limits/decision.ts';
import type { ClientSlots, SlotCaller, SlotLimit } from '../src/limits/slots.ts';
import type { Exchange } from '../src/io/exchange.ts';
import type { Step } from '../src/io/steps.ts';

/**
 * Step 4, limits: first a slot where the client may have only so many requests in flight, then client, route, tier and
 * front door in one decision, all charged or none. Both may wait for the store; the exchange is called back and goes on or
 * refuses. The slot is the exchange's from then on, which gives it back with a refusal or with the last byte.
 */
export const rateLimit: Step = (exchange, next) => {
  const { route } = exchange;
  if (route === undefined) return;
  const { snapshot, tier, bucket, exempt } = exchange;
  const { charges, policy, slots } = snapshot.chargesFor(route, tier, bucket, exempt);
  exchange.charges = charges;
  exchange.limitPolicy = policy;
  exchange.cost = route.cost;
  exchange.next = next;
  exchange.phase = 'limiting';
  if (slots === undefined) exchange.worker.limiter.decide(exchange, exchange.worker.now());
  else exchange.worker.slots.take(new SlotTaker(exchange, slots), exchange.worker.now());
};

/** Takes the slot of one request. */
class SlotTaker implements SlotCaller {
  readonly limit: SlotLimit;
  readonly #exchange: Exchange;

  constructor(exchange: Exchange, limit: SlotLimit) {
    this.#exchange = exchange;
    this.limit = limit;
    exchange.slotLimit = limit;
  }

  slotGranted(slots: ClientSlots, now: number): void {
    const exchange = this.#exchange;
    if (exchange.isOver) {
      slots.release(now);
      return;
    }
    exchange.clientSlots = slots;
    exchange.clientInFlight = slots.used;
    exchange.worker.limiter.decide(exchange, now);
  }

  slotRefused(refusal: LimitDecision, now: number): void {
    const exchange = this.#exchange;
    if (exchange.isOver) return;
    if (this.limit.enforced) {
      exchange.decided(refusal);
      return;
    }
    if (refusal.refusedBy === 'concurrency') exchange.worker.recorder.wouldLimit(exchange, 'concurrency');
    exchange.worker.limiter.decide(exchange, now);
  }
}
