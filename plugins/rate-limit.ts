import type { Step } from '../src/io/steps.ts';

/**
 * Step 4, limits: client, route, tier and front door in one decision, all charged or none. The decision may wait for the
 * store; the exchange is called back and goes on or refuses.
 */
export const rateLimit: Step = (exchange, next) => {
  const { route } = exchange;
  if (route === undefined) return;
  const { snapshot, tier, bucket, exempt } = exchange;
  const { charges, policy } = snapshot.chargesFor(route, tier, bucket, exempt);
  exchange.charges = charges;
  exchange.limitPolicy = policy;
  exchange.cost = route.cost;
  exchange.next = next;
  exchange.phase = 'limiting';
  exchange.worker.limiter.decide(exchange, exchange.worker.now());
};
