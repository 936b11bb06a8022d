import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { exchangeOf } from '../src/io/exchange.ts';

/**
 * Step 2, context: a request without a route ends here, every other one gets its deadline.
 *
 * The route itself was found by the front gate, since the mount (plain or rewriting) depends on it.
 */
export const requestContext = fp((app: FastifyInstance, _options: object, ready: () => void) => {
  app.addHook('onRequest', (request, _reply, next) => {
    const exchange = exchangeOf(request.raw);
    if (exchange === undefined) return;
    const { route } = exchange;
    if (route === undefined) {
      exchange.refuse(exchange.allow === '' ? 'SPW_NO_ROUTE' : 'SPW_METHOD_NOT_ALLOWED');
      return;
    }
    exchange.deadlineMs = exchange.startedMs + exchange.timeLimitMs;
    exchange.arm(exchange.deadlineMs);
    next();
  });
  ready();
});
