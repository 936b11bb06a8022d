import type { Logger } from 'pino';
import type { Configuration } from '../../config/schema.ts';
import type { ReloadView } from './admin-port.ts';
import type { Conditions } from './conditions.ts';
import { errorMessage } from './error-message.ts';
import type { FleetControl } from './fleet-control.ts';
import type { ListenerChange, Listeners } from './listeners.ts';
import { describeChanges, restartOnly } from './reload.ts';
import type { LoadedConfiguration, Rollout } from './rollout.ts';
import type { WorkerPool } from './worker-pool.ts';

/**
 * A reload as a transaction over supervisor and workers: all of it, or nothing and the reason.
 *
 * Bind what is new, ask the new instances, offer configuration and new listeners to the workers; only when they have taken
 * both are old listeners closed. What fails before that puts the old configuration back. A worker that says nothing (it is
 * stopped, or swamped) holds nothing up for long: it finds its orders when it wakes, and the answer warns of it.
 */

/** Half: a machine at full load counts as silent; double: an operator waits that much longer for a stopped worker. */
const CONFIGURE_TIMEOUT_MS = 10_000;
/** To open a listener costs milliseconds; the same trade. */
const LISTEN_TIMEOUT_MS = 5000;
/** A reload that comes during the start waits for its end. */
const START_TIMEOUT_MS = 10_000;

/** The gateway is at the begin or the end of its life: no fault of the configuration. */
class NotServing extends Error {}

/** What the file says, findings as lines. */
type Read =
  | { readonly ok: true; readonly loaded: LoadedConfiguration; readonly warnings: readonly string[] }
  | { readonly ok: false; readonly faults: readonly string[]; readonly warnings: readonly string[] };

export interface ReloaderParts {
  readonly log: Logger;
  readonly load: () => Read;
  readonly pool: WorkerPool;
  readonly fleets: FleetControl;
  readonly listeners: Listeners;
  readonly rollout: Rollout;
  readonly conditions: Conditions;
  /** How far the supervisor's own life is. */
  readonly phase: () => 'starting' | 'serving' | 'ending';
  /** Why the admin address cannot take its part; empty when it can. */
  readonly adminRefusal: (configuration: Configuration) => string;
  /** Everything has been taken: what else follows the configuration. */
  readonly onCommit: (configuration: Configuration) => void;
  readonly onResult: (result: 'ok' | 'refused') => void;
}

export class Reloader {
  readonly #parts: ReloaderParts;
  #running: Promise<ReloadView> | undefined = undefined;

  constructor(parts: ReloaderParts) {
    this.#parts = parts;
  }

  /** A configuration is on trial now. */
  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Loads the configuration again and swaps it in one step; one that fails changes nothing. One at a time. */
  async reload(by: string): Promise<ReloadView> {
    while (this.#running !== undefined) await this.#running;
    this.#running = this.#reload(by);
    try {
      return await this.#running;
    } finally {
      this.#running = undefined;
    }
  }

  /** Carries out what must not come between an offer and its acceptance. */
  async between(work: () => void): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    work();
  }

