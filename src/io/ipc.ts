import type { Configuration } from '../../config/schema.ts';
import type { VersionTally } from '../affinity/version-tally.ts';
import type { Trip } from '../upstreams/breaker.ts';
import type { PassiveReport } from '../upstreams/passive-slice.ts';
import type { InstanceView } from '../upstreams/fleet.ts';
import type { CapClaim, CapGrant } from '../upstreams/instance-cap.ts';
import type { LoadTold } from '../upstreams/load-gate.ts';
import type { ServiceReadiness } from '../readiness/graph.ts';
import type { AdmissionView } from '../shedding/admission.ts';
import type { ShedMode } from '../shedding/policy.ts';
import type { Share } from '../shedding/siblings.ts';
import type { Tally } from '../limits/guard.ts';
import type { OverrideEntry } from '../limits/overrides.ts';
import type { PeekQuestion } from './admin-port.ts';
import type { QuotaAct, QuotaAnswer } from './client-quota.ts';
import type { JwksNews } from './jwks.ts';
import type { ClientKeys } from './keys-file.ts';
import type { Forgiveness, Strike } from './guard/guard-memory.ts';
import type { LimitBatchMessage, LimitBatchReply } from './limit-store/ipc.ts';
import type { MeterDump } from './meter.ts';
import type { LoadNews } from './probe-loads.ts';
import type { RecentCounts, TotalCounts } from './service-account.ts';
import type { TlsMaterial } from './tls-contexts.ts';

/**
 * The one typed channel between the supervisor and its workers.
 *
 * Everything is plain JSON. Moments never cross, since clocks are a process's own: spans and ages do. A worker that hears
 * nothing keeps its last good state; a supervisor that hears nothing keeps the last report.
 */

/** What a worker must know of a service before it may route to it; always complete, never a difference. */
export interface ServiceStates {
  readonly service: string;
  /** Grows with every change of the service; an older one is dropped. */
  readonly sequence: number;
  readonly readiness: ServiceReadiness;
  readonly instances: readonly InstanceView[];
  /** Canaries that were found to be worse than the others (canary-desk.ts). */
  readonly aborted?: readonly string[];
}

/** What an operator forced for a service; absent = as configured. */
export interface ServiceOverride {
  readonly service: string;
  readonly breaker: 'open' | 'closed' | 'auto';
  /** Until the breaker decides by itself again; null: not before `auto`. */
  readonly breakerLeftMs: number | null;
  /** Who forced the breaker. */
  readonly by: string;
  readonly shedding: ShedMode | 'auto';
}

/** By service: what one worker does there, or the sum of the others. Pairs, since a service may be named `__proto__`. */
export type NamedShares = readonly (readonly [service: string, share: Share])[];

/** By service: what a worker claims of the instances' limits, and what it is granted. */
export type NamedClaims = readonly (readonly [service: string, claim: CapClaim])[];
export type NamedGrants = readonly (readonly [service: string, grant: CapGrant])[];

export type ToWorker =
  | {
      readonly type: 'configure';
      readonly generation: number;
      readonly configuration: Configuration;
      readonly workers: number;
      /** Of this worker among them, from 0: one that is started again has that of the one before. */
      readonly index: number;
      /** Signs affinity cookies where the configuration has no keys: random, equal in all workers. */
      readonly secrets: { readonly affinity: string; readonly clientHash: string };
      /** This gateway's name in `Via`: random, the same in all its workers. */
      readonly viaName: string;
      /** Its name among the gateways that share a store: random, so that no two are one. */
      readonly gateway: string;
      readonly states: readonly ServiceStates[];
      readonly overrides: readonly ServiceOverride[];
      readonly limitOverrides: readonly OverrideEntry[];
    }
  /** Comes with a bound handle: listen on it with the options of that listener of the current configuration. */
  | { readonly type: 'listen'; readonly listener: number; readonly key: string; readonly tls?: TlsMaterial }
  /** What a listener shows from now on: files were renewed, or the keys of its session tickets. */
  | { readonly type: 'certificates'; readonly key: string; readonly tls: TlsMaterial }
  /** What `/readyz` says; for a health path on the traffic's own port. */
  | { readonly type: 'readiness'; readonly ready: boolean }
  | { readonly type: 'unlisten'; readonly key: string }
  /** The keys of all clients, for the configuration of that number: their file was renewed. */
  | { readonly type: 'keys'; readonly generation: number; readonly keys: ClientKeys }
  /** The keys that an issuer publishes for its tokens. */
  | { readonly type: 'jwks'; readonly news: JwksNews }
  | { readonly type: 'states'; readonly states: readonly ServiceStates[] }
  /** What probes were told of instances' load: since the last such message, or all that is fresh, to a worker that took a configuration. */
  | { readonly type: 'loads'; readonly loads: readonly LoadNews[] }
  | { readonly type: 'override'; readonly override: ServiceOverride }
  /** The breaker of another worker has opened. */
  | { readonly type: 'trip'; readonly service: string; readonly trip: Trip }
  | { readonly type: 'limits'; readonly reply: LimitBatchReply }
  /** The tally of a strike: of this worker, or of another one and it blocked the client. */
  | {
      readonly type: 'struck';
      readonly guard: string;
      readonly client: string;
      readonly tally: Tally;
      readonly own: boolean;
    }
  /** An operator has lifted what this client was blocked for; what was told of it before is over. */
  | { readonly type: 'forgiven'; readonly client: string }
  /** New rates of single clients, ended ones, and clients whose quota was filled at another gateway. */
  | {
      readonly type: 'limit-overrides';
      readonly entries: readonly OverrideEntry[];
      readonly gone: readonly string[];
      readonly filled: readonly string[];
    }
  /** The other workers' sums; only for those who run the configuration of that number. */
  | { readonly type: 'shares'; readonly generation: number; readonly shares: NamedShares }
  /** Its parts of the instances' limits, among so many workers. */
  | { readonly type: 'caps'; readonly workers: number; readonly grants: NamedGrants }
  | { readonly type: 'ask'; readonly id: number; readonly question: Question }
  /** Readiness fails from now on: answers say `connection: close`. Listeners close after `delayMs`. */
  | { readonly type: 'drain'; readonly delayMs: number; readonly timeoutMs: number }
  /** This worker is replaced, or one too many: accept no more from now on, finish what runs, exit. */
  | { readonly type: 'retire'; readonly timeoutMs: number };

