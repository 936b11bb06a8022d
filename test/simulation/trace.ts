/**
 * The course of a run, one row per slice of the report (100 ms): what callers saw of the requests sent in it, and the
 * gates' state at its end. What workers have each (limits, queues) is summed; of medians and pressures the largest counts.
 */
import type { Clock } from './clock.ts';
import type { Gate } from './gate.ts';
import type { Report } from './report.ts';

interface Gauges {
  readonly limit: number;
  readonly inFlight: number;
  readonly queueDepth: number;
  readonly p50Ms: number;
  readonly baselineMs: number;
  /** Share of arrivals refused lately, by the gate or for the loop's sake, 0..1. */
  readonly pressure: number;
  /** Some worker finds the service slow by itself. */
  readonly slow: boolean;
  /** What the service can serve, requests a second. */
  readonly capacityPerSecond: number;
  /** The true knee: requests in flight past which concurrency buys only latency. */
  readonly knee: number;
}

/** What the model knows and no gate does. */
interface Truth {
  readonly capacityPerSecond: number;
  /** Of all instances that are ready. */
  readonly slots: number;
}

export interface TraceRow extends Gauges {
  /** The slice's end. */
  readonly atMs: number;
  readonly offered: number;
  readonly good: number;
  readonly late: number;
  /** Errors, timeouts, callers that left. */
  readonly failed: number;
  readonly shedByRank: readonly [number, number, number, number];
  readonly shedByCode: Readonly<Record<string, number>>;
}

interface Watched {
  readonly gate: Gate;
  readonly loopPressure: number;
  moment(): number;
}

export class Trace {
  readonly #report: Report;
  readonly #gauges: Gauges[] = [];

  constructor(clock: Clock, report: Report, workers: readonly Watched[], truth: Truth) {
    this.#report = report;
    clock.every(report.sliceMs, () => this.#gauges.push(gauge(workers, truth)));
  }

  /** The rows so far; requests still under way count as offered and nothing else. */
  rows(): TraceRow[] {
    const ranks = [0, 1, 2, 3] as const;
    return this.#gauges.map((gauges, index) => {
      const fromMs = index * this.#report.sliceMs;
      const atMs = fromMs + this.#report.sliceMs;
      const all = this.#report.tally(fromMs, atMs);
      const [critical, normal, sheddable, background] = ranks.map(
        (rank) => this.#report.tally(fromMs, atMs, [rank]).shed,
      );
      return {
        ...gauges,
        atMs,
        offered: all.offered,
        good: all.good,
        late: all.late,
        failed: all.failed + all.left,
        shedByRank: [critical ?? 0, normal ?? 0, sheddable ?? 0, background ?? 0],
        shedByCode: Object.fromEntries(this.#report.codesOf(index)),
      };
    });
  }
}

function gauge(workers: readonly Watched[], truth: Truth): Gauges {
  const sum = { limit: 0, inFlight: 0, queueDepth: 0, p50Ms: 0, baselineMs: 0, pressure: 0, slow: false };
  for (const worker of workers) {
    const view = worker.gate.view(worker.moment());
    sum.limit += view.limit;
    sum.inFlight += view.inFlight;
    sum.queueDepth += view.queueDepth;
    sum.p50Ms = Math.max(sum.p50Ms, view.p50Ms);
    sum.baselineMs = Math.max(sum.baselineMs, view.baselineMs);
    sum.pressure = Math.max(sum.pressure, view.pressure ?? 0, worker.loopPressure);
    sum.slow ||= view.slow;
  }
  return { ...sum, capacityPerSecond: truth.capacityPerSecond, knee: truth.slots };
}
