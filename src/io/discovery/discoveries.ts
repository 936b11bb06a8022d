import type { Logger } from 'pino';
import type { Configuration, ServiceConfiguration } from '../../../config/schema.ts';
import type { KnownGoodPolicy } from '../../discovery/known-good.ts';
import type { DiscoveryListener, DiscoverySource, Found } from '../../discovery/source.ts';
import type { Random } from '../../kernel/random.ts';
import { instanceId } from '../../upstreams/instance-id.ts';
import { errorMessage } from '../error-message.ts';
import type { Meter } from '../meter.ts';
import { DiscoveredService } from './discovered-service.ts';
import { ConsulSource } from './consul.ts';
import { DnsSource } from './dns.ts';
import { FileSource, type ReadInstances } from './file.ts';
import { KubernetesSource, type Cluster } from './kubernetes.ts';
import { StateDir } from './state-dir.ts';

/**
 * All services whose instances are found and not listed: a source each, in the supervisor.
 *
 * A reload that leaves a source as it is keeps it and all it knows; another source begins with nothing, and until its first
 * answer the instances of before stay. Every five seconds each set is told again, since a picture may have been lost to a
 * configuration that was on trial and was taken back.
 */

/** Half: holds and figures are looked at twice as often for nothing; double: an alarm comes two seconds later. */
const TICK_MS = 1000;
const AGAIN_TICKS = 5;
/** After this long one source that has answered is enough. Half: a slow one is missed; double: a start waits for a dead one. */
const ONE_IS_ENOUGH_MS = 10_000;

type DiscoveryConfiguration = NonNullable<ServiceConfiguration['discovery']>;

export interface DiscoveriesParts {
  readonly now: () => number;
  readonly random: Random;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  readonly meter: Pick<Meter, 'add' | 'set' | 'forget'>;
  readonly fleets: {
    discovered(service: string, instances: readonly Found[]): void;
    probePasses(service: string, id: string): boolean;
  };
  readonly readInstances: ReadInstances;
  readonly cluster: Cluster;
  /** A first answer is in, so something may be ready now. */
  readonly onAnswer: () => void;
}

interface Entry {
  /** What the source was made of. */
  readonly mark: string;
  readonly discovered: DiscoveredService;
}

export class Discoveries {
  readonly #parts: DiscoveriesParts;
  readonly #entries = new Map<string, Entry>();
  readonly #startedMs: number;
  /** Instances that the configuration before this one listed, by service. */
  #listedBefore: ReadonlyMap<string, readonly Found[]> = new Map();
  #listed = false;
  #configured = false;
  #everAnswered = false;
  #ticks = 0;
  #timer: NodeJS.Timeout | undefined = undefined;

  constructor(parts: DiscoveriesParts) {
    this.#parts = parts;
    this.#startedMs = parts.now();
  }

