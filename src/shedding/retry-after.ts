/**
 * When a refused caller may come back.
 *
 * A random whole second in [b, 3b], b = half the seconds for which this has been going on, within 1..30 s; doubled for
 * sheddable and background. A constant brings the crowd back in step (@fastify/under-pressure answers 10 to all); a
 * span that grows with the trouble asks less of a long outage.
 */
import type { PriorityRank } from '../kernel/priority.ts';
import type { Random } from '../kernel/random.ts';

const SHARE = 0.5;
const LEAST_S = 1;
/** Above it callers give up or ask somebody else; half of it triples the rate of returns in a long outage. */
const MOST_S = 30;
const SPREAD = 3;

/** Whole seconds, 1 or more. `underPressureMs`: since when somebody has been refused without a pause. */
export function retryAfterSeconds(underPressureMs: number, rank: PriorityRank, random: Random): number {
  const base = Math.min(MOST_S, Math.max(LEAST_S, (SHARE * underPressureMs) / 1000)) * (rank >= 2 ? 2 : 1);
  const low = Math.ceil(base);
  const high = Math.floor(SPREAD * base);
  return low + Math.floor(random() * (high - low + 1));
}
