import type { InstanceRecord } from './instance-record.ts';

/**
 * Which checks of their readiness documents the instances of a service report as failing, and since when each has had at
 * least one such report.
 */

export interface FailingCheck {
  readonly name: string;
  /** Instances that report it. */
  readonly failing: number;
  /** Instances that answer their probes at all. */
  readonly reporting: number;
  readonly sinceMs: number;
}

export class FailingChecks {
  readonly #since = new Map<string, number>();

  /** Counts anew; remembers since when each check fails. */
  count(records: Iterable<InstanceRecord>, now: number): FailingCheck[] {
    const failing = new Map<string, number>();
    let reporting = 0;
    for (const { active, presence } of records) {
      if (presence === 'gone' || !active.answers) continue;
      reporting++;
      for (const name of active.failingChecks) failing.set(name, (failing.get(name) ?? 0) + 1);
    }
    for (const name of this.#since.keys()) if (!failing.has(name)) this.#since.delete(name);
    return [...failing].map(([name, count]) => {
      const since = this.#since.get(name) ?? now;
      this.#since.set(name, since);
      return { name, failing: count, reporting, sinceMs: now - since };
    });
  }
}
