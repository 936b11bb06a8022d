import { randomBytes } from 'node:crypto';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import { formatFinding } from '../config/findings.ts';
import type { Loaded as LoadResult } from '../config/load.ts';
import type { Configuration } from '../config/schema.ts';
import type { ReadinessView, ReloadView } from './io/admin-port.ts';
import { startAdminServer, type AdminServer } from './io/admin-server.ts';
import { ControlPlane } from './io/control-plane.ts';
import { errorMessage } from './io/error-message.ts';
import { FleetControl } from './io/fleet-control.ts';
import type { ServiceStates, ToSupervisor, ToWorker } from './io/ipc.ts';
import { serveLimitBatch } from './io/limit-store/ipc.ts';
import { Listeners, type BoundListener } from './io/listeners.ts';
import { Meter } from './io/meter.ts';
import { MetricsPage } from './io/metrics-page.ts';
import { Questions } from './io/questions.ts';
import { describeChanges, restartOnly } from './io/reload.ts';
import { systemNow, systemWallMs } from './io/system-clock.ts';
import { clientHashSecret } from './io/client-hash-secret.ts';
import { WorkerPool, type WorkerProcess } from './io/worker-pool.ts';
import { EmbeddedStore, SUPERVISOR_BUCKETS } from './limits/embedded-store.ts';

/**
 * The supervisor's composition root: everything about the gateway that is not traffic.
 *
 * It binds the listening sockets, starts and restarts workers, probes instances and derives their states, keeps the
 * embedded limit store, sums the metrics and serves the admin address. It carries no traffic, so it answers while the
 * workers are swamped; the workers live on with their last good state should it stall.
 */

/** After this long the gateway is ready without its first probes: a hanging instance must not hold back the others. */
const FIRST_PROBES_MS = 5000;
/** Listening waits this long for the first probes, so that the first request finds a ready instance. */
const LISTEN_WITHOUT_PROBES_MS = 1000;
const CONFIGURE_TIMEOUT_MS = 10_000;

export interface SupervisorOptions {
  readonly version: string;
  readonly commit: string;
  readonly load: () => LoadResult;
  readonly log: Logger;
}

interface Loaded {
  readonly configuration: Configuration;
  readonly hash: string;
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #pool: WorkerPool;
  readonly #fleets: FleetControl;
  readonly #listeners = new Listeners();
  readonly #questions = new Questions();
  readonly #meter = new Meter();
  readonly #metricsPage = new MetricsPage();
  readonly #limitStore = new EmbeddedStore(SUPERVISOR_BUCKETS, Math.random);
  readonly #control: ControlPlane;
  readonly #affinitySecret = randomBytes(32).toString('base64url');
  readonly #fallbackClientSecret = randomBytes(32).toString('base64url');
  readonly #viaName = `spillway-${randomBytes(4).toString('hex')}`;
  readonly #startedMs = systemNow();
  readonly #waiting = new Set<() => void>();
  #loaded: Loaded;
  #generation = 0;
  #mayListen = false;
  #draining = false;
  #reloading: Promise<ReloadView> | undefined = undefined;
  #admin: AdminServer | undefined = undefined;
  #listenFailure = '';

