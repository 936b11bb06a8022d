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
import { CanaryDesk } from './io/canary-desk.ts';
import { Conditions } from './io/conditions.ts';
import { CertificateFiles } from './io/certificate-files.ts';
import { ControlPlane } from './io/control-plane.ts';
import { Discoveries, type DiscoveriesParts } from './io/discovery/discoveries.ts';
import { FleetControl } from './io/fleet-control.ts';
import type { ServiceStates } from './io/ipc.ts';
import { IdentitySources, type IdentityOptions } from './io/identity-sources.ts';
import { Listeners } from './io/listeners.ts';
import { Meter } from './io/meter.ts';
import { MetricsPage } from './io/metrics-page.ts';
import { Questions } from './io/questions.ts';
import { readinessView } from './io/readiness-view.ts';
import { ReadinessWord } from './io/readiness-word.ts';
import { Reloader } from './io/reloader.ts';
import { Rollout, type LoadedConfiguration } from './io/rollout.ts';
import { StatusLog } from './io/status-log.ts';
import { systemNow, systemWallMs } from './io/system-clock.ts';
import { SupervisorLimits } from './io/supervisor-limits.ts';
import { WorkerNews } from './io/worker-news.ts';
import { WorkerPool } from './io/worker-pool.ts';
import { WorkerRoll } from './io/worker-roll.ts';
import { StartUp } from './lifecycle/start-up.ts';

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

export interface SupervisorOptions {
  readonly version: string;
  readonly commit: string;
  readonly load: () => LoadResult;
  readonly renewKeys: IdentityOptions['renewKeys'];
  readonly readInstances: DiscoveriesParts['readInstances'];
  readonly log: Logger;
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #pool: WorkerPool;
  readonly #fleets: FleetControl;
  readonly #canaries: CanaryDesk;
  readonly #discoveries: Discoveries;
  readonly #listeners = new Listeners();
  readonly #questions = new Questions();
  readonly #meter = new Meter();
  readonly #metricsPage = new MetricsPage();
  readonly #limits: SupervisorLimits;
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
  readonly #startUp = new StartUp();
  readonly #workerNews: WorkerNews;
  readonly #workerRoll: WorkerRoll;
  #admin: AdminServer | undefined = undefined;

