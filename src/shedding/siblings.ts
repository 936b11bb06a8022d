/**
 * What the other workers of this gateway do at the same service, as they told last.
 *
 * Each worker tells its share some twenty times a second and hears the sum of the others'. A worker that hears nothing decides
 * alone: what is older than a quarter of a second is not believed.
 */

/** What one worker tells, or the sum of several. Counts and areas are since it told last. */
export interface Share {
  /** Workers in it. */
  readonly workers: number;
  readonly limit: number;
  /** Without a response head yet. */
  readonly inFlight: number;
  /** Of them critical. */
  readonly critical: number;
  /** Critical requests that wait. */
  readonly criticalWaiting: number;
  /** Workers where somebody waited. */
  readonly bound: number;
  /** Attempts that ended. */
  readonly ended: number;
  /** Attempts × ms. */
  readonly awaitingAreaMs: number;
}

const FRESH_MS = 250;
/** Critical requests elsewhere hold lower classes back for so long after they were told of. */
const URGENT_MS = 100;

export class Siblings {
  #share: Share | undefined;
  #heardAtMs = Number.NEGATIVE_INFINITY;

  hear(share: Share, now: number): void {
    this.#share = share;
    this.#heardAtMs = now;
  }

  /** The others' sum, or undefined when nothing fresh is known. */
  fresh(now: number): Share | undefined {
    return now - this.#heardAtMs <= FRESH_MS ? this.#share : undefined;
  }

  criticalWaits(now: number): boolean {
    return this.#share !== undefined && this.#share.criticalWaiting > 0 && now - this.#heardAtMs <= URGENT_MS;
  }
}

export function sumOf(shares: readonly Share[]): Share {
  const sum = {
    workers: 0,
    limit: 0,
    inFlight: 0,
    critical: 0,
    criticalWaiting: 0,
    bound: 0,
    ended: 0,
    awaitingAreaMs: 0,
  };
  for (const share of shares) {
    sum.workers += share.workers;
    sum.limit += share.limit;
    sum.inFlight += share.inFlight;
    sum.critical += share.critical;
    sum.criticalWaiting += share.criticalWaiting;
    sum.bound += share.bound;
    sum.ended += share.ended;
    sum.awaitingAreaMs += share.awaitingAreaMs;
  }
  return sum;
}
