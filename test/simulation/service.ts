/**
 * A service: some slots, a FIFO in front of them without a bound, lognormal service times.
 *
 * Slots, speed and faults can be changed while it runs; a slot taken away ends with the request in it. A caller that
 * leaves a waiting place frees it; one that is being served keeps its slot to the end, as a thread pool would, unless
 * the service *quits* what nobody waits for any more.
 */
import type { Random } from '../../src/kernel/random.ts';
import type { Clock } from './clock.ts';

/** What the service says when it is done. */
export type Answer = 'ok' | 'error500' | 'busy503' | 'notFound404';

export interface Job {
  /** So many times the usual service time. */
  readonly factor: number;
  cancelled: boolean;
  answered(answer: Answer, now: number): void;
}

interface Running {
  readonly fromMs: number;
  readonly toMs: number;
  quit: boolean;
}

export class Service {
  readonly clock: Clock;
  slots: number;
  meanMs: number;
  sigma: number;
  /** Decides an answer that costs no slot, or undefined: serve it. */
  fault: ((random: Random) => Answer | undefined) | undefined;
  /** Stops working for a caller that left. */
  quits = false;
  busySlotMs = 0;
  /** Of it for callers that had left; and spent before for the same callers, in vain as well. */
  deserted = { afterMs: 0, beforeMs: 0 };
  readonly #random: Random;
  readonly #line: Job[] = [];
  readonly #served = new Map<Job, Running>();
  #head = 0;
  #running = 0;

  constructor(clock: Clock, slots: number, meanMs: number, sigma: number, random: Random) {
    this.clock = clock;
    this.slots = slots;
    this.meanMs = meanMs;
    this.sigma = sigma;
    this.#random = random;
  }

  /** Requests of factor 1 a second that all slots together can serve. */
  get capacityPerSecond(): number {
    return (this.slots * 1000) / this.meanMs;
  }

  submit(job: Job): void {
    const answer = this.fault?.(this.#random);
    if (answer === undefined) {
      this.#line.push(job);
      this.#fill();
    } else this.clock.after(1, (now) => job.answered(answer, now));
  }

  setSlots(slots: number): void {
    this.slots = slots;
    this.#fill();
  }

  /** The gateway gives up the request of a caller that left at `leftAtMs`. */
  cancel(job: Job, leftAtMs: number): void {
    job.cancelled = true;
    const running = this.#served.get(job);
    if (running === undefined) return;
    const { now } = this.clock;
    const endMs = this.quits ? now : running.toMs;
    this.deserted.beforeMs += Math.max(0, leftAtMs - running.fromMs);
    this.deserted.afterMs += endMs - Math.max(leftAtMs, running.fromMs);
    if (!this.quits) return;
    running.quit = true;
    this.busySlotMs -= running.toMs - now;
    this.#served.delete(job);
    this.#running -= 1;
    this.#fill();
  }

  #fill(): void {
    while (this.#running < this.slots) {
      const job = this.#line[this.#head];
      if (job === undefined) break;
      this.#head += 1;
      if (job.cancelled) continue;
      this.#running += 1;
      const ms = job.factor * this.#serviceMs();
      this.busySlotMs += ms;
      const running: Running = { fromMs: this.clock.now, toMs: this.clock.now + ms, quit: false };
      this.#served.set(job, running);
      this.clock.after(ms, (now) => {
        if (running.quit) return;
        this.#served.delete(job);
        this.#running -= 1;
        job.answered('ok', now);
        this.#fill();
      });
    }
    if (this.#head > 1024 && this.#head * 2 > this.#line.length) {
      this.#line.splice(0, this.#head);
      this.#head = 0;
    }
  }

  /** Lognormal with the mean asked for: the median is lower by e^(σ²/2). */
  #serviceMs(): number {
    if (this.sigma === 0) return this.meanMs;
    const normal = Math.sqrt(-2 * Math.log(1 - this.#random())) * Math.cos(2 * Math.PI * this.#random());
    return this.meanMs * Math.exp(this.sigma * normal - (this.sigma * this.sigma) / 2);
  }
}
