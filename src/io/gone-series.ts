import type { ServiceStates } from './ipc.ts';
import type { Meter } from './meter.ts';

/**
 * Ends the metric series of instances in the worker that counted for them.
 *
 * Signal: the complete pictures of a service, from which an instance is missing ten minutes after it is gone (`Fleet`), or
 * after its service left the configuration (`FleetControl`). Decision: its series go. Why so late: a list that goes and
 * comes back within that time goes on counting where it stopped, and by then the rate of the series is zero in every
 * window, so that its end changes no sum of rates. Why not kept as one sum of all that is gone: that sum would jump with
 * every end, and a jump of a counter is a rate. The supervisor shows none of them from the same moment on, so that workers
 * need not hear of it at once. Limits: a worker remembers the ids of the pictures it got, nothing else.
 */

export class GoneSeries {
  readonly #meter: Meter;
  readonly #known = new Map<string, ReadonlySet<string>>();

  constructor(meter: Meter) {
    this.#meter = meter;
  }

  /** Takes a complete picture; an empty one ends the service's. */
  take({ service, instances }: Pick<ServiceStates, 'service' | 'instances'>): void {
    const ids = new Set(instances.map(({ id }) => id));
    const before = this.#known.get(service) ?? ids;
    if (ids.size === 0) this.#known.delete(service);
    else this.#known.set(service, ids);
    if (before.values().every((id) => ids.has(id))) return;
    this.#meter.forget(
      'upstream_requests_total',
      ([of = '', id = '']) => of === service && before.has(id) && !ids.has(id),
    );
  }
}
