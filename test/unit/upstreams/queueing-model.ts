import type { Random } from '../../../src/kernel/random.ts';
import { Balancer } from '../../../src/upstreams/balancer.ts';
import type { InstanceView } from '../../../src/upstreams/fleet.ts';
import { view } from '../../harness/instance-view.ts';

/**
 * A discrete-event model of workers in front of instances: Poisson arrivals, each instance with a number of slots and a
 * queue before them. Time is virtual, chance is seeded; the balancers are the real ones, one a worker.
 */

export interface ModelInstance {
  /** Requests served at once. */
  readonly slots: number;
  /** Mean of the exponential service time, ms. */
  readonly meanMs: number;
  /** Answers this status after this fixed time, past any queue. */
  readonly fails?: { readonly status: number; readonly afterMs: number };
  /** Fraction of answers that are a stray 500. */
  readonly strayRatio?: number;
}

export interface ModelOptions {
  readonly instances: readonly ModelInstance[];
  readonly workers: number;
  readonly ratePerSecond: number;
  readonly durationMs: number;
  readonly random: Random;
  readonly views?: readonly InstanceView[];
  /** Later pictures; an instance keeps its place in all of them. */
  readonly updates?: readonly { readonly at: number; readonly views: readonly InstanceView[] }[];
  /** An instance takes another time from then on. */
  readonly changes?: readonly { readonly at: number; readonly instance: number; readonly meanMs: number }[];
  readonly policy?: Partial<ConstructorParameters<typeof Balancer>[0]>;
}

export interface ModelResult {
  /** One an answer, in order of arrival moments. */
  readonly answers: { at: number; instance: number; latencyMs: number; status: number }[];
  readonly refused: number;
  readonly balancers: readonly Balancer[];
}

type Event = { at: number; run: () => void };

export function runModel(options: ModelOptions): ModelResult {
  const { instances, workers, random, durationMs } = options;
  const views = options.views ?? instances.map((_, index) => view(index));
  const policy = {
    slaMs: 250,
    slowStartMs: 30_000,
    maxConcurrencyPerInstance: Infinity,
    workers,
    ...options.policy,
  };
  const balancers = Array.from({ length: workers }, () => new Balancer(policy, random));
  for (const balancer of balancers) balancer.update(views, 0);
  const meanMs = instances.map((instance) => instance.meanMs);
  const busy = instances.map(() => 0);
  const queues: (() => void)[][] = instances.map(() => []);
  const answers: ModelResult['answers'] = [];
  const events: Event[] = [];
  let now = 0;
  let refused = 0;
  const exponential = (mean: number): number => -mean * Math.log(1 - random());
  const after = (ms: number, run: () => void): void => {
    push(events, { at: now + ms, run });
  };
  const serve = (index: number, done: () => void): void => {
    const instance = instances[index]!;
    if (busy[index]! >= instance.slots) {
      queues[index]!.push(() => {
        serve(index, done);
      });
      return;
    }
    busy[index]!++;
    after(exponential(meanMs[index]!), () => {
      busy[index]!--;
      done();
      queues[index]!.shift()?.();
    });
  };
  const arrive = (): void => {
    const balancer = balancers[Math.floor(random() * workers)]!;
    const slot = balancer.pick({ pinned: -1, tried: [], makesPin: false }, now);
    after(exponential(1000 / options.ratePerSecond), arrive);
    if (slot < 0) {
      refused++;
      return;
    }
    const at = now;
    const index = views.findIndex(({ id }) => id === balancer.idOf(slot));
    const instance = instances[index]!;
    balancer.started(slot, now);
    const end = (status: number): void => {
      balancer.head(slot, now - at, status, -1, now);
      balancer.finished(slot, now);
      answers.push({ at, instance: index, latencyMs: now - at, status });
    };
    if (instance.fails !== undefined) {
      const { status, afterMs } = instance.fails;
      after(afterMs, () => {
        end(status);
      });
      return;
    }
    const status = random() < (instance.strayRatio ?? 0) ? 500 : 200;
    serve(index, () => {
      end(status);
    });
  };
  for (const update of options.updates ?? []) {
    after(update.at, () => {
      for (const balancer of balancers) balancer.update(update.views, now);
    });
  }
  for (const change of options.changes ?? []) {
    after(change.at, () => {
      meanMs[change.instance] = change.meanMs;
    });
  }
  after(0, arrive);
  for (let event = pop(events); event !== undefined && event.at < durationMs; event = pop(events)) {
    now = event.at;
    event.run();
  }
  return { answers, refused, balancers };
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
}

function push(heap: Event[], event: Event): void {
  let at = heap.push(event) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (heap[parent]!.at <= event.at) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = event;
}

function pop(heap: Event[]): Event | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (top === undefined || last === undefined || heap.length === 0) return top;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && heap[child + 1]!.at < heap[child]!.at) child++;
    if (heap[child]!.at >= last.at) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
  return top;
}
