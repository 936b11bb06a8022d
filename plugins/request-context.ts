import type { Step } from '../src/io/steps.ts';

/**
 * Step 2, context: a request without a route ends here, every other one gets its deadline.
 *
 * The route itself was found by the front gate, since the mount (plain or rewriting) depends on it.
 */
export const requestContext: Step = (exchange, next) => {
  const { route } = exchange;
  if (route === undefined) {
    exchange.refuse(exchange.allow === '' ? 'SPW_NO_ROUTE' : 'SPW_METHOD_NOT_ALLOWED');
    return;
  }
  exchange.deadlineMs = exchange.startedMs + exchange.timeLimitMs;
  exchange.arm(exchange.deadlineMs);
  next(exchange);
};
