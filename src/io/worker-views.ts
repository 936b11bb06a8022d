import { priorityOf, type PriorityRank } from '../kernel/priority.ts';
import type { AdmissionView } from '../shedding/admission.ts';
import type { ClientQuotas } from './client-quota.ts';
import type { ExplainRing } from './explain-ring.ts';
import type { Answer, Question, ServiceFigures, WorkerViews } from './ipc.ts';
import { countStreams } from './leaving-streams.ts';
import type { Meter } from './meter.ts';
import type { ExchangeRecord } from './exchange-record.ts';
import type { ServiceRuntime } from './service-runtime.ts';
import { slowdownOf } from './service-views.ts';
import { VERDICTS } from './verdict-words.ts';
import type { WorkerContext } from './worker-context.ts';
import type { WorkerLimits } from './worker-limits.ts';

/** What a worker says of itself when it is asked, and once a second unasked. */

const RANKS: readonly PriorityRank[] = [0, 1, 2, 3];
const SERVICE_GAUGES = [
  'concurrency_limit',
  'concurrency_verdict',
  'latency_baseline_seconds',
  'latency_window_seconds',
  'slowdown_ratio',
  'in_flight',
  'streams',
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
      return { what: 'explain', record: storyOf(question.requestId, context, explain) ?? null };
    case 'quota':
      return { what: 'quota', quota: await quotas.answer(question.act, question.client, question.peek) };
    default:
      return question satisfies never;
  }
}

/** Undefined: not (or no longer) known here. */
function storyOf(requestId: string, context: WorkerContext, explain: ExplainRing<ExchangeRecord>): unknown {
  return explain.find(requestId)?.told() ?? context.sheds.told(requestId);
}

export function workerViews(context: WorkerContext, limits: WorkerLimits): WorkerViews {
  const now = context.now();
  const pressure = context.pressure.view(now);
  const streams = countStreams(context);
  return {
    services: [...context.services.values()].map((service) => figuresOf(service, streams.get(service), now)),
    pressure: { loop: pressure.loop, memory: pressure.memory },
    redis: limits.condition,
  };
}

function figuresOf(
  service: ServiceRuntime,
  streams: readonly number[] | undefined,
  now: number,
): ServiceFigures {
  const versions = service.versions?.tallies;
  return {
    ...service.admission.view(now),
    ...service.account.recent(now),
    service: service.name,
    modeForced: service.modeForced,
    limitFixed: service.configuration.shedding.limit !== 'auto',
    breaker: service.breaker.view(now).state,
    totals: service.account.totals,
    instances: service.instanceFigures(streams ?? NO_STREAMS, now),
    ...(versions === undefined ? {} : { versions }),
  };
}

const NO_STREAMS: readonly number[] = Object.freeze([]);

/** Gauges are read when somebody looks, not written on every change. */
function setGauges(context: WorkerContext, meter: Meter): void {
  const now = context.now();
  const pressure = context.pressure.view(now);
  meter.set('pressure_ratio', ['loop'], pressure.loop);
  meter.set('pressure_ratio', ['memory'], pressure.memory);
  // Of a service that left nobody would set them again.
  for (const gauge of SERVICE_GAUGES) meter.forget(gauge, ([service = '']) => !context.services.has(service));
  let hardest = 0;
  for (const service of context.services.values()) {
    const view = service.admission.view(now);
    hardest = Math.max(hardest, view.pressure);
    setAdmission(service.name, view, meter);
    const state = service.breaker.view(now).state;
    for (const each of BREAKER_STATES)
      meter.set('breaker_state', [service.name, each], each === state ? 1 : 0);
  }
  meter.set('pressure_ratio', ['service'], hardest);
}

function setAdmission(name: string, view: AdmissionView, meter: Meter): void {
  meter.set('concurrency_limit', [name], view.limit);
  for (const each of VERDICTS) meter.set('concurrency_verdict', [name, each], each === view.verdict ? 1 : 0);
  meter.set('latency_baseline_seconds', [name], view.baselineMs / 1000);
  meter.set('latency_window_seconds', [name, '0.5'], view.p50Ms / 1000);
  meter.set('latency_window_seconds', [name, '0.95'], view.p95Ms / 1000);
  meter.set('slowdown_ratio', [name], slowdownOf(view));
  meter.set('in_flight', [name], view.inFlight);
  meter.set('streams', [name], view.streams);
  for (const rank of RANKS) meter.set('queue_depth', [name, priorityOf(rank)], view.queueByRank[rank]);
  meter.set('service_slow', [name], view.slow ? 1 : 0);
}
