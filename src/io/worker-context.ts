import { randomBytes } from 'node:crypto';
import process from 'node:process';
import type { Random } from '../kernel/random.ts';
import type { Limiter } from '../limits/limiter.ts';
import type { Slots } from '../limits/slots.ts';
import { Levels } from '../shedding/cohort.ts';
import { LoopPressure } from '../shedding/pressure.ts';
import { Strain } from '../shedding/strain.ts';
import type { Exchange } from './exchange.ts';
import type { Guards } from './guard/guards.ts';
import type { OutcomeRecorder } from './outcome-recorder.ts';
import { RateGuard } from './rate-guard.ts';
import type { ServiceRuntime } from './service-runtime.ts';
import type { Snapshot } from './snapshot.ts';
import { ShedMemory } from './shed-memory.ts';
import { YoungGarbage } from './young-garbage.ts';
import { Wheel } from './wheel.ts';

/** Until the first configuration names an SLA. */
const DEFAULT_SLA_MS = 250;

/**
 * What one worker has for all its requests: clock, wheel, limiter, the services' learned state and the snapshot in force.
 * A reload replaces `snapshot` and nothing else.
 */
export class WorkerContext {
  readonly random: Random;
  readonly wheel: Wheel;
  /** Why the requests of a flood were shed. */
  readonly sheds: ShedMemory;
  /** Callers that take too long with what they owe. */
  readonly rates = new RateGuard();
  readonly garbage = new YoungGarbage();
  readonly limiter: Limiter;
  /** Requests in flight by client, where they are limited. */
  readonly slots: Slots;
  readonly guards: Guards;
  readonly pressure: LoopPressure;
  /** Since when the front gate has been refusing. */
  readonly strain: Strain;
  readonly levels: Levels;
  readonly recorder: OutcomeRecorder;
  readonly services = new Map<string, ServiceRuntime>();
  /** Services that left the configuration while requests of theirs still ran or waited. */
  readonly leaving = new Set<ServiceRuntime>();
  /** Upgraded connections and event streams: nothing ends them but we, at a shutdown or when their instance leaves. */
  readonly streams = new Set<Exchange>();
  /** Begins this worker's request ids: random, since an address would tell too much. */
  readonly name: string;
  readonly now: () => number;
  readonly wallMs: () => number;
  snapshot: Snapshot | undefined = undefined;
  /** What the supervisor's `/readyz` said last. */
  gatewayReady = false;
  /** Answers say `connection: close`: readiness has failed and the listeners will close. */
  draining = false;
  /** Draining, but the gateway is not: what it says of itself does not change. */
  replaced = false;
  /** Our name in `Via`: the same in all workers, or a loop through another one would not be seen. */
  viaName = 'spillway';
  /** Nothing new is begun any more: the last second before the cut. */
  lastSecond = false;
  /** The time is over: what ends now is ended by us. */
  cutting = false;
  /** Of the last request id. */
  serial = 0;
  #unflushed: Exchange[] = [];
  readonly #flush = (): void => {
    this.#flushHeads();
  };

  constructor(parts: {
    random: Random;
    limiter: Limiter;
    slots: Slots;
    guards: Guards;
    recorder: OutcomeRecorder;
    now: () => number;
    wallMs: () => number;
  }) {
    this.random = parts.random;
    this.limiter = parts.limiter;
    this.slots = parts.slots;
    this.guards = parts.guards;
    this.pressure = new LoopPressure(DEFAULT_SLA_MS, parts.now());
    this.levels = new Levels(parts.now());
    this.strain = new Strain(parts.now());
    this.recorder = parts.recorder;
    this.now = parts.now;
    this.wallMs = parts.wallMs;
    this.wheel = new Wheel(parts.now());
    this.name = randomBytes(6).toString('base64url').replaceAll('-', 'x').replaceAll('_', 'y');
    this.sheds = new ShedMemory(this.name);
  }

  /** A request id of our own: unique over workers and restarts without a random number a request. */
  nextRequestId(): string {
    this.serial++;
    return `${this.name}-${this.serial.toString(36)}`;
  }

  /**
   * Sends the response head at the end of this tick unless a body chunk took it along: one shared queue, so that a small
   * answer is one write and an event stream's head still leaves before its first event.
   */
  flushSoon(exchange: Exchange): void {
    if (this.#unflushed.length === 0) process.nextTick(this.#flush);
    this.#unflushed.push(exchange);
  }

  #flushHeads(): void {
    const waiting = this.#unflushed;
    this.#unflushed = [];
    for (const exchange of waiting) {
      if (!exchange.finished && !exchange.bodyBegun) exchange.res.flushHeaders();
    }
  }
}
