import { sessionLeavesAt } from '../affinity/drain-time.ts';
import { SessionCount } from '../affinity/session-count.ts';
import { SessionCookies, type Pin } from '../affinity/session-cookie.ts';
import type { ServiceConfiguration } from '../../config/schema.ts';
import { Admission } from '../shedding/admission.ts';
import type { AdmissionPolicy, ShedMode } from '../shedding/policy.ts';
import { Balancer } from '../upstreams/balancer.ts';
import { Breaker } from '../upstreams/breaker.ts';
import { PassiveSlice, type AttemptVerdict, type PassiveReport } from '../upstreams/passive-slice.ts';
import { RetryBudget } from '../upstreams/retry-budget.ts';
import type { Random } from '../kernel/random.ts';
import type { ServiceOverride, ServiceStates } from './ipc.ts';
import { openPool, tlsConnectOptions } from './pools.ts';
import type { TlsConnectOptions, UpstreamPool } from './upstream-pool.ts';
import { breakerWords, whyNoneIsOpen } from './refusal-words.ts';
import { ServiceAccount } from './service-account.ts';

/**
 * What a worker has learned of one service, and the connections to its instances.
 *
 * It lives outside the configuration snapshots, keyed by name: a reload configures it anew and keeps limits, latencies,
 * breaker and pools of the instances that stay.
 */

export interface ServiceRuntimeOptions {
  readonly name: string;
  readonly workers: number;
  /** Signs cookies where the configuration has no keys. */
  readonly fallbackSecret: string;
  readonly random: Random;
  readonly now: number;
}

export class ServiceRuntime {
  readonly name: string;
  readonly admission: Admission;
  readonly balancer: Balancer;
  readonly breaker: Breaker;
  readonly budget: RetryBudget;
  readonly #fallbackSecret: string;
  readonly #pools = new Map<string, { readonly url: string; readonly pool: UpstreamPool }>();
  #tls: TlsConnectOptions;
  readonly #slotByTag = new Map<string, number>();
  readonly #tagBySlot: string[] = [];
  readonly #sessions = new Map<string, SessionCount>();
  #workers: number;
  #sequence = -1;
  #forcedMode: ShedMode | 'auto' = 'auto';
  configuration: ServiceConfiguration;
  cookies: SessionCookies | undefined = undefined;
  cookieName = '';
  /** Code of a state in which the service takes nothing; empty while it does. */
  blocked: 'SPW_DEPENDENCY_DOWN' | '' = '';
  blockedBecause = '';
  /** Some instance takes requests, be it only of sessions it has. */
  open = false;
  /** Why none does, in words. */
  whyClosed = 'no instance is known yet';
  /** On the list now. */
  instances = 0;
  readonly #passive = new Map<string, PassiveSlice>();
  readonly account = new ServiceAccount();

