/**
 * The model around the real `src/shedding`: callers, workers, a service. Virtual time, one seeded generator for each
 * source of chance.
 *
 * A worker is either free of cost (its event loop takes no time) or has a `Loop` with a cost for each request and each
 * answer. What is under test is the `Gate`: `Admission` itself, or a peer of the same shape.
 */
import type { ShedCode } from '../../src/kernel/errors.ts';
import type { PriorityRank } from '../../src/kernel/priority.ts';
import { seededRandom, type Random } from '../../src/kernel/random.ts';
import { Admission, type AdmissionPolicy, type AdmissionView } from '../../src/shedding/admission.ts';
import type { HeadOutcome } from '../../src/shedding/permit.ts';
import { LoopPressure } from '../../src/shedding/pressure.ts';
import { Clock } from './clock.ts';
import { Loop } from './loop.ts';
import { Report } from './report.ts';
import { Service, type Answer, type Job } from './service.ts';

/** The part of a permit that the model uses. */
export interface GatePermit {
  attempt(now: number): void;
  head(now: number, outcome: HeadOutcome): void;
  asStream(now: number): void;
  release(now: number): boolean;
}

export interface Entrant {
  readonly rank: PriorityRank;
  readonly deadlineMs: number;
  admitted(permit: GatePermit, waitedMs: number): void;
  shed(code: ShedCode, reason: string): void;
  wouldShed(code: ShedCode): void;
}

/** `Admission`, or a peer to be compared with it. */
export interface Gate {
  enter(who: Entrant, now: number): void;
  leave(who: Entrant, now: number): void;
  tick(now: number): void;
  view(
    now: number,
  ): Pick<AdmissionView, 'limit' | 'inFlight' | 'queueDepth' | 'baselineMs' | 'p50Ms' | 'slow'>;
}

export interface WorkerCost {
  /** Loop time of a request until it is dispatched, and of its answer. */
  readonly requestMs: number;
  readonly answerMs: number;
  readonly shedMs: number;
}

export interface WorldOptions {
  readonly seed: number;
  readonly slaMs: number;
  readonly slots: number;
  readonly meanMs: number;
  readonly sigma?: number;
  readonly workers?: number;
  readonly policy?: Partial<AdmissionPolicy>;
  readonly gate?: (policy: AdmissionPolicy, random: Random) => Gate;
  readonly cost?: WorkerCost;
  /** The whole request's deadline: the gateway answers 504 and cancels. */
  readonly timeoutMs?: number;
}

/** The caller hears the outcome. */
export type Done = (now: number, served: boolean) => void;

const FREE: WorkerCost = { requestMs: 0, answerMs: 0, shedMs: 0 };

export class Worker {
  readonly gate: Gate;
  readonly loop: Loop | undefined;
  readonly pressure: LoopPressure;
  readonly cost: WorkerCost;
  readonly random: Random;
  /** The loop's own moment within a turn; the clock shows the turn's beginning. */
  now = 0;

  constructor(world: World, gate: Gate, cost: WorkerCost | undefined, slaMs: number, random: Random) {
    this.gate = gate;
    this.cost = cost ?? FREE;
    this.random = random;
    this.pressure = new LoopPressure(slaMs, world.clock.now);
    if (cost === undefined) {
      this.loop = undefined;
      world.clock.every(5, (now) => gate.tick(now));
      return;
    }
    const loop = new Loop(world.clock);
    this.loop = loop;
    let busyMs = 0;
    let beatAt = 0;
    loop.every(5, (now) => gate.tick(now));
    loop.every(20, (now) => {
      this.pressure.beat(now, Math.min(1, (loop.busyMs - busyMs) / (now - beatAt)));
      busyMs = loop.busyMs;
      beatAt = now;
    });
  }

  /** Runs now, or in the loop's next turn at a cost. */
  post(costMs: number, clock: Clock, run: (now: number) => void): void {
    if (this.loop === undefined) run(clock.now);
    else
      this.loop.post(costMs, (now) => {
        this.now = now;
        run(now);
      });
  }
}

/** One request on its way; it is the admittee. */
class Flow implements Entrant, Job {
  readonly rank: PriorityRank;
  readonly deadlineMs: number;
  readonly sentAt: number;
  cancelled = false;
  over = false;
  readonly #world: World;
  readonly #worker: Worker;
  readonly #done: Done | undefined;
  #permit: GatePermit | undefined;

  constructor(world: World, worker: Worker, rank: PriorityRank, done: Done | undefined) {
    this.#world = world;
    this.#worker = worker;
    this.#done = done;
    this.rank = rank;
    this.sentAt = world.clock.now;
    this.deadlineMs = this.sentAt + world.timeoutMs;
  }

