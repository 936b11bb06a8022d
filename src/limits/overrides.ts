import { compileRate, type CompiledRate } from './gcra.ts';

/**
 * What operators have set for single clients, for a time, in the place of their tier's rate: a worker's copy.
 *
 * It lives outside of the snapshot, so a reload keeps it, and outside of the decision: what a client is charged at is
 * composed from it once and kept, until `version` says that something here is different. The supervisor tells complete
 * lists and changes, in order (`io/limit-overrides.ts`); an end needs no word, each worker sees it by its own clock.
 *
 * A bucket keeps what was spent under the figures before: a lowered limit is waited for at most as long as its own burst
 * takes, a raised one counts at once. Limits: the client's own rate only, not that of a route or of its requests in flight.
 */

/** One of them as it is told: a span and not a moment, since clocks are a process's own. */
export interface OverrideEntry {
  /** The client's hash, see `keys.ts`. */
  readonly bucket: string;
  readonly ratePerSecond: number;
  readonly burst: number;
  /** Until it ends, ms. */
  readonly leftMs: number;
}

interface Held {
  readonly rate: CompiledRate;
  readonly endsMs: number;
}

export class Overrides {
  readonly #held = new Map<string, Held>();
  #version = 0;

  /** Another number whenever some client's rate may be another. */
  get version(): number {
    return this.#version;
  }

  /** All that there are. @returns the clients whose rate is another now */
  replace(entries: readonly OverrideEntry[], now: number): string[] {
    const wanted = new Set(entries.map(({ bucket }) => bucket));
    return this.change(
      entries,
      [...this.#held.keys()].filter((bucket) => !wanted.has(bucket)),
      now,
    );
  }

  /** New ones and ended ones; the others stay. @returns the clients whose rate is another now */
  change(entries: readonly OverrideEntry[], gone: readonly string[], now: number): string[] {
    const changed = gone.filter((bucket) => this.#held.delete(bucket));
    for (const { bucket, ratePerSecond, burst, leftMs } of entries) {
      const before = this.#held.get(bucket)?.rate;
      const isNew = before?.ratePerSecond !== ratePerSecond || before.burst !== burst;
      const rate = isNew ? compileRate(ratePerSecond, burst) : before;
      this.#held.set(bucket, { rate, endsMs: now + leftMs });
      if (isNew) changed.push(bucket);
    }
    if (changed.length > 0) this.#version++;
    return changed;
  }

  /** Takes out what has ended. @returns those clients */
  expire(now: number): string[] {
    const ended = [...this.#held].flatMap(([bucket, { endsMs }]) => (endsMs <= now ? [bucket] : []));
    return this.change([], ended, now);
  }

  /** When the next one ends; Infinity without any. */
  nextEndMs(): number {
    let next = Infinity;
    for (const { endsMs } of this.#held.values()) next = Math.min(next, endsMs);
    return next;
  }

  /** In the place of the tier's rate; undefined for nearly everybody. */
  rateOf(bucket: string): CompiledRate | undefined {
    return this.#held.get(bucket)?.rate;
  }
}
