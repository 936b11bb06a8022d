import { sessionsOf } from '../affinity/session-count.ts';
import type { ServiceView } from './admin-port.ts';
import type { ServiceFigures, ServiceStates, WorkerViews } from './ipc.ts';

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
            sessionBits: `${before.sessionBits} ${instance.sessionBits}`,
          },
    );
  }
  return {
    service: a.service,
    mode: a.mode,
    limit: a.limit + b.limit,
    inFlight: a.inFlight + b.inFlight,
    streams: a.streams + b.streams,
    queueDepth: a.queueDepth + b.queueDepth,
    baselineMs: Math.max(a.baselineMs, b.baselineMs),
    pressure: Math.max(a.pressure, b.pressure),
    slow: a.slow || b.slow,
    breaker: worseBreaker(a.breaker, b.breaker),
    shed: a.shed + b.shed,
    inTime: a.inTime + b.inTime,
    late: a.late + b.late,
    instances: [...instances.values()],
  };
}

/** Of two states of a breaker the one that lets less through. */
export function worseBreaker(a: string, b: string): string {
  return BREAKER_ORDER.indexOf(a) <= BREAKER_ORDER.indexOf(b) ? a : b;
}

export function serviceView(states: ServiceStates, figures: ServiceFigures | undefined): ServiceView {
  const live = new Map(figures?.instances.map((instance) => [instance.id, instance]));
  return {
    state: states.readiness.state,
    because: states.readiness.because,
    shedding: {
      mode: figures?.mode ?? 'enforce',
      limit: figures?.limit ?? 0,
      inFlight: figures?.inFlight ?? 0,
      queueDepth: figures?.queueDepth ?? 0,
      baselineMs: figures?.baselineMs ?? 0,
      pressure: figures?.pressure ?? 0,
    },
    breaker: { state: figures?.breaker ?? 'closed' },
    instances: states.instances.map(({ id, url, version, state, reason }) => ({
      id,
      url,
      version,
      state,
      reason,
      inFlight: live.get(id)?.inFlight ?? 0,
      sessions: sessionsOf((live.get(id)?.sessionBits ?? '').split(' ').filter((bits) => bits !== '')),
    })),
  };
}

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
  const breakers: string[] = [];
  for (const { service, readiness } of states) {
    const own = figures.get(service);
    const refusing = REFUSING[own?.breaker ?? 'closed'];
    if (refusing !== undefined) breakers.push(`the breaker of ${service} is ${refusing}`);
    const passes = refusing === undefined || own?.breaker === 'ramping';
    if (readiness.state === 'down' || readiness.state === 'dependency-down') down.push(service);
    else if (passes && (own === undefined || own.late * 100 <= own.inTime + own.late)) meeting++;
    if ((own?.shed ?? 0) > 0) shedding.push(service);
  }
  const parts = [`SLA met on ${meeting} of ${states.length} services`, ...breakers];
  if (shedding.length > 0) parts.push(`load is shed at ${shedding.join(', ')}`);
  else if (breakers.length === 0 && down.length === 0) parts.push('nothing is shed');
  if (down.length > 0) parts.push(`down: ${down.join(', ')}`);
  if (redis === 'down') parts.push('Redis is down, limits are held locally');
  return `${parts.join('; ')}.`;
}
