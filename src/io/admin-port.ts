/**
 * What the admin address needs from the supervisor, and nothing of how the supervisor does it.
 *
 * The server (`admin-server.ts`) knows paths, tokens and answers; whoever implements this port knows instances, workers
 * and configuration. Figures are as old as the workers' last word, at most about a second.
 */
import type { Priority } from '../kernel/priority.ts';

/** One subject on the way from a service's state down to its cause. */
interface BecauseView {
  readonly subject: string;
  readonly state: string;
  readonly reason: string;
  /** ISO 8601. */
  readonly since: string;
}

export interface InstanceView {
  /** `host:port`. */
  readonly id: string;
  readonly url: string;
  readonly version: string;
  readonly state: string;
  readonly reason: string;
  /** Streams included. */
  readonly inFlight: number;
  /** WebSockets and event streams. */
  readonly streams: number;
  /** Those counted here within the idle time of a session; of an instance that drains, those that it still serves. */
  readonly sessions: number;
  /** Those it serves: none where it serves none, such as while it is down. */
  readonly sessionsLeft: number;
  /** Until its last session and stream must leave; null while it does not drain. */
  readonly drainLeftMs: number | null;
  /** What it says of its own load, 1 is all it wants: the last of its answers and probes. Null: nothing within ten seconds. */
  readonly utilization: number | null;
}

/** What admission to a service does, and why: of all workers together, or of one. */
export interface SheddingView {
  readonly mode: string;
  readonly modeBy: 'configuration' | 'operator';
  /** Requests that may be in flight. */
  readonly limit: number;
  /** What the last window of observation made of the limit, as a word and in words. */
  readonly verdict: string;
  readonly limitBecause: string;
  readonly inFlight: number;
  /** Streams, beside what is in flight. */
  readonly streams: number;
  readonly queueDepth: number;
  readonly queueByPriority: Readonly<Record<Priority, number>>;
  /** Mean wait of those admitted in the last ten seconds. */
  readonly queueWaitMs: number;
  /** What the last in line has before it, 0 while that is not known. */
  readonly expectedWaitMs: number;
  /** Median of the service when calm, 0 while not known. */
  readonly baselineMs: number;
  /** Of the last window. */
  readonly p50Ms: number;
  readonly p95Ms: number;
  /** p50 ÷ baseline, 0 while either is not known. */
  readonly slowdown: number;
  /** Found to be slow by itself, not by its load. */
  readonly slow: boolean;
  /** Slower than tolerated within the last two seconds. */
  readonly congested: boolean;
  /** Share of arrivals that admission refused in the last second, 0..1. */
  readonly pressure: number;
  /** Shares of arrivals refused, 0..1: by the front gate for the event loop and memory, by the service's admission. */
  readonly pressureBy: { readonly loop: number; readonly memory: number; readonly service: number };
  readonly lastTenSeconds: {
    readonly inTime: number;
    readonly late: number;
    readonly shed: number;
    readonly wouldShed: number;
  };
  /** Since these workers began. */
  readonly total: {
    readonly answered: number;
    readonly inTime: number;
    readonly shed: number;
    readonly wouldShed: number;
  };
}

export interface ServiceView {
  readonly state: string;
  readonly because: readonly BecauseView[];
  readonly shedding: SheddingView;
  /** How the workers share it; only where it was asked for. */
  readonly workers?: readonly (SheddingView & { readonly pid: number })[];
  readonly breaker: { readonly state: string };
  readonly instances: readonly InstanceView[];
  /** Where there are any. */
  readonly canaries?: readonly CanaryView[];
}

/** A version that gets a share of new sessions. */
export interface CanaryView {
  readonly version: string;
  /** That share now, 0..1. */
  readonly weight: number;
  /** Who sent its sessions away. */
  readonly aborted: 'no' | 'configuration' | 'automatic';
  /** Windows of ten seconds in a row in which it was worse than the others. */
  readonly worseWindows: number;
  /** Why it was in the last one; empty when it was not. */
  readonly reason: string;
}

export interface StatusView {
  readonly version: string;
  readonly commit: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly uptimeSeconds: number;
  readonly host: string;
  readonly workers: readonly { readonly pid: number; readonly state: string; readonly restarts: number }[];
  readonly config: {
    readonly hash: string;
    readonly lastReload: { readonly at: string; readonly result: string };
  };
  readonly redis: { readonly state: string };
  /** One line in words on how things are. */
  readonly summary: string;
}

export interface ReadinessView {
  readonly ready: boolean;
  readonly checks: readonly { readonly name: string; readonly ok: boolean; readonly detail: string }[];
}

export interface ReloadView {
  readonly ok: boolean;
  readonly changes: readonly string[];
  /**
   * Why it was refused: the file has faults, it was valid but something running could not take it, or the gateway takes
   * no reload now. Left out where it was not, or nobody knows.
   */
  readonly refused?: 'faults' | 'not-taken' | 'not-serving';
  /** `FILE:LINE:COLUMN: error: …`, all of them; or the one reason. */
  readonly faults: readonly string[];
  readonly warnings: readonly string[];
}

/** What became of a roll of the workers. */
export interface RollView {
  /** Places that have a new process. */
  readonly rolled: number;
  /** Why the roll ended before the last; empty when it did not. */
  readonly failed: readonly string[];
}

export type InstanceCommand = 'drain' | 'enable' | 'disable';
type BreakerCommand = 'open' | 'closed' | 'auto';
type SheddingCommand = 'enforce' | 'observe' | 'off' | 'auto';

/** A client's limits as they stand; `unknown` when none is configured or in use under that name. */
export type QuotaResult =
  | { readonly state: 'known'; readonly quota: QuotaView }
  | { readonly state: 'unknown' }
  | { readonly state: 'unavailable'; readonly detail: string }
  /** A look as on a route that there is none of. */
  | { readonly state: 'no-route'; readonly routes: readonly string[] };

