import { Exchange } from './exchange.ts';
import type { ServiceRuntime } from './service-runtime.ts';
import type { WorkerContext } from './worker-context.ts';

/**
 * Requests that wait for an instance which serves nobody any more: one that is stopped or cut off answers nothing and
 * closes nothing, so they would wait for their deadline.
 *
 * What may be repeated goes elsewhere, inside the budget; the rest waits on, since the instance may answer yet, and nothing
 * of an answer that has begun is cut. The wheel knows every request that waits; a list for each instance would cost every
 * request something for what happens rarely. With 10 000 requests in flight this takes about a millisecond.
 */
export function retryWaitingAt(
  worker: WorkerContext,
  service: ServiceRuntime,
  slots: readonly number[],
  now: number,
): void {
  if (slots.length === 0) return;
  const waiting: Exchange[] = [];
  worker.wheel.each((entry) => {
    if (entry instanceof Exchange && waitsAt(entry, service, slots)) waiting.push(entry);
  });
  for (const exchange of waiting) {
    // Another one's retry may have changed this one.
    if (waitsAt(exchange, service, slots)) leave(exchange, now);
  }
}

function waitsAt(
  { phase, route, slot }: Exchange,
  service: ServiceRuntime,
  slots: readonly number[],
): boolean {
  return phase === 'forwarding' && route?.service === service && slots.includes(slot);
}

/** A throw here would come out of the supervisor's message and end the worker. */
function leave(exchange: Exchange, now: number): void {
  try {
    exchange.attempt?.lost?.(now);
  } catch (error) {
    exchange.worker.recorder.fault(error);
    exchange.refuse('SPW_INTERNAL', 'a step failed');
  }
}
