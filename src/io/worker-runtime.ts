import { flushCompileCache } from 'node:module';
import process from 'node:process';
import { pino, type Logger } from 'pino';
import type { Configuration } from '../../config/schema.ts';
import { AccessLog, accessPolicy } from './access-log.ts';
import { CallerKnowledge } from './caller-knowledge.ts';
import { ClientQuotas } from './client-quota.ts';
import { errorMessage } from './error-message.ts';
import { ExchangeRecord } from './exchange-record.ts';
import { ExplainRing } from './explain-ring.ts';
import { Guards } from './guard/guards.ts';
import { GoneSeries } from './gone-series.ts';
import type { Question, ServiceOverride, ServiceStates, ToSupervisor, ToWorker } from './ipc.ts';
import { WorkerLimits } from './worker-limits.ts';
import { WorkerOverrides } from './worker-overrides.ts';
import type { BoundHandle } from './listen-sockets.ts';
import { Meter } from './meter.ts';
import { OutcomeRecorder } from './outcome-recorder.ts';
import type { LoadNews } from './probe-loads.ts';
import { ProcessLog } from './process-log.ts';
import { ServiceRuntime } from './service-runtime.ts';
import { Snapshot, type RequestPath } from './snapshot.ts';
import { systemNow, systemWallMs } from './system-clock.ts';
import { WorkerBeat } from './worker-beat.ts';
import { WorkerContext } from './worker-context.ts';
import { WorkerExit } from './worker-exit.ts';
import { WorkerListeners } from './worker-listeners.ts';
import { retryWaitingAt } from './waiting.ts';
import { answerQuestion, workerViews } from './worker-views.ts';

/**
 * One worker process: takes configurations, instance states and listening sockets from the supervisor and carries
 * traffic. It loads no schema, YAML or command line library, so that it serves within a fraction of a second.
 *
 * A configuration is built completely before it is swapped in; if that fails the old one stays in force and the
 * supervisor is told why.
 */

const REPORT_MS = 1000;

export type ComposePath = (snapshot: Snapshot) => Promise<RequestPath>;

type ConfigureMessage = Extract<ToWorker, { type: 'configure' }>;

export class WorkerRuntime {
  readonly #compose: ComposePath;
  readonly #processLog = new ProcessLog(1);
  readonly #log: Logger;
  readonly #end: (code: number) => void;
  readonly #meter = new Meter();
  readonly #goneSeries = new GoneSeries(this.#meter);
  readonly #explain = new ExplainRing(() => new ExchangeRecord());
  readonly #access: AccessLog;
  readonly #limits: WorkerLimits;
  readonly #context: WorkerContext;
  readonly #quotas: ClientQuotas;
  readonly #limitOverrides: WorkerOverrides;
  readonly #callers: CallerKnowledge;
  readonly #beat: WorkerBeat;
  readonly #exit: WorkerExit;
  readonly #listeners: WorkerListeners;
  /** What the supervisor orders is carried out in its order. */
  #applied: Promise<void> = Promise.resolve();

