/**
 * F3: how much later an answer comes through the gateway than without it, at a rate that strains nobody: 500 requests a
 * second, in turn directly to the origin, through the gateway with every protection on, and through nginx.
 */
import type { Measured, MeasureContext } from '../measure.ts';
import type { Row } from '../overload/rows.ts';
import { startAnswering, startTarget, whyNot } from '../targets.ts';
import { inTurns } from '../turns.ts';
import { Connections, paced, requestBytes } from './paced.ts';
import { addedRow, lateMs, lateNote, lostRow, turnCells, turnOf, TURN_HEAD } from './paced-turns.ts';
import type { Figure, PacedTurn } from './paced-turns.ts';
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
  const of = (name: Way['name']): PacedTurn[] => [...turns].find(([way]) => way.name === name)?.[1] ?? [];
  const late = lateMs([...turns.values()].flat());
  const row = (name: 'gateway' | 'nginx', figure: Figure, most?: number): Row =>
    addedRow(
      `${figure === 'p50Ms' ? 'p50' : 'p99'} through ${name === 'gateway' ? 'the gateway' : name} − directly`,
      [of(name), of('direct')],
      figure,
      late,
      most,
    );
  const names = ways.map(({ name }) => name);
  return {
    rows: [
      row('gateway', 'p50Ms', 0.5),
      row('gateway', 'p99Ms', 3),
      ...(names.includes('nginx') ? [row('nginx', 'p50Ms'), row('nginx', 'p99Ms')] : []),
      lostRow(of('gateway')),
    ],
    figures: [
      {
        caption: `medians of ${rounds} rounds of ${seconds} s at ${RATE_PER_SECOND}/s, from the moment meant to leave`,
        head: TURN_HEAD,
        rows: names.map((name) => turnCells(name, of(name))),
      },
    ],
    notes: [lateNote(late)],
    data: Object.fromEntries(names.map((name) => [name, of(name)])),
    missing,
  };
}
