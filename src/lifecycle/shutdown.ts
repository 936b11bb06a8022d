/**
 * Leaving without losing a request: which part of the shutdown a moment belongs to.
 *
 * Signal: how long ago SIGTERM came. Decision, in order:
 * 1. `failing-readiness`, until `delayMs`: `/readyz` says no and answers carry `connection: close`, but connections are
 *    accepted as before, since load balancers need a few probes to look elsewhere. Closing at once is what loses requests.
 * 2. `closing-listeners`: nobody new is accepted; kept-alive connections are served once more, idle ones are ended
 *    `idleCloseMs` after the signal, what is in flight goes on.
 * 3. `last-second`: new requests on old connections are answered `SPW_DRAINING`, so that they learn it before the cut.
 * 4. `cut`, at `timeoutMs`: what is left is destroyed.
 * Whoever has nothing left to do between 2 and 4 may stop at once (`lifecycle.ts`).
 *
 * A delay that would reach into the last second is cut to its beginning: listeners are always closed before callers are
 * refused. Limits: the delay is waited in full even by a gateway without traffic; nobody tells us when we are forgotten.
 * Source: upstreams.md §7; kubernetes #20473, traefik #4452.
 */

export interface ShutdownPolicy {
  /** From the signal to the closing of the listeners. */
  readonly delayMs: number;
  /** From the signal to the cut. */
  readonly timeoutMs: number;
  /** From the closing of the listeners to the end of idle connections; undefined: as the delay allows. */
  readonly idleMs?: number;
}

/** Moments of a shutdown as spans since the signal, in ms; never decreasing. */
export interface ShutdownPlan {
  readonly listenersCloseMs: number;
  readonly idleCloseMs: number;
  readonly refuseMs: number;
  readonly cutMs: number;
}

export type ShutdownPhase = 'failing-readiness' | 'closing-listeners' | 'last-second' | 'cut';

/** Half: a request that arrives just then is cut instead of told; double: two seconds of refusals for nothing. */
const LAST_MS = 1000;
/** A keep-alive client's next request has usually come by then. Half: more find a closed socket; double: sockets linger. */
const IDLE_MS = 5000;
/** Whoever asks for no delay is not kept waiting by connections on which nothing runs. */
const IDLE_LEAST_MS = 500;

/**
 * One worker of many leaves: others accept on the same socket, so nobody has to look elsewhere first. But the callers on its
 * connections have heard nothing, so it lets go of none that may be in use.
 */
export function retirement(timeoutMs: number): ShutdownPolicy {
  return { delayMs: 0, timeoutMs, idleMs: IDLE_MS };
}

export function planShutdown({ delayMs, timeoutMs, idleMs }: ShutdownPolicy): ShutdownPlan {
  // With a timeout of a second or less, half of it is still left for serving.
  const refuseMs = timeoutMs - Math.min(LAST_MS, timeoutMs / 2);
  const listenersCloseMs = Math.min(delayMs, refuseMs);
  const idle = idleMs ?? Math.min(IDLE_MS, Math.max(IDLE_LEAST_MS, delayMs));
  return {
    listenersCloseMs,
    idleCloseMs: Math.min(listenersCloseMs + idle, refuseMs),
    refuseMs,
    cutMs: timeoutMs,
  };
}

/** @param sinceMs time since the signal */
export function shutdownPhase(plan: ShutdownPlan, sinceMs: number): ShutdownPhase {
  if (sinceMs >= plan.cutMs) return 'cut';
  if (sinceMs >= plan.refuseMs) return 'last-second';
  return sinceMs >= plan.listenersCloseMs ? 'closing-listeners' : 'failing-readiness';
}