  constructor(configuration: ServiceConfiguration, options: ServiceRuntimeOptions) {
    this.name = options.name;
    this.configuration = configuration;
    this.#workers = options.workers;
    this.#fallbackSecret = options.fallbackSecret;
    this.#tls = tlsConnectOptions(configuration.tls ?? undefined);
    this.balancer = new Balancer(this.#balancingPolicy(), options.random);
    this.admission = new Admission(this.#admissionPolicy(), options.random, options.now);
    this.breaker = new Breaker(this.#breakerPolicy(), options.random);
    this.budget = new RetryBudget(configuration.retry.budget);
    this.#configureCookies();
  }

  configure(configuration: ServiceConfiguration, workers: number, now: number): void {
    // Read before anything changes: a file that is gone must leave all as it was.
    const tls = tlsConnectOptions(configuration.tls ?? undefined);
    if (poolMark(configuration) !== poolMark(this.configuration)) this.#closePools();
    this.#tls = tls;
    this.configuration = configuration;
    this.#workers = workers;
    this.balancer.configure(this.#balancingPolicy());
    this.admission.configure(this.#admissionPolicy(), now);
    this.breaker.configure(this.#breakerPolicy());
    this.budget.configure(configuration.retry.budget);
    this.#configureCookies();
  }

  /** Takes the supervisor's picture of the instances; an older one than the last is dropped. */
  update(states: ServiceStates, now: number): void {
    if (states.sequence <= this.#sequence) return;
    this.#sequence = states.sequence;
    this.balancer.update(states.instances, now);
    const alive = new Set(states.instances.filter(({ state }) => state !== 'gone').map(({ id }) => id));
    for (const id of this.#passive.keys()) if (!alive.has(id)) this.#passive.delete(id);
    for (const id of this.#sessions.keys()) if (!alive.has(id)) this.#sessions.delete(id);
    this.#indexTags(now);
    this.instances = alive.size;
    this.open = states.instances.some(({ opensNew, keepsPinned, panic }) => opensNew || keepsPinned || panic);
    this.whyClosed = this.open ? '' : whyNoneIsOpen(states.instances);
    this.admission.setCeiling(this.balancer.openCap(), now);
    const failFast = this.configuration.onDependencyDown !== 'serve';
    this.blocked = states.readiness.state === 'dependency-down' && failFast ? 'SPW_DEPENDENCY_DOWN' : '';
    this.blockedBecause = states.readiness.because
      .map((cause) => `${cause.subject}: ${cause.state}`)
      .join(' ← ');
    for (const [id, { pool }] of this.#pools) {
      if (alive.has(id)) continue;
      this.#pools.delete(id);
      retire(pool);
    }
  }

  /** Why its breaker refuses. */
  breakerWords(now: number): string {
    return breakerWords(this.breaker.view(now));
  }

  /** A warming instance takes more by the second, without a new picture. */
  refreshCeiling(now: number): void {
    this.admission.setCeiling(this.balancer.openCap(), now);
  }

  override(override: ServiceOverride, now: number): void {
    this.breaker.force(override.breaker, undefined, override.by);
    this.#forcedMode = override.shedding;
    this.admission.configure(this.#admissionPolicy(), now);
  }

  /** The pool of an instance; opened at the first request that needs it. */
  pool(slot: number): UpstreamPool {
    const id = this.balancer.idOf(slot);
    const url = this.balancer.urlOf(slot);
    const open = this.#pools.get(id);
    if (open?.url === url) return open.pool;
    // The same address may be spoken to in another way now; nothing goes out in clear text any more then.
    if (open !== undefined) retire(open.pool);
    const { timeout, protocol } = this.configuration;
    const pool = openPool(url, {
      protocol,
      connectTimeoutMs: timeout.connect,
      tls: this.#tls,
    });
    this.#pools.set(id, { url, pool });
    return pool;
  }

  /** The instance may speak HTTP/2, where a stream can be refused that was not looked at. */
  mayRefuseStreams(slot: number): boolean {
    const { protocol } = this.configuration;
    return protocol === 'h2' || (protocol === 'auto' && this.balancer.urlOf(slot).startsWith('https:'));
  }

  /** How an https instance is reached; the files were read when the configuration was taken. */
  get tls(): TlsConnectOptions {
    return this.#tls;
  }

  #closePools(): void {
    for (const { pool } of this.#pools.values()) retire(pool);
    this.#pools.clear();
  }

  // Sessions ----------------------------------------------------------------------------------------------------------

  /** The instance that a cookie's tag names, under any of the keys; -1 when it is not known (any more). */
  slotOfTag(tag: string): number {
    return this.#slotByTag.get(tag) ?? -1;
  }

  tagOfSlot(slot: number): string {
    return this.#tagBySlot[slot] ?? '';
  }

  /** Whether the session may stay: its instance serves pinned sessions, and a drain has not yet come to this one. */
  keepsPinned(slot: number, pin: Pin, now: number): boolean {
    if (!this.balancer.keepsPinned(slot)) return false;
    const drainForMs = this.balancer.drainForMs(slot, now);
    return (
      drainForMs < 0 || drainForMs < sessionLeavesAt(0, this.configuration.drain.sessionTimeout, pin.sid)
    );
  }

  /** Notes that a session lives at an instance. */
  countSession(slot: number, sid: string, now: number): void {
    const id = this.balancer.idOf(slot);
    let count = this.#sessions.get(id);
    if (count === undefined) {
      count = new SessionCount(this.configuration.affinity?.idle ?? 0);
      this.#sessions.set(id, count);
    }
    count.add(sid, now);
  }

  instanceFigures(
    now: number,
  ): { readonly id: string; readonly inFlight: number; readonly sessionBits: string }[] {
    return this.balancer.view(now).map(({ id, inFlight }) => ({
      id,
      inFlight,
      sessionBits: this.#sessions.get(id)?.snapshot(now) ?? '',
    }));
  }

  #indexTags(now: number): void {
    this.#slotByTag.clear();
    this.#tagBySlot.length = 0;
    if (this.cookies === undefined) return;
    for (const { id, slot } of this.balancer.view(now)) {
      this.#tagBySlot[slot] = this.cookies.tagOf(id);
      for (const tag of this.cookies.tagsOf(id)) this.#slotByTag.set(tag, slot);
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#pools.values()].map(({ pool }) => pool.destroy()));
    this.#pools.clear();
  }

  get mode(): ShedMode {
    return this.#forcedMode === 'auto' ? this.configuration.shedding.mode : this.#forcedMode;
  }

  /** An operator's mode, not the configuration's. */
  get modeForced(): boolean {
    return this.#forcedMode !== 'auto';
  }

  /** Closes what a service that left the configuration still holds; running answers may end. */
  retirePools(): void {
    this.#closePools();
  }

  /** What an attempt told of its instance; collected for the supervisor. */
  observe(slot: number, verdict: AttemptVerdict, callerHash: number): void {
    const id = this.balancer.idOf(slot);
    let slice = this.#passive.get(id);
    if (slice === undefined) {
      slice = new PassiveSlice();
      this.#passive.set(id, slice);
    }
    slice.record(verdict, callerHash);
  }

  /** The reports since the last call; undefined when there is nothing to tell. */
  takePassive(): Record<string, PassiveReport> | undefined {
    let reports: Record<string, PassiveReport> | undefined;
    for (const [id, slice] of this.#passive) {
      if (slice.empty) continue;
      reports ??= {};
      reports[id] = slice.take();
    }
    return reports;
  }

  #admissionPolicy(): AdmissionPolicy {
    const { sla, shedding } = this.configuration;
    return {
      slaMs: sla,
      mode: this.mode,
      queue: shedding.queue,
      limit: shedding.limit,
      workers: this.#workers,
      // Of all instances: with one instance's cap each reload would halve the limit of several.
      maxInFlight: this.balancer.openCap(),
    };
  }

  #balancingPolicy(): ConstructorParameters<typeof Balancer>[0] {
    const { sla, balancing } = this.configuration;
    return {
      slaMs: sla,
      slowStartMs: balancing.slowStart,
      maxConcurrencyPerInstance: balancing.maxConcurrencyPerInstance,
      workers: this.#workers,
    };
  }

  #breakerPolicy(): ConstructorParameters<typeof Breaker>[0] {
    const { breaker } = this.configuration;
    return {
      consecutive: breaker.consecutive,
      errorRatio: breaker.ratio,
      minRequests: breaker.minRequests,
      openMs: breaker.open,
    };
  }

  #configureCookies(): void {
    const { affinity } = this.configuration;
    if (affinity === null) {
      this.cookies = undefined;
      return;
    }
    this.cookieName = affinity.cookie;
    this.cookies = new SessionCookies({
      cookieName: affinity.cookie,
      keys: affinity.keys.length > 0 ? affinity.keys : [{ id: 'auto', secret: this.#fallbackSecret }],
      idleMs: affinity.idle,
      absoluteMs: affinity.absolute,
      service: this.name,
    });
  }
}

/** What a pool was opened with; a change means new pools. */
function poolMark({ timeout, tls, protocol }: ServiceConfiguration): string {
  return `${protocol} ${timeout.connect} ${JSON.stringify(tls)}`;
}

/** Lets running answers end; a failure would only mean that the pool was destroyed meanwhile. */
function retire(pool: UpstreamPool): void {
  pool.close().catch(() => undefined);
}
