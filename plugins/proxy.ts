import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { exchangeOf } from '../src/io/exchange.ts';
import { forward } from '../src/io/forward.ts';
import type { Step } from '../src/io/steps.ts';

/**
 * Step 7, forward: two mounts, one forwarding.
 *
 * A route without `rewrite` is forwarded as it is; no framework takes part in it. A rewriting route is mounted by
 * @fastify/http-proxy, for its prefix mathematics and its guards, and comes back to the same forwarding through its
 * `handler`. Of the rest of that package nothing is reachable: its own retries (a GET answered 503 becomes
 * eleven calls), its unverified upstream TLS, its error answers with addresses in them, its WebSocket proxy.
 */

export interface RewriteMount {
  /** What the router's constraint `mount` must say for a request of this route. */
  readonly mount: string;
  readonly path: string;
  readonly rewrite: string;
}

export interface MountOptions {
  readonly rewrites: readonly RewriteMount[];
  /** Every method the server parses; a method no route takes was refused before. */
  readonly methods: readonly string[];
}

/** The last step: to the network at once, or through the mount of a rewriting route. */
export const proxy: Step = (exchange) => {
  if (exchange.route?.mount === undefined) forward(exchange, exchange.path);
  else exchange.snapshot.path?.application.routing(exchange.req, exchange.res);
};

/** Only there so that the package accepts its options: every request goes to our `handler` first. */
const NOWHERE = 'http://rewritten.invalid';

export const rewriteMounts = fp(async (app: FastifyInstance, { rewrites, methods }: MountOptions) => {
  app.removeAllContentTypeParsers();
  app.addHook('onRequest', (request, _reply, next) => {
    // A body is bytes to us, whatever its type says; Fastify would answer 415 to a type it cannot read.
    request.raw.headers['content-type'] = 'application/octet-stream';
    next();
  });
  if (rewrites.length === 0) return;
  // Only now: it brings two HTTP clients of its own, a sixth of a worker's start.
  const { default: httpProxy } = await import('@fastify/http-proxy');
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
