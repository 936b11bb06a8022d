/**
 * How much later answers come for being limited: exact and `auto` with Redis on loopback, beside the same gateway with
 * `limits: { mode: off }`, 500 requests a second, in turns.
 */
import { RedisServer } from '../../test/harness/redis.ts';
import { Connections, paced, requestBytes } from '../cost/paced.ts';
import { addedRow, lateMs, lateNote, lostRow, turnCells, turnOf, TURN_HEAD } from '../cost/paced-turns.ts';
import type { Figure, PacedTurn } from '../cost/paced-turns.ts';
import { startLogged } from '../cost/protected.ts';
import type { Measured, MeasureContext } from '../measure.ts';
import type { Row } from '../overload/rows.ts';
import { startAnswering } from '../targets.ts';
import { inTurns } from '../turns.ts';

const ROUNDS = 5;
const SECONDS = 2;
const WARM_UP = { ratePerSecond: 2000, seconds: 3 };
const RATE_PER_SECOND = 500;
const CONNECTIONS = 32;
const PLENTY = 'rate: 20000/s, burst: 20000';
const WAYS = ['off', 'exact', 'auto'] as const;
type WayName = (typeof WAYS)[number];

function yaml(way: WayName, redisUrl: string, originUrl: string): string {
  const limits = way === 'off' ? 'mode: off' : `enforcement: ${way}`;
  return `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
admin: { host: 127.0.0.1, port: __ADMIN__ }
shutdown: { delay: 0s, timeout: 2s }
workers: 1
redis: { url: ${redisUrl} }
clients: { keys: [{ key: load, client: load, tier: gold }] }
tiers: { gold: { ${PLENTY} } }
limits: { ${limits}, global: { ${PLENTY} } }
services: { shop: { instances: [${originUrl}] } }
routes: [{ path: /, service: shop, limits: { perClient: { ${PLENTY} } } }]
`;
}

export function latencyRows(of: (way: WayName) => readonly PacedTurn[], late: number): Row[] {
  const row = (way: WayName, figure: Figure, most?: number): Row =>
    addedRow(
      `added by ${way}, ${figure === 'p50Ms' ? 'p50' : 'p99'}`,
      [of(way), of('off')],
      figure,
      late,
      most,
    );
  return [row('exact', 'p50Ms', 0.5), row('exact', 'p99Ms', 2), row('auto', 'p50Ms'), row('auto', 'p99Ms')];
}

export async function limitsLatency(context: MeasureContext): Promise<Measured> {
  const rounds = context.rounds ?? (context.quick ? 3 : ROUNDS);
  const seconds = context.seconds ?? (context.quick ? 1 : SECONDS);
  await using stack = new AsyncDisposableStack();
  const server = await RedisServer.start();
  stack.defer(() => server.stop());
  const origin = stack.use(await startAnswering());
  const request = requestBytes({ 'x-api-key': 'load' });
  const ways = new Map<WayName, Connections>();
  for (const way of WAYS) {
    const logged = await startLogged(yaml(way, server.url, `http://127.0.0.1:${origin.port}`));
    const { gateway } = stack.use(logged);
    ways.set(way, stack.use(new Connections(gateway.port, CONNECTIONS)));
  }
  const { seed } = context;
  const sent = async (way: WayName, ratePerSecond: number, forSeconds: number, runSeed: number) => {
    const connections = ways.get(way);
    if (connections === undefined) throw new Error(`no gateway is called ${way}`);
    return await paced({ ratePerSecond, seconds: forSeconds, seed: runSeed, request, connections });
  };
  for (const way of WAYS) await sent(way, WARM_UP.ratePerSecond, context.quick ? 1 : WARM_UP.seconds, seed);
  const turns = await inTurns('limits-latency', rounds, WAYS, String, async (way, round) =>
    turnOf(await sent(way, RATE_PER_SECOND, seconds, seed + round)),
  );
  const of = (way: WayName): readonly PacedTurn[] => turns.get(way) ?? [];
  const late = lateMs([...turns.values()].flat());
  return {
    rows: [...latencyRows(of, late), lostRow(WAYS.flatMap(of))],
    figures: [
      {
        caption: `medians of ${rounds} rounds of ${seconds} s at ${RATE_PER_SECOND}/s over three levels, from the moment meant to leave`,
        head: TURN_HEAD,
        rows: WAYS.map((way) => turnCells(way, of(way))),
      },
    ],
    notes: [lateNote(late)],
    data: Object.fromEntries(turns),
  };
}
