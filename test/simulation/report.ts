/** What the callers saw: slices of 100 ms, by class, counted in the slice of the intended sending. */
import type { PriorityRank } from '../../src/kernel/priority.ts';

const SLICE_MS = 100;

export interface Tally {
  offered: number;
  /** Answered within the SLA by the service. */
  good: number;
  late: number;
  shed: number;
  /** Errors, timeouts, callers that left. */
  failed: number;
}

export class Report {
  readonly slaMs: number;
  readonly shedByCode = new Map<string, number>();
  wouldShed = 0;
  readonly #slices: Tally[][] = [];
  readonly #served: { at: number; ms: number; rank: number }[] = [];

  constructor(slaMs: number) {
    this.slaMs = slaMs;
  }

  offered(rank: PriorityRank, at: number): void {
    this.#cell(rank, at).offered += 1;
  }

  served(rank: PriorityRank, at: number, ms: number): void {
    this.#served.push({ at, ms, rank });
    if (ms <= this.slaMs) this.#cell(rank, at).good += 1;
    else this.#cell(rank, at).late += 1;
  }

  shed(rank: PriorityRank, at: number, code: string): void {
    this.#cell(rank, at).shed += 1;
    this.shedByCode.set(code, (this.shedByCode.get(code) ?? 0) + 1);
  }

  failed(rank: PriorityRank, at: number): void {
    this.#cell(rank, at).failed += 1;
  }

  /** Sums over [fromMs, toMs) and the given classes (all by default). */
  tally(fromMs: number, toMs: number, ranks: readonly PriorityRank[] = [0, 1, 2, 3]): Tally {
    const sum: Tally = { offered: 0, good: 0, late: 0, shed: 0, failed: 0 };
    for (let slice = Math.round(fromMs / SLICE_MS); slice < Math.round(toMs / SLICE_MS); slice += 1) {
      for (const rank of ranks) {
        const cell = this.#slices[slice]?.[rank];
        if (cell === undefined) continue;
        sum.offered += cell.offered;
        sum.good += cell.good;
        sum.late += cell.late;
        sum.shed += cell.shed;
        sum.failed += cell.failed;
      }
    }
    return sum;
  }

  /** Goodput in requests a second. */
  goodput(fromMs: number, toMs: number): number {
    return (this.tally(fromMs, toMs).good * 1000) / (toMs - fromMs);
  }

  shedRatio(fromMs: number, toMs: number, ranks?: readonly PriorityRank[]): number {
    const { shed, offered } = this.tally(fromMs, toMs, ranks);
    return offered === 0 ? 0 : shed / offered;
  }

  /** Latency of the served at a quantile, ms, sent within [fromMs, toMs). */
  latencyMs(quantile: number, fromMs: number, toMs: number, rank?: PriorityRank): number {
    const all = this.#served
      .filter((one) => one.at >= fromMs && one.at < toMs && (rank === undefined || one.rank === rank))
      .map((one) => one.ms)
      .sort((a, b) => a - b);
    return all[Math.min(all.length - 1, Math.floor(quantile * all.length))] ?? 0;
  }

  #cell(rank: PriorityRank, at: number): Tally {
    const index = Math.floor(at / SLICE_MS);
    const slice = (this.#slices[index] ??= []);
    return (slice[rank] ??= { offered: 0, good: 0, late: 0, shed: 0, failed: 0 });
  }
}
