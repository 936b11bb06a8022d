/**
 * What the admin address needs from the supervisor, and nothing of how the supervisor does it.
 *
 * The server (`admin-server.ts`) knows paths, tokens and answers; whoever implements this port knows instances, workers
 * and configuration. Figures are as old as the workers' last word, at most about a second.
 */

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
  readonly inFlight: number;
  readonly sessions: number;
}

export interface ServiceView {
  readonly state: string;
  readonly because: readonly BecauseView[];
  readonly shedding: {
    readonly mode: string;
    readonly limit: number;
    readonly inFlight: number;
    readonly queueDepth: number;
    readonly baselineMs: number;
    /** 0..1. */
    readonly pressure: number;
  };
  readonly breaker: { readonly state: string };
  readonly instances: readonly InstanceView[];
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
  /** `FILE:LINE:COLUMN: error: …`, all of them. */
  readonly faults: readonly string[];
  readonly warnings: readonly string[];
}

export type InstanceCommand = 'drain' | 'enable' | 'disable';
type BreakerCommand = 'open' | 'closed' | 'auto';
type SheddingCommand = 'enforce' | 'observe' | 'off' | 'auto';

/** `by` says in logs who asked: the address of the caller. */
export interface AdminPort {
  readiness(): ReadinessView;
  status(): Promise<StatusView>;
  services(): Promise<Readonly<Record<string, ServiceView>>>;
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
  /** @returns false when there is no such service. */
  breaker(service: string, state: BreakerCommand, by: string): boolean;
  /** @returns false when there is no such service. */
  shedding(service: string, mode: SheddingCommand, by: string): boolean;
  reload(by: string): Promise<ReloadView>;
  /** Undefined when the request is not (or no longer) known. */
  explain(requestId: string): Promise<unknown>;
}
