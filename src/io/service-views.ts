import { shareThatLeft } from '../affinity/drain-time.ts';
import { sessionsOf } from '../affinity/session-count.ts';
import type { AdmissionView } from '../shedding/admission.ts';
import type { InstanceView as FleetInstance } from '../upstreams/fleet.ts';
import type { LoadTold } from '../upstreams/load-gate.ts';
import type { InstanceView, ServiceView, SheddingView } from './admin-port.ts';
import type { InstanceFigures, ServiceFigures, ServiceStates, WorkerViews } from './ipc.ts';
import { tellingVerdict, verdictWords } from './verdict-words.ts';

/**
 * Several workers' figures of a service as one: shares are added, states take the worst, baselines the largest.
 */

const BREAKER_ORDER = ['forced-open', 'open', 'half-open', 'ramping', 'closed', 'forced-closed'];

/** How the line in words tells of breakers that refuse; the others refuse nothing. */
const REFUSING: Readonly<Record<string, string>> = {
  'forced-open': 'forced open by an operator',
  open: 'open',
  'half-open': 'half-open',
  ramping: 'ramping up',
};

export function mergeFigures(views: readonly WorkerViews[]): Map<string, ServiceFigures> {
  const merged = new Map<string, ServiceFigures>();
  for (const { services } of views) {
    for (const figures of services) {
      const before = merged.get(figures.service);
      merged.set(figures.service, before === undefined ? figures : add(before, figures));
    }
  }
  return merged;
}

function add(a: ServiceFigures, b: ServiceFigures): ServiceFigures {
  const instances = new Map(a.instances.map((instance) => [instance.id, instance]));
  for (const instance of b.instances) {
    const before = instances.get(instance.id);
    instances.set(
      instance.id,
      before === undefined
        ? instance
        : {
            id: instance.id,
            inFlight: before.inFlight + instance.inFlight,
            streams: before.streams + instance.streams,
            sessionBits: `${before.sessionBits} ${instance.sessionBits}`,
            load: younger(before.load, instance.load),
          },
    );
  }
  return {
    ...mergeAdmission(a, b),
    service: a.service,
    modeForced: a.modeForced,
    limitFixed: a.limitFixed,
    breaker: worseBreaker(a.breaker, b.breaker),
    inTime: a.inTime + b.inTime,
    late: a.late + b.late,
    shed: a.shed + b.shed,
    wouldShed: a.wouldShed + b.wouldShed,
    queueWaitMs: Math.max(a.queueWaitMs, b.queueWaitMs),
    totals: {
      answered: a.totals.answered + b.totals.answered,
      inTime: a.totals.inTime + b.totals.inTime,
      shed: a.totals.shed + b.totals.shed,
      wouldShed: a.totals.wouldShed + b.totals.wouldShed,
    },
    instances: [...instances.values()],
  };
}

function younger(a: LoadTold | undefined, b: LoadTold | undefined): LoadTold | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return a.ageMs <= b.ageMs ? a : b;
}

function mergeAdmission(a: AdmissionView, b: AdmissionView): AdmissionView {
  return {
    mode: a.mode,
    limit: a.limit + b.limit,
    inFlight: a.inFlight + b.inFlight,
    streams: a.streams + b.streams,
    queueDepth: a.queueDepth + b.queueDepth,
    queueByRank: [
      a.queueByRank[0] + b.queueByRank[0],
      a.queueByRank[1] + b.queueByRank[1],
      a.queueByRank[2] + b.queueByRank[2],
      a.queueByRank[3] + b.queueByRank[3],
    ],
    baselineMs: Math.max(a.baselineMs, b.baselineMs),
    p50Ms: Math.max(a.p50Ms, b.p50Ms),
    p95Ms: Math.max(a.p95Ms, b.p95Ms),
    expectedWaitMs: Math.max(a.expectedWaitMs, b.expectedWaitMs),
    pressure: Math.max(a.pressure, b.pressure),
    slow: a.slow || b.slow,
    congested: a.congested || b.congested,
    verdict: tellingVerdict(a.verdict, b.verdict),
  };
}

/** How many times its baseline a service's last window took, rounded as people read it; 0 while either is unknown. */
export function slowdownOf({ baselineMs, p50Ms }: Pick<AdmissionView, 'baselineMs' | 'p50Ms'>): number {
  return baselineMs > 0 ? rounded(p50Ms / baselineMs, 100) : 0;
}

/** Of two states of a breaker the one that lets less through. */
function worseBreaker(a: string, b: string): string {
  return BREAKER_ORDER.indexOf(a) <= BREAKER_ORDER.indexOf(b) ? a : b;
}

/** What the front gates of all workers refuse: the largest share, by signal. */
export function mergePressure(views: readonly WorkerViews[]): WorkerViews['pressure'] {
  return {
    loop: Math.max(0, ...views.map(({ pressure }) => pressure.loop)),
    memory: Math.max(0, ...views.map(({ pressure }) => pressure.memory)),
  };
}

export function serviceView(
  states: ServiceStates,
  figures: ServiceFigures | undefined,
  pressure: WorkerViews['pressure'] = NO_PRESSURE,
  drain: DrainSpans = NO_DRAIN,
): ServiceView {
  const live = new Map(figures?.instances.map((instance) => [instance.id, instance]));
  return {
    state: states.readiness.state,
    because: states.readiness.because,
    shedding: sheddingView(figures ?? UNKNOWN, pressure),
    breaker: { state: figures?.breaker ?? 'closed' },
    instances: states.instances.map((instance) => instanceView(instance, live.get(instance.id), drain)),
  };
}

