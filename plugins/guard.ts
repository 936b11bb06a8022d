import type { Step } from '../src/io/steps.ts';

/**
 * Between client and limits: who is blocked, by the route's guard or the tier's penalty, is refused here and charged
 * nowhere. Only a snapshot that has one of them walks this step.
 */
export const guard: Step = (exchange, next) => {
  const block = exchange.worker.guards.blockOf(exchange, exchange.worker.now());
  if (block === undefined) {
    next(exchange);
    return;
  }
  exchange.block = block;
  exchange.refuse(block.guard.code, `blocked by the ${block.guard.rule.kind}`);
};