  arrive(): void {
    const { clock } = this.#world;
    const { cost } = this.#worker;
    this.#worker.post(cost.shedMs, clock, (at) => {
      if (this.over) return;
      const code =
        this.#worker.loop === undefined
          ? ''
          : this.#worker.pressure.refuses(this.rank, at, this.#worker.random);
      if (code !== '') this.shed(code);
      else
        this.#worker.post(cost.requestMs - cost.shedMs, clock, (now) => {
          if (!this.over) this.#worker.gate.enter(this, now);
        });
    });
  }

  admitted(permit: GatePermit): void {
    const now = Math.max(this.#worker.now, this.#world.clock.now);
    this.#permit = permit;
    permit.attempt(now);
    this.#world.clock.at(now, () => this.#world.service.submit(this));
  }

  shed(code: ShedCode): void {
    if (this.over) return;
    this.over = true;
    this.#world.report.shed(this.rank, this.sentAt, code);
    this.#done?.(this.#world.clock.now, false);
  }

  wouldShed(): void {
    this.#world.report.wouldShed += 1;
  }

  answered(answer: Answer): void {
    this.#worker.post(this.#worker.cost.answerMs, this.#world.clock, (now) => {
      if (this.over) return;
      this.over = true;
      this.#permit?.head(now, OUTCOMES[answer]);
      this.#permit?.release(now);
      if (answer === 'ok') this.#world.report.served(this.rank, this.sentAt, now - this.sentAt);
      else this.#world.report.failed(this.rank, this.sentAt);
      // The caller hears of it when the loop has paid for it.
      this.#world.clock.at(now, (at) => this.#done?.(at, answer === 'ok'));
    });
  }

  /** The deadline of the whole request has come. */
  timeOut(now: number): void {
    if (this.over) return;
    this.over = true;
    this.cancelled = true;
    this.#worker.gate.leave(this, now);
    this.#permit?.head(now, 'drop');
    this.#permit?.release(now);
    this.#world.report.failed(this.rank, this.sentAt);
    this.#done?.(now, false);
  }
}

const OUTCOMES: Readonly<Record<Answer, HeadOutcome>> = {
  ok: 'sample',
  error500: 'failed',
  busy503: 'drop',
  notFound404: 'ignored',
};

export class World {
  readonly clock = new Clock();
  readonly service: Service;
  readonly workers: Worker[] = [];
  readonly report: Report;
  readonly timeoutMs: number;
  readonly #seed: number;
  #sources = 0;
  #turn = 0;

  constructor(options: WorldOptions) {
    const { slaMs, slots, meanMs, sigma = 0.5, workers = 1, cost } = options;
    this.#seed = options.seed;
    this.timeoutMs = options.timeoutMs ?? 10_000;
    this.report = new Report(slaMs);
    this.service = new Service(this.clock, slots, meanMs, sigma, this.random());
    const policy: AdmissionPolicy = {
      slaMs,
      mode: 'enforce',
      queue: 'auto',
      limit: 'auto',
      workers,
      maxInFlight: 1000,
      ...options.policy,
    };
    for (let i = 0; i < workers; i += 1) {
      const random = this.random();
      const gate = options.gate?.(policy, random) ?? new Admission(policy, random, 0);
      this.workers.push(new Worker(this, gate, cost, slaMs, random));
    }
  }

  /** A generator of its own for each source of chance, so that one more caller changes nobody else's luck. */
  random(): Random {
    this.#sources += 1;
    return seededRandom(this.#seed * 7919 + this.#sources * 104_729);
  }

  /** One request, to the workers in turn. */
  send(rank: PriorityRank, done?: Done): void {
    const worker = this.workers[this.#turn++ % this.workers.length];
    if (worker === undefined) throw new Error('a world has workers');
    const flow = new Flow(this, worker, rank, done);
    this.report.offered(rank, flow.sentAt);
    flow.arrive();
    if (this.timeoutMs < 10_000) this.clock.after(this.timeoutMs, (now) => flow.timeOut(now));
  }

  /** Poisson arrivals in [fromMs, toMs), `perSecond` may change with time. */
  poisson(
    rank: PriorityRank,
    perSecond: number | ((now: number) => number),
    fromMs: number,
    toMs: number,
  ): void {
    const random = this.random();
    const rate = typeof perSecond === 'number' ? (): number => perSecond : perSecond;
    const next = (now: number): void => {
      const gapMs = (-Math.log(1 - random()) * 1000) / Math.max(rate(now), 1e-6);
      if (now + gapMs >= toMs) return;
      this.clock.at(now + gapMs, (at) => {
        this.send(rank);
        next(at);
      });
    };
    this.clock.at(fromMs, next);
  }

  /** So many connections, each sends as soon as it is answered; a refused one comes back after `retryMs`. */
  closedLoop(rank: PriorityRank, connections: number, retryMs: number): void {
    const again = (now: number, served: boolean): void => {
      this.clock.at(served ? now : now + retryMs, () => this.send(rank, again));
    };
    for (let i = 0; i < connections; i += 1) this.clock.at(this.clock.now, () => this.send(rank, again));
  }

  run(untilMs: number): void {
    this.clock.runUntil(untilMs);
  }
}
