/** What the callers saw: slices of 100 ms, by class, counted in the slice of the intended sending. */
import type { PriorityRank } from '../../src/kernel/priority.ts';

export interface Tally {
  offered: number;
  /** Answered within the SLA by the service. */
  good: number;
  late: number;
  shed: number;
  /** Errors and timeouts. */
  failed: number;
  /** The caller went away before its answer. */
  left: number;
}

export interface ReportOptions {
  readonly sliceMs?: number;
  /** No quantiles: a day's latencies would not fit. */
  readonly forgetLatencies?: boolean;
}

export class Report {
  readonly slaMs: number;
  readonly sliceMs: number;
  readonly shedByCode = new Map<string, number>();
  wouldShed = 0;
  readonly #keeps: boolean;
  readonly #slices: Tally[][] = [];
  readonly #codes: Map<string, number>[] = [];
  readonly #served: { at: number; ms: number; rank: number }[] = [];

  constructor(slaMs: number, { sliceMs = 100, forgetLatencies = false }: ReportOptions = {}) {
    this.slaMs = slaMs;
    this.sliceMs = sliceMs;
    this.#keeps = !forgetLatencies;
  }

  offered(rank: PriorityRank, at: number): void {
    this.#cell(rank, at).offered += 1;
  }

  served(rank: PriorityRank, at: number, ms: number): void {
    if (this.#keeps) this.#served.push({ at, ms, rank });
    if (ms <= this.slaMs) this.#cell(rank, at).good += 1;
    else this.#cell(rank, at).late += 1;
  }

  shed(rank: PriorityRank, at: number, code: string): void {
    this.#cell(rank, at).shed += 1;
    this.shedByCode.set(code, (this.shedByCode.get(code) ?? 0) + 1);
    const codes = (this.#codes[Math.floor(at / this.sliceMs)] ??= new Map());
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }

  failed(rank: PriorityRank, at: number): void {
    this.#cell(rank, at).failed += 1;
  }

  left(rank: PriorityRank, at: number): void {
    this.#cell(rank, at).left += 1;
  }

  /** Sums over [fromMs, toMs) and the given classes (all by default). */
  tally(fromMs: number, toMs: number, ranks: readonly PriorityRank[] = [0, 1, 2, 3]): Tally {
    const sum = noTally();
    const end = Math.round(toMs / this.sliceMs);
    for (let slice = Math.round(fromMs / this.sliceMs); slice < end; slice += 1) {
      for (const rank of ranks) {
        const cell = this.#slices[slice]?.[rank];
        if (cell === undefined) continue;
        sum.offered += cell.offered;
        sum.good += cell.good;
        sum.late += cell.late;
        sum.shed += cell.shed;
        sum.failed += cell.failed;
        sum.left += cell.left;
      }
    }
    return sum;
  }

  /** Sheds of one slice by code. */
  codesOf(slice: number): ReadonlyMap<string, number> {
    return this.#codes[slice] ?? new Map<string, number>();
  }

  /** Goodput in requests a second. */
  goodput(fromMs: number, toMs: number, ranks?: readonly PriorityRank[]): number {
    return (this.tally(fromMs, toMs, ranks).good * 1000) / (toMs - fromMs);
  }

  /** Answers in time, counted when they come: of a service in full use these are even. */
  answersIn(fromMs: number, toMs: number, binMs: number): number[] {
    const counts = Array.from({ length: Math.floor((toMs - fromMs) / binMs) }, () => 0);
    for (const { at, ms } of this.#served) {
      const bin = Math.floor((at + ms - fromMs) / binMs);
      if (ms <= this.slaMs && bin >= 0 && bin < counts.length) counts[bin] = (counts[bin] ?? 0) + 1;
    }
    return counts;
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
    const index = Math.floor(at / this.sliceMs);
    const slice = (this.#slices[index] ??= []);
    return (slice[rank] ??= noTally());
  }
}

function noTally(): Tally {
  return { offered: 0, good: 0, late: 0, shed: 0, failed: 0, left: 0 };
}