  async #reload(by: string): Promise<ReloadView> {
    const { log, load, listeners, rollout, conditions, phase, adminRefusal, onCommit, onResult } =
      this.#parts;
    const before = rollout.loaded;
    let change: ListenerChange | undefined;
    try {
      await conditions.until(() => phase() !== 'starting', START_TIMEOUT_MS);
      this.#refuseUnlessServing();
      const read = load();
      if (!read.ok) return this.#refuse('faults', read.faults, by, read.warnings);
      const { configuration } = read.loaded;
      const warnings = [...read.warnings, ...restartOnly(before.configuration, configuration)];
      const changes = describeChanges(before.configuration, configuration);
      const refusal = adminRefusal(configuration);
      if (refusal !== '') return this.#refuse('not-taken', [refusal], by);
      change = listeners.prepare(configuration.listeners);
      warnings.push(...(await this.#offer(read.loaded, change)));
      listeners.commit(change);
      rollout.trim();
      onCommit(configuration);
      onResult('ok');
      log.info({ by, changes, warnings }, 'configuration reloaded');
      return { ok: true, changes, faults: [], warnings };
    } catch (error) {
      await this.#restore(before, change);
      const refused = error instanceof NotServing ? 'not-serving' : 'not-taken';
      return this.#refuse(refused, [errorMessage(error)], by);
    }
  }

  /**
   * @returns warnings
   * @throws Error as soon as one worker cannot take the configuration or open a listener
   */
  async #offer(offered: LoadedConfiguration, change: ListenerChange): Promise<string[]> {
    const { pool, fleets, rollout, conditions } = this.#parts;
    await fleets.scout(offered.configuration);
    this.#refuseUnlessServing();
    fleets.configure(offered.configuration, false);
    const asked = pool.current();
    rollout.put(offered, change.current);
    const { generation } = rollout;
    const hasTaken = (): boolean =>
      asked.every((worker) => worker.state === 'dead' || worker.generation === generation) &&
      pool.current().some((worker) => worker.generation === generation);
    await conditions.until(() => this.#isOver() || hasTaken(), CONFIGURE_TIMEOUT_MS);
    this.#refuseOnFault();
    const taken = (): typeof asked => pool.current().filter((worker) => worker.generation === generation);
    if (taken().length === 0)
      throw new Error(`no worker took the configuration within ${CONFIGURE_TIMEOUT_MS / 1000} s`);
    const listens = (): boolean => {
      const workers = taken();
      return workers.length > 0 && workers.every((worker) => rollout.isComplete(worker));
    };
    await conditions.until(() => this.#isOver() || listens(), LISTEN_TIMEOUT_MS);
    this.#refuseOnFault();
    if (!taken().some((worker) => rollout.isComplete(worker)))
      throw new Error(`no worker opened the new listeners within ${LISTEN_TIMEOUT_MS / 1000} s`);
    return pool
      .current()
      .filter((worker) => !rollout.isComplete(worker))
      .map(({ pid }) => `worker ${pid} has not taken the configuration yet: it is silent`);
  }

  /** Everything as it was, in the workers too; a shutdown that came between is left alone. */
  async #restore(before: LoadedConfiguration, change: ListenerChange | undefined): Promise<void> {
    const { pool, fleets, listeners, rollout, conditions, phase } = this.#parts;
    if (change === undefined) return;
    listeners.release(change);
    if (phase() === 'ending') {
      rollout.forget(before);
      return;
    }
    fleets.configure(before.configuration, false);
    fleets.forget();
    if (rollout.loaded === before) return;
    rollout.put(before, listeners.current);
    rollout.trim();
    const { generation } = rollout;
    const isBack = (): boolean => pool.current().every((worker) => worker.generation === generation);
    await conditions.until(() => this.#isOver() || isBack(), LISTEN_TIMEOUT_MS);
  }

  #refuse(
    refused: NonNullable<ReloadView['refused']>,
    faults: readonly string[],
    by: string,
    warnings: readonly string[] = [],
  ): ReloadView {
    this.#parts.onResult('refused');
    this.#parts.log.warn({ by, refused, faults }, 'configuration not reloaded');
    return { ok: false, changes: [], refused, faults, warnings };
  }

  #isOver(): boolean {
    return this.#parts.rollout.fault !== '' || this.#parts.phase() === 'ending';
  }

  #refuseOnFault(): void {
    this.#refuseUnlessServing();
    if (this.#parts.rollout.fault !== '') throw new Error(this.#parts.rollout.fault);
  }

  #refuseUnlessServing(): void {
    switch (this.#parts.phase()) {
      case 'serving':
        return;
      case 'starting':
        throw new NotServing('the gateway has not started yet');
      case 'ending':
        throw new NotServing('the gateway is shutting down');
    }
  }
}
