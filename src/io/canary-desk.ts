import type { Logger } from 'pino';
import type { Configuration } from '../../config/schema.ts';
import { CanaryTrial } from '../affinity/canary-abort.ts';
import { emptyTally, since, sumOf, type VersionTally } from '../affinity/version-tally.ts';
import type { CanaryView } from './admin-port.ts';
import type { FleetControl } from './fleet-control.ts';
import type { WorkerViews } from './ipc.ts';
import type { Meter } from './meter.ts';

/**
 * The supervisor's judgement of canaries: what all workers count of a service's versions is compared in one place, and a
 * canary that is worse is aborted everywhere with the next picture of the service.
 *
 * An abort is as if the version stood under `aborted`: it gets nobody, and its sessions move away. It holds until a reload
 * gives the version another weight, or a new supervisor begins. Only services with `abort: automatic` are judged; of the
 * others the weights are told and nothing else.
 */

export interface CanaryDeskParts {
  readonly now: () => number;
  readonly log: Pick<Logger, 'warn' | 'info'>;
  readonly meter: Meter;
  readonly fleets: Pick<FleetControl, 'setAborted'>;
}

interface Canary {
  readonly version: string;
  readonly configuredWeight: number;
  isSentAway: boolean;
  /** Undefined where nobody judges. */
  readonly trial: CanaryTrial | undefined;
  isAborted: boolean;
}

export class CanaryDesk {
  readonly #parts: CanaryDeskParts;
  /** By service. */
  readonly #canaries = new Map<string, Canary[]>();
  /** The last word of each worker, by worker, service and version. */
  readonly #told = new Map<string, Map<string, VersionTally>>();

  constructor(parts: CanaryDeskParts) {
    this.#parts = parts;
  }

  /** Takes a configuration; what was found of a canary whose weight stays is kept. */
  configure({ services }: Configuration): void {
    const { meter, now } = this.#parts;
    const before = new Map(this.#canaries);
    this.#canaries.clear();
    meter.forget('canary_weight_ratio', () => true);
    for (const [service, { versions }] of Object.entries(services)) {
      if (versions === null) continue;
      const judged = versions.abort === 'automatic';
      const canaries = Object.entries(versions.canary).map(([version, weight]): Canary => {
        const known = before.get(service)?.find((each) => each.version === version);
        const isSentAway = versions.aborted.includes(version);
        if (known?.configuredWeight === weight && judged === (known.trial !== undefined)) {
          known.isSentAway = isSentAway;
          return known;
        }
        if (judged) meter.add('canary_aborts_total', [service, version], 0);
        const trial = judged ? new CanaryTrial(version, now()) : undefined;
        return { version, configuredWeight: weight, isSentAway, trial, isAborted: false };
      });
      this.#canaries.set(service, canaries);
      this.#spread(service, canaries);
    }
    // A service that left is forgotten by the fleets themselves.
    for (const service of before.keys())
      if (!this.#canaries.has(service) && Object.hasOwn(services, service)) this.#spread(service, []);
  }

  /** A worker's report. */
  reported(workerKey: string, { services }: WorkerViews): void {
    const now = this.#parts.now();
    const told = this.#told.get(workerKey) ?? new Map<string, VersionTally>();
    this.#told.set(workerKey, told);
    for (const { service, versions } of services) {
      if (versions === undefined) continue;
      const news = versions.map((tally) => {
        const key = `${service} ${tally.version}`;
        const earlier = told.get(key);
        told.set(key, tally);
        return earlier === undefined ? tally : since(tally, earlier);
      });
      this.#judge(service, news, now);
    }
  }

  workerGone(workerKey: string): void {
    this.#told.delete(workerKey);
  }

  /** The canaries of a service, empty without any. */
  views(service: string): readonly CanaryView[] {
    return (this.#canaries.get(service) ?? []).map((canary) => ({
      version: canary.version,
      weight: weightOf(canary),
      aborted: canary.isSentAway ? 'configuration' : canary.isAborted ? 'automatic' : 'no',
      worseWindows: canary.trial?.worse ?? 0,
      reason: canary.trial?.reason ?? '',
    }));
  }

  /** One sentence for each canary that was aborted; empty when none was. */
  words(): string {
    const told = [...this.#canaries].flatMap(([service, canaries]) =>
      canaries
        .filter(({ isAborted }) => isAborted)
        .map(({ version, trial }) => `Canary ${version} of ${service} was aborted: ${trial?.reason ?? ''}.`),
    );
    return told.join(' ');
  }

  #judge(service: string, news: readonly VersionTally[], now: number): void {
    const canaries = this.#canaries.get(service) ?? [];
    const apart = new Set(canaries.map(({ version }) => version));
    const others = news
      .filter(({ version }) => !apart.has(version))
      .reduce((sum, each) => sumOf(sum, each), emptyTally(''));
    for (const canary of canaries) {
      const { version, trial } = canary;
      if (trial === undefined || weightOf(canary) === 0) continue;
      trial.add(news.find((each) => each.version === version) ?? emptyTally(version), others, now);
      if (!trial.settle(now)) continue;
      canary.isAborted = true;
      this.#parts.meter.add('canary_aborts_total', [service, version]);
      this.#parts.log.warn({ service, version, reason: trial.reason }, 'canary aborted');
      this.#spread(service, canaries);
    }
  }

  #spread(service: string, canaries: readonly Canary[]): void {
    const { meter, fleets } = this.#parts;
    for (const canary of canaries)
      meter.set('canary_weight_ratio', [service, canary.version], weightOf(canary));
    fleets.setAborted(
      service,
      canaries.filter(({ isAborted }) => isAborted).map(({ version }) => version),
    );
  }
}

function weightOf({ configuredWeight, isAborted, isSentAway }: Canary): number {
  return isAborted || isSentAway ? 0 : configuredWeight;
}
