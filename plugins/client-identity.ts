import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { identifyCaller } from '../src/io/caller.ts';
import { exchangeOf } from '../src/io/exchange.ts';

/**
 * Step 3, client: who is calling, which tier, how important. The front gate may have asked already (under its own
 * overload it must know the priority); then the answer is reused.
 */
export const clientIdentity = fp((app: FastifyInstance, _options: object, ready: () => void) => {
  app.addHook('onRequest', (request, _reply, next) => {
    const exchange = exchangeOf(request.raw);
    if (exchange === undefined) return;
    const code = identifyCaller(exchange);
    if (code === '') next();
    else exchange.refuse(code);
  });
  ready();
});
