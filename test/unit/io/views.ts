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
    baselineMs: 0,
    pressure: 0,
    slow: false,
    breaker: 'closed',
    shed: 0,
    inTime: 0,
    late: 0,
    instances: [],
    ...changes,
  };
}

export function worker(...services: ServiceFigures[]): WorkerViews {
  return { services, redis: { state: 'embedded', reason: '' } };
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
