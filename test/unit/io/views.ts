/** What workers report and the supervisor publishes, as small as tests of their readers need it. */
import type { ServiceFigures, ServiceStates, WorkerViews } from '../../../src/io/ipc.ts';
import type { InstanceState } from '../../../src/upstreams/instance-state.ts';
import { view } from '../upstreams/queueing-model.ts';

export function figures(changes: Partial<ServiceFigures> = {}): ServiceFigures {
  return {
    service: 'shop',
    mode: 'enforce',
    limit: 10,
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
    verdict: 'enough',
    modeForced: false,
    limitFixed: false,
    breaker: 'closed',
    shed: 0,
    wouldShed: 0,
    inTime: 0,
    late: 0,
    totals: { answered: 0, inTime: 0, shed: 0, wouldShed: 0 },
    instances: [],
    ...changes,
  };
}

export function worker(...services: ServiceFigures[]): WorkerViews {
  return { services, pressure: { loop: 0, memory: 0 }, redis: { state: 'embedded', reason: '' } };
}

/** @param instances states by id */
export function states(
  service: string,
  state: ServiceStates['readiness']['state'],
  instances: Readonly<Record<string, InstanceState>> = {},
  reason = '',
): ServiceStates {
  return {
    service,
    sequence: 1,
    readiness: { state, because: [] },
    instances: Object.entries(instances).map(([id, own]) =>
      view(0, { id, url: `http://${id}`, version: 'v1', state: own, reason }),
    ),
  };
}
