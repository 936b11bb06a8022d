import { clientKey, routeKey } from '../limits/keys.ts';
import type { Limiter } from '../limits/limiter.ts';
import { Overrides, type OverrideEntry } from '../limits/overrides.ts';
import { NextEnd } from './next-end.ts';

/**
 * Overrides in a worker: the table that requests are composed from, kept by what the supervisor tells and by the clock.
 *
 * Of a client whose rate is another, what was learned from the old figures goes: refusals that are held, units that are
 * leased. Answers of the store to questions from before still come, for as long as its deadline, and could bring such a
 * refusal back for an hour; so the same is done once more when they are over.
 */

/**
 * Beside `redis.timeout`, which a busy loop may notice late; the embedded store's deadline is in it. Half may be too early;
 * double is only later.
 */
const LATE_MS = 300;

export interface WorkerOverridesParts {
  readonly limiter: Pick<Limiter, 'forget'>;
  readonly now: () => number;
  /** `redis.timeout`, 0 without Redis: the longest that a question may be under way, ms. */
  readonly storeTimeoutMs: () => number;
  /** Digests of the routes in force. */
  readonly routes: () => readonly string[];
}

export class WorkerOverrides {
  readonly table = new Overrides();
  readonly #parts: WorkerOverridesParts;
  readonly #end: NextEnd;

  constructor(parts: WorkerOverridesParts) {
    this.#parts = parts;
    this.#end = new NextEnd({
      now: parts.now,
      nextMs: () => this.table.nextEndMs(),
      onEnd: () => {
        this.#forget(this.table.expire(parts.now()), []);
      },
    });
  }

  /** All that there are. */
  replace(entries: readonly OverrideEntry[]): void {
    this.#forget(this.table.replace(entries, this.#parts.now()), []);
  }

  /** @param filled clients whose quota was filled at another gateway */
  change(entries: readonly OverrideEntry[], gone: readonly string[], filled: readonly string[]): void {
    this.#forget(this.table.change(entries, gone, this.#parts.now()), filled);
  }

  #forget(changed: readonly string[], filled: readonly string[]): void {
    this.#end.changed();
    if (changed.length + filled.length === 0) return;
    const routes = filled.length === 0 ? [] : this.#parts.routes();
    const keys = changed.map(clientKey);
    for (const bucket of filled) {
      keys.push(clientKey(bucket));
      for (const digest of routes) keys.push(routeKey(bucket, digest));
    }
    const { limiter, storeTimeoutMs } = this.#parts;
    limiter.forget(keys);
    setTimeout(() => {
      limiter.forget(keys);
    }, storeTimeoutMs() + LATE_MS).unref();
  }
}
