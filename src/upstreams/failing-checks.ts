import type { InstanceRecord } from './instance-record.ts';

/**
 * Which checks of their readiness documents the instances of a service report as failing, and whether the fault is theirs.
 *
 * Signal: the checks named in the newest answers. Decision: when at least half of the instances that answer (and two, where
 * there are two) began to report one check within 1.2 intervals, or all report it, what it checks is blamed, until fewer
 * than a quarter report it. Why: ten instances do not lose ten databases in one second; taking them out one by one ejects
 * the fleet for a fault that is none of theirs. Cold start: an instance's first report is its beginning.
 * Limits: a bad release rolled out at once looks the same, and is as little mended by ejecting.
 */

export interface FailingCheck {
  readonly name: string;
  /** Instances that report it. */
  readonly failing: number;
  /** Instances that answer their probes at all. */
  readonly reporting: number;
  /** The fault lies behind the instances. */
  readonly blamed: boolean;
  readonly sinceMs: number;
}

/** Half: two of ten bad disks are a dead database; double: a database that only some pools have noticed is none. */
const BLAME_RATIO = 0.5;
/** Below it the blame ends. Half: one lame instance keeps it up; double: it comes and goes while pools reconnect. */
const KEEP_RATIO = 0.25;
/** Each is asked once in 1.1 intervals. Half: those asked late are not counted; double: a slow roll of a bad release is an outage. */
const SPAN_INTERVALS = 1.2;

interface Check {
  readonly since: number;
  blamed: boolean;
  /** By instance: since when it reports the check. */
  onset: ReadonlyMap<string, number>;
}

export class FailingChecks {
  readonly #checks = new Map<string, Check>();
  #reporting = 0;

  /** No instance reports any. */
  get isEmpty(): boolean {
    return this.#checks.size === 0;
  }

  /** Takes the newest answers of all; the checks that are blamed now and were not, and whether any is blamed no more. */
  take(
    records: Iterable<InstanceRecord>,
    now: number,
    intervalMs: number,
  ): { readonly begun: readonly string[]; readonly ended: boolean } {
    const onsets = new Map<string, Map<string, number>>();
    this.#reporting = 0;
    for (const { id, active, presence } of records) {
      if (presence === 'gone' || !active.answers) continue;
      this.#reporting++;
      for (const name of active.failingChecks) {
        const onset = onsets.get(name) ?? new Map<string, number>();
        onsets.set(name, onset.set(id, this.#checks.get(name)?.onset.get(id) ?? now));
      }
    }
    const begun: string[] = [];
    let ended = false;
    for (const [name, { blamed }] of this.#checks) {
      if (onsets.has(name)) continue;
      this.#checks.delete(name);
      if (blamed) ended = true;
    }
    for (const [name, onset] of onsets) {
      const known = this.#checks.get(name) ?? { since: now, blamed: false, onset };
      this.#checks.set(name, known);
      known.onset = onset;
      const blamed = known.blamed
        ? onset.size >= KEEP_RATIO * this.#reporting
        : this.#isShared(onset, SPAN_INTERVALS * intervalMs);
      if (blamed && !known.blamed) begun.push(name);
      if (!blamed && known.blamed) ended = true;
      known.blamed = blamed;
    }
    return { begun, ended };
  }

  isBlamed(name: string): boolean {
    return this.#checks.get(name)?.blamed ?? false;
  }

  /** True while the fault of some check lies behind the instances. */
  get anyBlamed(): boolean {
    for (const { blamed } of this.#checks.values()) if (blamed) return true;
    return false;
  }

  list(now: number): FailingCheck[] {
    return [...this.#checks].map(([name, { since, blamed, onset }]) => ({
      name,
      failing: onset.size,
      reporting: this.#reporting,
      blamed,
      sinceMs: now - since,
    }));
  }

  #isShared(onset: ReadonlyMap<string, number>, spanMs: number): boolean {
    if (onset.size === this.#reporting) return true;
    const enough = Math.max(Math.min(2, this.#reporting), Math.ceil(BLAME_RATIO * this.#reporting));
    const newest = Math.max(...onset.values());
    let together = 0;
    for (const since of onset.values()) if (newest - since <= spanMs) together++;
    return together >= enough;
  }
}
