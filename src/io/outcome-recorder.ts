import { OWN_REASONS, type UpstreamFault } from '../forwarding/fault.ts';
import { errorRow, type ErrorCode, type ShedCode } from '../kernel/errors.ts';
import { priorityOf } from '../kernel/priority.ts';
import type { BreakerResult } from '../upstreams/breaker.ts';
import { isGoodAnswer } from '../upstreams/panic-tries.ts';
import type { AttemptVerdict } from '../upstreams/passive-slice.ts';
import type { LimitDecision } from '../limits/decision.ts';
import type { AccessLog } from './access-log.ts';
import type { Attempt } from './attempt.ts';
import type { Exchange } from './exchange.ts';
import type { ExchangeRecord } from './exchange-record.ts';
import type { ExplainRing } from './explain-ring.ts';
import type { Meter } from './meter.ts';

/**
 * Step 8: every outcome is classified once, here, and feeds whoever learns from it: the limiter of the service through
 * its permit, the balancer, outlier detection, the breaker; then metrics, the access log and `explain`.
 *
 * An attempt's fault belongs to its instance (balancer, passive report); the final outcome, after retries, to the service
 * (breaker). A caller that leaves, a refusal of ours and a limited request are nobody's failure upstream.
 */
export class OutcomeRecorder {
  readonly #meter: Meter;
  readonly #access: AccessLog;
  readonly #explain: ExplainRing<ExchangeRecord>;
  readonly #onFault: (error: unknown) => void;
  readonly #onPassive: (service: string) => void;

  constructor(parts: {
    meter: Meter;
    access: AccessLog;
    explain: ExplainRing<ExchangeRecord>;
    /** A step threw: worth a log line. */
    onFault: (error: unknown) => void;
    /** An instance failed: its report is urgent. */
    onPassive: (service: string) => void;
  }) {
    this.#meter = parts.meter;
    this.#access = parts.access;
    this.#explain = parts.explain;
    this.#onFault = parts.onFault;
    this.#onPassive = parts.onPassive;
  }

  fault(error: unknown): void {
    this.#onFault(error);
  }

  /** A request that the parser refused: there is no exchange to speak of. */
  unparsed(code: ErrorCode): void {
    this.#meter.add('requests_total', ['', '', '', '', String(errorRow(code).status), code]);
  }

  // On the way --------------------------------------------------------------------------------------------------------

  limited(exchange: Exchange, decision: LimitDecision): void {
    if (decision.path !== 'none') this.#meter.add('limit_decisions_total', [decision.path]);
    for (const level of decision.observed)
      this.#meter.add('limited_total', [exchange.tier, level, 'observe']);
    if (decision.refusedBy !== '')
      this.#meter.add('limited_total', [exchange.tier, decision.refusedBy, 'enforce']);
  }

  /** An observed limit would have refused it. */
  wouldLimit(exchange: Exchange, level: 'concurrency'): void {
    this.#meter.add('limited_total', [exchange.tier, level, 'observe']);
  }

  shed(exchange: Exchange, code: ShedCode, mode: 'enforce' | 'observe'): void {
    // Under observe it goes on, and may be judged again: one request is one shed.
    if (exchange.shedFigures?.enforced === false && mode === 'observe') return;
    const { worker } = exchange;
    const now = worker.now();
    const service = exchange.route?.service;
    if (mode === 'enforce') service?.account.shed(now);
    else service?.account.wouldShed(now);
    this.#meter.add('shed_total', [service?.name ?? '', priorityOf(exchange.rank), code, mode]);
    if (exchange.enteredMs === 0) worker.strain.refused(now);
    exchange.shedFigures = {
      code,
      enforced: mode === 'enforce',
      slaMs: service?.configuration.sla ?? 0,
      waitedMs: exchange.queuedMs,
      service: service?.admission.view(now),
      gateway: worker.pressure.view(now),
    };
  }

  /** It has its permit. */
  admitted(exchange: Exchange): void {
    exchange.route?.service.account.admitted(exchange.queuedMs, exchange.worker.now());
  }

  picked(exchange: Exchange): void {
    this.#meter.add('picks_total', [exchange.route?.service.name ?? '', exchange.pickReason]);
  }

  retried(exchange: Exchange, result: 'sent' | 'budget' | 'no_instance'): void {
    this.#meter.add('retries_total', [exchange.route?.service.name ?? '', result]);
  }

  // Attempts ----------------------------------------------------------------------------------------------------------

  /** An instance answered with a head, whatever it says. */
  attemptAnswered(
    exchange: Exchange,
    attempt: Attempt,
    status: number,
    retryAfterMs: number,
    now: number,
  ): void {
    this.#answered(exchange, attempt.slot, status, retryAfterMs, now - attempt.startedMs, now);
  }

  tunnelAnswered(exchange: Exchange, status: number, rttMs: number, now: number): void {
    this.#answered(exchange, exchange.slot, status, -1, rttMs, now);
  }

  attemptFailed(exchange: Exchange, attempt: Attempt, fault: UpstreamFault, now: number): void {
    this.#failed(exchange, attempt.slot, fault, now);
  }

