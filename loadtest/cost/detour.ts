/**
 * F3: how much later an answer comes through the gateway than without it, at a rate that strains nobody: 500 requests a
 * second, in turn directly to the origin, through the gateway with every protection on, and through nginx.
 */
import type { Measured, MeasureContext } from '../measure.ts';
import { senderTooLate } from '../overload/rows.ts';
import type { Row } from '../overload/rows.ts';
import { startAnswering, startTarget, whyNot } from '../targets.ts';
import { inTurns, median, quantile, spread } from '../turns.ts';
import { Connections, paced, requestBytes } from './paced.ts';
import type { PacedResult } from './paced.ts';
import { protectedYaml, returningCallers, startLogged } from './protected.ts';

const ROUNDS = 5;
const SECONDS = 4;
const WARM_UP = { ratePerSecond: 2000, seconds: 4 };
const RATE_PER_SECOND = 500;
const CONNECTIONS = 32;

interface Way {
  readonly name: 'direct' | 'gateway' | 'nginx';
  readonly connections: Connections;
}

interface Turn {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly answers: number;
  /** Refused or failed; what found no free connection was not sent. */
  readonly lost: number;
  readonly lateP99Ms: number;
}

function turnOf(result: PacedResult): Turn {
  return {
    p50Ms: quantile(result.latenciesMs, 0.5),
    p99Ms: quantile(result.latenciesMs, 0.99),
    answers: result.latenciesMs.length,
    lost: result.refused + result.failed,
    lateP99Ms: result.lateP99Ms,
  };
}

type Figure = 'p50Ms' | 'p99Ms';

/** Round by round: how much more than directly. */
export function added(
  through: readonly Pick<Turn, Figure>[],
  direct: readonly Pick<Turn, Figure>[],
  figure: Figure,
): number[] {
  return through.map((turn, round) => turn[figure] - (direct[round]?.[figure] ?? Number.NaN));
}

export async function detour(context: MeasureContext): Promise<Measured> {
  const rounds = context.rounds ?? ROUNDS;
  const seconds = context.seconds ?? (context.quick ? 2 : SECONDS);
  await using stack = new AsyncDisposableStack();
  const origin = stack.use(await startAnswering());
  const originUrl = `http://127.0.0.1:${origin.port}`;
  const ours = stack.use(await startLogged(protectedYaml(originUrl)));
  const [caller] = await returningCallers(ours.gateway.port);
  const request = requestBytes(caller?.headers ?? {});
  const ways: Way[] = [
    { name: 'direct', connections: stack.use(new Connections(origin.port, CONNECTIONS)) },
    { name: 'gateway', connections: stack.use(new Connections(ours.gateway.port, CONNECTIONS)) },
  ];
  const missing: string[] = [];
  if (context.peers.has('nginx')) {
    const why = whyNot('nginx');
    if (why === undefined) {
      const { port } = stack.use(await startTarget('nginx', '', originUrl));
      ways.push({ name: 'nginx', connections: stack.use(new Connections(port, CONNECTIONS)) });
    } else missing.push(why);
  }
  const { seed } = context;
  for (const { connections } of ways) await paced({ ...WARM_UP, seed, request, connections });
  const turns = await inTurns(
    'detour',
    rounds,
    ways,
    ({ name }) => name,
    async ({ connections }, round) =>
      turnOf(
        await paced({ ratePerSecond: RATE_PER_SECOND, seconds, seed: seed + round, request, connections }),
      ),
  );
  const of = (name: Way['name']): Turn[] => [...turns].find(([way]) => way.name === name)?.[1] ?? [];
  // As the figures: what one bad turn does to both is not what is told.
  const late = median([...turns.values()].flat().map(({ lateP99Ms }) => lateP99Ms));
  const excuse = senderTooLate(late);
  const row = (name: 'gateway' | 'nginx', figure: Figure, wanted: Partial<Row>): Row => ({
    what: `${figure === 'p50Ms' ? 'p50' : 'p99'} through ${name === 'gateway' ? 'the gateway' : name} − directly`,
    unit: 'fine ms',
    ...wanted,
    // A late sender is late on all ways: a difference of such figures is chance, also where it is small.
    ...(excuse === undefined || figure === 'p50Ms'
      ? { value: median(added(of(name), of('direct'), figure)) }
      : { value: undefined, excuse }),
  });
  const names = ways.map(({ name }) => name);
  return {
    rows: [
      row('gateway', 'p50Ms', { bound: { most: 0.5 } }),
      row('gateway', 'p99Ms', { bound: { most: 3 } }),
      ...(names.includes('nginx') ? [row('nginx', 'p50Ms', {}), row('nginx', 'p99Ms', {})] : []),
      {
        what: 'requests lost',
        unit: 'count',
        value: of('gateway').reduce((sum, { lost }) => sum + lost, 0),
        bound: { most: 0 },
      },
    ],
    figures: [
      {
        caption: `medians of ${rounds} rounds of ${seconds} s at ${RATE_PER_SECOND}/s, from the moment meant to leave`,
        head: ['', 'p50 ms', 'least–most', 'p99 ms', 'least–most', 'answers'],
        rows: names.map((name) => detourCells(name, of(name))),
      },
    ],
    notes: [`the sender left ${late.toFixed(2)} ms late in 1 % of the middle turn`],
    data: Object.fromEntries(names.map((name) => [name, of(name)])),
    missing,
  };
}

function detourCells(name: string, turns: readonly Turn[]): string[] {
  const [p50, p99] = [turns.map(({ p50Ms }) => p50Ms), turns.map(({ p99Ms }) => p99Ms)];
  return [
    name,
    median(p50).toFixed(3),
    spread(p50, 3),
    median(p99).toFixed(3),
    spread(p99, 3),
    String(turns.reduce((sum, { answers }) => sum + answers, 0)),
  ];
}
