import type { Exchange } from './exchange.ts';

/** The value of `Server-Timing`: what of the time was ours, what was waiting, and the instances' where one was asked. */
export function serverTiming({ startedMs, queuedMs, firstAttemptMs }: Exchange, now: number): string {
  const upstreamMs = firstAttemptMs === 0 ? 0 : now - firstAttemptMs;
  const ownMs = Math.max(0, now - startedMs - queuedMs - upstreamMs);
  const own = `gw;dur=${ownMs.toFixed(1)}, queue;dur=${queuedMs.toFixed(1)}`;
  return firstAttemptMs === 0 ? own : `${own}, upstream;dur=${upstreamMs.toFixed(1)}`;
}
