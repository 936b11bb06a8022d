/**
 * The words of a decision on rate limits: what is asked, and what is answered.
 *
 * A request is charged at several levels at once; the first in `LEVELS` that refuses is named, the longest wait counts.
 */
import type { ErrorCode } from '../kernel/errors.ts';
import type { CompiledRate } from './gcra.ts';

/** In order of precedence when several refuse. The first two are a caller's own, the others are shared by many. */
export const LEVELS = ['client', 'route', 'tier', 'route-total', 'global'] as const;

export type Level = (typeof LEVELS)[number];

/** Whether the bucket is the caller's own and not shared with others. */
export function isOwn({ level }: { readonly level: Level }): boolean {
  return level === 'client' || level === 'route';
}

export interface Charge {
  /** The bucket, see `keys.ts`. */
  readonly key: string;
  readonly level: Level;
  readonly rate: CompiledRate;
  /** False: observed, so charged and counted, but it never refuses. */
  readonly enforced: boolean;
}

/** What a request asks; the exchange itself, so that nothing is made for the question. */
export interface LimitCaller {
  /** At most one of each level, no bucket twice. */
  readonly charges: readonly Charge[];
  /** Whole units, charged at every level; 0 = free. */
  readonly cost: number;
  /** Exactly once, inside `decide` or later. */
  decided(decision: LimitDecision): void;
}

export interface LevelState {
  /** Whole units left after this decision; -1 when this level was not asked. */
  readonly remaining: number;
  /** Until this request would fit, ms; 0 when it does. */
  readonly waitMs: number;
  /** Until the bucket is full again, ms. */
  readonly fullMs: number;
}

export interface LimitDecision {
  readonly ok: boolean;
  /** The first refusing level in the order of precedence. */
  readonly refusedBy: Level | 'concurrency' | '';
  /** Empty when ok. */
  readonly code: ErrorCode | '';
  /** The longest wait of the refusing levels, ms. */
  readonly retryAfterMs: number;
  /** Whole seconds of chance to be added to `Retry-After`, at most. */
  readonly jitterSeconds: number;
  readonly path: 'none' | 'lease' | 'store' | 'hold' | 'fallback';
  /** In the order of the charges; empty when no level was asked. */
  readonly levels: readonly LevelState[];
  /** Observed levels that would have refused. */
  readonly observed: readonly Level[];
}

export const NOT_ASKED: LevelState = Object.freeze({ remaining: -1, waitMs: 0, fullMs: 0 });

export type OnUnavailable = 'local' | 'allow' | 'deny';

export function passed(
  path: LimitDecision['path'],
  levels: readonly LevelState[],
  observed: readonly Level[],
): LimitDecision {
  return { ok: true, refusedBy: '', code: '', retryAfterMs: 0, jitterSeconds: 0, path, levels, observed };
}

export const CODES: Readonly<Record<Level, ErrorCode>> = {
  client: 'SPW_RATE_CLIENT',
  route: 'SPW_RATE_ROUTE',
  tier: 'SPW_RATE_GLOBAL',
  'route-total': 'SPW_RATE_GLOBAL',
  global: 'SPW_RATE_GLOBAL',
};
