/**
 * What an open-loop run counts. *Served* is an answer of 2xx or 3xx; *goodput* is served within the SLA, timed from the
 * intended moment of sending; *refused* is 429 or 503; everything else, an incomplete answer too, has *failed*.
 * Percentiles are exact: every served latency is kept (8 bytes each).
 */
import type { Failure } from './load-connection.ts';

export interface ClassResult {
  readonly offered: number;
  readonly served: number;
  /** Served within the SLA. */
  readonly goodput: number;
  readonly refused: number;
  readonly failed: number;
  /** Served within the SLA ÷ offered, 0..1. */
  readonly goodputRatio: number;
  /** Percentiles of served requests in ms; 0 when none was. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
  /** p99 of the refusals in ms. */
  readonly refusalP99Ms: number;
}

/** One slice of the run, by the intended moment of sending. */
export interface Bin {
  readonly atMs: number;
  offered: number;
  served: number;
  goodput: number;
  refused: number;
  failed: number;
}

export interface FailureNote {
  /** Since the start of the run. */
  readonly atMs: number;
  readonly className: string;
  readonly what: string;
}

/** Notes kept of failed requests; the counts are never cut. */
const FAILURE_NOTES = 200;

class Latencies {
  #values = new Float64Array(4096);
  #count = 0;

