/** What is under test: `Admission` itself, or a peer of the same shape, and what stands on both sides of it. */
import type { ShedCode } from '../../src/kernel/errors.ts';
import type { PriorityRank } from '../../src/kernel/priority.ts';
import type { Random } from '../../src/kernel/random.ts';
import type { AdmissionView } from '../../src/shedding/admission.ts';
import type { AdmissionPolicy } from '../../src/shedding/policy.ts';
import type { HeadOutcome } from '../../src/shedding/permit.ts';

/** The part of a permit that the model uses. */
export interface GatePermit {
  attempt(now: number): void;
  head(now: number, outcome: HeadOutcome): void;
  asStream(now: number): void;
  release(now: number): boolean;
}

export interface Entrant {
  readonly rank: PriorityRank;
  readonly deadlineMs: number;
  /** Which client calls, 1 …; 0: nobody in particular. */
  readonly client: number;
  /** Which kind of request it is (its route and method), 0 …. */
  readonly kind: number;
  admitted(permit: GatePermit, waitedMs: number): void;
  shed(code: ShedCode, reason: string): void;
  wouldShed(code: ShedCode): void;
}

export type GateView = Pick<
  AdmissionView,
  'limit' | 'inFlight' | 'queueDepth' | 'baselineMs' | 'p50Ms' | 'slow'
> &
  Partial<Pick<AdmissionView, 'pressure'>>;

/** Time is the worker's own; what is optional a peer may do without. */
export interface Gate {
  enter(who: Entrant, now: number): void;
  leave(who: Entrant, now: number): void;
  tick(now: number): void;
  view(now: number): GateView;
  configure?(policy: AdmissionPolicy, now: number): void;
  setCeiling?(maxInFlight: number, now: number): void;
  retryAfterSeconds?(rank: PriorityRank, now: number): number;
  /** Numbers for the other workers of this gateway. */
  share?(now: number): object;
  /** Hears the sum of what the others told, some time later. */
  hear?(others: object, now: number): void;
}

export type GateFactory = (policy: AdmissionPolicy, random: Random) => Gate;
