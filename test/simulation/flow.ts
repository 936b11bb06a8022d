/** One request on its way: from its caller through a worker to an instance and back. It is who asks the gate. */
import type { ShedCode } from '../../src/kernel/errors.ts';
import type { PriorityRank } from '../../src/kernel/priority.ts';
import type { HeadOutcome } from '../../src/shedding/permit.ts';
import type { Arrival } from '../../src/shedding/pressure.ts';
import type { Entrant, GatePermit } from './gate.ts';
import type { World } from './model.ts';
import type { Answer, Job, Service } from './service.ts';
import type { Worker } from './worker.ts';

export type Outcome = 'served' | 'shed' | 'failed' | 'left';

/** The caller hears the outcome; `retryAfterS` only of a shed, 0 if nothing was said. */
export type Done = (now: number, outcome: Outcome, retryAfterS: number) => void;

export interface Ask {
  readonly rank: PriorityRank;
  readonly client?: number;
  readonly kind?: number;
  /** 1: it says that it tries again. */
  readonly attempt?: number;
  /** So many times the usual service time. */
  readonly factor?: number;
  /** The answer's body flows on for so long after its head. */
  readonly bodyMs?: number;
  /** An event stream: the permit becomes one at the head. */
  readonly stream?: boolean;
  /** The caller goes away after so long. */
  readonly patienceMs?: number;
  readonly done?: Done;
}

const OUTCOMES: Readonly<Record<Answer, HeadOutcome>> = {
  ok: 'sample',
  error500: 'failed',
  busy503: 'drop',
  notFound404: 'ignored',
};
/** A body that still flows then turns its permit into a stream's. */
const STREAM_AFTER_MS = 10_000;

export class Flow implements Entrant, Arrival, Job {
  readonly rank: PriorityRank;
  readonly deadlineMs: number;
  readonly client: number;
  readonly kind: number;
  readonly factor: number;
  readonly sentAt: number;
  /** Class and cohort; worked out under pressure only. */
  level = -1;
  cancelled = false;
  over = false;
  readonly #world: World;
  readonly #worker: Worker;
  readonly #ask: Ask;
  #permit: GatePermit | undefined;
  #instance = -1;
  #service: Service | undefined;

  constructor(world: World, worker: Worker, ask: Ask) {
    this.#world = world;
    this.#worker = worker;
    this.#ask = ask;
    this.rank = ask.rank;
    this.client = ask.client ?? 0;
    this.kind = ask.kind ?? 0;
    this.factor = ask.factor ?? 1;
    this.sentAt = world.clock.now;
    this.deadlineMs = worker.time(this.sentAt) + world.timeoutMs;
  }

  arrive(): void {
    const worker = this.#worker;
    worker.post(worker.cost.shedMs, (at) => {
      if (this.over) return;
      if (worker.draining) {
        this.shed('SPW_DRAINING');
        return;
      }
      const code = this.#frontGate(at);
      if (code !== '') this.shed(code);
      else
        worker.post(worker.cost.requestMs - worker.cost.shedMs, (now) => {
          if (!this.over) worker.gate.enter(this, worker.time(now));
        });
    });
  }

  #frontGate(at: number): ShedCode | '' {
    const { loop, pressure, random } = this.#worker;
    if (loop === undefined) return '';
    const now = this.#worker.time(at);
    if (pressure.pressing) {
      this.level = this.#worker.levelOf(this.rank, this.client, (this.#ask.attempt ?? 0) > 0, now);
    }
    return pressure.refuses(this, this.#world.report.slaMs, now, random);
  }

  admitted(permit: GatePermit): void {
    const worker = this.#worker;
    const { now } = worker;
    this.#permit = permit;
    this.#instance = this.#world.choose(worker);
    const service = this.#world.services[this.#instance];
    if (service === undefined) {
      permit.release(worker.time(now));
      this.shed('SPW_SHED_CONCURRENCY');
      return;
    }
    worker.inFlight[this.#instance] = (worker.inFlight[this.#instance] ?? 0) + 1;
    worker.ran(this.rank);
    this.#service = service;
    permit.attempt(worker.time(now));
    this.#world.clock.at(now, () => service.submit(this));
  }

  shed(code: ShedCode | 'SPW_DRAINING'): void {
    if (this.over) return;
    this.over = true;
    this.#worker.refused(this.rank);
    this.#world.report.shed(this.rank, this.sentAt, code);
    const { done } = this.#ask;
    if (done === undefined) return;
    const retryAfterS = this.#worker.gate.retryAfterSeconds?.(this.rank, this.#worker.moment()) ?? 0;
    done(this.#world.clock.now, 'shed', retryAfterS);
  }

  wouldShed(): void {
    this.#world.report.wouldShed += 1;
  }

  answered(answer: Answer): void {
    const worker = this.#worker;
    worker.post(worker.cost.answerMs, (now) => {
      if (this.over) return;
      this.over = true;
      this.#permit?.head(worker.time(now), OUTCOMES[answer]);
      const latencyMs = now - this.sentAt;
      if (answer === 'ok') {
        this.#world.report.served(this.rank, this.sentAt, latencyMs);
        if (latencyMs <= this.#world.report.slaMs) worker.good += 1;
      } else this.#world.report.failed(this.rank, this.sentAt);
      this.#drain(now);
      // The caller hears of it when the loop has paid for it.
      const { done } = this.#ask;
      if (done !== undefined)
        this.#world.clock.at(now, (at) => done(at, answer === 'ok' ? 'served' : 'failed', 0));
    });
  }

  /** The deadline of the whole request has come. */
  timeOut(now: number): void {
    if (this.over) return;
    this.#world.report.failed(this.rank, this.sentAt);
    this.#giveUp(now, true);
    this.#ask.done?.(now, 'failed', 0);
  }

  /** The caller goes; the gateway hears of it in the loop's next turn. */
  leave(leftAt: number): void {
    if (this.over) return;
    this.#worker.post(0, (now) => {
      if (this.over) return;
      this.#world.report.left(this.rank, this.sentAt);
      this.#giveUp(now, false, leftAt);
    });
    this.#ask.done?.(leftAt, 'left', 0);
  }

  #giveUp(now: number, timedOut: boolean, leftAt = now): void {
    const worker = this.#worker;
    this.over = true;
    this.cancelled = true;
    worker.gate.leave(this, worker.time(now));
    if (timedOut) this.#permit?.head(worker.time(now), 'drop');
    this.#giveBack(now);
    this.#service?.cancel(this, leftAt);
  }

  /** The body flows, then the permit goes back. */
  #drain(now: number): void {
    const bodyMs = this.#ask.bodyMs ?? 0;
    if (bodyMs === 0) {
      this.#giveBack(now);
      return;
    }
    const { clock } = this.#world;
    if (this.#ask.stream === true) this.#permit?.asStream(this.#worker.time(now));
    else if (bodyMs > STREAM_AFTER_MS) {
      clock.at(now + STREAM_AFTER_MS, (at) => this.#permit?.asStream(this.#worker.time(at)));
    }
    clock.at(now + bodyMs, (at) => this.#giveBack(at));
  }

  #giveBack(now: number): void {
    const worker = this.#worker;
    if (this.#instance >= 0) worker.inFlight[this.#instance] = (worker.inFlight[this.#instance] ?? 1) - 1;
    this.#permit?.release(worker.time(now));
  }
}