  tunnelFailed(exchange: Exchange, fault: UpstreamFault, now: number): void {
    this.#failed(exchange, exchange.slot, fault, now);
  }

  /** Tells the breaker how the request went; a tunnel or an event stream does so at its head, others at their end. */
  settleBreaker(exchange: Exchange, now: number): void {
    const { breakerPass } = exchange;
    if (breakerPass === 0) return;
    exchange.breakerPass = 0;
    const service = exchange.route?.service;
    const instance = service === undefined || service.instances < 2 ? '' : exchange.instance;
    service?.breaker.record(breakerVerdict(exchange), now, breakerPass, instance, callerBit(exchange));
  }

  /** The head was no valid HTTP: what was noted as an answer is the instance's failure after all. */
  protocolFault(exchange: Exchange, attempt: Attempt, now: number): void {
    const service = exchange.route?.service;
    service?.balancer.failed(attempt.slot, 'protocol', now, true);
    if (exchange.panicTry === 'running') service?.tries.ended(attempt.slot, false, now);
    this.#passive(exchange, attempt.slot, 'hard');
  }

  #answered(
    exchange: Exchange,
    slot: number,
    status: number,
    retryAfterMs: number,
    rttMs: number,
    now: number,
  ): void {
    const { route, permit } = exchange;
    if (route === undefined) return;
    const { service } = route;
    exchange.heard = true;
    service.balancer.head(slot, rttMs, status, retryAfterMs, now);
    const isTry = exchange.panicTry === 'running';
    // What a silent instance says badly is no news of it, its version or the service.
    const isVain = isTry && !isGoodAnswer(status);
    if (isTry) service.tries.ended(slot, !isVain, now);
    if (!isVain) service.versions?.answered(slot, status, rttMs);
    if (isVain) permit?.head(now, 'failed');
    else if (status === 503 || status === 429) permit?.head(now, 'drop');
    else if (status === 500 || status === 502) permit?.head(now, 'failed');
    else permit?.head(now, status < 400 && status !== 304 && status !== 101 ? 'sample' : 'ignored');
    const verdict =
      status === 500 || status === 502 || status === 504
        ? 'hard'
        : status === 503 || status === 429
          ? 'soft'
          : 'ok';
    if (!isVain) this.#passive(exchange, slot, verdict);
    this.#meter.add('upstream_requests_total', [
      service.name,
      service.balancer.idOf(slot),
      service.balancer.versionOf(slot),
      String(status),
    ]);
    this.#meter.observe('upstream_duration_seconds', [service.name], rttMs / 1000);
  }

  #failed(exchange: Exchange, slot: number, fault: UpstreamFault, now: number): void {
    const { route, permit } = exchange;
    if (route === undefined) return;
    const { service } = route;
    // That a silent instance is silent is no news of it, its version or the service.
    const isTry = exchange.panicTry === 'running';
    if (isTry) service.tries.ended(slot, false, now);
    if (fault.kind !== 'own') {
      exchange.heard = true;
      service.balancer.failed(slot, fault.kind, now);
      if (!isTry) service.versions?.failed(slot);
    }
    permit?.head(now, fault.kind === 'timeout' && !isTry ? 'drop' : 'failed');
    if (!isTry && fault.evidence !== 'none')
      this.#passive(exchange, slot, fault.kind === 'connect' ? 'connect' : fault.evidence);
    this.#meter.add('upstream_requests_total', [
      service.name,
      service.balancer.idOf(slot),
      service.balancer.versionOf(slot),
      '0',
    ]);
  }

  #passive(exchange: Exchange, slot: number, verdict: AttemptVerdict): void {
    const service = exchange.route?.service;
    if (service === undefined) return;
    service.observe(slot, verdict, callerHash(exchange.bucket));
    if (verdict !== 'ok') this.#onPassive(service.name);
  }

  // The end -----------------------------------------------------------------------------------------------------------

  finished(exchange: Exchange, now: number): void {
    const { route } = exchange;
    const durationMs = now - exchange.startedMs;
    const serviceName = route?.service.name ?? '';
    const routeName = route?.name ?? '';
    const status = exchange.code === 'SPW_CLIENT_CLOSED' ? 499 : exchange.status;
    this.#meter.add('requests_total', [
      routeName,
      serviceName,
      exchange.tier,
      priorityOf(exchange.rank),
      String(status),
      exchange.code,
    ]);
    this.#meter.observe('request_duration_seconds', [routeName, serviceName], durationMs / 1000);
    if (exchange.abortedBy !== '') {
      this.#meter.add('aborted_total', [serviceName, exchange.abortedBy, abortReason(exchange)]);
    }
    if (route !== undefined) this.#service(exchange, now);
    if (exchange.status === 503 && exchange.code !== '') giveBackUnits(exchange, now);
    if (exchange.snapshot.guards !== undefined) exchange.worker.guards.judge(exchange, now);
    if (exchange.shedFigures?.enforced === true && this.#keptBriefly(exchange, now)) return;
    const record = this.#explain.take();
    record.fill(exchange, status, now);
    this.#access.write(record);
  }

  /** A shed of a flood has no line in the log and no whole record. */
  #keptBriefly(exchange: Exchange, now: number): boolean {
    const { sheds, wallMs } = exchange.worker;
    if (exchange.serial === 0 || !this.#access.skipsRefusal(wallMs())) return false;
    sheds.keep(exchange, exchange.shedFigures, now);
    return true;
  }

  #service(exchange: Exchange, now: number): void {
    const service = exchange.route?.service;
    if (service === undefined) return;
    this.settleBreaker(exchange, now);
    if (exchange.affinityResult !== '')
      this.#meter.add('affinity_total', [service.name, exchange.affinityResult]);
    if (exchange.permit !== undefined)
      this.#meter.observe('queue_wait_seconds', [service.name], exchange.queuedMs / 1000);
    const { sla } = service.configuration;
    const toHeadMs = exchange.headMs - exchange.startedMs;
    const answered = exchange.headMs !== 0;
    const inTime = answered && exchange.status < 500 && toHeadMs <= sla && exchange.abortedBy !== 'upstream';
    if (inTime) {
      service.account.inTime(now);
      this.#meter.add('goodput_total', [service.name, priorityOf(exchange.rank)]);
    } else if (isDeficit(exchange, now - exchange.startedMs > sla)) {
      this.#meter.add('goodput_deficit_total', [service.name, priorityOf(exchange.rank)]);
    }
    if (!answered) return;
    if (!inTime) service.account.late(now);
    const upstreamMs = exchange.headMs - exchange.firstAttemptMs;
    this.#meter.observe(
      'overhead_seconds',
      [],
      Math.max(0, toHeadMs - exchange.queuedMs - upstreamMs) / 1000,
    );
  }
}