/** How long an instance that leaves keeps what, ms. */
export interface DrainSpans {
  readonly sessionTimeout: number;
  readonly streamTimeout: number;
}

const NO_DRAIN: DrainSpans = { sessionTimeout: 0, streamTimeout: 0 };

function instanceView(
  { id, url, version, state, reason, keepsPinned, drainForMs }: FleetInstance,
  figures: InstanceFigures | undefined,
  { sessionTimeout, streamTimeout }: DrainSpans,
): InstanceView {
  const bits = (figures?.sessionBits ?? '').split(' ').filter((each) => each !== '');
  const streams = figures?.streams ?? 0;
  const draining = state === 'draining' && drainForMs >= 0;
  const left = keepsPinned ? sessionsOf(bits, draining ? shareThatLeft(drainForMs, sessionTimeout) : 0) : 0;
  const spanMs = Math.max(sessionTimeout, streams > 0 ? streamTimeout : 0);
  return {
    id,
    url,
    version,
    state,
    reason,
    inFlight: figures?.inFlight ?? 0,
    streams,
    sessions: draining ? left : sessionsOf(bits),
    sessionsLeft: left,
    drainLeftMs: draining ? Math.max(0, Math.round(spanMs - drainForMs)) : null,
    utilization: figures?.load?.utilization ?? null,
  };
}

/** One worker's share of a service, or all of it; times in whole microseconds, since more is noise of the clock. */
export function sheddingView(figures: ServiceFigures, pressure: WorkerViews['pressure']): SheddingView {
  const { mode, modeForced, verdict, limitFixed, queueByRank, inTime, late, shed, wouldShed, totals } =
    figures;
  const { limit, inFlight, streams, queueDepth, slow, congested } = figures;
  return {
    mode,
    modeBy: modeForced ? 'operator' : 'configuration',
    limit,
    verdict,
    limitBecause: verdictWords(verdict, limitFixed, mode),
    inFlight,
    streams,
    queueDepth,
    queueByPriority: {
      critical: queueByRank[0],
      default: queueByRank[1],
      sheddable: queueByRank[2],
      background: queueByRank[3],
    },
    queueWaitMs: rounded(figures.queueWaitMs, 1000),
    expectedWaitMs: rounded(figures.expectedWaitMs, 1000),
    baselineMs: rounded(figures.baselineMs, 1000),
    p50Ms: rounded(figures.p50Ms, 1000),
    p95Ms: rounded(figures.p95Ms, 1000),
    slowdown: slowdownOf(figures),
    slow,
    congested,
    pressure: rounded(figures.pressure, 1000),
    pressureBy: {
      loop: rounded(pressure.loop, 1000),
      memory: rounded(pressure.memory, 1000),
      service: rounded(figures.pressure, 1000),
    },
    lastTenSeconds: { inTime, late, shed, wouldShed },
    total: totals,
  };
}

function rounded(value: number, parts: number): number {
  return Math.round(value * parts) / parts;
}

const NO_PRESSURE: WorkerViews['pressure'] = { loop: 0, memory: 0 };

/** A service of which no worker has told anything yet. */
export const UNKNOWN: ServiceFigures = {
  service: '',
  mode: 'enforce',
  modeForced: false,
  limitFixed: false,
  limit: 0,
  inFlight: 0,
  streams: 0,
  queueDepth: 0,
  queueByRank: [0, 0, 0, 0],
  queueWaitMs: 0,
  expectedWaitMs: 0,
  baselineMs: 0,
  p50Ms: 0,
  p95Ms: 0,
  pressure: 0,
  slow: false,
  congested: false,
  verdict: 'cold',
  breaker: 'closed',
  inTime: 0,
  late: 0,
  shed: 0,
  wouldShed: 0,
  totals: { answered: 0, inTime: 0, shed: 0, wouldShed: 0 },
  instances: [],
};

/**
 * One line in words on how things are. A service that is down, or whose breaker refuses all but a trial, meets no SLA, and
 * nobody may read that nothing is shed while requests are refused.
 */
export function oneLine(
  states: readonly ServiceStates[],
  figures: ReadonlyMap<string, ServiceFigures>,
  redis: string,
): string {
  let meeting = 0;
  const shedding: string[] = [];
  const down: string[] = [];
  const unknown: string[] = [];
  const breakers: string[] = [];
  for (const { service, readiness } of states) {
    const own = figures.get(service);
    const refusing = REFUSING[own?.breaker ?? 'closed'];
    if (refusing !== undefined) breakers.push(`the breaker of ${service} is ${refusing}`);
    const passes = refusing === undefined || own?.breaker === 'ramping';
    if (readiness.state === 'down' || readiness.state === 'dependency-down') down.push(service);
    else if (readiness.state === 'unknown') unknown.push(service);
    else if (passes && (own === undefined || own.late * 100 <= own.inTime + own.late)) meeting++;
    if ((own?.shed ?? 0) > 0) shedding.push(service);
  }
  const parts = [`SLA met on ${meeting} of ${states.length} services`, ...breakers];
  if (shedding.length > 0) parts.push(`load is shed at ${shedding.join(', ')}`);
  else if (breakers.length + down.length + unknown.length === 0) parts.push('nothing is shed');
  if (down.length > 0) parts.push(`down: ${down.join(', ')}`);
  if (unknown.length > 0) parts.push(`without a ready instance so far: ${unknown.join(', ')}`);
  if (redis === 'down') parts.push('Redis is down, limits are held locally');
  return `${parts.join('; ')}.`;
}