  constructor(compose: ComposePath, exit: (code: number) => void) {
    this.#compose = compose;
    this.#end = exit;
    const log = pino({ name: 'worker' }, this.#processLog);
    this.#log = log;
    this.#access = new AccessLog({ access: { mode: 'all', ratio: 1 }, destination: 1 });
    const recorder = new OutcomeRecorder({
      meter: this.#meter,
      access: this.#access,
      explain: this.#explain,
      onFault: (error) => {
        log.error({ error: error instanceof Error ? error.stack : String(error) }, 'a step failed');
      },
      onPassive: (service) => {
        this.#beat.reportSoon(service);
      },
    });
    this.#limits = new WorkerLimits({ meter: this.#meter, log, send });
    this.#context = new WorkerContext({
      limiter: this.#limits.limiter,
      slots: this.#limits.slots,
      guards: new Guards({ meter: this.#meter, random: Math.random, now: systemNow, send }),
      recorder,
      random: Math.random,
      now: systemNow,
      wallMs: systemWallMs,
    });
    this.#callers = new CallerKnowledge({
      meter: this.#meter,
      limiter: this.#limits.limiter,
      now: systemNow,
      wallMs: systemWallMs,
      send,
    });
    this.#quotas = new ClientQuotas(this.#context, this.#limits);
    this.#limitOverrides = new WorkerOverrides({
      limiter: this.#limits.limiter,
      now: systemNow,
      storeTimeoutMs: () => this.#context.snapshot?.configuration.redis?.timeout ?? 0,
      routes: () => this.#context.snapshot?.routes.map(({ digest }) => digest) ?? [],
    });
    this.#listeners = new WorkerListeners(this.#context, { meter: this.#meter, log, send });
    const servers = () => this.#listeners.servers();
    this.#beat = new WorkerBeat(this.#context, {
      meter: this.#meter,
      sendPassive: (service, reports) => {
        send({ type: 'passive', service, reports });
      },
      sendTrip: (service, trip) => {
        send({ type: 'tripped', service, trip });
      },
      sendShares: (generation, shares) => {
        send({ type: 'shares', generation, shares });
      },
      sendCaps: (generation, workers, claims) => {
        send({ type: 'caps', generation, workers, claims });
      },
      onFault: (service, error, faults) => {
        const text = error instanceof Error ? error.stack : String(error);
        log.error({ service, faults, error: text }, 'admission failed: its last good limit stays');
      },
      servers,
    });
    this.#exit = new WorkerExit(this.#context, servers, () => {
      void this.#leave(0);
    });
  }

  start(): void {
    process.on('message', (message: ToWorker, handle: unknown) => {
      this.#message(message, handle as BoundHandle | undefined);
    });
    // The supervisor decides when to stop; without one there is nobody to serve for.
    process.on('disconnect', () => {
      this.#exit.drain(0, 5000);
    });
    process.on('SIGINT', () => undefined);
    process.on('SIGTERM', () => undefined);
    process.on('SIGHUP', () => undefined);
    process.on('uncaughtException', (error) => {
      this.#log.fatal({ error: error.stack }, 'unexplained fault: this worker is replaced');
      this.#exit.crash();
    });
    this.#beat.start();
    setInterval(() => {
      this.#report();
    }, REPORT_MS).unref();
    // Kept now, since a worker that is killed keeps nothing; its successor finds it and has nothing to write.
    flushCompileCache();
    send({ type: 'hello' });
  }

  #message(message: ToWorker, handle: BoundHandle | undefined): void {
    switch (message.type) {
      case 'configure':
        // At once, since changes of this list may come before the configuration is in force.
        this.#limitOverrides.replace(message.limitOverrides);
        this.#applied = this.#applied.then(async () => {
          await this.#configure(message);
        });
        return;
      case 'listen':
        if (handle === undefined) return;
        this.#applied = this.#applied.then(async () => {
          await this.#listeners.listen(message, handle);
        });
        return;
      case 'certificates':
        this.#applied = this.#applied.then(() => {
          this.#listeners.renew(message);
        });
        return;
      case 'readiness':
        this.#context.gatewayReady = message.ready;
        return;
      case 'keys':
        this.#applied = this.#applied.then(() => {
          this.#callers.takeKeys(message, this.#context.snapshot);
        });
        return;
      case 'jwks':
        this.#callers.takeJwks(message);
        return;
      case 'unlisten':
        this.#applied = this.#applied.then(() => {
          this.#listeners.unlisten(message.key);
        });
        return;
      case 'states':
        this.#takeStates(message.states);
        return;
      case 'loads':
        this.#takeLoads(message.loads);
        return;
      case 'override':
        this.#override(message.override);
        return;
      case 'trip':
        this.#context.services.get(message.service)?.breaker.adopt(message.trip, systemNow());
        return;
      case 'limits':
        this.#limits.receive(message.reply);
        return;
      case 'struck':
        this.#context.guards.struck(message.guard, message.client, message.tally, message.own);
        return;
      case 'forgiven':
        this.#context.guards.forget(message.client);
        return;
      case 'limit-overrides':
        this.#limitOverrides.change(message.entries, message.gone, message.filled);
        for (const bucket of message.filled) this.#context.guards.forget(bucket);
        return;
      case 'shares':
        this.#beat.shares.receive(message.generation, message.shares);
        return;
      case 'caps':
        this.#beat.caps.receive(message.workers, message.grants);
        return;
      case 'ask':
        void this.#answer(message.id, message.question);
        return;
      case 'drain':
        this.#exit.drain(message.delayMs, message.timeoutMs);
        return;
      case 'retire':
        this.#exit.retire(message.timeoutMs);
        return;
      default:
        message satisfies never;
    }
  }

  async #answer(id: number, question: Question): Promise<void> {
    const answer = await answerQuestion(
      question,
      this.#context,
      this.#limits,
      this.#quotas,
      this.#meter,
      this.#explain,
    );
    send({ type: 'answer', id, answer });
  }

  /** Builds everything that can fail first; what is put into force after that cannot. */
  async #configure(message: ConfigureMessage): Promise<void> {
    let built: RequestPath | undefined;
    try {
      const { configuration, workers, secrets, generation } = message;
      const services = this.#services(configuration, workers, secrets.affinity);
      const { table } = this.#limitOverrides;
      const guards = this.#context.guards.compile(configuration);
      const { clientHash } = secrets;
      const who = this.#callers;
      const snapshot = new Snapshot(generation, configuration, services, clientHash, table, guards, who);
      built = await this.#compose(snapshot);
      snapshot.path = built;
      this.#limits.configure(configuration, workers, message.index, message.gateway);
      this.#context.guards.configure(configuration, guards);
      this.#context.viaName = message.viaName;
      this.#log.level = configuration.log.level;
      const before = this.#context.snapshot;
      const now = systemNow();
      for (const [name, service] of services) {
        const policy = configuration.services[name];
        if (policy !== undefined && this.#context.services.get(name) === service)
          service.configure(policy, workers, now);
        this.#context.services.set(name, service);
      }
      this.#takeStates(message.states);
      for (const override of message.overrides) this.#override(override);
      this.#context.pressure.configure(
        Math.min(...[...services.values()].map((each) => each.configuration.sla)),
      );
      this.#access.configure(accessPolicy(configuration));
      this.#context.snapshot = snapshot;
      this.#callers.configured(configuration);
      this.#beat.shares.configure(generation, workers);
      this.#beat.caps.configure(generation, workers);
      this.#dropServices(services);
      void before?.path?.application.close();
      send({ type: 'configured', generation });
    } catch (error) {
      void built?.application.close();
      this.#log.error({ error: errorMessage(error) }, 'configuration refused');
      send({ type: 'refused', generation: message.generation, reason: errorMessage(error) });
    }
  }

  /** The services of a configuration; those already known keep what they learned, and are not touched yet. */
  #services(
    configuration: Configuration,
    workers: number,
    fallbackSecret: string,
  ): Map<string, ServiceRuntime> {
    const now = systemNow();
    const services = new Map<string, ServiceRuntime>();
    for (const [name, policy] of Object.entries(configuration.services)) {
      // Also for a known one: if its new policy cannot be kept, that shows here and not half-way through.
      const fresh = new ServiceRuntime(policy, { name, workers, fallbackSecret, random: Math.random, now });
      services.set(name, this.#context.services.get(name) ?? fresh);
    }
    return services;
  }

  #dropServices(wanted: ReadonlyMap<string, ServiceRuntime>): void {
    for (const [name, service] of this.#context.services) {
      if (wanted.has(name)) continue;
      this.#context.services.delete(name);
      this.#context.leaving.add(service);
    }
  }

  #takeStates(states: readonly ServiceStates[]): void {
    const now = systemNow();
    for (const state of states) {
      const service = this.#context.services.get(state.service);
      service?.update(state, now);
      if (service !== undefined) retryWaitingAt(this.#context, service, service.takeLost(), now);
      this.#goneSeries.take(state);
    }
  }

  #takeLoads(loads: readonly LoadNews[]): void {
    const now = systemNow();
    for (const { service, id, utilization, ageMs } of loads)
      this.#context.services.get(service)?.takeLoad(id, utilization, now - ageMs);
  }

  #override(override: ServiceOverride): void {
    this.#context.services.get(override.service)?.override(override, systemNow());
  }

  #report(): void {
    this.#access.flush();
    this.#meter.slot('log_lines_dropped_total', []).value = this.#access.dropped;
    this.#limits.countTokens();
    void this.#listeners.dropEmpty();
    send({ type: 'report', dump: this.#meter.dump(), views: workerViews(this.#context, this.#limits) });
  }

  async #leave(code: number): Promise<void> {
    await this.#limits.leave();
    this.#report();
    this.#context.guards.close();
    await Promise.all([...this.#context.services.values()].map(async (service) => await service.close()));
    await Promise.all([this.#access.end(), this.#processLog.end()]);
    // The last report is on its way through the channel; when that is closed everything was sent.
    if (!process.connected) this.#end(code);
    process.once('disconnect', () => {
      this.#end(code);
    });
    process.disconnect?.();
  }
}

/** To the supervisor; a broken channel is told by `disconnect`. */
function send(message: ToSupervisor): boolean {
  if (process.send === undefined || !process.connected) return false;
  process.send(message, undefined, {}, () => undefined);
  return true;
}
