import httpProxy from '@fastify/http-proxy';
import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { exchangeOf } from '../src/io/exchange.ts';
import { forward } from '../src/io/forward.ts';

/**
 * Step 7, forward: two mounts, one forwarding.
 *
 * A route without `rewrite` ends in the last `onRequest` step, so that no body parser ever runs. A rewriting route is
 * mounted by @fastify/http-proxy, for its prefix mathematics and its guards, and comes back to the same forwarding
 * through its `handler`. Of the rest of that package nothing is reachable: its own retries (a GET answered 503 becomes
 * eleven calls), its unverified upstream TLS, its error answers with addresses in them, its WebSocket proxy.
 */

export interface RewriteMount {
  /** What the router's constraint `mount` must say for a request of this route. */
  readonly mount: string;
  readonly path: string;
  readonly rewrite: string;
}

export interface ProxyOptions {
  readonly rewrites: readonly RewriteMount[];
  /** Every method the server parses; a method no route takes was refused before. */
  readonly methods: readonly string[];
}

/** Only there so that the package accepts its options: every request goes to our `handler` first. */
const NOWHERE = 'http://rewritten.invalid';

export const proxy = fp(async (app: FastifyInstance, { rewrites, methods }: ProxyOptions) => {
  app.removeAllContentTypeParsers();
  app.addHook('onRequest', (request, _reply, next) => {
    const exchange = exchangeOf(request.raw);
    if (exchange === undefined) return;
    if (exchange.route?.mount === undefined) {
      forward(exchange, exchange.path);
      return;
    }
    // A body is bytes to us, whatever its type says; Fastify would answer 415 to a type it cannot read.
    request.raw.headers['content-type'] = 'application/octet-stream';
    next();
  });
  app.route({
    method: [...methods],
    url: '/*',
    handler: (_request, reply) => {
      reply.hijack();
    },
  });
  for (const { mount, path, rewrite } of rewrites) {
    await app.register(httpProxy, {
      upstream: NOWHERE,
      prefix: path,
      rewritePrefix: rewrite,
      httpMethods: [...methods],
      constraints: { mount },
      websocket: false,
      retryMethods: [],
      handler: (request, reply, dest) => {
        reply.hijack();
        const exchange = exchangeOf(request.raw);
        if (exchange !== undefined) forward(exchange, dest);
      },
    });
  }
});
