import type { Logger } from 'pino';
import type { RollView } from './admin-port.ts';
import type { Conditions } from './conditions.ts';
import { errorMessage } from './error-message.ts';
import type { WorkerPool, WorkerProcess } from './worker-pool.ts';

/**
 * All workers replaced by new processes, one place after the other, under traffic.
 *
 * The new process starts beside the old one, is told configuration and states, and accepts on every listener before the old
 * one is told to leave; so somebody accepts at every moment, with one worker too. Who leaves has its time for what it still
 * serves, and is not waited for. Between two places passes the time in which a newcomer takes over from the other workers how
 * much their services bear (`shedding/siblings.ts`): if all were new at once, all would begin with a guess. A newcomer that
 * does not come to serve ends the roll, for the others would fare alike; the worker that it was to replace goes on, and
 * so do those not yet reached.
 *
 * Limits: latencies of instances go with the worker that measured them, and where it is the only one all that it learned; for
 * a few seconds there are more processes than workers. Source: upstreams.md 7; node's cluster loses its queue when the last worker of a set goes.
 */

/** Half: a machine at full load is taken for a fault; double: an operator waits that much longer to hear of one. */
const READY_MS = 15_000;

/**
 * Workers tell each other 20 times a second and go a tenth of the way each time: 98 % of it. Half: a third of a wrong guess is
 * left to be handed on in a roll of four; double: a roll of sixty-four takes five minutes.
 */
const SETTLE_MS = 2000;

export interface WorkerRollParts {
  readonly log: Logger;
  readonly pool: WorkerPool;
  readonly conditions: Conditions;
  /** How far the supervisor's own life is. */
  readonly phase: () => 'starting' | 'serving' | 'ending';
}

export class WorkerRoll {
  readonly #parts: WorkerRollParts;
  #running: Promise<RollView> | undefined = undefined;

  constructor(parts: WorkerRollParts) {
    this.#parts = parts;
  }

  /** Who asks while one is under way is told of that one. */
  async roll(by: string): Promise<RollView> {
    this.#running ??= this.#roll(by);
    try {
      return await this.#running;
    } finally {
      this.#running = undefined;
    }
  }

  async #roll(by: string): Promise<RollView> {
    const { log, pool, conditions, phase } = this.#parts;
    const wanted = pool.current();
    log.info({ by, workers: wanted.length }, 'rolling the workers');
    let rolled = 0;
    for (const worker of wanted) {
      if (rolled > 0) await conditions.until(() => phase() !== 'serving', SETTLE_MS);
      const fault = await this.#replace(worker);
      if (fault !== '') {
        log.error({ by, worker: worker.pid, fault }, 'worker not replaced: the roll ends here');
        return { rolled, failed: [fault] };
      }
      rolled++;
    }
    log.info({ by, rolled }, 'workers rolled');
    return { rolled, failed: [] };
  }

  /** @returns why the worker stays; empty when another process has its place */
  async #replace(worker: WorkerProcess): Promise<string> {
    const { pool, conditions, phase } = this.#parts;
    const isOver = (): boolean => phase() !== 'serving';
    if (isOver()) return 'the gateway does not serve';
    let newcomer: WorkerProcess | undefined;
    try {
      newcomer = pool.startBeside(worker);
    } catch (error) {
      return `no process: ${errorMessage(error)}`;
    }
    // It has died or left meanwhile, and whoever has its place is new.
    if (newcomer === undefined) return '';
    const { state } = newcomer;
    await conditions.until(() => isOver() || newcomer.state !== state, READY_MS);
    if (newcomer.state === 'ready' && pool.succeed(newcomer)) return '';
    const { pid, endedBy } = newcomer;
    if (endedBy !== '') return `the new process ${pid} ended: ${endedBy}`;
    pool.retire(newcomer);
    return isOver()
      ? 'the gateway does not serve'
      : `the new process ${pid} did not serve within ${READY_MS / 1000} s`;
  }
}
