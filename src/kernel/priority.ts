/**
 * How much a request matters when not everything can be served. Ranks are small integers, 0 the most important, so
 * that queues are arrays and comparisons are arithmetic.
 */

export const PRIORITIES = ['critical', 'default', 'sheddable', 'background'] as const;

export type Priority = (typeof PRIORITIES)[number];

/** 0 critical, 1 default, 2 sheddable, 3 background. */
export type PriorityRank = 0 | 1 | 2 | 3;

const RANKS: Readonly<Record<Priority, PriorityRank>> = {
  critical: 0,
  default: 1,
  sheddable: 2,
  background: 3,
};

export function rankOf(priority: Priority): PriorityRank {
  return RANKS[priority];
}

export function priorityOf(rank: PriorityRank): Priority {
  return PRIORITIES[rank];
}

/**
 * The rank a request is treated with: the more important of its tier and its route, lowered by the caller's own
 * `X-Priority`. A caller can never raise itself; an unknown word changes nothing.
 */
export function effectiveRank(tier: PriorityRank, route: PriorityRank, claimed: string): PriorityRank {
  const granted = tier < route ? tier : route;
  if (claimed === '' || !Object.hasOwn(RANKS, claimed)) return granted;
  const wished = RANKS[claimed as Priority];
  return wished > granted ? wished : granted;
}
