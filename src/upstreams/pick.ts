/** What is asked of a pick of an instance, and what it says. */

export interface PickRequest {
  /** Slot of the instance that the session is pinned to, or -1. */
  readonly pinned: number;
  /** Slots that earlier attempts of this request used. */
  readonly tried: readonly number[];
  /** A session will be pinned to what is picked. */
  readonly makesPin: boolean;
  /** The caps only count: nobody may be refused for them. */
  readonly uncapped?: boolean;
  /** It may run for hours. */
  readonly streams?: boolean;
  /** Index of the version that it is for, or a range of `candidates.ts`; all when left out. */
  readonly version?: number;
}

/**
 * `load`: of two one said that it is full; `spill`: pinned, but full, the pin stays; `repin`: pinned to one that serves no more;
 * `panic`: nothing is open, or hardly anything; `version`: asked for.
 */
export type PickReason = 'p2c' | 'load' | 'pinned' | 'spill' | 'repin' | 'panic' | 'retry' | 'version';

/** No instance may take it; in less than a millisecond a 503. */
export const NONE_READY = -1;
/** Every instance that could take it is at its cap. */
export const ALL_AT_CAP = -2;
