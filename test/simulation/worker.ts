/** A worker of a gateway: its gate, its event loop if that costs anything, and what it knows of the instances. */
import type { PriorityRank } from '../../src/kernel/priority.ts';
import type { Random } from '../../src/kernel/random.ts';
import { clientMark, Levels } from '../../src/shedding/cohort.ts';
import { LoopPressure } from '../../src/shedding/pressure.ts';
import type { Clock } from './clock.ts';
import type { Gate } from './gate.ts';
import { Loop } from './loop.ts';

export interface WorkerCost {
  /** Loop time of a request until it is dispatched, and of its answer. */
  readonly requestMs: number;
  readonly answerMs: number;
  readonly shedMs: number;
}

const FREE: WorkerCost = { requestMs: 0, answerMs: 0, shedMs: 0 };
/** Slices in which the promise to critical requests is judged. */
const PROMISE_SLICE_MS = 250;

export class Worker {
  readonly gate: Gate;
  readonly loop: Loop | undefined;
  readonly pressure: LoopPressure;
  readonly cost: WorkerCost;
  readonly random: Random;
  /** Requests in flight at each instance, as this worker knows. */
  readonly inFlight: number[];
  /** In draining it takes nobody new. */
  draining = false;
  /** Served in time, by the moment of the answer. */
  good = 0;
  readonly #clock: Clock;
  readonly #levels: Levels;
  #strangers = 0;
  /** The loop's own moment within a turn; the clock shows the turn's beginning. */
  #turnMs = 0;
  /** How far its clock jumped ahead of the world's. */
  #aheadMs = 0;
  readonly #promise = { slice: 0, lowerRan: false, criticalShed: 0, broken: 0 };

  constructor(
    clock: Clock,
    gate: Gate,
    cost: WorkerCost | undefined,
    slaMs: number,
    instances: number,
    random: Random,
  ) {
    this.#clock = clock;
    this.gate = gate;
    this.cost = cost ?? FREE;
    this.random = random;
    this.inFlight = Array.from({ length: instances }, () => 0);
    this.pressure = new LoopPressure(slaMs, clock.now);
    this.#levels = new Levels(clock.now);
    if (cost === undefined) {
      this.loop = undefined;
      clock.every(5, (now) => gate.tick(this.time(now)));
      return;
    }
    const loop = new Loop(clock);
    this.loop = loop;
    let busyMs = 0;
    let beatAt = 0;
    loop.every(5, (now) => gate.tick(this.time(now)));
    loop.every(20, (now) => {
      this.pressure.beat(this.time(now), Math.min(1, (loop.busyMs - busyMs) / (now - beatAt)));
      busyMs = loop.busyMs;
      beatAt = now;
    });
  }

  /** The world's moment in this worker's own time. */
  time(at: number): number {
    return at + this.#aheadMs;
  }

  /** The present, in a turn of the loop the point it has come to: the world's time. */
  get now(): number {
    return Math.max(this.#turnMs, this.#clock.now);
  }

  moment(): number {
    return this.time(this.now);
  }

  /** The machine was suspended and the monotonic clock went on: for this worker so much time passes at once. */
  jump(ms: number): void {
    this.#aheadMs += ms;
  }

  /** Runs now, or in the loop's next turn at a cost. */
  post(costMs: number, run: (now: number) => void): void {
    if (this.loop === undefined) run(this.#clock.now);
    else
      this.loop.post(costMs, (now) => {
        this.#turnMs = now;
        run(now);
      });
  }

  /** Who is nobody in particular is another client each time. */
  levelOf(rank: PriorityRank, client: number, isRetry: boolean, now: number): number {
    const name = client > 0 ? client : (this.#strangers -= 1);
    return this.#levels.of(rank, clientMark(String(name), 0), isRetry, now);
  }

  get loopPressure(): number {
    return this.loop === undefined ? 0 : this.pressure.view(this.moment()).pressure;
  }

  // The promise: no critical request is shed in a slice in which this worker ran a lower class -------------------------

  ran(rank: PriorityRank): void {
    this.#rollOver();
    if (rank > 0) this.#promise.lowerRan = true;
  }

  refused(rank: PriorityRank): void {
    this.#rollOver();
    if (rank === 0) this.#promise.criticalShed += 1;
  }

  /** Critical requests shed beside lower ones. */
  get promisesBroken(): number {
    const { broken, lowerRan, criticalShed } = this.#promise;
    return broken + (lowerRan ? criticalShed : 0);
  }

  #rollOver(): void {
    const promise = this.#promise;
    const slice = Math.floor(this.#clock.now / PROMISE_SLICE_MS);
    if (slice === promise.slice) return;
    if (promise.lowerRan) promise.broken += promise.criticalShed;
    promise.slice = slice;
    promise.lowerRan = false;
    promise.criticalShed = 0;
  }
}
