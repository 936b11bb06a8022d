/**
 * Good answers and failures of the last three seconds in tenths, so that two instances can be compared over the same span.
 *
 * Signal: workers' reports, added as they come. Decision: how many there were between two moments, in whole tenths. Why not
 * the detector's own window: its slices of a second cannot tell what came before the first failure of a row from what came
 * after. Idle gap: a slice is cleared when its place is used again, and an old one is never counted.
 */

/** Half: reports, one each 100 ms, leave every second slice empty; double: what came before a fault is counted into it. */
const SLICE_MS = 100;
/** Half: a row of slow failures outlasts it; double: the others' recovery is held against a suspect for longer. */
const SLICES = 32;

/** Half the certainty: where 70 % fail everywhere, luck makes an outlier once a minute; double: a small service has none. */
const Z = 1.64;
/** Of three good answers the bound is just below a half. */
const MIN_SAMPLES = 3;

/** What is asked about lies at most so far back. */
export const RECENT_MS = (SLICES - 2) * SLICE_MS;

export interface Outcomes {
  ok: number;
  failed: number;
}

export class RecentOutcomes {
  readonly #serials = new Float64Array(SLICES).fill(-1);
  readonly #ok = new Uint32Array(SLICES);
  readonly #failed = new Uint32Array(SLICES);

  add(ok: number, failed: number, now: number): void {
    const serial = Math.floor(now / SLICE_MS);
    const at = place(serial);
    if (this.#serials[at] !== serial) {
      this.#serials[at] = serial;
      this.#ok[at] = 0;
      this.#failed[at] = 0;
    }
    this.#ok[at] = (this.#ok[at] ?? 0) + ok;
    this.#failed[at] = (this.#failed[at] ?? 0) + failed;
  }

  /** Adds to `into` what came in the slices that begin in [from, to]. */
  sum(from: number, to: number, into: Outcomes): void {
    const last = Math.floor(to / SLICE_MS);
    const first = Math.max(Math.ceil(from / SLICE_MS), last - SLICES + 1);
    for (let serial = first; serial <= last; serial++) {
      const at = place(serial);
      if (this.#serials[at] !== serial) continue;
      into.ok += this.#ok[at] ?? 0;
      into.failed += this.#failed[at] ?? 0;
    }
  }
}

/** The share that failed; 0 of none. */
export function failedRatio({ ok, failed }: Outcomes): number {
  return failed === 0 ? 0 : failed / (ok + failed);
}

/** The largest share that these may stand for: Wilson's bound, 5 % one-sided. Of fewer than three it says nothing. */
export function failedRatioBound(outcomes: Outcomes): number {
  const n = outcomes.ok + outcomes.failed;
  const p = failedRatio(outcomes);
  if (n < MIN_SAMPLES) return p;
  const spread = Z * Math.sqrt((p * (1 - p)) / n + (Z * Z) / (4 * n * n));
  return (p + (Z * Z) / (2 * n) + spread) / (1 + (Z * Z) / n);
}

function place(serial: number): number {
  return ((serial % SLICES) + SLICES) % SLICES;
}
