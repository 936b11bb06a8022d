import { performance } from 'node:perf_hooks';
import type { Trip } from '../upstreams/breaker.ts';
import type { PassiveReport } from '../upstreams/passive-slice.ts';
import { MemoryUse } from './memory-use.ts';
import type { NamedClaims, NamedShares } from './ipc.ts';
import { endLeavingStreams } from './leaving-streams.ts';
import type { Meter } from './meter.ts';
import { PressureRelief, type RelievedServer } from './pressure-relief.ts';
import type { ServiceRuntime } from './service-runtime.ts';
import type { WorkerContext } from './worker-context.ts';
import { WorkerCaps } from './worker-caps.ts';
import { WorkerShares } from './worker-shares.ts';

/**
 * The worker's one clockwork: every 5 ms the queues and brakes of the services, the timer wheel and slots of clients, every 20 ms the
 * event-loop sample, every 50 ms what other workers are told (worker-shares.ts) and what is claimed of the instances' limits (worker-caps.ts), every 500 ms slow callers (rate-guard.ts), every 100 ms what was seen of the instances,
 * every 200 ms memory and what is done against pressure, every 250 ms streams of instances that leave.
 *
 * A beat that comes late is the sample: the delay of this timer is the delay every request has just had. A service whose
 * admission throws keeps its last good limit; the others, and the rest of the beat, go on.
 */

const BEAT_MS = 5;
const LOOP_SAMPLE_MS = 20;
const PASSIVE_MS = 100;
/** Between two urgent reports: five failures in a row at a small service must not wait for a timer, nor flood the channel. */
const URGENT_GAP_MS = 5;
const SECOND_MS = 1000;
/** The least of a second is taken, of three values or more: at 500 ms that is the least of 1.5 s, at 50 ms it costs four times as much. */
const MEMORY_MS = 200;
/** Half tells nobody anything sooner; double, and streams end in clumps of a sixtieth of the usual span. */
const STREAMS_MS = 250;
/** One that throws does so two hundred times a second. */
const FAULT_LINE_MS = 60_000;

export interface BeatParts {
  readonly meter: Meter;
  readonly sendPassive: (service: string, reports: Readonly<Record<string, PassiveReport>>) => void;
  /** The breaker of a service has opened here. */
  readonly sendTrip: (service: string, trip: Trip) => void;
  readonly sendShares: (generation: number, shares: NamedShares) => void;
  readonly sendCaps: (generation: number, workers: number, claims: NamedClaims) => void;
  /** The admission of a service threw, `faults` times since it was last told. */
  readonly onFault: (service: string, error: unknown, faults: number) => void;
  readonly servers: () => Iterable<RelievedServer>;
}

/** Faults of one service's admission. */
interface Faults {
  count: number;
  toldAtMs: number;
}

export class WorkerBeat {
  readonly shares: WorkerShares;
  readonly caps: WorkerCaps;
  readonly #context: WorkerContext;
  readonly #parts: BeatParts;
  readonly #meter: Meter;
  readonly #memory = new MemoryUse();
  readonly #relief = new PressureRelief();
  readonly #faults = new Map<string, Faults>();
  readonly #urgent = new Set<string>();
  #timer: NodeJS.Timeout | undefined = undefined;
  #elu = performance.eventLoopUtilization();
  #loopAt = 0;
  #passiveAt = 0;
  #urgentAt = 0;
  #secondAt = 0;
  #memoryAt = 0;
  #streamsAt = 0;

  constructor(context: WorkerContext, parts: BeatParts) {
    this.#context = context;
    this.#parts = parts;
    this.#meter = parts.meter;
    const services = (): WorkerContext['services'] => context.services;
    const onFault = (service: string, error: unknown, now: number): void => {
      this.#fault(service, error, now);
    };
    this.caps = new WorkerCaps({ services, send: parts.sendCaps, onFault });
    this.shares = new WorkerShares({ services, send: parts.sendShares, onFault });
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.beat();
    }, BEAT_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** An instance of the service failed: its report leaves with one of the next beats. */
  reportSoon(service: string): void {
    this.#urgent.add(service);
  }

  /** One beat; `start` has it come every 5 ms. */
  beat(): void {
    const context = this.#context;
    const now = context.now();
    if (now - this.#loopAt >= LOOP_SAMPLE_MS) this.#sampleLoop(now);
    this.shares.beat(now);
    this.caps.beat(now);
    for (const service of context.services.values()) this.#tick(service, now);
    for (const service of context.leaving) this.#tickLeaving(service, now);
    context.wheel.turn(now);
    context.rates.check(now);
    context.slots.tick(now);
    if (now - this.#passiveAt >= PASSIVE_MS) this.#reportAll(now);
    else if (this.#urgent.size > 0 && now - this.#urgentAt >= URGENT_GAP_MS) this.#reportUrgent(now);
    if (now - this.#memoryAt >= MEMORY_MS) this.#relieve(now);
    if (now - this.#streamsAt >= STREAMS_MS) this.#endStreams(now);
    if (now - this.#secondAt >= SECOND_MS) this.#eachSecond(now);
  }

  #tick(service: ServiceRuntime, now: number): void {
    const trip = service.breaker.takeTrip();
    if (trip !== undefined) this.#parts.sendTrip(service.name, trip);
    try {
      service.admission.tick(now);
    } catch (error) {
      this.#fault(service.name, error, now);
    }
  }

  #fault(service: string, error: unknown, now: number): void {
    this.#meter.add('controller_faults_total', [service]);
    const faults = this.#faults.get(service) ?? { count: 0, toldAtMs: Number.NEGATIVE_INFINITY };
    this.#faults.set(service, faults);
    faults.count += 1;
    if (now - faults.toldAtMs < FAULT_LINE_MS) return;
    this.#parts.onFault(service, error, faults.count);
    faults.toldAtMs = now;
    faults.count = 0;
  }

  /** Whoever still waits or runs there keeps its limits; then the connections go. */
  #tickLeaving(service: ServiceRuntime, now: number): void {
    this.#tick(service, now);
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
  }

  #relieve(now: number): void {
    this.#memoryAt = now;
    const { pressure, snapshot } = this.#context;
    pressure.memory(this.#memory.ratio(), now);
    const enforced = snapshot?.configuration.shedding.mode === 'enforce';
    this.#relief.apply(enforced ? pressure.view(now) : NO_PRESSURE, this.#parts.servers(), now);
  }

  #endStreams(now: number): void {
    this.#streamsAt = now;
    endLeavingStreams(this.#context, now);
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
    if (reports !== undefined) this.#parts.sendPassive(name, reports);
  }
}

const NO_PRESSURE = { loop: 0, memory: 0 };
