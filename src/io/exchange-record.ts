import { priorityOf } from '../kernel/priority.ts';
import type { LimitDecision } from '../limits/limiter.ts';
import type { AccessRecord } from './access-line.ts';
import type { Exchange } from './exchange.ts';

/**
 * One finished request as the access log and `explain` tell it: what happened, and why it went so. The object is filled
 * anew for another request once the ring comes round to it, so whoever keeps one copies it.
 */
export class ExchangeRecord implements AccessRecord {
  wallMs = 0;
  requestId = '';
  client = '';
  tier = '';
  priority = '';
  route = '';
  service = '';
  instance = '';
  method = '';
  path = '';
  status = 0;
  code = '';
  reason = '';
  durationMs = 0;
  queueMs = 0;
  upstreamMs = 0;
  bytesIn = 0;
  bytesOut = 0;
  attempts = 0;
  pick = '';
  affinity = '';
  abortedBy = '';
  limits: LimitDecision | undefined = undefined;

  /** @param status as it is told: 499 for a caller who left @param now monotonic ms of the end */
  fill(exchange: Exchange, status: number, now: number): void {
    const { route, headMs, firstAttemptMs } = exchange;
    this.wallMs = exchange.worker.wallMs();
    this.requestId = exchange.requestId;
    this.client = exchange.client;
    this.tier = exchange.tier;
    this.priority = priorityOf(exchange.rank);
    this.route = route?.name ?? '';
    this.service = route?.service.name ?? '';
    this.instance = exchange.instance;
    this.method = exchange.req.method ?? '';
    this.path = exchange.path;
    this.status = status;
    this.code = exchange.code;
    this.reason = exchange.reason;
    this.durationMs = now - exchange.startedMs;
    this.queueMs = exchange.queuedMs;
    this.upstreamMs = firstAttemptMs === 0 ? 0 : (headMs === 0 ? now : headMs) - firstAttemptMs;
    this.bytesIn = exchange.body?.bytes ?? exchange.bytesIn;
    this.bytesOut = exchange.bytesOut;
    this.attempts = exchange.attempts;
    this.pick = exchange.pickReason;
    this.affinity = exchange.affinityResult;
    this.abortedBy = exchange.abortedBy;
    this.limits = exchange.decision;
  }
}