  constructor(loaded: Loaded, options: SupervisorOptions) {
    this.#options = options;
    this.#loaded = loaded;
    this.#pool = new WorkerPool({
      entry: fileURLToPath(new URL(`./main${path.extname(import.meta.url)}`, import.meta.url)),
      now: systemNow,
      environment: {},
      events: {
        onHello: (worker) => {
          this.#configureWorker(worker);
        },
        onMessage: (worker, message) => {
          this.#message(worker, message);
        },
        onExit: (worker, reason, expected) => {
          this.#workerGone(worker, reason, expected);
        },
      },
    });
    this.#fleets = new FleetControl({
      now: systemNow,
      random: Math.random,
      meter: this.#meter,
      onStates: (states) => {
        this.#broadcastStates(states);
      },
    });
    this.#control = new ControlPlane({
      version: options.version,
      commit: options.commit,
      pool: this.#pool,
      fleets: this.#fleets,
      questions: this.#questions,
      meter: this.#meter,
      metricsPage: this.#metricsPage,
      now: systemNow,
      wallMs: systemWallMs,
      current: () => this.#loaded,
      readiness: () => this.#readiness(),
      reload: async (by) => await this.reload(by),
      onOverride: (override) => {
        this.#pool.broadcast({ type: 'override', override });
      },
    });
    this.#meter.set('build_info', [options.version, options.commit, process.version], 1);
  }

  /** How a shutdown goes, by the configuration in force. */
  get shutdown(): Configuration['shutdown'] {
    return this.#loaded.configuration.shutdown;
  }

  /** Addresses that traffic and operators may use, as bound. */
  get addresses(): {
    readonly listeners: readonly { host: string; port: number; tls: boolean }[];
    readonly admin: string;
  } {
    const { listeners } = this.#loaded.configuration;
    return {
      listeners: this.#listeners.current.map(({ index, socket }) => ({
        host: socket.host,
        port: socket.port,
        tls: listeners[index]?.tls !== null,
      })),
      admin:
        this.#admin === undefined ? '' : `http://${this.#admin.address.host}:${this.#admin.address.port}`,
    };
  }

  /**
   * Binds, starts everything and resolves when the gateway is ready.
   * @throws Error when an address cannot be bound or a worker cannot start with the configuration.
   */
  async start(): Promise<void> {
    const { configuration } = this.#loaded;
    const { admin } = configuration;
    this.#admin = await startAdminServer(this.#control, { ...admin, log: this.#options.log });
    this.#listeners.commit(this.#listeners.prepare(configuration.listeners));
    this.#fleets.configure(configuration, true);
    this.#pool.scale(workerCount(configuration));
    await this.#until(() => this.#fleets.firstProbesIn(), LISTEN_WITHOUT_PROBES_MS);
    this.#mayListen = true;
    for (const worker of this.#pool.current())
      if (worker.generation === this.#generation) this.#listen(worker);
    await this.#until(() => this.#readiness().ready || this.#listenFailure !== '', Infinity);
    if (this.#listenFailure !== '') throw new Error(this.#listenFailure);
  }

  /** Loads the configuration again and swaps it in one step; a broken one changes nothing. One at a time. */
  async reload(by: string): Promise<ReloadView> {
    if (this.#reloading !== undefined) await this.#reloading;
    this.#reloading = this.#reload(by);
    try {
      return await this.#reloading;
    } finally {
      this.#reloading = undefined;
    }
  }

  /** Drains: readiness fails, listeners close after the delay, running requests end, then it resolves. */
  async drain(): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    const { delay, timeout } = this.#loaded.configuration.shutdown;
    this.#options.log.info({ delayMs: delay, timeoutMs: timeout }, 'draining');
    this.#pool.stopRestarting();
    this.#pool.drain({ type: 'drain', delayMs: delay, timeoutMs: timeout });
    const closing = setTimeout(() => {
      this.#listeners.close();
    }, delay);
    await this.#until(() => this.#pool.all().length === 0, timeout + 1000);
    clearTimeout(closing);
    await this.close();
  }

  /** Ends everything at once. */
  async close(): Promise<void> {
    this.#pool.stopRestarting();
    this.#pool.killAll();
    this.#fleets.stop();
    this.#listeners.close();
    await this.#admin?.close();
  }

  // Configuration -----------------------------------------------------------------------------------------------------

  async #reload(by: string): Promise<ReloadView> {
    const { log, load } = this.#options;
    const result = load();
    if (!result.ok) return this.#refuseReload(result.faults.map(formatFinding), by);
    const before = this.#loaded.configuration;
    const { configuration, hash } = result;
    const warnings = [...result.warnings.map(formatFinding), ...restartOnly(before, configuration)];
    let change;
    try {
      change = this.#listeners.prepare(configuration.listeners);
    } catch (error) {
      return this.#refuseReload([errorMessage(error)], by);
    }
    const changes = describeChanges(before, configuration);
    await this.#fleets.scout(configuration);
    this.#loaded = { configuration, hash };
    this.#generation++;
    this.#fleets.configure(configuration, false);
    const workers = this.#pool.current();
    for (const worker of workers) this.#configureWorker(worker);
    const generation = this.#generation;
    await this.#until(
      () => workers.every((worker) => worker.state === 'dead' || worker.generation >= generation),
      CONFIGURE_TIMEOUT_MS,
    );
    this.#listeners.commit(change);
    for (const worker of workers) {
      for (const listener of change.added) this.#sendListener(worker, listener);
      for (const key of change.removed) worker.send({ type: 'unlisten', key });
    }
    this.#pool.scale(workerCount(configuration));
    this.#control.lastReload = { at: new Date(systemWallMs()).toISOString(), result: 'ok' };
    this.#meter.add('config_reloads_total', ['ok']);
    log.info({ by, changes }, 'configuration reloaded');
    return { ok: true, changes, faults: [], warnings };
  }

  #refuseReload(faults: string[], by: string): ReloadView {
    this.#control.lastReload = { at: new Date(systemWallMs()).toISOString(), result: 'refused' };
    this.#meter.add('config_reloads_total', ['refused']);
    this.#options.log.warn({ by, faults }, 'configuration not reloaded');
    return { ok: false, changes: [], faults, warnings: [] };
  }

  #configureWorker(worker: WorkerProcess): void {
    const { configuration } = this.#loaded;
    const message: ToWorker = {
      type: 'configure',
      generation: this.#generation,
      configuration,
      workers: workerCount(configuration),
      secrets: {
        affinity: this.#affinitySecret,
        clientHash: clientHashSecret(configuration, this.#fallbackClientSecret),
      },
      viaName: this.#viaName,
      states: this.#fleets.states(),
      overrides: this.#control.overrides(),
    };
    worker.send(message);
  }

  // Workers -----------------------------------------------------------------------------------------------------------

  #message(worker: WorkerProcess, message: ToSupervisor): void {
    switch (message.type) {
      case 'hello':
        return;
      case 'configured': {
        const first = worker.generation < 0;
        worker.generation = message.generation;
        if (first && this.#mayListen) this.#listen(worker);
        break;
      }
      case 'refused':
        this.#options.log.error(
          { worker: worker.pid, reason: message.reason },
          'worker refused the configuration',
        );
        this.#listenFailure = message.reason;
        break;
      case 'listening':
        worker.listening.add(message.key);
        if (this.#listeners.current.every(({ key }) => worker.listening.has(key))) worker.state = 'ready';
        break;
      case 'listen-failed':
        this.#listenFailure = message.reason;
        this.#options.log.error({ worker: worker.pid, reason: message.reason }, 'worker cannot listen');
        break;
      case 'passive':
        this.#fleets.passive(message.service, message.reports);
        return;
      case 'limits':
        worker.send({ type: 'limits', reply: serveLimitBatch(this.#limitStore, message.batch, systemNow()) });
        return;
      case 'answer':
        this.#questions.answered(worker, message.id, message.answer);
        return;
      case 'report':
        this.#metricsPage.absorb(worker.key, message.dump);
        this.#control.reported(worker.key, message.views);
        return;
      default:
        message satisfies never;
    }
    this.#wake();
  }

  #listen(worker: WorkerProcess): void {
    for (const listener of this.#listeners.current) this.#sendListener(worker, listener);
  }

  #sendListener(worker: WorkerProcess, { key, index, socket }: BoundListener): void {
    worker.send({ type: 'listen', listener: index, key }, socket.handle);
  }

  #workerGone(worker: WorkerProcess, reason: string, expected: boolean): void {
    this.#metricsPage.retire(worker.key);
    this.#control.workerGone(worker.key);
    if (!expected) this.#options.log.error({ worker: worker.pid, reason }, 'worker died; starting another');
    this.#wake();
  }

  #broadcastStates(states: ServiceStates[]): void {
    this.#pool.broadcast({ type: 'states', states });
    this.#wake();
  }

  // Readiness ---------------------------------------------------------------------------------------------------------

  #readiness(): ReadinessView {
    const workers = this.#pool.current();
    const listening = workers.filter(({ state }) => state === 'ready').length;
    const probed = this.#fleets.firstProbesIn() || systemNow() - this.#startedMs >= FIRST_PROBES_MS;
    const checks = [
      { name: 'configuration', ok: true, detail: `hash ${this.#loaded.hash}` },
      { name: 'workers', ok: listening > 0, detail: `${listening} of ${this.#pool.wanted} listen` },
      { name: 'probes', ok: probed, detail: probed ? 'first probes are in' : 'waiting for the first probes' },
      { name: 'shutdown', ok: !this.#draining, detail: this.#draining ? 'draining' : 'not draining' },
    ];
    return { ready: checks.every(({ ok }) => ok), checks };
  }

  #wake(): void {
    for (const check of this.#waiting) check();
  }

  /** Resolves when the condition holds, or after the span; asked again whenever something happened. */
  async #until(condition: () => boolean, timeoutMs: number): Promise<void> {
    if (condition()) return;
    await new Promise<void>((resolve) => {
      const check = (): void => {
        if (!condition()) return;
        finish();
      };
      const timer = timeoutMs === Infinity ? undefined : setTimeout(() => finish(), timeoutMs);
      const beat = setInterval(check, 50);
      const finish = (): void => {
        clearTimeout(timer);
        clearInterval(beat);
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
    });
  }
}

function workerCount({ workers }: Configuration): number {
  return workers === 'auto' ? os.availableParallelism() : workers;
}
