import type { Answer, Question } from './ipc.ts';
import type { WorkerProcess } from './worker-pool.ts';

/**
 * Questions of the supervisor to its workers. A worker that is swamped answers late or never: after 250 ms the answer is
 * given without it, so that the admin address stays quick exactly when it is needed. Who makes a worker wait for
 * something else, a store's deadline, says by how much longer.
 */

const PATIENCE_MS = 250;

interface Pending {
  readonly answers: Map<string, Answer>;
  missing: number;
  readonly done: (answers: Map<string, Answer>) => void;
  readonly timer: NodeJS.Timeout;
}

export class Questions {
  readonly #pending = new Map<number, Pending>();
  #serial = 0;

  /** Asks every worker; resolves with the answers by worker key, those that came in time. */
  async ask(
    workers: readonly WorkerProcess[],
    question: Question,
    patienceMs: number = PATIENCE_MS,
  ): Promise<Map<string, Answer>> {
    const id = ++this.#serial;
    const asked = workers.filter((worker) => worker.send({ type: 'ask', id, question }));
    if (asked.length === 0) return new Map();
    return await new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#finish(id);
      }, patienceMs);
      this.#pending.set(id, { answers: new Map(), missing: asked.length, done: resolve, timer });
    });
  }

  answered(worker: WorkerProcess, id: number, answer: Answer): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    pending.answers.set(worker.key, answer);
    pending.missing--;
    if (pending.missing <= 0) this.#finish(id);
  }

  #finish(id: number): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#pending.delete(id);
    clearTimeout(pending.timer);
    pending.done(pending.answers);
  }
}