  /** Begins to ask for what is new in the configuration, ends what it no longer names. */
  configure({ services }: Configuration): void {
    this.#configured = true;
    const before = new Map(this.#listedBefore);
    for (const [service, entry] of this.#entries) {
      const wanted = services[service]?.discovery ?? null;
      if (wanted !== null && markOf(wanted) === entry.mark) continue;
      before.set(service, entry.discovered.instances);
      entry.discovered.stop();
      this.#entries.delete(service);
      for (const name of ['discovery_age_seconds', 'discovery_held'] as const)
        this.#parts.meter.forget(name, ([of]) => of === service);
    }
    const listed = new Map<string, readonly Found[]>();
    for (const [service, configuration] of Object.entries(services)) {
      if (configuration.discovery === null) listed.set(service, configuration.instances.map(foundOf));
      else this.#configure(service, configuration, configuration.discovery, before.get(service) ?? []);
    }
    this.#listed = listed.size > 0;
    this.#listedBefore = listed;
    if (this.#entries.size === 0) {
      this.stop();
      return;
    }
    this.#timer ??= setInterval(() => {
      this.#tick();
    }, TICK_MS).unref();
  }

  /** Every source has given a first answer; after ten seconds, one of them, or that other services are listed. */
  answeredOnce(): boolean {
    if (this.#everAnswered || !this.#configured) return this.#everAnswered;
    const answered = [...this.#entries.values()].filter((entry) => entry.discovered.answered).length;
    const late = this.#parts.now() - this.#startedMs >= ONE_IS_ENOUGH_MS;
    this.#everAnswered = answered === this.#entries.size || (late && (answered > 0 || this.#listed));
    return this.#everAnswered;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    for (const { discovered } of this.#entries.values()) discovered.stop();
    this.#entries.clear();
  }

  #configure(
    service: string,
    configuration: ServiceConfiguration,
    discovery: DiscoveryConfiguration,
    before: readonly Found[],
  ): void {
    const policy: KnownGoodPolicy = {
      emptySet: discovery.emptySet,
      hasIdentity: configuration.readiness.identity !== null,
    };
    const known = this.#entries.get(service);
    if (known !== undefined) {
      known.discovered.configure(policy);
      return;
    }
    const { now, log, meter, fleets, onAnswer } = this.#parts;
    const discovered = new DiscoveredService(
      service,
      policy,
      (listener) => this.#begin(discovery, listener),
      before,
      this.#stateDir(service, discovery),
      {
        now,
        log,
        onInstances: (instances) => {
          fleets.discovered(service, instances);
          onAnswer();
        },
        onFault: (kind) => {
          meter.add('discovery_faults_total', [service, kind]);
        },
        onNews: () => {
          this.#gaugesOf(service);
        },
        probePasses: (url) => fleets.probePasses(service, instanceId(url)),
      },
    );
    this.#entries.set(service, { mark: markOf(discovery), discovered });
    this.#gaugesOf(service);
  }

  #begin(
    { file, dns, kubernetes, consul }: DiscoveryConfiguration,
    listener: DiscoveryListener,
  ): DiscoverySource {
    const { now, readInstances, random, cluster } = this.#parts;
    if (dns !== null) {
      const port = dns.port ?? (dns.scheme === 'https' ? 443 : 80);
      return new DnsSource({ ...dns, port }, random, listener);
    }
    if (kubernetes !== null)
      return new KubernetesSource(definedOf(kubernetes), { now, random, cluster }, listener);
    if (consul !== null) return new ConsulSource(definedOf(consul), random, listener);
    if (file !== null) return new FileSource(file, readInstances, listener);
    throw new Error('no source of instances');
  }

  #stateDir(service: string, discovery: DiscoveryConfiguration): StateDir | undefined {
    if (discovery.stateDir === null) return undefined;
    return new StateDir(discovery.stateDir, service, sourceOf(discovery), (error) => {
      const reason = errorMessage(error);
      this.#parts.log.warn({ service, reason }, 'the last good set cannot be kept on disk');
    });
  }

  #tick(): void {
    this.#ticks++;
    for (const [service, { discovered }] of this.#entries) {
      discovered.tick();
      if (this.#ticks % AGAIN_TICKS === 0 && discovered.answered)
        this.#parts.fleets.discovered(service, discovered.instances);
    }
  }

  #gaugesOf(service: string): void {
    const { meter, now } = this.#parts;
    const discovered = this.#entries.get(service)?.discovered;
    if (discovered === undefined) return;
    meter.set('discovery_age_seconds', [service], discovered.darkMs(now()) / 1000);
    meter.set('discovery_held', [service], discovered.held);
  }
}

function foundOf({ url, version, weight }: { url: string; version: string; weight: number }): Found {
  return { uid: '', url, version, weight, leaving: false, readyHint: 'unknown' };
}

/** The same with undefined for what is not written. */
function definedOf<Fields extends object>(
  fields: Fields,
): { [Key in keyof Fields]: Exclude<Fields[Key], null> | (null extends Fields[Key] ? undefined : never) } {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, value ?? undefined])) as never;
}

/** What makes another source of it: all but what is believed of its answers. */
function markOf({ dns, kubernetes, consul, file, stateDir }: DiscoveryConfiguration): string {
  return JSON.stringify([dns, kubernetes, consul, file, stateDir]);
}

/** What a set comes from; how the source is reached is no part of it, nor any secret. */
function sourceOf({ dns, kubernetes, consul, file }: DiscoveryConfiguration): string {
  if (dns !== null) return JSON.stringify(['dns', dns.name, dns.type, dns.port, dns.scheme]);
  if (kubernetes !== null) {
    const { namespace, service, port, scheme } = kubernetes;
    return JSON.stringify(['kubernetes', namespace, service, port, scheme]);
  }
  if (consul !== null)
    return JSON.stringify(['consul', consul.service, consul.tag, consul.scheme, consul.url]);
  return JSON.stringify(['file', file]);
}
