import { priorityOf, type PriorityRank } from '../kernel/priority.ts';
import type { ClientQuotas } from './client-quota.ts';
import type { ExplainRing } from './explain-ring.ts';
import type { Answer, Question, ServiceFigures, WorkerViews } from './ipc.ts';
import type { Meter } from './meter.ts';
import type { ExchangeRecord } from './exchange-record.ts';
import type { ServiceRuntime } from './service-runtime.ts';
import type { WorkerContext } from './worker-context.ts';
import type { WorkerLimits } from './worker-limits.ts';

/** What a worker says of itself when it is asked, and once a second unasked. */

const RANKS: readonly PriorityRank[] = [0, 1, 2, 3];
const SERVICE_GAUGES = [
  'concurrency_limit',
  'in_flight',
  'queue_depth',
  'service_slow',
  'breaker_state',
] as const;
const BREAKER_STATES = ['closed', 'ramping', 'half-open', 'open', 'forced-open', 'forced-closed'];

export async function answerQuestion(
  question: Question,
  context: WorkerContext,
  limits: WorkerLimits,
  quotas: ClientQuotas,
  meter: Meter,
  explain: ExplainRing<ExchangeRecord>,
): Promise<Answer> {
  switch (question.what) {
    case 'views':
      return { what: 'views', views: workerViews(context, limits) };
    case 'metrics':
      setGauges(context, meter);
      return { what: 'metrics', dump: meter.dump() };
    case 'explain':
      return { what: 'explain', record: explain.find(question.requestId)?.told() ?? null };
    case 'quota':
      return { what: 'quota', quota: await quotas.answer(question.act, question.client) };
    default:
      return question satisfies never;
  }
}

export function workerViews(context: WorkerContext, limits: WorkerLimits): WorkerViews {
  const now = context.now();
  return {
    services: [...context.services.values()].map((service) => figuresOf(service, now)),
    redis: limits.condition,
  };
}

function figuresOf(service: ServiceRuntime, now: number): ServiceFigures {
  const { mode, limit, inFlight, streams, queueDepth, baselineMs, pressure, slow } =
    service.admission.view(now);
  const { inTime, late, shed } = service.recent(now);
  return {
    service: service.name,
    mode,
    limit,
    inFlight,
    streams,
    queueDepth,
    baselineMs,
    pressure,
    slow,
    breaker: service.breaker.view(now).state,
    shed,
    inTime,
    late,
    instances: service.instanceFigures(now),
  };
}

/** Gauges are read when somebody looks, not written on every change. */
function setGauges(context: WorkerContext, meter: Meter): void {
  const now = context.now();
  const pressure = context.pressure.view(now);
  meter.set('pressure_ratio', ['loop'], pressure.loop);
  meter.set('pressure_ratio', ['memory'], pressure.memory);
  // Of a service that left nobody would set them again.
  for (const gauge of SERVICE_GAUGES) meter.forget(gauge, ([service = '']) => !context.services.has(service));
  for (const service of context.services.values()) {
    const { name } = service;
    const view = service.admission.view(now);
    meter.set('concurrency_limit', [name], view.limit);
    meter.set('in_flight', [name], view.inFlight);
    for (const rank of RANKS) meter.set('queue_depth', [name, priorityOf(rank)], view.queueByRank[rank]);
    meter.set('service_slow', [name], view.slow ? 1 : 0);
    const state = service.breaker.view(now).state;
    for (const each of BREAKER_STATES) meter.set('breaker_state', [name, each], each === state ? 1 : 0);
  }
}