  constructor(loaded: LoadedConfiguration, options: SupervisorOptions) {
    this.#options = options;
    this.#statusLog = new StatusLog({ now: systemNow, log: options.log });
    this.#pool = new WorkerPool({
      entry: fileURLToPath(new URL(`./main${path.extname(import.meta.url)}`, import.meta.url)),
      now: systemNow,
      retireMs: () => this.shutdown.timeout,
      environment: {},
      events: {
        onHello: (worker) => {
          this.#rollout.configure(worker);
          this.#readinessWord.tell(worker);
          this.#identities.tell(worker);
        },
        onMessage: (worker, message) => {
          this.#workerNews.take(worker, message);
        },
        onExit: (worker, reason, expected) => {
          this.#workerNews.gone(worker, reason, expected);
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
      onLoads: (loads) => {
        this.#pool.broadcast({ type: 'loads', loads });
      },
      onFault: (reason) => {
        options.log.error({ reason }, 'instances cannot be probed as configured');
      },
    });
    this.#canaries = new CanaryDesk({
      now: systemNow,
      log: options.log,
      meter: this.#meter,
      fleets: this.#fleets,
    });
    this.#discoveries = new Discoveries({
      now: systemNow,
      random: Math.random,
      log: options.log,
      meter: this.#meter,
      fleets: this.#fleets,
      readInstances: options.readInstances,
      cluster: {
        host: process.env['KUBERNETES_SERVICE_HOST'] ?? '',
        port: process.env['KUBERNETES_SERVICE_PORT'] ?? '443',
        folder: '/var/run/secrets/kubernetes.io/serviceaccount',
      },
      onAnswer: () => {
        this.#conditions.wake();
      },
    });
    this.#limits = new SupervisorLimits({
      log: options.log,
      pool: this.#pool,
      onSecret: () => {
        void this.#reloader.between(() => {
          if (this.#startUp.phase === 'ending') return;
          this.#rollout.again();
          this.#limits.configure(this.#rollout.loaded.configuration);
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
      canaries: this.#canaries,
      questions: this.#questions,
      limitOverrides: this.#limits.overrides,
      meter: this.#meter,
      metricsPage: this.#metricsPage,
      now: systemNow,
      wallMs: systemWallMs,
      current: () => this.#rollout.loaded,
      readiness: () => this.#readiness(),
      reload: async (by) => await this.reload(by),
      roll: async (by) => await this.#workerRoll.roll(by),
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
      loads: () => this.#fleets.loads(),
      overrides: () => this.#control.overrides(),
      limitOverrides: (clientHash) => this.#limits.overrides.entries(clientHash),
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
      phase: () => this.#startUp.phase,
      adminRefusal: ({ admin }) => this.#admin?.refusal(admin) ?? '',
      onCommit: (configuration) => {
        this.#fleets.forget();
        this.#canaries.configure(configuration);
        this.#discoveries.configure(configuration);
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
    this.#workerNews = new WorkerNews({
      log: options.log,
      startUp: this.#startUp,
      fleets: this.#fleets,
      canaries: this.#canaries,
      limits: this.#limits,
      identities: this.#identities,
      questions: this.#questions,
      metricsPage: this.#metricsPage,
      control: this.#control,
      statusLog: this.#statusLog,
      rollout: this.#rollout,
      reloader: this.#reloader,
      conditions: this.#conditions,
      tellOthers: (from, message) => {
        for (const worker of this.#pool.all()) if (worker !== from) worker.send(message);
      },
    });
    this.#workerRoll = new WorkerRoll({
      log: options.log,
      pool: this.#pool,
      conditions: this.#conditions,
      phase: () => this.#startUp.phase,
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
    this.#canaries.configure(configuration);
    this.#discoveries.configure(configuration);
    this.#limits.configure(configuration);
    await this.#conditions.until(() => this.#limits.settled, SHARED_SECRET_MS);
    this.#pool.scale(workerCount(configuration));
    this.#certificates.start();
    this.#identities.start();
    this.#readinessWord.start();
    await this.#conditions.until(
      () => this.#discoveries.answeredOnce() && this.#fleets.firstProbesIn(),
      LISTEN_WITHOUT_PROBES_MS,
    );
    this.#rollout.listen();
    await this.#conditions.until(() => this.#readiness().ready || this.#startUp.fault !== '', Infinity);
    if (this.#startUp.fault !== '') throw new Error(this.#startUp.fault);
    this.#startUp.served();
    this.#readinessWord.spread();
    this.#conditions.wake();
  }

  /** Loads the configuration again and swaps it in one step; one that fails changes nothing. One at a time. */
  async reload(by: string): Promise<ReloadView> {
    return await this.#reloader.reload(by);
  }

  /** Drains: readiness fails, listeners close after the delay, running requests end, then it resolves. */
  async drain(): Promise<void> {
    if (this.#startUp.phase === 'ending') return;
    this.#startUp.end();
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
    this.#startUp.end();
    this.#pool.stopRestarting();
    this.#pool.killAll();
    await this.#limits.leave();
    this.#discoveries.stop();
    this.#fleets.stop();
    this.#certificates.stop();
    this.#identities.stop();
    this.#readinessWord.stop();
    this.#listeners.close();
    await this.#admin?.close();
  }

  #broadcastStates(states: ServiceStates[]): void {
    this.#pool.broadcast({ type: 'states', states });
    this.#statusLog.instances(states);
    this.#conditions.wake();
  }

  #readiness(): ReadinessView {
    return readinessView({
      hash: this.#rollout.loaded.hash,
      listening: this.#pool.listening,
      wanted: this.#pool.wanted,
      discovered: this.#discoveries.answeredOnce(),
      probed: this.#fleets.firstProbesIn() || systemNow() - this.#startedMs >= FIRST_PROBES_MS,
      ending: this.#startUp.phase === 'ending',
    });
  }
}

function workerCount({ workers }: Configuration): number {
  return workers === 'auto' ? os.availableParallelism() : workers;
}
