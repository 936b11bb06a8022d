import type { WorkerPool, WorkerProcess } from './worker-pool.ts';

/**
 * What `/readyz` says, told to the workers, so that a health path on the traffic's own port says the same.
 *
 * It is asked for some times a second, since parts of it change by time alone, and sent when it has changed. A worker that
 * hears nothing keeps the last word; that it drains it knows by itself.
 */

/** Half: twice the questions for nothing; double: a balancer hears half a second late that it may begin. */
const LOOK_MS = 250;

export class ReadinessWord {
  readonly #pool: WorkerPool;
  readonly #isReady: () => boolean;
  #told = false;
  #timer: NodeJS.Timeout | undefined = undefined;

  constructor(pool: WorkerPool, isReady: () => boolean) {
    this.#pool = pool;
    this.#isReady = isReady;
  }

  start(): void {
    this.#timer ??= setInterval(() => {
      this.spread();
    }, LOOK_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** To a worker that knows nothing yet. */
  tell(worker: WorkerProcess): void {
    this.spread();
    worker.send({ type: 'readiness', ready: this.#told });
  }

  /** To all workers, if it has changed. */
  spread(): void {
    const ready = this.#isReady();
    if (ready === this.#told) return;
    this.#told = ready;
    for (const worker of this.#pool.all()) worker.send({ type: 'readiness', ready });
  }
}
