import type { Exchange } from './exchange.ts';

/**
 * The ordered steps between the front gate and the network.
 *
 * They are a list of our own and no hooks of a framework: what a router, its request and its reply cost is 1.5 µs of the 40
 * of a request, and more of a refusal, which never gets to what they are for. Only the last step of a rewriting route
 * enters the snapshot's Fastify application.
 */

/** Goes on with the step after the one that was given it. */
export type Next = (exchange: Exchange) => void;

/** Refuses the exchange, goes on at once, or leaves `next` in it for the verdict that it waits for. */
export type Step = (exchange: Exchange, next: Next) => void;

/** @returns what walks an exchange through the steps; a step that throws costs that request alone */
export function walker(steps: readonly Step[]): Next {
  const walk: Next = (exchange) => {
    const step = steps[exchange.stepsDone];
    if (step === undefined) return;
    exchange.stepsDone++;
    try {
      step(exchange, walk);
    } catch (error) {
      exchange.worker.recorder.fault(error);
      exchange.refuse('SPW_INTERNAL', 'a step failed');
    }
  };
  return walk;
}
