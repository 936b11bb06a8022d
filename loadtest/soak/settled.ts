/**
 * A gateway at rest: what each of its processes holds when nobody asks anything, before the soak and after it.
 *
 * Probes come and go at rest too, so of six looks the fewest of each kind count. Memory is read before the census, which walks the whole
 * heap and may leave the process larger than it was.
 */
import { setTimeout as pause } from 'node:timers/promises';

import type { Gateway } from '../../test/harness/gateway.ts';
import type { Census, Inspector } from './inspector.ts';
import { fewest, processFigures, tcpStates } from './process-figures.ts';
import type { Course } from './recorder.ts';

const LOOKS = 6;
const LOOK_EACH_MS = 700;

export interface SettledProcess {
  readonly name: string;
  readonly pid: number;
  readonly descriptors: Readonly<Record<string, number>>;
  readonly resources: Readonly<Record<string, number>>;
  readonly residentBytes: number;
  readonly heapBytes: number;
  readonly census: Census;
}

/** Of all services, as the admin address tells them. */
export interface Holdings {
  readonly inFlight: number;
  readonly streams: number;
  readonly queued: number;
  readonly notReady: readonly string[];
  /** `closed` unless some breaker is not. */
  readonly breaker: string;
  readonly limitStore: string;
  readonly restarts: number;
  /** Series of the page of metrics. */
  readonly series: number;
}

export async function settledProcess(course: Course, inspector: Inspector): Promise<SettledProcess> {
  const { name, pid } = course;
  const descriptors: Record<string, number>[] = [];
  const resources: Record<string, number>[] = [];
  let heapBytes = Infinity;
  let residentBytes = Infinity;
  for (let look = 0; look < LOOKS; look += 1) {
    const heap = await inspector.heap(pid);
    if (heap === undefined) throw new Error(`${name} (${pid}) cannot be looked into`);
    resources.push({ ...heap.resources });
    heapBytes = Math.min(heapBytes, heap.heapBytes);
    await pause(LOOK_EACH_MS);
    const figures = processFigures(pid, tcpStates());
    descriptors.push({ ...figures.byKind });
    residentBytes = Math.min(residentBytes, figures.residentBytes);
  }
  const census = await inspector.census(pid, name !== 'supervisor');
  if (census === undefined) throw new Error(`${name} (${pid}) cannot be counted`);
  return {
    name,
    pid,
    descriptors: fewest(descriptors),
    resources: fewest(resources),
    residentBytes,
    heapBytes,
    census,
  };
}

interface ServiceBody {
  readonly shedding: { readonly inFlight: number; readonly streams: number; readonly queueDepth: number };
  readonly breaker: { readonly state: string };
  readonly instances: readonly { readonly id: string; readonly state: string; readonly inFlight: number }[];
}

interface StatusBody {
  readonly workers: readonly { readonly restarts: number }[];
  readonly redis: { readonly state: string };
}

export async function holdings(gateway: Gateway): Promise<Holdings> {
  const services = (await gateway.admin('/v1/services')).body as {
    readonly services: Readonly<Record<string, ServiceBody>>;
  };
  const status = (await gateway.admin('/v1/status')).body as StatusBody;
  const metrics = String((await gateway.admin('/metrics')).body);
  const all = Object.values(services.services);
  const instances = all.flatMap((service) => service.instances);
  return {
    inFlight:
      all.reduce((sum, { shedding }) => sum + shedding.inFlight, 0) +
      instances.reduce((sum, { inFlight }) => sum + inFlight, 0),
    streams: all.reduce((sum, { shedding }) => sum + shedding.streams, 0),
    queued: all.reduce((sum, { shedding }) => sum + shedding.queueDepth, 0),
    notReady: instances.filter(({ state }) => state !== 'ready').map(({ id, state }) => `${id} ${state}`),
    breaker: all.find(({ breaker }) => breaker.state !== 'closed')?.breaker.state ?? 'closed',
    limitStore: status.redis.state,
    restarts: status.workers.reduce((sum, { restarts }) => sum + restarts, 0),
    series: metrics.split('\n').filter((line) => line !== '' && !line.startsWith('#')).length,
  };
}
