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
import { Conditions } from './io/conditions.ts';
import { CertificateFiles } from './io/certificate-files.ts';
import { ControlPlane } from './io/control-plane.ts';
import { FleetControl } from './io/fleet-control.ts';
import { GuardMemory } from './io/guard/guard-memory.ts';
import type { ServiceStates, ToSupervisor } from './io/ipc.ts';
import { IdentitySources, type IdentityOptions } from './io/identity-sources.ts';
import { Listeners } from './io/listeners.ts';
import { Meter } from './io/meter.ts';
import { MetricsPage } from './io/metrics-page.ts';
import { Questions } from './io/questions.ts';
import { readinessView } from './io/readiness-view.ts';
import { ReadinessWord } from './io/readiness-word.ts';
import { Reloader } from './io/reloader.ts';
import { Rollout, type LoadedConfiguration } from './io/rollout.ts';
import { ShareExchange } from './io/share-exchange.ts';
import { StatusLog } from './io/status-log.ts';
import { systemNow, systemWallMs } from './io/system-clock.ts';
import { SupervisorLimits } from './io/supervisor-limits.ts';
import { WorkerPool, type WorkerProcess } from './io/worker-pool.ts';

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
/** Workers wait this long for the secret that gateways share. Half: a busy Redis is missed, and buckets are named anew. */
const SHARED_SECRET_MS = 500;
/** Half: one bad second of a busy machine ends a start; double: a worker that cannot start is tried for half a minute. */
const START_DEATHS = 5;

