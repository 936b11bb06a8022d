/**
 * A number that somebody tuned: the limits of nginx (`limit_conn`), HAProxy (`maxconn`) and most pools.
 *
 * Right for one capacity. In the comparisons it is the oracle's, the number of slots the service has at the start.
 */
import type { LimitAlgorithm } from './limited-gate.ts';

export class FixedLimit implements LimitAlgorithm {
  readonly limit: number;
  readonly baselineMs = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  sample(): void {
    return;
  }

  tick(): void {
    return;
  }
}
