import { grpcTimeoutMs } from '../forwarding/grpc-timeout.ts';
import type { Exchange } from './exchange.ts';

/**
 * How long an exchange may last, and what ends an answer that has begun.
 *
 * Three limits in one node of the wheel: silence (`timeout.idle`, `tunnelIdle`), the whole life of an answer
 * (`timeout.stream`), and the moment at which a gRPC caller stops waiting, which ends the call in whatever state it is.
 */

/**
 * A body still flowing after this long keeps its permit no longer: it is a stream. Half, and a few slow readers free the
 * limit for more than the service can do; double, and their permits keep others out for nothing.
 */
const STREAM_AFTER_MS = 10_000;

/** Moment at which a gRPC caller gives up, Infinity for every other one. */
export function callerGivesUpMs({ facts, startedMs }: Exchange): number {
  if (!facts.grpc) return Infinity;
  const spanMs = grpcTimeoutMs(facts.lookup('grpc-timeout') ?? '');
  return spanMs < 0 ? Infinity : startedMs + spanMs;
}

/**
 * Moves the deadline while the request's own body is still coming, since its time counts from its last byte in. What
 * an instance that reads slowly has not taken yet counts as coming; one that takes nothing is the attempt's business.
 * @returns true when there is time left after all
 */
export function extendDeadline(exchange: Exchange, now: number): boolean {
  const { body, bodyWhole, facts } = exchange;
  if (!facts.hasBody || bodyWhole || body === undefined) return false;
  const arrivedMs = body.endedMs === 0 ? now : body.endedMs;
  const deadlineMs = Math.min(arrivedMs + exchange.timeLimitMs, callerGivesUpMs(exchange));
  if (deadlineMs <= Math.max(now, exchange.deadlineMs)) return false;
  exchange.deadlineMs = deadlineMs;
  return true;
}

/** The head came: from here on the answer's own limits count. */
export function beginLife(exchange: Exchange, silenceMs: number, now: number): void {
  const streamMs = exchange.route?.service.configuration.timeout.stream ?? Infinity;
  exchange.headMs = now;
  exchange.lastByteMs = now;
  exchange.silenceMs = silenceMs;
  exchange.endsAtMs = Math.min(now + streamMs, callerGivesUpMs(exchange));
  exchange.arm(Math.min(now + Math.min(silenceMs, STREAM_AFTER_MS), exchange.endsAtMs));
}

/** A limit of the answer may have come. */
export function checkLife(exchange: Exchange, now: number): void {
  const { headMs, endsAtMs } = exchange;
  const streamsAtMs = headMs + STREAM_AFTER_MS;
  if (now >= streamsAtMs) exchange.permit?.asStream(now);
  const due = Math.min(exchange.lastByteMs + exchange.silenceMs, endsAtMs);
  if (due > now) {
    exchange.arm(now < streamsAtMs ? Math.min(due, streamsAtMs) : due);
    return;
  }
  exchange.reason = now >= endsAtMs ? 'stream' : 'idle';
  exchange.cut('gateway');
}