/** As `QuotaResult`; `invalid` figures can never serve the client, `full` means that there are too many overrides. */
export type OverrideResult =
  | Exclude<QuotaResult, { readonly state: 'no-route' }>
  | { readonly state: 'invalid'; readonly detail: string }
  | { readonly state: 'full'; readonly most: number };

/** What an operator sets in the place of a tier's rate, for a time. */
export interface OverrideFigures {
  readonly ratePerSecond: number;
  /** Undefined: one second of the rate, at least 1. */
  readonly burst: number | undefined;
  readonly ttlMs: number;
}

/** A request that is imagined: on this route, of this cost or else the route's. */
export interface PeekQuestion {
  readonly route: string;
  readonly cost: number | undefined;
}

/** For whom a change of limits holds. */
export type LimitScope = 'all-gateways' | 'this-gateway-only' | 'gateway';

export interface QuotaView {
  readonly client: string;
  readonly tier: string;
  readonly store: 'redis' | 'embedded';
  /** Who gave no figures is missing from `leased`, and after a filling may go on by what it knew. */
  readonly workers: { readonly asked: number; readonly answered: number };
  /** Empty after an override while the store is lost. */
  readonly limits: readonly LimitView[];
  /** Requests in flight, where the tier limits them. */
  readonly concurrency?: ConcurrencyView;
  /** What guards and penalties block the client for at this gateway. */
  readonly blocks: readonly BlockView[];
  /** In force in the place of the tier's rate. */
  readonly override?: OverrideView;
  /** After a change. */
  readonly scope?: LimitScope;
  /** What would become of a request, where one was asked for. */
  readonly peek?: PeekView;
}

export interface ConcurrencyView {
  readonly mode: 'enforce' | 'observe';
  /** At all gateways together. */
  readonly allowed: number;
  /** At workers of this gateway. */
  readonly inFlight: number;
  /** Slots of these workers: those in flight, and idle ones that they keep for a moment. */
  readonly held: number;
}

export interface BlockView {
  readonly by: 'guard' | 'penalty';
  /** The route's name, or the tier's. */
  readonly name: string;
  readonly mode: 'enforce' | 'observe';
  /** Until it ends. */
  readonly retryAfterMs: number;
}

export interface OverrideView {
  readonly rate: string;
  readonly burst: number;
  /** ISO 8601. */
  readonly until: string;
  /** The gateway where it was set. */
  readonly by: string;
}

export interface PeekView {
  readonly route: string;
  readonly cost: number;
  readonly ok: boolean;
  /** Status and code of the refusal; 0 and empty when it would pass. */
  readonly status: number;
  readonly code: string;
  /** What refuses it first: guard or penalty, then concurrency, then a level in the order of precedence; empty when nothing does. */
  readonly refusedBy: string;
  /**
   * Until it would pass, ms; 0 when it would now, null when it never would. When requests in flight will end nobody
   * knows: the second that their refusal tells.
   */
  readonly retryAfterMs: number | null;
  /** What only observes and would refuse. */
  readonly observed: readonly string[];
}

/** One limit that the client's requests are charged at. */
export interface LimitView {
  readonly level: string;
  /** The tier's or the route's name; empty for the limit of everybody. */
  readonly name: string;
  readonly mode: 'enforce' | 'observe';
  /** Other clients are charged here too. */
  readonly shared: boolean;
  /** As in the configuration: `10/s`. */
  readonly rate: string;
  readonly burst: number;
  /** Whole units that may still be used, leased ones included. */
  readonly remaining: number;
  /** Of those, held by workers of this gateway. */
  readonly leased: number;
  /** Until one unit is there, 0 when one is. */
  readonly retryAfterMs: number;
  /** Until the burst is whole again. */
  readonly fullMs: number;
  /** The rate is an operator's. */
  readonly override?: Pick<OverrideView, 'until' | 'by'>;
}

/** `by` says in logs who asked: the address of the caller. */
export interface AdminPort {
  readiness(): ReadinessView;
  status(): Promise<StatusView>;
  /** @param byWorker with each worker's share */
  services(byWorker: boolean): Promise<Readonly<Record<string, ServiceView>>>;
  /** Prometheus text 0.0.4. */
  metrics(): Promise<string>;
  /** The effective configuration; secrets are masked already. */
  configuration(): unknown;
  /** @param ttlMs the command ends by itself after this; undefined = never. */
  operate(
    service: string,
    instance: string,
    command: InstanceCommand,
    ttlMs: number | undefined,
    by: string,
  ): 'done' | 'no-service' | 'no-instance';
  /**
   * @param ttlMs it decides by itself again after this; undefined = not before `auto`
   * @returns false when there is no such service.
   */
  breaker(service: string, state: BreakerCommand, ttlMs: number | undefined, by: string): boolean;
  /** @returns false when there is no such service. */
  shedding(service: string, mode: SheddingCommand): boolean;
  reload(by: string): Promise<ReloadView>;
  /** Replaces every worker by a new process under traffic. */
  roll(by: string): Promise<RollView>;
  /** Undefined when the request is not (or no longer) known. */
  explain(requestId: string): Promise<unknown>;
  /** Charges nothing. @param client a configured client, `ip:` and a hash as in the log, or an address */
  quota(client: string, peek?: PeekQuestion): Promise<QuotaResult>;
  /** Ends an override and fills the client's own buckets; the quota as it stands after. */
  fillQuota(client: string, by: string): Promise<QuotaResult>;
  /** Sets the client's own rate for a time; the quota as it stands after. */
  overrideQuota(client: string, figures: OverrideFigures, by: string): Promise<OverrideResult>;
}
