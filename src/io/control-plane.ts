import os from 'node:os';
import type { Configuration } from '../../config/schema.ts';
import { AdminLimits } from './admin-limits.ts';
import type {
  AdminPort,
  InstanceCommand,
  OverrideFigures,
  OverrideResult,
  PeekQuestion,
  QuotaResult,
  ReadinessView,
  ReloadView,
  RollView,
  ServiceView,
  SheddingView,
  StatusView,
} from './admin-port.ts';
import type { CanaryDesk } from './canary-desk.ts';
import { errorMessage } from './error-message.ts';
import type { FleetControl } from './fleet-control.ts';
import { IdleInstances } from './idle-instances.ts';
import type { ServiceOverride, WorkerViews } from './ipc.ts';
import type { LimitOverrides } from './limit-overrides.ts';
import { maskSecrets } from './mask-secrets.ts';
import type { Meter } from './meter.ts';
import type { MetricsPage } from './metrics-page.ts';
import type { Questions } from './questions.ts';
import { mergeFigures, mergePressure, oneLine, serviceView, sheddingView } from './service-views.ts';
import type { WorkerPool } from './worker-pool.ts';

/**
 * The admin address's view of the whole gateway: what the supervisor knows itself, and what the workers answer in time.
 */

export interface ControlPlaneParts {
  readonly version: string;
  readonly commit: string;
  readonly pool: WorkerPool;
  readonly fleets: FleetControl;
  readonly canaries: CanaryDesk;
  readonly questions: Questions;
  readonly limitOverrides: LimitOverrides;
  readonly meter: Meter;
  readonly metricsPage: MetricsPage;
  readonly now: () => number;
  readonly wallMs: () => number;
  readonly current: () => { configuration: Configuration; hash: string };
  readonly readiness: () => ReadinessView;
  readonly reload: (by: string) => Promise<ReloadView>;
  readonly roll: (by: string) => Promise<RollView>;
  readonly onOverride: (override: ServiceOverride) => void;
}

/** What an operator forced for a service, and until when, monotonic ms. */
interface Forced extends Omit<ServiceOverride, 'breakerLeftMs'> {
  readonly breakerUntilMs: number;
}

export class ControlPlane implements AdminPort {
  readonly #parts: ControlPlaneParts;
  readonly #startedMs: number;
  readonly #startedAt: string;
  readonly #limits: AdminLimits;
  readonly #overrides = new Map<string, Forced>();
  readonly #lastViews = new Map<string, WorkerViews>();
  readonly #idle: IdleInstances;
  lastReload: { at: string; result: string };

