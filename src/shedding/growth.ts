/**
 * How fast a limit grows when somebody had to wait and the service keeps its pace.
 *
 * No queueing at all to be seen: by half, which at the knee itself costs one window of half as long again. Near the
 * baseline: by a quarter. Further from it: by half a root, which is what a burst needs (Envoy, fbthrift). The root also evens
 * out: to the smaller of two limits it is more. With N workers each grows by its N-th.
 */

/** × 1.12 takes five seconds to find a 16-fold capacity, × 1.5 everywhere overshoots it. */
const FAST = 1.25;
const VERY_FAST = 1.5;
/** Share of the way from the baseline to the tolerance. */
const NEAR = 0.3;
const VERY_NEAR = 0.15;
/** ½√L: half is lost in Poisson noise, double lets a third of the SLA stand in a small service. */
const ROOT_SHARE = 0.5;

/** Permits that a burst needs above the limit. */
export function headroom(limit: number, workers: number): number {
  return Math.max(1 / workers, ROOT_SHARE * Math.sqrt(limit / workers));
}

/** The limit after a window of median `p50Ms`, which is at most `toleranceMs`. */
export function grown(
  limit: number,
  workers: number,
  p50Ms: number,
  baselineMs: number,
  toleranceMs: number,
): number {
  const way = (p50Ms - baselineMs) / (toleranceMs - baselineMs);
  if (way <= VERY_NEAR) return limit * VERY_FAST;
  return way <= NEAR ? limit * FAST : limit + headroom(limit, workers);
}
