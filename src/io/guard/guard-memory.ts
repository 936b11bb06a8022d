import type { GuardRule, Tally } from '../../limits/guard.ts';
import type { ToWorker } from '../ipc.ts';
import { CappedMemory, KeyRing } from './capped-memory.ts';
import { figuresOf, refigure, strike } from './guard-store.ts';

/**
 * The supervisor's part of guards where there is no Redis: a `RateLimiterMemory` with an end for each guard, one ring of keys
 * for all. The worker that told of a strike is told the tally; when that blocks the client, every other worker too, so
 * that nobody gets a few tries more at each of them.
 */

export interface Strike {
  readonly guard: string;
  readonly client: string;
  readonly key: string;
  readonly rule: GuardRule;
}

interface Listener {
  send(message: ToWorker): boolean;
}

export class GuardMemory<Worker extends Listener> {
  readonly #ring = new KeyRing();
  readonly #memories = new Map<string, CappedMemory>();
  readonly #workers: () => Iterable<Worker>;

  constructor(workers: () => Iterable<Worker>) {
    this.#workers = workers;
  }

  async strike(worker: Worker, { guard, client, key, rule }: Strike): Promise<void> {
    const { consumedPoints, msBeforeNext } = await strike(this.#memory(guard, rule), key);
    const tally: Tally = { strikes: consumedPoints, restMs: msBeforeNext, shared: true };
    worker.send({ type: 'struck', guard, client, tally, own: true });
    if (tally.strikes <= rule.strikes) return;
    for (const other of this.#workers()) {
      if (other !== worker) other.send({ type: 'struck', guard, client, tally, own: false });
    }
  }

  async forgive(guard: string, key: string): Promise<void> {
    await this.#memories.get(guard)?.delete(key);
  }

  #memory(guard: string, rule: GuardRule): CappedMemory {
    let memory = this.#memories.get(guard);
    if (memory === undefined)
      this.#memories.set(guard, (memory = new CappedMemory(figuresOf(rule), this.#ring)));
    else refigure(memory, rule);
    return memory;
  }
}