  constructor(parts: ControlPlaneParts) {
    this.#parts = parts;
    this.#limits = new AdminLimits(parts);
    this.#idle = new IdleInstances({
      ...parts,
      drainOf: (service) => parts.current().configuration.services[service]?.drain,
    });
    this.#startedMs = parts.now();
    this.#startedAt = new Date(parts.wallMs()).toISOString();
    this.lastReload = { at: this.#startedAt, result: 'ok' };
  }

  /** What operators forced, for workers that start later. */
  overrides(): ServiceOverride[] {
    const now = this.#parts.now();
    return [...this.#overrides.values()].map((forced) => overrideOf(forced, now));
  }

  /** A worker's own report; used when it does not answer in time. */
  reported(workerKey: string, views: WorkerViews): void {
    this.#lastViews.set(workerKey, views);
    this.#idle.reported(workerKey, views);
  }

  workerGone(workerKey: string): void {
    this.#lastViews.delete(workerKey);
    this.#idle.workerGone(workerKey);
  }

  readiness(): ReadinessView {
    return this.#parts.readiness();
  }

  async status(): Promise<StatusView> {
    const { version, commit, pool, now, current } = this.#parts;
    const views = await this.#views();
    const redis = worstRedis([...views.values()]);
    const figures = mergeFigures([...views.values()]);
    return {
      version,
      commit,
      startedAt: this.#startedAt,
      uptimeSeconds: Math.floor((now() - this.#startedMs) / 1000),
      host: os.hostname(),
      workers: pool.all().map(({ pid, state, restarts }) => ({ pid, state, restarts })),
      config: { hash: current().hash, lastReload: this.lastReload },
      redis: { state: redis },
      summary:
        `${oneLine(this.#parts.fleets.states(), figures, redis)} ${this.#parts.canaries.words()}`.trim(),
    };
  }

  async services(byWorker: boolean): Promise<Record<string, ServiceView>> {
    const views = await this.#views();
    const figures = mergeFigures([...views.values()]);
    const pressure = mergePressure([...views.values()]);
    const shown: Record<string, ServiceView> = {};
    const { services } = this.#parts.current().configuration;
    for (const state of this.#parts.fleets.states()) {
      const view = serviceView(state, figures.get(state.service), pressure, services[state.service]?.drain);
      const canaries = this.#parts.canaries.views(state.service);
      shown[state.service] = {
        ...view,
        ...(canaries.length > 0 && { canaries }),
        ...(byWorker && { workers: this.#shares(state.service, views) }),
      };
    }
    return shown;
  }

  async metrics(): Promise<string> {
    const { pool, questions, metricsPage, meter } = this.#parts;
    const answers = await questions.ask(pool.all(), { what: 'metrics' });
    this.#dropGone(answers);
    for (const [key, answer] of answers) if (answer.what === 'metrics') metricsPage.absorb(key, answer.dump);
    // An id has a colon; the series that takes what is too many (`other`) belongs to no instance.
    metricsPage.forget(
      'upstream_requests_total',
      ([service = '', id = '']) => id.includes(':') && !this.#parts.fleets.knows(service, id),
    );
    this.#gauges();
    return await metricsPage.page(meter.dump());
  }

  configuration(): unknown {
    return maskSecrets(this.#parts.current().configuration);
  }

  operate(
    service: string,
    instance: string,
    command: InstanceCommand,
    ttlMs: number | undefined,
    by: string,
  ): 'done' | 'no-service' | 'no-instance' {
    return this.#parts.fleets.operate(service, instance, command, ttlMs, by);
  }

  breaker(
    service: string,
    state: 'open' | 'closed' | 'auto',
    ttlMs: number | undefined,
    by: string,
  ): boolean {
    const breakerUntilMs = this.#parts.now() + (ttlMs ?? Infinity);
    return this.#override(service, { breaker: state, breakerUntilMs, by });
  }

  shedding(service: string, mode: 'enforce' | 'observe' | 'off' | 'auto'): boolean {
    return this.#override(service, { shedding: mode });
  }

  async reload(by: string): Promise<ReloadView> {
    try {
      return await this.#parts.reload(by);
    } catch (error) {
      return { ok: false, changes: [], faults: [errorMessage(error)], warnings: [] };
    }
  }

  async roll(by: string): Promise<RollView> {
    return await this.#parts.roll(by);
  }

  async explain(requestId: string): Promise<unknown> {
    const { pool, questions } = this.#parts;
    const answers = await questions.ask(pool.all(), { what: 'explain', requestId });
    for (const answer of answers.values()) {
      if (answer.what === 'explain' && answer.record !== null) return answer.record;
    }
    return undefined;
  }

  async quota(client: string, peek?: PeekQuestion): Promise<QuotaResult> {
    return await this.#limits.look(client, peek);
  }

  async fillQuota(client: string, by: string): Promise<QuotaResult> {
    return await this.#limits.fill(client, by);
  }

  async overrideQuota(client: string, figures: OverrideFigures, by: string): Promise<OverrideResult> {
    return await this.#limits.override(client, figures, by);
  }

  #override(service: string, change: Partial<Forced>): boolean {
    if (!Object.hasOwn(this.#parts.current().configuration.services, service)) return false;
    const forced: Forced = {
      service,
      breaker: 'auto',
      breakerUntilMs: Infinity,
      by: '',
      shedding: 'auto',
      ...this.#overrides.get(service),
      ...change,
    };
    this.#overrides.set(service, forced);
    this.#parts.onOverride(overrideOf(forced, this.#parts.now()));
    return true;
  }

  /** What each worker has of a service. */
  #shares(
    service: string,
    views: ReadonlyMap<string, WorkerViews>,
  ): (SheddingView & { readonly pid: number })[] {
    return this.#parts.pool.all().flatMap(({ key, pid }) => {
      const view = views.get(key);
      const figures = view?.services.find((each) => each.service === service);
      return view === undefined || figures === undefined
        ? []
        : [{ pid, ...sheddingView(figures, view.pressure) }];
    });
  }

  async #views(): Promise<Map<string, WorkerViews>> {
    const answers = await this.#parts.questions.ask(this.#parts.pool.all(), { what: 'views' });
    this.#dropGone(answers);
    for (const [key, answer] of answers) if (answer.what === 'views') this.#lastViews.set(key, answer.views);
    return this.#lastViews;
  }

  /** Who answered and died while others were waited for was struck off already, and would stay for ever. */
  #dropGone(answers: Map<string, unknown>): void {
    const alive = new Set(this.#parts.pool.all().map(({ key }) => key));
    for (const key of answers.keys()) if (!alive.has(key)) answers.delete(key);
  }

  /** Gauges that only the supervisor knows. */
  #gauges(): void {
    const { meter, fleets } = this.#parts;
    meter.forget('instances', () => true);
    meter.forget('dependency_ready', () => true);
    const lacks = new Map<string, readonly string[]>();
    for (const { service, readiness, instances } of fleets.states()) {
      lacks.set(service, readiness.lacks);
      const counts = new Map<string, number>();
      for (const { state } of instances) counts.set(state, (counts.get(state) ?? 0) + 1);
      for (const [state, count] of counts) meter.set('instances', [service, state], count);
    }
    for (const [service, { dependsOn }] of Object.entries(this.#parts.current().configuration.services)) {
      for (const dependency of dependsOn) {
        const subject = 'service' in dependency ? dependency.service : dependency.check;
        const down = lacks.get(service)?.includes(subject) ?? false;
        meter.set('dependency_ready', [service, subject], down ? 0 : 1);
      }
    }
  }
}

function overrideOf({ breakerUntilMs, ...forced }: Forced, now: number): ServiceOverride {
  const leftMs = breakerUntilMs - now;
  if (leftMs <= 0) return { ...forced, breaker: 'auto', breakerLeftMs: null };
  return { ...forced, breakerLeftMs: leftMs === Infinity ? null : leftMs };
}

function worstRedis(views: readonly WorkerViews[]): string {
  const states = new Set(views.map(({ redis }) => redis.state));
  if (states.has('down')) return 'down';
  return states.has('up') ? 'up' : 'embedded';
}
