/**
 * The classic picture: goodput against what is offered, from half the capacity to ten times. Without a limit it folds
 * past the knee; ours is to stay flat.
 *
 * The gateway goes through all steps in one life. A peer whose queue has not drained a second after a step is started
 * anew with its origin, or one collapse would be the figure of all later steps.
 */
import { setTimeout as pause } from 'node:timers/promises';

import type { Origin } from '../../test/harness/origin.ts';
import { startOrigin } from '../../test/harness/origin.ts';
import { startTarget } from '../targets.ts';
import type { Target } from '../targets.ts';
import { CAPACITY, CRITICAL, gatewayYaml, load, SLA_MS } from './anchors.ts';
import { send } from './case.ts';
import type { CaseContext, CaseRun, Recorded, SweepPoint } from './case.ts';
import type { Row } from './rows.ts';
import { codes, figures } from './window.ts';

const TIMES = [0.5, 0.8, 1, 1.2, 1.5, 2, 5, 10] as const;
const KNEE_FROM = 0.8;
const KNEE_UNTIL = 1.2;
const CRITICAL_TIMES = 0.3;
/** Two seconds to find the step, then what is measured. */
const LEAD_SECONDS = 2;
const SECONDS = 4;
const QUICK_SECONDS = 2;
const PEER_LEAD_SECONDS = 1;
const PEER_SECONDS = 2;
const DRAIN_MOST_MS = 1000;

/** One row for each step past the knee: its goodput ÷ the best of 0.8 to 1.2 C. */
export function sweepRows(points: readonly SweepPoint[]): Row[] {
  const timesOf = ({ offeredPerSecond }: SweepPoint): number => offeredPerSecond / CAPACITY;
  const around = points.filter(
    (point) => timesOf(point) > KNEE_FROM - 0.05 && timesOf(point) < KNEE_UNTIL + 0.05,
  );
  const knee = Math.max(...around.map(({ goodputPerSecond }) => goodputPerSecond));
  const past = points.filter((point) => timesOf(point) >= KNEE_UNTIL + 0.05);
  return [
    { what: 'goodput at the knee ÷ C', unit: 'ratio', value: knee / CAPACITY },
    ...past.map((point): Row => {
      const nominal = nearest(timesOf(point));
      return {
        what: `goodput at ${nominal} C ÷ at the knee`,
        unit: 'ratio',
        value: point.goodputPerSecond / knee,
        bound: { least: 0.95 },
        goal: { least: 0.98 },
      };
    }),
    ...past.map((point): Row => ({
      what: `critical in time at ${nearest(timesOf(point))} C`,
      unit: 'share',
      value: point.criticalRatio,
    })),
  ];
}

function nearest(times: number): number {
  let best: number = TIMES[0];
  for (const each of TIMES) if (Math.abs(each - times) < Math.abs(best - times)) best = each;
  return best;
}

/** Origin and target, until both are replaced. */
class Bench implements AsyncDisposable {
  readonly #context: CaseContext;
  #parts: { readonly origin: Origin; readonly target: Target } | undefined;

  constructor(context: CaseContext) {
    this.#context = context;
  }

  async ready(): Promise<{ readonly origin: Origin; readonly target: Target }> {
    if (this.#parts !== undefined && !(await drained(this.#parts.origin))) await this[Symbol.asyncDispose]();
    if (this.#parts === undefined) {
      const origin = await startOrigin({ seed: this.#context.seed });
      try {
        const target = await startTarget(this.#context.target, gatewayYaml(origin.url), origin.url);
        this.#parts = { origin, target };
      } catch (error) {
        await origin.kill();
        throw error;
      }
    }
    return this.#parts;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const parts = this.#parts;
    this.#parts = undefined;
    await parts?.target[Symbol.asyncDispose]();
    await parts?.origin.kill();
  }
}

async function drained(origin: Origin): Promise<boolean> {
  const untilMs = performance.now() + DRAIN_MOST_MS;
  for (;;) {
    const { queued, inService } = await origin.report();
    if (queued === 0 && inService === 0) return true;
    if (performance.now() >= untilMs) return false;
    await pause(50);
  }
}

export async function sweep(context: CaseContext): Promise<CaseRun> {
  const { target: name, seed, quick } = context;
  const ours = name === 'gateway';
  const lead = ours ? LEAD_SECONDS : PEER_LEAD_SECONDS;
  const seconds = ours ? (quick ? QUICK_SECONDS : SECONDS) : PEER_SECONDS;
  const points: SweepPoint[] = [];
  const recorded: Recorded[] = [];
  let senderLagP99Ms = 0;
  let lastCodes: Readonly<Record<string, number>> = {};
  await using bench = new Bench(context);
  for (const [index, times] of TIMES.entries()) {
    const { target } = await bench.ready();
    const sent = await send({
      name: `${times} C`,
      port: target.port,
      seed: seed + 10 * index,
      ...load([{ seconds: lead + seconds, times, critical: CRITICAL_TIMES }]),
      capacity: [[0, CAPACITY]],
    });
    const window = { fromMs: lead * 1000, untilMs: (lead + seconds) * 1000 };
    const all = figures(sent.journal, SLA_MS, window);
    const critical = figures(sent.journal, SLA_MS, { ...window, classIndex: CRITICAL });
    points.push({
      offeredPerSecond: times * CAPACITY,
      goodputPerSecond: all.inTime / seconds,
      p99Ms: all.p99Ms,
      criticalRatio: critical.inTimeRatio,
    });
    recorded.push(sent.recorded);
    senderLagP99Ms = Math.max(senderLagP99Ms, sent.senderLagP99Ms);
    lastCodes = codes(sent.journal, window);
  }
  return {
    target: name,
    workers: 1,
    seed,
    rows: sweepRows(points),
    recorded,
    sweep: points,
    codes: lastCodes,
    senderLagP99Ms,
    notes: [],
  };
}
