import type { Configuration } from '../../config/schema.ts';
import type { Evidence } from '../kernel/evidence.ts';
import type { Random } from '../kernel/random.ts';
import { ReadinessGraph, type ServiceReadiness } from '../readiness/graph.ts';
import { instanceId } from '../upstreams/instance-id.ts';
import { Fleet, FORGET_MS, type InstanceView } from '../upstreams/fleet.ts';
import type { InstanceSpec } from '../upstreams/instance-record.ts';
import type { PassiveReport } from '../upstreams/passive-slice.ts';
import { errorMessage } from './error-message.ts';
import { fleetPolicy, probeTargets } from './fleet-policies.ts';
import type { ServiceStates } from './ipc.ts';
import type { Meter } from './meter.ts';
import { ProbeLoads, type LoadNews } from './probe-loads.ts';
import { FIRST_LOOKS, Prober, type ProbeTarget } from './prober.ts';

/**
 * Where the supervisor's knowledge of instances meets: probes, passive reports of the workers, operators and the
 * dependency graph go in; for each service one complete, numbered picture comes out, at most every 20 ms.
 *
 * A shorter beat would make a restart of a hundred instances a message storm; a longer one would be felt as refusals
 * between an instance's failure and the workers' knowing.
 */

const PUBLISH_MS = 20;
const TICK_MS = 250;
/** Half: a source that answers slowly at start gives us a fleet that warms up; double: real newcomers get a full share. */
const BORN_GROWN_MS = 10_000;
/** A reload waits no longer than this for instances that do not answer. */
const SCOUT_MS = 2000;

const TOO_MANY = 'there are so many that each is asked less often than `readiness.interval` says';

export interface FleetControlOptions {
  readonly now: () => number;
  readonly random: Random;
  readonly meter: Meter;
  /** Complete pictures of the services that changed. */
  readonly onStates: (states: ServiceStates[]) => void;
  /** What probes were told of instances' load, after the pictures that they belong to. */
  readonly onLoads: (loads: readonly LoadNews[]) => void;
  /** Instances cannot be asked as configured: told once for each reason. */
  readonly onFault: (reason: string) => void;
}

export class FleetControl {
  readonly #options: FleetControlOptions;
  readonly #fleets = new Map<string, Fleet>();
  readonly #prober: Prober;
  readonly #loads = new ProbeLoads();
  readonly #published = new Map<string, string>();
  readonly #pictures = new Map<string, ServiceStates>();
  /** Instances of the first configuration without a verdict yet, with the looks that said nothing. */
  readonly #unprobed = new Map<string, number>();
  /** Who was ejected in the last picture of a service. */
  readonly #ejected = new Map<string, ReadonlySet<string>>();
  /** Services that a reload took out, while the series of their instances are kept. */
  readonly #departed = new Map<string, { readonly picture: ServiceStates; readonly atMs: number }>();
  #graph = new ReadinessGraph([]);
  #timer: NodeJS.Timeout | undefined = undefined;
  #ticker: NodeJS.Timeout | undefined = undefined;
  readonly #scouted = new Map<string, { service: string; id: string; evidence: Evidence }>();
  #services: Configuration['services'] = {};
  #targets: readonly ProbeTarget[] = [];
  #aimed = '';
  #fault = '';
  #sequence = 0;
  /** Canaries that were found to be worse, by service. */
  readonly #aborted = new Map<string, readonly string[]>();
  /** Services whose discovery has listed instances. */
  readonly #discovered = new Set<string>();
  readonly #startedAt: number;

