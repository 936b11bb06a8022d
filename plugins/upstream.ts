import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { chooseInstance } from '../src/io/choose-instance.ts';
import { exchangeOf } from '../src/io/exchange.ts';

/** Step 6, instance: the session's own if it may still be served there, else the balancer's choice among the ready. */
export const upstream = fp((app: FastifyInstance, _options: object, ready: () => void) => {
  app.addHook('onRequest', (request, _reply, next) => {
    const exchange = exchangeOf(request.raw);
    if (exchange === undefined) return;
    const code = chooseInstance(exchange);
    if (code === '') next();
    else if (code === 'SPW_SHED_CONCURRENCY') exchange.shed(code, 'every instance works at its cap');
    else exchange.refuse(code, 'no instance may take the request');
  });
  ready();
});
