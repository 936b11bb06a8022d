/**
 * Hypothesis: two of ten instances that take three times as long leave the p99 of all requests within 15 % of that of ten
 * fast ones, at the same share of what each fleet can do.
 *
 * Both fleets are the same processes, in turns within each round; the workers have learned who is slow before a turn is
 * counted. At 0.7 load; at 0.85 the eight alone are at 0.92, and what their queues add is theirs (shown by the simulation).
 */
import type { Measured, MeasureContext } from '../measure.ts';
import type { Row } from '../overload/rows.ts';
import { inTurns, median, ratios, spread } from '../turns.ts';
import { Ten, TEN } from './ten.ts';

const ROUNDS = 3;
const QUICK_ROUNDS = 1;
const SECONDS = 10;
/** The means by which slowness is told fade in ten seconds, and the turn before has filled them: half is half learned. */
const LEARNING_SECONDS = 18;
const LOAD = 0.7;
const SLOW = 2;
const TIMES = 3;

interface Turn {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly failed: number;
  /** What a slow one was sent ÷ what a fast one was. */
  readonly slowShare: number;
  readonly senderLagP99Ms: number;
}

export function slowTwoRows(fast: readonly Turn[], two: readonly Turn[]): Row[] {
  const of = (turns: readonly Turn[], figure: (turn: Turn) => number): number[] => turns.map(figure);
  return [
    {
      what: 'p99 with two slow ones ÷ with none',
      unit: 'ratio',
      value: median(
        ratios(
          of(two, ({ p99Ms }) => p99Ms),
          of(fast, ({ p99Ms }) => p99Ms),
        ),
      ),
      bound: { most: 1.15 },
    },
    {
      what: 'the same of p50',
      unit: 'ratio',
      value: median(
        ratios(
          of(two, ({ p50Ms }) => p50Ms),
          of(fast, ({ p50Ms }) => p50Ms),
        ),
      ),
    },
    {
      what: "a slow one's share ÷ a fast one's",
      unit: 'ratio',
      value: median(of(two, ({ slowShare }) => slowShare)),
      bound: { most: 0.35 },
    },
    {
      what: 'failed',
      unit: 'count',
      value: [...fast, ...two].reduce((sum, { failed }) => sum + failed, 0),
      bound: { most: 0 },
    },
  ];
}

export async function slowTwo(context: MeasureContext): Promise<Measured> {
  const rounds = context.rounds ?? (context.quick ? QUICK_ROUNDS : ROUNDS);
  const seconds = context.seconds ?? SECONDS;
  await using ten = await Ten.start(2);
  const turns = await inTurns(
    'balancing-slow',
    rounds,
    [0, SLOW],
    (slow) => `${slow} slow`,
    async (slow, round) => {
      await ten.slow(SLOW, slow === 0 ? 1 : TIMES);
      const whole = TEN - slow + slow / TIMES;
      await ten.load(LOAD, whole, LEARNING_SECONDS, context.seed + 100 + round);
      const before = await ten.arrivals();
      const result = await ten.load(LOAD, whole, seconds, context.seed + round);
      const sent = (await ten.arrivals()).map((count, index) => count - (before[index] ?? 0));
      const mean = (counts: readonly number[]): number =>
        counts.reduce((sum, count) => sum + count, 0) / counts.length;
      const turn: Turn = {
        p50Ms: result.p50Ms,
        p99Ms: result.p99Ms,
        failed: result.failed + result.refused,
        slowShare: mean(sent.slice(0, SLOW)) / mean(sent.slice(SLOW)),
        senderLagP99Ms: result.senderLagP99Ms,
      };
      return turn;
    },
  );
  const fast = turns.get(0) ?? [];
  const two = turns.get(SLOW) ?? [];
  const line = (name: string, own: readonly Turn[]): string[] => [
    name,
    median(own.map(({ p50Ms }) => p50Ms)).toFixed(0),
    median(own.map(({ p99Ms }) => p99Ms)).toFixed(0),
    spread(
      own.map(({ p99Ms }) => p99Ms),
      0,
    ),
    median(own.map(({ slowShare }) => slowShare)).toFixed(2),
    median(own.map(({ senderLagP99Ms }) => senderLagP99Ms)).toFixed(1),
  ];
  return {
    rows: slowTwoRows(fast, two),
    figures: [
      {
        caption: `${rounds} rounds of ${seconds} s at ${LOAD} of the capacity, ms`,
        head: ['', 'p50', 'p99', 'least–most', 'share of two ÷ others', 'sender late, p99'],
        rows: [line('ten fast', fast), line('two of ten three times slower', two)],
      },
    ],
    notes: [],
    data: { fast, two },
  };
}
