/**
 * The model around the real `src/shedding`: callers, gateways with their workers, a service of some instances. Virtual
 * time, one seeded generator for each source of chance.
 *
 * A worker is either free of cost (its event loop takes no time) or has a `Loop` with a cost for each request and each
 * answer. What is under test is the `Gate`: `Admission` itself, or a peer of the same shape. The workers of one gateway
 * know how many they are, and hear the sums of what the others share; gateways know nothing of each other.
 */
import type { PriorityRank } from '../../src/kernel/priority.ts';
import { seededRandom, type Random } from '../../src/kernel/random.ts';
import { Admission } from '../../src/shedding/admission.ts';
import type { AdmissionPolicy } from '../../src/shedding/policy.ts';
import { Clock } from './clock.ts';
import { Flow, type Ask, type Outcome } from './flow.ts';
import type { Gate, GateFactory } from './gate.ts';
import { Report, type ReportOptions } from './report.ts';
import { Service } from './service.ts';
import { Trace } from './trace.ts';
import { Worker, type WorkerCost } from './worker.ts';

export interface WorldOptions {
  readonly seed: number;
  readonly slaMs: number;
  /** Of each instance. */
  readonly slots: number;
  readonly meanMs: number;
  readonly sigma?: number;
  /** Of each gateway. */
  readonly workers?: number;
  readonly gateways?: number;
  /** Shares of the requests that each worker gets by chance (all workers of the first gateway first); else in turn. */
  readonly spread?: readonly number[];
  readonly instances?: number;
  /** What a gateway may have in flight at one instance. */
  readonly capPerInstance?: number;
  /** How a worker chooses: the least busy, as far as it knows, or the better of two. */
  readonly pick?: 'least' | 'two';
  readonly policy?: Partial<AdmissionPolicy>;
  readonly gate?: GateFactory;
  readonly cost?: WorkerCost;
  /** The whole request's deadline: the gateway answers 504 and cancels. */
  readonly timeoutMs?: number;
  /** How often the workers of a gateway hear the sum of what the others share, and how much later. */
  readonly broadcast?: { readonly everyMs: number; readonly delayMs: number };
  readonly report?: ReportOptions;
}

const BROADCAST = { everyMs: 50, delayMs: 5 } as const;
/** A rate that changes is looked at again at least so often. */
const LOOK_AGAIN_MS = 10;

export interface Gateway {
  readonly workers: readonly Worker[];
}

export class World {
  readonly clock = new Clock();
  readonly services: readonly Service[];
  readonly gateways: readonly Gateway[];
  /** All of them. */
  readonly workers: readonly Worker[];
  readonly report: Report;
  readonly trace: Trace;
  readonly timeoutMs: number;
  readonly policy: AdmissionPolicy;
  readonly #options: WorldOptions;
  readonly #ready: boolean[];
  readonly #balance: Random;
  readonly #accept: Random;
  #sources = 0;
  #turn = 0;

