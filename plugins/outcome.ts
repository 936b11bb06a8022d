import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { exchangeOf } from '../src/io/exchange.ts';

/**
 * Step 8, outcome, as far as Fastify takes part: whatever a mount throws, or the router cannot place, is
 * `SPW_INTERNAL` for that request alone. Everything else about an outcome hangs on the response's end
 * (`Exchange.finish`), so that refusals before this framework count as well.
 */
export const outcome = fp((app: FastifyInstance, _options: object, ready: () => void) => {
  app.setErrorHandler((error, request, reply) => {
    reply.hijack();
    const exchange = exchangeOf(request.raw);
    exchange?.worker.recorder.fault(error);
    exchange?.refuse('SPW_INTERNAL');
  });
  app.setNotFoundHandler((request, reply) => {
    reply.hijack();
    exchangeOf(request.raw)?.refuse('SPW_NO_ROUTE');
  });
  ready();
});
