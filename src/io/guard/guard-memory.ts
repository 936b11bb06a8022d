import { setImmediate as turnEnd } from 'node:timers/promises';
import type { GuardRule, Tally } from '../../limits/guard.ts';
import type { ToWorker } from '../ipc.ts';
import { CappedMemory } from './capped-memory.ts';

/**
 * The supervisor's part of guards where there is no Redis: a `RateLimiterMemory` with an end. The worker that told of a
 * strike is told the tally; when that blocks the client, every other worker too, so that nobody gets a few tries more at
 * each of them. Whom an operator forgives all are told of in the same order: whatever they heard before is over.
 */

export interface Strike {
  readonly guard: string;
  readonly client: string;
  readonly key: string;
  readonly rule: GuardRule;
}

export interface Forgiveness {
  readonly client: string;
  readonly keys: readonly string[];
}

interface Listener {
  send(message: ToWorker): boolean;
}

export class GuardMemory<Worker extends Listener> {
  readonly #memory = new CappedMemory();
  readonly #workers: () => Iterable<Worker>;

  constructor(workers: () => Iterable<Worker>) {
    this.#workers = workers;
  }

  async strike(worker: Worker, { guard, client, key, rule }: Strike): Promise<void> {
    const { consumedPoints, msBeforeNext } = await this.#memory.strike(key, rule);
    const tally: Tally = { strikes: consumedPoints, restMs: msBeforeNext, shared: true };
    worker.send({ type: 'struck', guard, client, tally, own: true });
    if (tally.strikes <= rule.strikes) return;
    for (const other of this.#workers()) {
      if (other !== worker) other.send({ type: 'struck', guard, client, tally, own: false });
    }
  }

  async forgive({ client, keys }: Forgiveness): Promise<void> {
    for (const key of keys) void this.#memory.delete(key);
    // What was counted before this is told some promises later, and has to be told first.
    await turnEnd();
    for (const worker of this.#workers()) worker.send({ type: 'forgiven', client });
  }
}
