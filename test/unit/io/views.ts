/** What workers report and the supervisor publishes, as small as tests of their readers need it. */
import type { ServiceFigures, ServiceStates, WorkerViews } from '../../../src/io/ipc.ts';
import { UNKNOWN } from '../../../src/io/service-views.ts';
import type { InstanceState } from '../../../src/upstreams/instance-state.ts';
import { view } from '../../harness/instance-view.ts';

export function figures(changes: Partial<ServiceFigures> = {}): ServiceFigures {
  return {
    ...UNKNOWN,
    service: 'shop',
    limit: 10,
    verdict: 'enough',
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
    readiness: { state, because: [], lacks: [] },
    instances: Object.entries(instances).map(([id, own]) =>
      view(0, { id, url: `http://${id}`, version: 'v1', state: own, reason }),
    ),
  };
}
