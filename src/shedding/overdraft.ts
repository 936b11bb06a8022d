/**
 * What critical requests may take beyond the limit.
 *
 * A permit of a lower class cannot be taken back, so with few permits a critical request would wait for the next answer
 * while the others hold them all; and with several workers it would wait here while another worker runs lower classes. In
 * the service it waits behind the same work, for the first slot of all. So it goes beyond the limit: in place of the lower
 * classes that hold permits, here and in the other workers, and a few more; at most as much again as the limit, and never
 * further than what the present pace answers well within the SLA. Lower classes then wait until the flight is back below the
 * limit. Critical alone above the capacity gets next to nothing out of it: the limit rules.
 *
 * In simulation, five slots left of twenty, critical at 0.8 of the rest among ten times the load, two workers: in time over the
 * ten seconds went from 0.82 to 0.90; the rest of the way to 0.96 is the lost pace (stall.ts).
 */

const SHARE = 1;
/** Two slots: a limit of one permit would else let a lower class keep all. */
const LEAST = 2;
/** Beyond the lower classes' permits: 0 leaves two workers at five slots to their own noise, 10 would be a limit of its own. */
const MORE = 3;
const SLA_SHARE = 0.6;

/** Permits for critical requests, at least `allowance`. `lower`: of lower classes, in all workers; `ratePerMs`: 0 not known. */
export function overdrawn(allowance: number, lower: number, ratePerMs: number, slaMs: number): number {
  const inTime = ratePerMs > 0 ? SLA_SHARE * slaMs * ratePerMs : Number.POSITIVE_INFINITY;
  const over = Math.min(lower + MORE, Math.max(LEAST, SHARE * allowance));
  return Math.max(allowance, Math.min(inTime, allowance + over));
}