export type Question =
  | { readonly what: 'views' }
  | { readonly what: 'metrics' }
  | { readonly what: 'explain'; readonly requestId: string }
  | {
      readonly what: 'quota';
      readonly act: QuotaAct;
      readonly client: string;
      readonly peek?: PeekQuestion;
    };

/** Live figures of one service in one worker. */
export interface ServiceFigures extends AdmissionView, RecentCounts {
  readonly service: string;
  /** An operator's mode, not the configuration's. */
  readonly modeForced: boolean;
  /** The limit is a number of the configuration. */
  readonly limitFixed: boolean;
  readonly breaker: string;
  readonly totals: TotalCounts;
  readonly instances: readonly InstanceFigures[];
  /** Where canaries are judged: what each version answered since the worker began. */
  readonly versions?: readonly VersionTally[];
}

/** What one worker has at an instance. */
export interface InstanceFigures {
  readonly id: string;
  /** Streams included. */
  readonly inFlight: number;
  /** WebSockets and event streams. */
  readonly streams: number;
  /** Of `SessionCount`, for the supervisor to join. */
  readonly sessionBits: string;
  /** The youngest that it said of its load, if that is fresh. */
  readonly load?: LoadTold | undefined;
}

export interface WorkerViews {
  readonly services: readonly ServiceFigures[];
  /** Share of arrivals that the front gate refuses, 0..1, by signal. */
  readonly pressure: { readonly loop: number; readonly memory: number };
  readonly redis: { readonly state: 'embedded' | 'up' | 'down'; readonly reason: string };
}

export type Answer =
  | { readonly what: 'views'; readonly views: WorkerViews }
  | { readonly what: 'metrics'; readonly dump: MeterDump }
  | { readonly what: 'explain'; readonly record: unknown }
  | { readonly what: 'quota'; readonly quota: QuotaAnswer };

export type ToSupervisor =
  | { readonly type: 'hello' }
  | { readonly type: 'configured'; readonly generation: number }
  /** The configuration could not be put into force here; the worker goes on with its old one. */
  | { readonly type: 'refused'; readonly generation: number; readonly reason: string }
  | { readonly type: 'listening'; readonly key: string }
  | { readonly type: 'listen-failed'; readonly key: string; readonly reason: string }
  | {
      readonly type: 'passive';
      readonly service: string;
      readonly reports: Readonly<Record<string, PassiveReport>>;
    }
  /** Its breaker has opened; the other workers' open with it. */
  | { readonly type: 'tripped'; readonly service: string; readonly trip: Trip }
  | { readonly type: 'limits'; readonly batch: LimitBatchMessage }
  /** A token names a key that is not in the set of that address. */
  | { readonly type: 'jwks-wanted'; readonly url: string }
  /** A client struck a guard; where there is no Redis the supervisor counts. */
  | ({ readonly type: 'strike' } & Strike)
  | ({ readonly type: 'forgive' } & Forgiveness)
  /** Of the services with traffic, under the configuration of that number. */
  | { readonly type: 'shares'; readonly generation: number; readonly shares: NamedShares }
  | {
      readonly type: 'caps';
      readonly generation: number;
      readonly workers: number;
      readonly claims: NamedClaims;
    }
  | { readonly type: 'answer'; readonly id: number; readonly answer: Answer }
  | { readonly type: 'report'; readonly dump: MeterDump; readonly views: WorkerViews };
