/**
 * A service: some slots, a FIFO in front of them without a bound, lognormal service times.
 *
 * Slots, speed and faults can be changed while it runs; a slot taken away ends with the request in it. A caller that
 * leaves a waiting place frees it; one that is being served keeps its slot to the end, as a thread pool would.
 */
import type { Random } from '../../src/kernel/random.ts';
import type { Clock } from './clock.ts';

/** What the service says when it is done. */
export type Answer = 'ok' | 'error500' | 'busy503' | 'notFound404';

export interface Job {
  cancelled: boolean;
  answered(answer: Answer, now: number): void;
}

export class Service {
  readonly clock: Clock;
  slots: number;
  meanMs: number;
  sigma: number;
  /** Decides an answer that costs no slot, or undefined: serve it. */
  fault: ((random: Random) => Answer | undefined) | undefined;
  busySlotMs = 0;
  readonly #random: Random;
  readonly #line: Job[] = [];
  #head = 0;
  #running = 0;

  constructor(clock: Clock, slots: number, meanMs: number, sigma: number, random: Random) {
    this.clock = clock;
    this.slots = slots;
    this.meanMs = meanMs;
    this.sigma = sigma;
    this.#random = random;
  }

  /** Requests a second that all slots together can serve. */
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

  #fill(): void {
    while (this.#running < this.slots) {
      const job = this.#line[this.#head];
      if (job === undefined) break;
      this.#head += 1;
      if (job.cancelled) continue;
      this.#running += 1;
      const ms = this.#serviceMs();
      this.busySlotMs += ms;
      this.clock.after(ms, (now) => {
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
