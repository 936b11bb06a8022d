import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { exchangeOf } from '../src/io/exchange.ts';

/**
 * Step 4, limits: client, route, tier and front door in one decision, all charged or none. The decision may wait for the
 * store; the exchange is called back and goes on or refuses.
 */
export const rateLimit = fp((app: FastifyInstance, _options: object, ready: () => void) => {
  app.addHook('onRequest', (request, _reply, next) => {
    const exchange = exchangeOf(request.raw);
    const route = exchange?.route;
    if (exchange === undefined || route === undefined) return;
    const { snapshot, tier, bucket, exempt } = exchange;
    const { charges, policy } = snapshot.chargesFor(route, tier, bucket, exempt);
    exchange.charges = charges;
    exchange.limitPolicy = policy;
    exchange.cost = route.cost;
    exchange.next = next;
    exchange.phase = 'limiting';
    exchange.worker.limiter.decide(exchange, exchange.worker.now());
  });
  ready();
});
