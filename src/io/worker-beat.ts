import { performance } from 'node:perf_hooks';
import process from 'node:process';
import v8 from 'node:v8';
import type { PassiveReport } from '../upstreams/passive-slice.ts';
import type { Meter } from './meter.ts';
import type { ServiceRuntime } from './service-runtime.ts';
import type { WorkerContext } from './worker-context.ts';

/**
 * The worker's one clockwork: every 5 ms the queues and brakes of the services and the timer wheel, every 20 ms the
 * event-loop sample, every 100 ms what was seen of the instances, every second memory.
 *
 * A beat that comes late is the sample: the delay of this timer is the delay every request has just had.
 */

const BEAT_MS = 5;
const LOOP_SAMPLE_MS = 20;
const PASSIVE_MS = 100;
/** Between two urgent reports: five failures in a row at a small service must not wait for a timer, nor flood the channel. */
const URGENT_GAP_MS = 5;
const SECOND_MS = 1000;

type SendPassive = (service: string, reports: Readonly<Record<string, PassiveReport>>) => void;

export class WorkerBeat {
  readonly #context: WorkerContext;
  readonly #meter: Meter;
  readonly #sendPassive: SendPassive;
  readonly #urgent = new Set<string>();
  #timer: NodeJS.Timeout | undefined = undefined;
  #elu = performance.eventLoopUtilization();
  #loopAt = 0;
  #passiveAt = 0;
  #urgentAt = 0;
  #secondAt = 0;

  constructor(context: WorkerContext, meter: Meter, sendPassive: SendPassive) {
    this.#context = context;
    this.#meter = meter;
    this.#sendPassive = sendPassive;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#beat();
    }, BEAT_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** An instance of the service failed: its report leaves with one of the next beats. */
  reportSoon(service: string): void {
    this.#urgent.add(service);
  }

  #beat(): void {
    const context = this.#context;
    const now = context.now();
    if (now - this.#loopAt >= LOOP_SAMPLE_MS) this.#sampleLoop(now);
    for (const service of context.services.values()) service.admission.tick(now);
    for (const service of context.leaving) this.#tickLeaving(service, now);
    context.wheel.turn(now);
    if (now - this.#passiveAt >= PASSIVE_MS) this.#reportAll(now);
    else if (this.#urgent.size > 0 && now - this.#urgentAt >= URGENT_GAP_MS) this.#reportUrgent(now);
    if (now - this.#secondAt >= SECOND_MS) this.#eachSecond(now);
  }

  /** Whoever still waits or runs there keeps its limits; then the connections go. */
  #tickLeaving(service: ServiceRuntime, now: number): void {
    service.admission.tick(now);
    const { inFlight, streams, queueDepth } = service.admission.view(now);
    if (inFlight + streams + queueDepth > 0) return;
    service.retirePools();
    this.#context.leaving.delete(service);
  }

  #sampleLoop(now: number): void {
    const current = performance.eventLoopUtilization();
    const busy = performance.eventLoopUtilization(current, this.#elu).utilization;
    this.#elu = current;
    this.#loopAt = now;
    this.#context.pressure.beat(now, busy);
    this.#meter.set('event_loop_utilization', [], busy);
    this.#meter.set('event_loop_lag_seconds', [], this.#context.pressure.lagMs(now) / 1000);
  }

  #eachSecond(now: number): void {
    this.#secondAt = now;
    for (const service of this.#context.services.values()) service.refreshCeiling(now);
    const { used_heap_size: used, heap_size_limit: limit } = v8.getHeapStatistics();
    const constrained = process.constrainedMemory();
    const container = constrained > 0 && constrained < 2 ** 52 ? process.memoryUsage.rss() / constrained : 0;
    this.#context.pressure.memory(Math.max(used / limit, container), now);
  }

  #reportAll(now: number): void {
    this.#passiveAt = now;
    this.#urgentAt = now;
    this.#urgent.clear();
    for (const name of this.#context.services.keys()) this.#report(name);
  }

  #reportUrgent(now: number): void {
    this.#urgentAt = now;
    for (const name of this.#urgent) this.#report(name);
    this.#urgent.clear();
  }

  #report(name: string): void {
    const reports = this.#context.services.get(name)?.takePassive();
    if (reports !== undefined) this.#sendPassive(name, reports);
  }
}
