import { shareOf } from '../affinity/drain-time.ts';
import { seededRandom } from '../kernel/random.ts';
import type { Exchange } from './exchange.ts';
import type { ServiceRuntime } from './service-runtime.ts';
import type { WorkerContext } from './worker-context.ts';

/**
 * Streams of an instance that leaves: WebSockets and event streams would hold it for ever, since their connection is their pin.
 *
 * Each is ended at a moment of its own within `drain.streamTimeout`, so that the callers do not all come back at once: a
 * WebSocket by 1001, "going away" (tunnel.ts), an event stream by the regular end of its answer, after which a browser asks
 * again by itself. Of a session the moment follows from its id: all its streams end together, and from then on its new ones
 * go elsewhere (`ServiceSessions.keepsPinned`), or each would be ended again by the next beat. Other streams have a moment
 * that follows from their beginning. Finite answers, long downloads included, are never cut by a drain.
 *
 * Limits: an event stream that was not asked for as one (`accept`) is known too late to go elsewhere than its session. One that
 * begins after its moment has the whole time, or its caller would come back for the next beat to end it again. A call of gRPC
 * that streams looks like any other, and runs on. An event is not waited for to be whole: what a browser has of one at the end
 * of an answer it drops, and asks for again by `Last-Event-ID`.
 */

/** Ends the streams whose moment has come; asked a few times a second. */
export function endLeavingStreams({ streams }: WorkerContext, now: number): void {
  for (const exchange of streams) {
    const { route, slot } = exchange;
    if (route === undefined || slot < 0) continue;
    const { service } = route;
    const drainForMs = service.balancer.drainForMs(slot, now);
    if (drainForMs < 0 || service.balancer.stateOf(slot) === 'disabled') continue;
    const { streamTimeout } = service.configuration.drain;
    const momentMs = streamTimeout * placeOf(exchange, service);
    const begunMs = drainForMs - (now - exchange.startedMs);
    if (drainForMs >= (begunMs > momentMs ? begunMs + streamTimeout : momentMs)) endStream(exchange, now);
  }
}

/** 0 ≤ place < 1. */
function placeOf({ pin, slot, startedMs }: Exchange, { sessions }: ServiceRuntime): number {
  if (pin !== undefined && sessions.slotOfTag(pin.instance) === slot) return shareOf(pin.sid);
  // Whole microseconds, by which even streams of one tick differ.
  return seededRandom(Math.floor(startedMs * 1000))();
}

/** Ends a WebSocket or an event stream in order; a second call changes nothing. */
export function endStream(exchange: Exchange, now: number): void {
  if (exchange.phase === 'tunnelling') {
    exchange.attempt?.leave?.(now);
    return;
  }
  // One of a known length is finite.
  if (exchange.phase !== 'answering' || exchange.ended || exchange.expectedBytes >= 0) return;
  if (exchange.abortedBy === '') exchange.abortedBy = 'gateway';
  exchange.abandonAttempt();
  exchange.ended = true;
  exchange.res.end();
}

/** How many streams run at each slot of the services. */
export function countStreams({ streams }: WorkerContext): ReadonlyMap<ServiceRuntime, readonly number[]> {
  const counts = new Map<ServiceRuntime, number[]>();
  for (const { route, slot } of streams) {
    if (route === undefined || slot < 0) continue;
    const own = counts.get(route.service) ?? [];
    counts.set(route.service, own);
    own[slot] = (own[slot] ?? 0) + 1;
  }
  return counts;
}

/** Whether the request asks for an answer that does not end by itself. */
export function asksForStream({ upgradeSocket, facts }: Exchange): boolean {
  return upgradeSocket !== undefined || facts.accept.includes('text/event-stream');
}
