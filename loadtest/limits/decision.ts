/**
 * What a decision costs the worker's processor: exact and from leases, over three levels, beside one `RateLimiterRedis`
 * and a union of three, all in one process on one Redis (decision-child.ts).
 *
 * Judged is a busy turn, sixteen callers at a time, as the figures that the bounds were taken from; a caller alone in his
 * turn pays for a write and a read of the socket by himself and is shown beside it.
 */
import { RedisServer } from '../../test/harness/redis.ts';
import type { Measured, MeasureContext } from '../measure.ts';
import type { Row } from '../overload/rows.ts';
import { median, spread } from '../turns.ts';
import { reportOf } from './child.ts';
import type { DecisionReport, DecisionTurn } from './decision-child.ts';

const ROUNDS = 5;
const SECONDS = 0.6;
const BUSY = 16;
const NAMES = ['leased', 'exact', 'RateLimiterRedis', 'union of three'];

function of(turns: readonly DecisionTurn[], name: string, wave: number): DecisionTurn[] {
  return turns.filter((turn) => turn.name === name && turn.wave === wave);
}

/** CPU of the decisions alone, round by round: without what an empty wave costs. */
function decisionUs(turns: readonly DecisionTurn[], name: string, wave: number): number[] {
  const empty = median(of(turns, 'nothing', wave).map(({ cpuUs }) => cpuUs));
  return of(turns, name, wave).map(({ cpuUs }) => cpuUs - empty);
}

export function decisionRows(turns: readonly DecisionTurn[]): Row[] {
  const cost = (name: string): number => median(decisionUs(turns, name, BUSY));
  const calls = (name: string): number =>
    median(of(turns, name, BUSY).map(({ calls: asked, decisions }) => asked / decisions));
  return [
    { what: 'CPU of a decision from leases', unit: 'µs', value: cost('leased'), bound: { most: 3 } },
    {
      what: 'CPU of an exact decision over three levels',
      unit: 'µs',
      value: cost('exact'),
      bound: { most: 30 },
    },
    {
      what: 'the same ÷ that of a union of three',
      unit: 'ratio',
      value: cost('exact') / cost('union of three'),
    },
    { what: 'Redis calls a decision of a union of three', unit: 'ratio', value: calls('union of three') },
  ];
}

export async function costOfDecisions(context: MeasureContext): Promise<Measured> {
  const rounds = context.rounds ?? (context.quick ? 3 : ROUNDS);
  const server = await RedisServer.start();
  try {
    const { turns, refused } = await reportOf<DecisionReport>('decision-child.ts', [
      server.port,
      rounds,
      context.quick ? SECONDS / 3 : SECONDS,
    ]);
    const cells = (name: string): string[] => {
      const line = [name];
      for (const wave of [BUSY, 1]) {
        const costs = decisionUs(turns, name, wave);
        line.push(median(costs).toFixed(1), spread(costs, 1));
      }
      line.push(median(of(turns, name, BUSY).map(({ calls, decisions }) => calls / decisions)).toFixed(3));
      return line;
    };
    return {
      rows: [
        ...decisionRows(turns),
        { what: 'decisions that were no admission', unit: 'count', value: refused, bound: { most: 0 } },
      ],
      figures: [
        {
          caption: `CPU µs a decision of the whole process, medians of ${rounds} rounds, an empty wave taken off`,
          head: ['', `${BUSY} at a time`, 'least–most', 'one at a time', 'least–most', 'Redis calls'],
          rows: NAMES.map((name) => cells(name)),
        },
      ],
      notes: [],
      data: { turns },
    };
  } finally {
    await server.stop();
  }
}