  constructor(options: WorldOptions) {
    const { slaMs, slots, meanMs, sigma = 0.5, workers = 1, gateways = 1, instances = 1 } = options;
    this.#options = options;
    this.timeoutMs = options.timeoutMs ?? 10_000;
    this.report = new Report(slaMs, options.report);
    this.services = Array.from(
      { length: instances },
      () => new Service(this.clock, slots, meanMs, sigma, this.random()),
    );
    this.#ready = this.services.map(() => true);
    const { capPerInstance = 0 } = options;
    const maxInFlight = capPerInstance > 0 ? instances * Math.ceil(capPerInstance / workers) : 1000;
    this.policy = {
      slaMs,
      mode: 'enforce',
      queue: 'auto',
      limit: 'auto',
      workers,
      maxInFlight,
      evenInFlight: maxInFlight,
      ...options.policy,
    };
    this.gateways = Array.from({ length: gateways }, () => ({ workers: this.#workers(workers) }));
    this.workers = this.gateways.flatMap((gateway) => gateway.workers);
    this.#balance = this.random();
    this.#accept = this.random();
    const { everyMs, delayMs } = options.broadcast ?? BROADCAST;
    for (const gateway of this.gateways) this.#broadcast(gateway, everyMs, delayMs);
    this.trace = new Trace(this.clock, this.report, this.workers, this);
  }

  /** The first instance; most worlds have no other. */
  get service(): Service {
    const [service] = this.services;
    if (service === undefined) throw new Error('a world has an instance');
    return service;
  }

  /** What the ready instances can serve. */
  get capacityPerSecond(): number {
    return this.#sumOfReady((service) => service.capacityPerSecond);
  }

  /** Of the ready instances. */
  get slots(): number {
    return this.#sumOfReady(({ slots }) => slots);
  }

  /** A generator of its own for each source of chance, so that one more caller changes nobody else's luck. */
  random(): Random {
    this.#sources += 1;
    return seededRandom(this.#options.seed * 7919 + this.#sources * 104_729);
  }

  /** An instance leaves or returns: what is in flight there is still answered. */
  setReady(index: number, ready: boolean): void {
    this.#ready[index] = ready;
    const count = this.#ready.filter(Boolean).length;
    const { capPerInstance = 0, workers = 1 } = this.#options;
    const share = Math.ceil(capPerInstance / workers);
    for (const worker of this.workers) worker.gate.setCeiling?.(count * share, worker.moment());
  }

  /** The instance that a worker turns to, or −1: all it knows are full. */
  choose(worker: Worker): number {
    const { instances = 1, capPerInstance = 0, workers = 1, pick = 'least' } = this.#options;
    if (instances === 1) return 0;
    const cap = capPerInstance > 0 ? Math.ceil(capPerInstance / workers) : Number.POSITIVE_INFINITY;
    let best = -1;
    let least = cap;
    const start = Math.floor(this.#balance() * instances);
    let seen = 0;
    const most = pick === 'two' ? 2 : instances;
    for (let i = 0; i < instances && seen < most; i += 1) {
      const index = (start + i) % instances;
      const busy = worker.inFlight[index] ?? 0;
      if (this.#ready[index] !== true || busy >= cap) continue;
      seen += 1;
      if (busy >= least) continue;
      best = index;
      least = busy;
    }
    return best;
  }

  /** One request, to the workers in turn or by chance. */
  send(ask: Ask): void {
    const flow = new Flow(this, this.#worker(), ask);
    this.report.offered(ask.rank, flow.sentAt);
    flow.arrive();
    if (this.timeoutMs < 10_000) this.clock.after(this.timeoutMs, (now) => flow.timeOut(now));
    if (ask.patienceMs !== undefined) this.clock.after(ask.patienceMs, (now) => flow.leave(now));
  }

  /**
   * Poisson arrivals in [fromMs, toMs), `perSecond` may change with time. `ask` tells what each wants; chance for it
   * comes from another generator than the moments.
   */
  poisson(
    rank: PriorityRank,
    perSecond: number | ((now: number) => number),
    fromMs: number,
    toMs: number,
    ask?: (now: number) => Omit<Ask, 'rank'>,
  ): void {
    const random = this.random();
    const fixed = typeof perSecond === 'number' ? perSecond : undefined;
    const rate = typeof perSecond === 'number' ? (): number => perSecond : perSecond;
    const next = (now: number): void => {
      const gapMs = (-Math.log(1 - random()) * 1000) / Math.max(rate(now), 1e-6);
      if (fixed === undefined && gapMs > LOOK_AGAIN_MS) {
        if (now + LOOK_AGAIN_MS < toMs) this.clock.at(now + LOOK_AGAIN_MS, next);
        return;
      }
      if (now + gapMs >= toMs) return;
      this.clock.at(now + gapMs, (at) => {
        this.send(ask === undefined ? { rank } : { rank, ...ask(at) });
        next(at);
      });
    };
    this.clock.at(fromMs, next);
  }

  /** So many connections, each sends as soon as it is answered; a refused one comes back after `retryMs`. */
  closedLoop(rank: PriorityRank, connections: number, retryMs: number): void {
    const again = (now: number, outcome: Outcome): void => {
      this.clock.at(outcome === 'served' ? now : now + retryMs, () => this.send({ rank, done: again }));
    };
    for (let i = 0; i < connections; i += 1)
      this.clock.at(this.clock.now, () => this.send({ rank, done: again }));
  }

  run(untilMs: number): void {
    this.clock.runUntil(untilMs);
  }

  #sumOfReady(of: (service: Service) => number): number {
    return this.services.reduce(
      (sum, service, index) => (this.#ready[index] === true ? sum + of(service) : sum),
      0,
    );
  }

  #workers(count: number): Worker[] {
    const { cost, slaMs, instances = 1, gate: make } = this.#options;
    return Array.from({ length: count }, () => {
      const random = this.random();
      const gate: Gate = make?.(this.policy, random) ?? new Admission(this.policy, random, 0);
      return new Worker(this.clock, gate, cost, slaMs, instances, random);
    });
  }

  #worker(): Worker {
    const { spread } = this.#options;
    let index = this.#turn++ % this.workers.length;
    for (let i = 0; this.workers[index]?.draining === true && i < this.workers.length; i += 1) {
      index = this.#turn++ % this.workers.length;
    }
    if (spread !== undefined) {
      let left = this.#accept() * spread.reduce((sum, share) => sum + share, 0);
      index = spread.findIndex((share) => (left -= share) < 0);
    }
    const worker = this.workers[index];
    if (worker === undefined) throw new Error('a world has workers, and a share for each');
    return worker;
  }

  #broadcast({ workers }: Gateway, everyMs: number, delayMs: number): void {
    if (!workers.some(({ gate }) => gate.share !== undefined && gate.hear !== undefined)) return;
    if (workers.length < 2) return;
    this.clock.every(everyMs, () => {
      const shares = workers.map((worker) => worker.gate.share?.(worker.moment()) ?? {});
      this.clock.after(delayMs, () => {
        for (const [index, worker] of workers.entries()) {
          worker.gate.hear?.(sumOf(shares.filter((_, other) => other !== index)), worker.moment());
        }
      });
    });
  }
}

/** Of each number by its name. */
function sumOf(shares: readonly object[]): object {
  const sum: Record<string, number> = {};
  for (const share of shares) {
    for (const [name, value] of Object.entries(share)) {
      if (typeof value === 'number') sum[name] = (sum[name] ?? 0) + value;
    }
  }
  return sum;
}