  constructor(options: FleetControlOptions) {
    this.#options = options;
    this.#startedAt = options.now();
    this.#prober = new Prober({
      now: options.now,
      random: options.random,
      onEvidence: (service, id, evidence, now, utilization) => {
        if (utilization >= 0) this.#loads.note(service, id, utilization, now);
        return this.#evidence(service, id, evidence, now);
      },
    });
  }

  /**
   * Takes a configuration; instances that stay keep all that is known of them. Services that are missing are asked no more
   * but remembered until `forget`, so that the configuration before can come back.
   */
  configure(configuration: Configuration, first: boolean): void {
    const now = this.#options.now();
    const services = Object.entries(configuration.services);
    this.#graph = new ReadinessGraph(
      services.map(([service, { dependsOn, onDependencyDown }]) => ({
        service,
        dependsOn,
        onDependencyDown: onDependencyDown === 'serve' ? 'serve' : 'failFast',
      })),
    );
    for (const [name, service] of services) {
      this.#departed.delete(name);
      const policy = fleetPolicy(name, service);
      const known = this.#fleets.get(name);
      if (known === undefined) {
        this.#fleets.set(name, new Fleet(policy, this.#options.random, now, first));
      } else known.configure(policy, now);
    }
    this.#services = configuration.services;
    this.#retarget();
    if (first) for (const { service, id } of this.#targets) this.#unprobed.set(`${service}/${id}`, 0);
    this.#forgetUnprobed();
    for (const { service, id, evidence } of this.#scouted.values())
      this.#fleets.get(service)?.probe(id, evidence, now);
    this.#scouted.clear();
    for (const [name] of services) this.#hurryJoiners(name, now);
    this.#ticker ??= setInterval(() => {
      this.#tick();
    }, TICK_MS);
    this.publish();
  }

  /**
   * Takes the full set of instances that discovery found for a service; one that is not discovered (any more) is left alone.
   * The first set, and what is found soon after the start, was there before us and gets its full share at once.
   */
  discovered(service: string, specs: readonly InstanceSpec[]): void {
    const fleet = this.#fleets.get(service);
    if (fleet === undefined || (this.#services[service]?.discovery ?? null) === null) return;
    const now = this.#options.now();
    const isStart = now - this.#startedAt < BORN_GROWN_MS;
    const isFirst = !this.#discovered.has(service);
    this.#discovered.add(service);
    fleet.discover(specs, now, isFirst || isStart);
    this.#retarget();
    if (isStart && isFirst)
      for (const target of this.#targets)
        if (target.service === service) this.#unprobed.set(`${service}/${target.id}`, 0);
    this.#forgetUnprobed();
    this.#hurryJoiners(service, now);
    this.publish();
  }

  /** True while the last word of an instance's probes is a good one. */
  probePasses(service: string, id: string): boolean {
    return this.#fleets.get(service)?.probePasses(id) ?? false;
  }

  /** Takes the canaries of a service that get nobody any more, all of them; goes out with the next picture. */
  setAborted(service: string, versions: readonly string[]): void {
    this.#aborted.set(service, versions);
    this.#publishSoon();
  }

  /** Every worker says that no session, request or stream is left at an instance. */
  idle(service: string, id: string): void {
    this.#fleets.get(service)?.idle(id, this.#options.now());
    this.#publishSoon();
  }

  /** Forgets services that are not in the configuration any more; only the ids of their instances are kept a while. */
  forget(): void {
    const atMs = this.#options.now();
    for (const name of this.#fleets.keys()) {
      if (Object.hasOwn(this.#services, name)) continue;
      const picture = this.#pictures.get(name);
      if (picture !== undefined) this.#departed.set(name, { picture, atMs });
      this.#fleets.delete(name);
      this.#discovered.delete(name);
      this.#ejected.delete(name);
      this.#aborted.delete(name);
      this.#published.delete(name);
      this.#pictures.delete(name);
    }
  }

  /** True for every instance that may be shown: also one that is gone, for ten minutes. */
  knows(service: string, id: string): boolean {
    const fleet = this.#fleets.get(service);
    if (fleet !== undefined) return fleet.knows(id);
    return this.#departed.get(service)?.picture.instances.some((instance) => instance.id === id) ?? false;
  }

  /**
   * Asks the instances that a configuration would bring, before it is put into force: a reload that replaces every
   * instance must not leave a service without a ready one. Returns after the first answers, or two seconds.
   */
  async scout(configuration: Configuration): Promise<void> {
    const known = new Set(this.#targets.map(({ service, url }) => `${service}/${url}`));
    const targets = Object.entries(configuration.services)
      .flatMap(([name, service]) =>
        probeTargets(
          name,
          service,
          service.instances.map(({ url }) => ({ id: instanceId(url), url })),
        ),
      )
      .filter(({ service, url }) => !known.has(`${service}/${url}`));
    this.#scouted.clear();
    if (targets.length === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => finish(), SCOUT_MS);
      const scout = new Prober({
        now: this.#options.now,
        random: this.#options.random,
        onEvidence: (service, id, evidence) => {
          this.#scouted.set(`${service}/${id}`, { service, id, evidence });
          if (this.#scouted.size === targets.length) finish();
          return false;
        },
      });
      const finish = (): void => {
        clearTimeout(timer);
        scout.stop();
        resolve();
      };
      scout.configure(targets);
    });
  }

  /** True when every instance of the first configuration has answered, or failed to; one that says nothing is not waited for. */
  firstProbesIn(): boolean {
    return this.#unprobed.size === 0;
  }

  passive(service: string, reports: Readonly<Record<string, PassiveReport>>): void {
    const fleet = this.#fleets.get(service);
    if (fleet === undefined) return;
    const now = this.#options.now();
    for (const [id, report] of Object.entries(reports)) {
      fleet.passive(id, report, now);
      if (report.hard + report.soft > 0) this.#prober.hurry(service, id);
    }
    this.#publishSoon();
  }

  operate(
    service: string,
    id: string,
    command: 'drain' | 'enable' | 'disable',
    ttlMs: number | undefined,
    by: string,
  ): 'done' | 'no-service' | 'no-instance' {
    const fleet = this.#fleets.get(service);
    if (fleet === undefined) return 'no-service';
    const known = fleet.operate(id, command, ttlMs, by, this.#options.now());
    this.publish();
    return known ? 'done' : 'no-instance';
  }

  /** The newest picture of every service, ages as of now. */
  states(): ServiceStates[] {
    this.publish();
    return [...this.#pictures.values()];
  }

  /** All that probes were told of instances' load and that is fresh. */
  loads(): readonly LoadNews[] {
    return this.#loads.all(this.#options.now());
  }

  stop(): void {
    this.#prober.stop();
    clearInterval(this.#ticker);
    clearTimeout(this.#timer);
  }

  /** Derives all states and hands on those that differ from what was handed on last. */
  publish(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const now = this.#options.now();
    const inputs = new Map([...this.#fleets].map(([name, fleet]) => [name, fleet.state(now)] as const));
    const readiness = this.#graph.evaluate(inputs, new Date().toISOString());
    const changed: ServiceStates[] = [];
    for (const [service, fleet] of this.#fleets) {
      const verdict = readiness.get(service);
      if (verdict === undefined) continue;
      const aborted = this.#aborted.get(service) ?? [];
      const mark = `${fleet.sequence} ${verdict.state} ${becauseMark(verdict)} ${aborted.join(' ')}`;
      const instances = fleet.views(now);
      this.#countEjections(service, instances);
      const sequence = ++this.#sequence;
      const picture: ServiceStates = { service, sequence, readiness: verdict, instances, aborted };
      this.#pictures.set(service, picture);
      if (this.#published.get(service) === mark) continue;
      this.#published.set(service, mark);
      changed.push(picture);
    }
    if (changed.length > 0) this.#options.onStates(changed);
    const loads = this.#loads.takeNews(now);
    if (loads.length > 0) this.#options.onLoads(loads);
  }

  #countEjections(service: string, views: readonly InstanceView[]): void {
    const before = this.#ejected.get(service);
    const ejected = views.filter(({ state }) => state === 'ejected');
    this.#ejected.set(service, new Set(ejected.map(({ id }) => id)));
    for (const { id, reason } of ejected) {
      if (before?.has(id) === true) continue;
      this.#options.meter.add('ejections_total', [
        service,
        reason === 'failed on trial' ? 'trial' : 'failures',
      ]);
    }
  }

  /** The last of a service that a reload took out: an empty picture ends what workers counted for its instances. */
  #endDeparted(now: number): void {
    for (const [service, { picture, atMs }] of this.#departed) {
      if (now - atMs < FORGET_MS) continue;
      this.#departed.delete(service);
      this.#options.onStates([{ ...picture, sequence: ++this.#sequence, instances: [] }]);
    }
  }

  #evidence(service: string, id: string, evidence: Evidence, now: number): boolean {
    this.#options.meter.add('probes_total', [service, evidence.kind]);
    const key = `${service}/${id}`;
    const looks = this.#unprobed.get(key);
    if (looks !== undefined) {
      if (evidence.kind === 'void' && looks + 1 < FIRST_LOOKS) this.#unprobed.set(key, looks + 1);
      else this.#unprobed.delete(key);
    }
    const fleet = this.#fleets.get(service);
    const before = fleet?.sequence;
    const isDoubted = fleet?.probe(id, evidence, now) ?? false;
    // A service is known to be down when its last instance was asked: then the others are not waited for in turn.
    if (fleet?.sequence !== before && (evidence.kind === 'explicit' || evidence.refused))
      this.#prober.hurryAll(service);
    this.#publishSoon();
    return isDoubted;
  }

  /** Aims the probes at whoever is on the list or still leaving; those keep being asked until they are gone. */
  #retarget(): void {
    const targets = [...this.#fleets].flatMap(([name, fleet]) => {
      const service = this.#services[name];
      return service === undefined ? [] : probeTargets(name, service, fleet.probed());
    });
    const aimed = JSON.stringify(targets);
    if (aimed === this.#aimed) return;
    try {
      this.#prober.configure(targets);
      this.#aimed = aimed;
      this.#targets = targets;
      this.#tellFault(this.#prober.stretch > 1 ? TOO_MANY : '');
    } catch (error) {
      // A TLS file that was there at the reload and is gone now: tried again with the next tick.
      this.#tellFault(errorMessage(error));
    }
  }

  #tellFault(reason: string): void {
    if (reason !== '' && reason !== this.#fault) this.#options.onFault(reason);
    this.#fault = reason;
  }

  /** Another incarnation at an address that is asked already would wait for the rest of the interval. */
  #hurryJoiners(service: string, now: number): void {
    for (const { id, state } of this.#fleets.get(service)?.views(now) ?? [])
      if (state === 'joining') this.#prober.hurry(service, id);
  }

  /** Who is not asked any more is not waited for. */
  #forgetUnprobed(): void {
    if (this.#unprobed.size === 0) return;
    const keys = new Set(this.#targets.map(({ service, id }) => `${service}/${id}`));
    for (const key of this.#unprobed.keys()) if (!keys.has(key)) this.#unprobed.delete(key);
  }

  #tick(): void {
    const now = this.#options.now();
    for (const fleet of this.#fleets.values()) fleet.tick(now);
    this.#endDeparted(now);
    this.#retarget();
    this.publish();
  }

  #publishSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.publish();
    }, PUBLISH_MS);
  }
}

function becauseMark(verdict: ServiceReadiness): string {
  return verdict.because.map((cause) => `${cause.subject}:${cause.state}:${cause.reason}`).join('|');
}
