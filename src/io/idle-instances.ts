import type { FleetControl } from './fleet-control.ts';
import type { WorkerViews } from './ipc.ts';
import { mergeFigures, serviceView, type DrainSpans } from './service-views.ts';
import type { WorkerPool } from './worker-pool.ts';

/**
 * Finds instances that leave and at which nothing is left: no request, no stream, no session that they still serve, as all
 * workers say. They are gone then, without waiting for the rest of `drain.sessionTimeout`.
 *
 * A worker that has not said so lately may have sent a request there meanwhile: while there is one, nobody is idle.
 */

/** Half, and a worker that reports a little late is one that stalls; double, and its word may be older than the drain. */
const FRESH_MS = 1500;
/** Half costs twice as much where no instance leaves, the usual case; double shows an empty one as draining for longer. */
const LOOK_EVERY_MS = 500;

export interface IdleInstancesParts {
  readonly pool: WorkerPool;
  readonly fleets: FleetControl;
  readonly now: () => number;
  readonly drainOf: (service: string) => DrainSpans | undefined;
}

export class IdleInstances {
  readonly #parts: IdleInstancesParts;
  readonly #reports = new Map<string, { readonly views: WorkerViews; readonly atMs: number }>();
  #lookedAtMs = Number.NEGATIVE_INFINITY;

  constructor(parts: IdleInstancesParts) {
    this.#parts = parts;
  }

  workerGone(workerKey: string): void {
    this.#reports.delete(workerKey);
  }

  reported(workerKey: string, views: WorkerViews): void {
    const { pool, fleets, now, drainOf } = this.#parts;
    const atMs = now();
    this.#reports.set(workerKey, { views, atMs });
    if (atMs - this.#lookedAtMs < LOOK_EVERY_MS) return;
    this.#lookedAtMs = atMs;
    const leaving = fleets
      .states()
      .filter(({ instances }) => instances.some(({ state }) => state === 'draining'));
    if (leaving.length === 0) return;
    if (pool.all().some(({ key }) => atMs - (this.#reports.get(key)?.atMs ?? -Infinity) > FRESH_MS)) return;
    const figures = mergeFigures([...this.#reports.values()].map((report) => report.views));
    for (const states of leaving) {
      const { service } = states;
      const { instances } = serviceView(states, figures.get(service), undefined, drainOf(service));
      for (const { id, state, inFlight, sessionsLeft } of instances)
        if (state === 'draining' && inFlight === 0 && sessionsLeft === 0) fleets.idle(service, id);
    }
  }
}