export interface SupervisorOptions {
  readonly version: string;
  readonly commit: string;
  readonly load: () => LoadResult;
  readonly renewKeys: IdentityOptions['renewKeys'];
  readonly log: Logger;
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #pool: WorkerPool;
  readonly #fleets: FleetControl;
  readonly #listeners = new Listeners();
  readonly #questions = new Questions();
  readonly #meter = new Meter();
  readonly #metricsPage = new MetricsPage();
  readonly #limits: SupervisorLimits;
  readonly #guardMemory = new GuardMemory<WorkerProcess>(() => this.#pool.all());
  readonly #shares = new ShareExchange<WorkerProcess>((worker, generation, shares) => {
    worker.send({ type: 'shares', generation, shares });
  });
  readonly #control: ControlPlane;
  readonly #affinitySecret = randomBytes(32).toString('base64url');
  readonly #startedMs = systemNow();
  readonly #certificates: CertificateFiles;
  readonly #readinessWord: ReadinessWord;
  readonly #conditions = new Conditions();
  readonly #identities: IdentitySources;
  readonly #statusLog: StatusLog;
  readonly #rollout: Rollout;
  readonly #reloader: Reloader;
  #phase: 'starting' | 'serving' | 'ending' = 'starting';
  #deaths = 0;
  #admin: AdminServer | undefined = undefined;
  #startFault = '';

  constructor(loaded: LoadedConfiguration, options: SupervisorOptions) {
    this.#options = options;
    this.#statusLog = new StatusLog({ now: systemNow, log: options.log });
    this.#pool = new WorkerPool({
      entry: fileURLToPath(new URL(`./main${path.extname(import.meta.url)}`, import.meta.url)),
      now: systemNow,
      environment: {},
      events: {
        onHello: (worker) => {
          this.#rollout.configure(worker);
          this.#readinessWord.tell(worker);
          this.#identities.tell(worker);
        },
        onMessage: (worker, message) => {
          this.#message(worker, message);
        },
        onExit: (worker, reason, expected) => {
          this.#workerGone(worker, reason, expected);
        },
        onNoProcess: (reason) => {
          options.log.error({ reason }, 'no process for a worker; trying again');
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
      onFault: (reason) => {
        options.log.error({ reason }, 'instances cannot be probed as configured');
      },
    });
    this.#limits = new SupervisorLimits({
      log: options.log,
      broadcast: (message) => {
        this.#pool.broadcast(message);
      },
      onSecret: () => {
        void this.#reloader.between(() => {
          if (this.#phase !== 'ending') this.#rollout.again();
        });
      },
      onSettled: () => {
        this.#conditions.wake();
      },
    });
    this.#control = new ControlPlane({
      version: options.version,
      commit: options.commit,
      pool: this.#pool,
      fleets: this.#fleets,
      questions: this.#questions,
      limitOverrides: this.#limits.overrides,
      meter: this.#meter,
      metricsPage: this.#metricsPage,
      now: systemNow,
      wallMs: systemWallMs,
      current: () => this.#rollout.loaded,
      readiness: () => this.#readiness(),
      reload: async (by) => await this.reload(by),
      onOverride: (override) => {
        this.#pool.broadcast({ type: 'override', override });
      },
    });
    this.#certificates = new CertificateFiles({
      log: options.log,
      now: systemNow,
      onResult: (result) => {
        this.#meter.add('tls_reloads_total', [result]);
      },
      onChange: () => {
        this.#rollout.renewCertificates();
      },
    });
    // There from the start, or the first refusal would be no increase.
    for (const result of ['ok', 'refused']) this.#meter.add('tls_reloads_total', [result], 0);
    this.#readinessWord = new ReadinessWord(this.#pool, () => this.#readiness().ready);
    this.#rollout = new Rollout(loaded, {
      pool: this.#pool,
      secrets: (configuration) => ({
        affinity: this.#affinitySecret,
        clientHash: this.#limits.clientHashSecret(configuration),
      }),
      viaName: `spillway-${randomBytes(4).toString('hex')}`,
      gateway: this.#limits.gateway,
      states: () => this.#fleets.states(),
      overrides: () => this.#control.overrides(),
      limitOverrides: () => this.#limits.overrides.entries(),
      workerCount,
      tlsOf: (listener) => this.#certificates.materialOf(listener),
    });
    this.#reloader = new Reloader({
      log: options.log,
      load: () => {
        const result = options.load();
        const warnings = result.warnings.map(formatFinding);
        if (!result.ok) return { ok: false, faults: result.faults.map(formatFinding), warnings };
        const { configuration, hash, ownKeys } = result;
        return { ok: true, loaded: { configuration, hash, ownKeys }, warnings };
      },
      pool: this.#pool,
      fleets: this.#fleets,
      listeners: this.#listeners,
      rollout: this.#rollout,
      conditions: this.#conditions,
      phase: () => this.#phase,
      adminRefusal: ({ admin }) => this.#admin?.refusal(admin) ?? '',
      onCommit: (configuration) => {
        this.#fleets.forget();
        this.#admin?.configure(configuration.admin);
        this.#limits.configure(configuration);
        void this.#certificates.configure(configuration.listeners);
        this.#identities.configure(configuration);
        this.#pool.scale(workerCount(configuration));
      },
      onResult: (result) => {
        this.#control.lastReload = { at: new Date(systemWallMs()).toISOString(), result };
        this.#meter.add('config_reloads_total', [result]);
      },
    });
    this.#identities = new IdentitySources(options, {
      meter: this.#meter,
      pool: this.#pool,
      rollout: this.#rollout,
      isOnTrial: () => this.#reloader.isRunning,
    });
    this.#meter.set('build_info', [options.version, options.commit, process.version], 1);
  }

  /** How a shutdown goes, by the configuration in force. */
  get shutdown(): Configuration['shutdown'] {
    return this.#rollout.loaded.configuration.shutdown;
  }

  /** Addresses that traffic and operators may use, as bound. */
  get addresses(): {
    readonly listeners: readonly { host: string; port: number; tls: boolean }[];
    readonly admin: string;
  } {
    const { listeners } = this.#rollout.loaded.configuration;
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
    const { configuration } = this.#rollout.loaded;
    const { admin } = configuration;
    this.#admin = await startAdminServer(this.#control, { ...admin, log: this.#options.log });
    this.#listeners.commit(this.#listeners.prepare(configuration.listeners));
    this.#rollout.begin(this.#listeners.current);
    this.#fleets.configure(configuration, true);
    this.#limits.configure(configuration);
    await this.#conditions.until(() => this.#limits.settled, SHARED_SECRET_MS);
    this.#pool.scale(workerCount(configuration));
    this.#certificates.start();
    this.#identities.start();
    this.#readinessWord.start();
    await this.#conditions.until(() => this.#fleets.firstProbesIn(), LISTEN_WITHOUT_PROBES_MS);
    this.#rollout.listen();
    await this.#conditions.until(() => this.#readiness().ready || this.#startFault !== '', Infinity);
    if (this.#startFault !== '') throw new Error(this.#startFault);
    if (this.#phase === 'starting') this.#phase = 'serving';
    this.#readinessWord.spread();
    this.#conditions.wake();
  }

  /** Loads the configuration again and swaps it in one step; one that fails changes nothing. One at a time. */
  async reload(by: string): Promise<ReloadView> {
    return await this.#reloader.reload(by);
  }

  /** Drains: readiness fails, listeners close after the delay, running requests end, then it resolves. */
  async drain(): Promise<void> {
    if (this.#phase === 'ending') return;
    this.#phase = 'ending';
    this.#conditions.wake();
    const { delay, timeout } = this.#rollout.loaded.configuration.shutdown;
    this.#options.log.info({ delayMs: delay, timeoutMs: timeout }, 'draining');
    this.#pool.stopRestarting();
    this.#pool.drain({ type: 'drain', delayMs: delay, timeoutMs: timeout });
    const closing = setTimeout(() => {
      this.#listeners.close();
    }, delay);
    await this.#conditions.until(() => this.#pool.all().length === 0, timeout + 1000);
    clearTimeout(closing);
    await this.close();
  }

  /** Ends everything at once. */
  async close(): Promise<void> {
    this.#phase = 'ending';
    this.#pool.stopRestarting();
    this.#pool.killAll();
    await this.#limits.leave();
    this.#fleets.stop();
    this.#certificates.stop();
    this.#identities.stop();
    this.#readinessWord.stop();
    this.#listeners.close();
    await this.#admin?.close();
  }

  // Workers -----------------------------------------------------------------------------------------------------------

  #message(worker: WorkerProcess, message: ToSupervisor): void {
    switch (message.type) {
      case 'hello':
        return;
      case 'configured':
        this.#rollout.taken(worker, message.generation);
        break;
      case 'refused': {
        const { generation, reason } = message;
        this.#options.log.error({ worker: worker.pid, reason }, 'worker refused the configuration');
        if (this.#rollout.refused(generation, reason)) this.#workerCannot(worker, reason);
        break;
      }
      case 'listening':
        this.#rollout.listening(worker, message.key);
        break;
      case 'listen-failed':
        this.#options.log.error({ worker: worker.pid, reason: message.reason }, 'worker cannot listen');
        if (this.#rollout.listenFailed(worker, message.key, message.reason))
          this.#workerCannot(worker, message.reason);
        break;
      case 'passive':
        this.#fleets.passive(message.service, message.reports);
        return;
      case 'limits':
        worker.send({ type: 'limits', reply: this.#limits.serve(message.batch) });
        return;
      case 'strike':
        void this.#guardMemory.strike(worker, message);
        return;
      case 'forgive':
        void this.#guardMemory.forgive(message.guard, message.key);
        return;
      case 'shares':
        // The last words of a worker may come after its exit.
        if (worker.state !== 'dead')
          this.#shares.take(worker, message.generation, message.shares, systemNow());
        return;
      case 'jwks-wanted':
        this.#identities.tell(worker, message.url);
        return;
      case 'answer':
        this.#questions.answered(worker, message.id, message.answer);
        return;
      case 'report':
        this.#metricsPage.absorb(worker.key, message.dump);
        this.#control.reported(worker.key, message.views);
        this.#statusLog.reported(worker.key, message.views);
        return;
      default:
        message satisfies never;
    }
    this.#conditions.wake();
  }

  /** A start fails by it, a reload puts the old configuration back; otherwise the worker is told again later. */
  #workerCannot(worker: WorkerProcess, reason: string): void {
    if (this.#phase === 'starting') this.#startFault = reason;
    if (this.#phase === 'serving' && !this.#reloader.isRunning) this.#rollout.retryLater(worker);
  }

  #workerGone(worker: WorkerProcess, reason: string, expected: boolean): void {
    this.#metricsPage.retire(worker.key);
    this.#control.workerGone(worker.key);
    this.#statusLog.workerGone(worker.key);
    this.#shares.gone(worker);
    if (!expected) this.#options.log.error({ worker: worker.pid, reason }, 'worker died; starting another');
    if (this.#phase === 'starting' && ++this.#deaths >= START_DEATHS)
      this.#startFault = `workers do not start: ${this.#deaths} died, the last with ${reason}`;
    this.#conditions.wake();
  }

  #broadcastStates(states: ServiceStates[]): void {
    this.#pool.broadcast({ type: 'states', states });
    this.#statusLog.instances(states);
    this.#conditions.wake();
  }

  // Readiness ---------------------------------------------------------------------------------------------------------

  #readiness(): ReadinessView {
    return readinessView({
      hash: this.#rollout.loaded.hash,
      listening: this.#pool.current().filter(({ state }) => state === 'ready').length,
      wanted: this.#pool.wanted,
      probed: this.#fleets.firstProbesIn() || systemNow() - this.#startedMs >= FIRST_PROBES_MS,
      ending: this.#phase === 'ending',
    });
  }
}

function workerCount({ workers }: Configuration): number {
  return workers === 'auto' ? os.availableParallelism() : workers;
}
