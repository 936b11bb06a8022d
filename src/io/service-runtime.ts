import type { ServiceConfiguration } from '../../config/schema.ts';
import { utilizationOf } from '../forwarding/load-report.ts';
import { Admission } from '../shedding/admission.ts';
import type { ShedMode } from '../shedding/policy.ts';
import { Balancer } from '../upstreams/balancer.ts';
import { Breaker } from '../upstreams/breaker.ts';
import type { CapClaim, CapGrant } from '../upstreams/instance-cap.ts';
import { PanicTries } from '../upstreams/panic-tries.ts';
import { PassiveSlice, type AttemptVerdict, type PassiveReport } from '../upstreams/passive-slice.ts';
import { RetryBudget } from '../upstreams/retry-budget.ts';
import type { Random } from '../kernel/random.ts';
import type { InstanceFigures, ServiceOverride, ServiceStates } from './ipc.ts';
import type { TlsConnectOptions, UpstreamPool } from './upstream-pool.ts';
import { breakerWords, whyNoneIsOpen } from './refusal-words.ts';
import { lostSlots } from './lost-slots.ts';
import { ServiceAccount } from './service-account.ts';
import { admissionPolicy, balancingPolicy, breakerPolicy } from './service-policies.ts';
import { ServicePools } from './service-pools.ts';
import { ServiceSessions } from './service-sessions.ts';
import { ServiceVersions } from './service-versions.ts';

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
  readonly sessions: ServiceSessions;
  /** Undefined where all versions are one. */
  versions: ServiceVersions | undefined = undefined;
  readonly #pools: ServicePools;
  #workers: number;
  #sequence = -1;
  /** What the instances let this worker have in flight with an equal part of their limits. */
  #evenCap = 0;
  /** By which the ceiling was set last. */
  #cap = 0;
  #forcedMode: ShedMode | 'auto' = 'auto';
  configuration: ServiceConfiguration;
  /** Code of a state in which the service takes nothing; empty while it does. */
  blocked: 'SPW_DEPENDENCY_DOWN' | '' = '';
  blockedBecause = '';
  /** Some instance takes requests, be it only of sessions it has. */
  open = false;
  /** Why none takes new ones, in words; empty while some does. */
  whyClosed = 'no instance is known yet';
  /** On the list now. */
  instances = 0;
  readonly #passive = new Map<string, PassiveSlice>();
  readonly #lost: number[] = [];
  readonly tries = new PanicTries();
  readonly account = new ServiceAccount();

  constructor(configuration: ServiceConfiguration, options: ServiceRuntimeOptions) {
    this.name = options.name;
    this.configuration = configuration;
    this.#workers = options.workers;
    this.#pools = new ServicePools(configuration);
    this.balancer = new Balancer(balancingPolicy(configuration, options.workers), options.random);
    this.admission = new Admission(this.#admissionPolicy(), options.random, options.now);
    this.breaker = new Breaker(breakerPolicy(configuration), options.random);
    this.budget = new RetryBudget(configuration.retry.budget);
    this.sessions = new ServiceSessions(this.name, configuration, options.fallbackSecret, this.balancer);
    this.#configureVersions();
  }

  configure(configuration: ServiceConfiguration, workers: number, now: number): void {
    // Files are read before anything changes: one that is gone must leave all as it was.
    this.#pools.configure(configuration);
    this.configuration = configuration;
    this.#workers = workers;
    this.balancer.configure(balancingPolicy(configuration, workers));
    this.#evenCap = this.balancer.openCap(this.balancer.cap.even);
    this.admission.configure(this.#admissionPolicy(), now);
    this.breaker.configure(breakerPolicy(configuration));
    this.budget.configure(configuration.retry.budget);
    this.sessions.configure(configuration);
    this.#configureVersions();
  }

  #configureVersions(): void {
    const { versions } = this.configuration;
    if (versions === null) {
      this.versions = undefined;
      this.balancer.setApart(new Set());
      return;
    }
    this.versions ??= new ServiceVersions(this.name, this.balancer, this.sessions);
    this.versions.configure(versions, this.sessions.keys);
  }

  /** Takes the supervisor's picture of the instances; an older one than the last is dropped. */
  update(states: ServiceStates, now: number): void {
    if (states.sequence <= this.#sequence) return;
    this.#sequence = states.sequence;
    this.#lost.push(...lostSlots(this.balancer, states.instances));
    this.balancer.update(states.instances, now);
    // Who must say who it is may be another service's by now; an answer to a request does not tell.
    this.tries.list(this.configuration.readiness.identity === null ? this.balancer.silent : []);
    const alive = new Set(states.instances.filter(({ state }) => state !== 'gone').map(({ id }) => id));
    for (const id of this.#passive.keys()) if (!alive.has(id)) this.#passive.delete(id);
    this.sessions.update(states.instances);
    this.versions?.update(states.aborted ?? []);
    this.instances = alive.size;
    this.open = states.instances.some(({ opensNew, keepsPinned, panic }) => opensNew || keepsPinned || panic);
    this.whyClosed = whyNoneIsOpen(states.instances);
    this.refreshCeiling(now);
    const failFast = this.configuration.onDependencyDown !== 'serve';
    const dependencyDown = states.readiness.state === 'dependency-down';
    // It may have opened on failures that came before the probe that told why. One that had its own reasons opens again.
    if (this.blocked !== '' && !dependencyDown) this.breaker.pardon();
    this.blocked = dependencyDown && failFast ? 'SPW_DEPENDENCY_DOWN' : '';
    this.blockedBecause = states.readiness.because
      .map((cause) => `${cause.subject}: ${cause.state}`)
      .join(' ← ');
    this.#pools.keepOnly(alive);
  }

  /** The slots whose instances serve nobody any more, since the last call. */
  takeLost(): readonly number[] {
    return this.#lost.splice(0);
  }

  /** Why its breaker refuses. */
  breakerWords(now: number): string {
    return breakerWords(this.breaker.view(now));
  }

  /** A warming instance takes more by the second, without a new picture. */
  refreshCeiling(now: number): void {
    this.#evenCap = this.balancer.openCap(this.balancer.cap.even);
    this.#setCeiling(now);
  }

  /** A part moves often: what an equal one comes to, by which limits are scaled, stays for its second. */
  #setCeiling(now: number): void {
    this.#cap = this.balancer.cap.at(now);
    const { maxInFlight, evenInFlight } = this.#admissionPolicy();
    this.admission.setCeiling(maxInFlight, now, evenInFlight);
  }

  /** What this worker claims of its instances' limits. */
  claimCaps(now: number): CapClaim {
    const claim = this.balancer.cap.claim(this.balancer.capUse(now), now);
    // What was granted may have lapsed.
    this.#followCap(now);
    return claim;
  }

  takeCaps(grant: CapGrant, now: number): void {
    this.balancer.cap.take(grant, now);
    this.#followCap(now);
  }

  /** Nobody answers its claims. */
  lapseCaps(now: number): void {
    this.balancer.cap.lapse();
    this.#followCap(now);
  }

  #followCap(now: number): void {
    if (this.balancer.cap.at(now) !== this.#cap) this.#setCeiling(now);
  }

  override(override: ServiceOverride, now: number): void {
    const { breaker, breakerLeftMs, by, shedding } = override;
    this.breaker.force(breaker, breakerLeftMs === null ? undefined : now + breakerLeftMs, by);
    this.#forcedMode = shedding;
    this.admission.configure(this.#admissionPolicy(), now);
  }

  /** Whether `host:port` is an instance of this service, found or listed. */
  isInstance(place: string): boolean {
    return this.balancer.slotOf(place) >= 0;
  }

  /** The pool of an instance; opened at the first request that needs it. */
  pool(slot: number): UpstreamPool {
    return this.#pools.of(this.balancer.idOf(slot), this.balancer.urlOf(slot));
  }

  /** The instance may speak HTTP/2, where a stream can be refused that was not looked at. */
  mayRefuseStreams(slot: number): boolean {
    const { protocol } = this.configuration;
    return protocol === 'h2' || (protocol === 'auto' && this.balancer.urlOf(slot).startsWith('https:'));
  }

  /** How an https instance is reached; the files were read when the configuration was taken. */
  get tls(): TlsConnectOptions {
    return this.#pools.tls;
  }

  /** @param streams how many run at each slot */
  instanceFigures(streams: readonly number[], now: number): InstanceFigures[] {
    return this.balancer.view(now).map(({ id, slot, inFlight, load }) => ({
      id,
      inFlight,
      load,
      streams: streams[slot] ?? 0,
      sessionBits: this.sessions.bitsOf(id, now),
    }));
  }

  async close(): Promise<void> {
    await this.#pools.destroy();
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
    this.#pools.retireAll();
  }

  /** What an attempt told of its instance; collected for the supervisor. */
  observe(slot: number, verdict: AttemptVerdict, callerHash: number): void {
    this.#sliceOf(slot).record(verdict, callerHash);
  }

  /** An answer says that its instance drains. */
  noteDrain(slot: number): void {
    this.#sliceOf(slot).noteDrain();
  }

  /** An answer says how loaded its instance is. */
  noteLoad(slot: number, report: string, now: number): void {
    const utilization = utilizationOf(report);
    if (utilization >= 0) this.balancer.reported(slot, utilization, now);
  }

  /** A probe was told at that moment how loaded its instance is. */
  takeLoad(id: string, utilization: number, at: number): void {
    const slot = this.balancer.slotOf(id);
    if (slot >= 0) this.balancer.reported(slot, utilization, at);
  }

  #sliceOf(slot: number): PassiveSlice {
    const id = this.balancer.idOf(slot);
    let slice = this.#passive.get(id);
    if (slice === undefined) {
      slice = new PassiveSlice();
      this.#passive.set(id, slice);
    }
    return slice;
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

  #admissionPolicy(): ReturnType<typeof admissionPolicy> {
    return admissionPolicy(
      this.configuration,
      this.mode,
      this.#workers,
      this.balancer.openCap(),
      this.#evenCap,
    );
  }
}