/** Our own 503 before anything went to an instance: the client is not charged for it. */
function giveBackUnits(exchange: Exchange, now: number): void {
  const { worker, decision, attempts, startedMs } = exchange;
  // Charged a little after its start, so what counts as a second is a little less.
  if (decision !== undefined && attempts === 0) worker.limiter.giveBack(exchange, decision, startedMs, now);
}

/** No answer in time, and not by its caller's doing; one who left counts if he had waited longer than the SLA. */
function isDeficit({ code }: Exchange, late: boolean): boolean {
  if (code === '') return true;
  return errorRow(code).fault === 'client' ? code === 'SPW_CLIENT_CLOSED' && late : true;
}

/** One of 32 caller classes, so that a single crashing caller can be told from a broken instance. */
function callerHash(bucket: string): number {
  return bucket === '' ? 0 : bucket.charCodeAt(0) ^ bucket.charCodeAt(bucket.length - 1);
}

/** The same as a bit for the breaker; what nobody listened to is no caller's doing. */
function callerBit({ code, reason, bucket }: Exchange): number {
  const nobody = code === 'SPW_CONNECT_FAILED' || reason === 'connect timeout';
  return nobody ? -1 : 1 << (callerHash(bucket) & 31);
}

/** What the gateway cuts an answer for, by the exchange's `reason`; anything else is its own leaving. */
const OWN_CUTS: ReadonlySet<string> = new Set(['idle', 'rate', 'stream', 'size']);

function abortReason(exchange: Exchange): string {
  switch (exchange.abortedBy) {
    case 'client':
      return 'left';
    case 'upstream':
      return 'died';
    case 'gateway':
      if (exchange.code === 'SPW_BODY_TOO_LARGE') return 'size';
      return OWN_CUTS.has(exchange.reason) ? exchange.reason : 'drain';
    case '':
      return '';
    default:
      return exchange.abortedBy satisfies never;
  }
}

const HARD: ReadonlySet<ErrorCode | ''> = new Set([
  'SPW_CONNECT_FAILED',
  'SPW_UPSTREAM_RESET',
  'SPW_UPSTREAM_PROTOCOL',
  'SPW_UPSTREAM_TIMEOUT',
]);

/** In SLAs; half: what is just late counts as lost; double: callers are long gone. */
const SLOW_SLAS = 2;

/** The service's final outcome after retries; 503 and 429 never trip a breaker, they lower the admission limit. */
function breakerVerdict(exchange: Exchange): BreakerResult {
  // An answer that we would not pass on was an answer.
  if (exchange.headMs === 0 && exchange.abortedBy === 'gateway') return 'ignored';
  // Of a worker that has no descriptors left the others hear nothing, or it would close the service in all of them.
  if (HARD.has(exchange.code)) return OWN_REASONS.has(exchange.reason) ? 'ignored' : 'hard';
  if (exchange.headMs === 0) return 'ignored';
  if (exchange.abortedBy === 'upstream') return 'hard';
  const { status } = exchange;
  if (status === 503 || status === 429) return 'ignored';
  if (status === 500 || status === 502 || status === 504) return 'hard';
  const waitedMs = exchange.headMs - exchange.firstAttemptMs;
  return waitedMs > SLOW_SLAS * (exchange.route?.service.configuration.sla ?? Infinity) ? 'slow' : 'ok';
}