  add(ms: number): void {
    if (this.#count === this.#values.length) {
      const larger = new Float64Array(this.#count * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.#count] = ms;
    this.#count += 1;
  }

  addAll(other: Latencies): void {
    for (let index = 0; index < other.#count; index += 1) this.add(other.#values[index] ?? 0);
  }

  /** The smallest kept value that at least `share` of all do not exceed; for each of `shares`, ascending. */
  percentiles(shares: readonly number[]): readonly number[] {
    const sorted = this.#values.slice(0, this.#count).sort();
    return shares.map((share) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0);
  }
}

class Tally {
  readonly served = new Latencies();
  readonly refused = new Latencies();
  offered = 0;
  servedCount = 0;
  goodput = 0;
  refusedCount = 0;
  failed = 0;

  add(other: Tally): void {
    this.served.addAll(other.served);
    this.refused.addAll(other.refused);
    this.offered += other.offered;
    this.servedCount += other.servedCount;
    this.goodput += other.goodput;
    this.refusedCount += other.refusedCount;
    this.failed += other.failed;
  }

  result(): ClassResult {
    const [p50Ms = 0, p99Ms = 0, p999Ms = 0, maxMs = 0] = this.served.percentiles([0.5, 0.99, 0.999, 1]);
    return {
      offered: this.offered,
      served: this.servedCount,
      goodput: this.goodput,
      refused: this.refusedCount,
      failed: this.failed,
      goodputRatio: this.offered === 0 ? 0 : this.goodput / this.offered,
      p50Ms,
      p99Ms,
      p999Ms,
      maxMs,
      refusalP99Ms: this.refused.percentiles([0.99])[0] ?? 0,
    };
  }
}

export interface MeasuredSpan {
  readonly measureFromMs: number;
  readonly measureUntilMs: number;
}

export class LoadStatistics {
  readonly #names: readonly string[];
  readonly #slaMs: number;
  readonly #binMs: number;
  readonly #span: MeasuredSpan;
  readonly #tallies: readonly Tally[];
  readonly #statuses = new Map<number, number>();
  readonly #codes = new Map<string, number>();
  readonly #failures = new Map<string, number>();
  readonly #notes: FailureNote[] = [];
  readonly #bins: Bin[] = [];
  readonly #lag = new Latencies();
  #staleRetries = 0;

  /** Requests intended outside of `span` appear in the bins only. */
  constructor(names: readonly string[], slaMs: number, binMs: number, span: MeasuredSpan) {
    this.#names = names;
    this.#slaMs = slaMs;
    this.#binMs = binMs;
    this.#span = span;
    this.#tallies = names.map(() => new Tally());
  }

  #bin(atMs: number): Bin {
    const index = Math.floor(atMs / this.#binMs);
    while (this.#bins.length <= index) {
      const bin = { offered: 0, served: 0, goodput: 0, refused: 0, failed: 0 };
      this.#bins.push({ atMs: this.#bins.length * this.#binMs, ...bin });
    }
    const found = this.#bins[index];
    if (found === undefined) throw new Error(`no bin at ${atMs} ms`);
    return found;
  }

  #tally(classIndex: number, atMs: number): Tally | undefined {
    const { measureFromMs, measureUntilMs } = this.#span;
    return atMs < measureFromMs || atMs >= measureUntilMs ? undefined : this.#tallies[classIndex];
  }

  offered(classIndex: number, atMs: number, lagMs: number): void {
    this.#bin(atMs).offered += 1;
    this.#lag.add(lagMs);
    const tally = this.#tally(classIndex, atMs);
    if (tally !== undefined) tally.offered += 1;
  }

  answered(classIndex: number, atMs: number, tookMs: number, status: number, code: string): void {
    const bin = this.#bin(atMs);
    const tally = this.#tally(classIndex, atMs);
    if (tally !== undefined) {
      this.#statuses.set(status, (this.#statuses.get(status) ?? 0) + 1);
      if (code !== '') this.#codes.set(code, (this.#codes.get(code) ?? 0) + 1);
    }
    if (status < 400) {
      bin.served += 1;
      const inTime = tookMs <= this.#slaMs;
      if (inTime) bin.goodput += 1;
      if (tally === undefined) return;
      tally.servedCount += 1;
      if (inTime) tally.goodput += 1;
      tally.served.add(tookMs);
    } else if (status === 429 || status === 503) {
      bin.refused += 1;
      if (tally === undefined) return;
      tally.refusedCount += 1;
      tally.refused.add(tookMs);
    } else {
      bin.failed += 1;
      if (tally !== undefined) tally.failed += 1;
      this.#note(classIndex, atMs, `${status} ${code}`.trim());
    }
  }

  failed(classIndex: number, atMs: number, failure: Failure | 'unsent'): void {
    this.#bin(atMs).failed += 1;
    const tally = this.#tally(classIndex, atMs);
    if (tally !== undefined) {
      tally.failed += 1;
      this.#failures.set(failure, (this.#failures.get(failure) ?? 0) + 1);
    }
    this.#note(classIndex, atMs, failure);
  }

  retried(): void {
    this.#staleRetries += 1;
  }

  #note(classIndex: number, atMs: number, what: string): void {
    if (this.#notes.length < FAILURE_NOTES) {
      this.#notes.push({ atMs, className: this.#names[classIndex] ?? '', what });
    }
  }

  result(spanSeconds: number): LoadResult {
    const all = new Tally();
    const classes: Record<string, ClassResult> = {};
    for (const [index, tally] of this.#tallies.entries()) {
      classes[this.#names[index] ?? String(index)] = tally.result();
      all.add(tally);
    }
    const [lagP50Ms = 0, lagP99Ms = 0] = this.#lag.percentiles([0.5, 0.99]);
    return {
      ...all.result(),
      spanSeconds,
      goodputPerSecond: all.goodput / spanSeconds,
      offeredPerSecond: all.offered / spanSeconds,
      classes,
      statuses: Object.fromEntries(this.#statuses),
      codes: Object.fromEntries(this.#codes),
      failures: Object.fromEntries(this.#failures),
      failureNotes: this.#notes,
      staleRetries: this.#staleRetries,
      bins: this.#bins,
      senderLagP50Ms: lagP50Ms,
      senderLagP99Ms: lagP99Ms,
    };
  }
}

export interface LoadResult extends ClassResult {
  /** Length of what was measured. */
  readonly spanSeconds: number;
  readonly goodputPerSecond: number;
  readonly offeredPerSecond: number;
  readonly classes: Readonly<Record<string, ClassResult>>;
  /** Complete answers by status, and refusals by code. */
  readonly statuses: Readonly<Record<number, number>>;
  readonly codes: Readonly<Record<string, number>>;
  /** Requests without a complete answer, by what happened to them. */
  readonly failures: Readonly<Record<string, number>>;
  /** The first 200 of them, and of answers that are neither served nor refused. */
  readonly failureNotes: readonly FailureNote[];
  /** Requests sent again, since a reused connection ended before any byte of an answer. */
  readonly staleRetries: number;
  readonly bins: readonly Bin[];
  /** How late the sender itself was: intended moment → bytes given to the socket. */
  readonly senderLagP50Ms: number;
  readonly senderLagP99Ms: number;
}
