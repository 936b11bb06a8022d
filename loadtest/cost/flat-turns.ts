/** Flat out at several targets in turns, and what a request cost each of them. */
import { gatewayCpu } from '../cpu.ts';
import type { GatewayCpu } from '../cpu.ts';
import { flatOut } from '../flat-out.ts';
import type { FlatOutRequest, FlatOutResult } from '../flat-out.ts';
import type { Figures } from '../measure.ts';
import type { Target } from '../targets.ts';
import { inTurns, median, spread } from '../turns.ts';

/** Who is sent to, and what. */
export interface Contender {
  readonly name: string;
  readonly target: Target;
  readonly requests: readonly FlatOutRequest[];
}

export interface FlatTurn extends FlatOutResult {
  /** CPU of all processes of the target ÷ answers. */
  readonly cpuUs: number;
  /** The same by where it went; of a gateway only. */
  readonly parts?: GatewayCpu;
}

export const CONNECTIONS = 64;

async function turn(
  { target, requests }: Contender,
  seconds: number,
  connections: number,
): Promise<FlatTurn> {
  const before = target.cpuUs();
  const partsBefore = partsOf(target);
  // Somebody looks at the metrics now and then.
  const scrape = setTimeout(
    () => void target.gateway?.admin('/metrics').catch(() => undefined),
    seconds * 500,
  );
  const result = await flatOut({ port: target.port, seconds, connections, requests });
  clearTimeout(scrape);
  const answers = Math.max(1, result.answers);
  const cpuUs = (target.cpuUs() - before) / answers;
  const partsAfter = partsOf(target);
  if (partsBefore === undefined || partsAfter === undefined) return { ...result, cpuUs };
  const parts = {
    workersUs: (partsAfter.workersUs - partsBefore.workersUs) / answers,
    threadsUs: (partsAfter.threadsUs - partsBefore.threadsUs) / answers,
    supervisorUs: (partsAfter.supervisorUs - partsBefore.supervisorUs) / answers,
  };
  return { ...result, cpuUs, parts };
}

function partsOf({ gateway }: Target): GatewayCpu | undefined {
  return gateway === undefined ? undefined : gatewayCpu(gateway.pid, gateway.workerPids());
}

/** One sentence about where a gateway's CPU went. */
export function partsNote(name: string, turns: readonly FlatTurn[]): string {
  const of = (part: keyof GatewayCpu): string =>
    median(turns.flatMap(({ parts }) => (parts === undefined ? [] : [parts[part]]))).toFixed(1);
  return `${name}, µs a request: first threads of the workers ${of('workersUs')}, their other threads (compiling, collecting garbage) ${of('threadsUs')}, supervisor ${of('supervisorUs')}`;
}

export interface FlatTurns {
  readonly of: (name: string) => readonly FlatTurn[];
  readonly cpuUs: (name: string) => readonly number[];
  readonly figures: Figures;
  readonly data: Readonly<Record<string, readonly FlatTurn[]>>;
}

/** Warms every contender up, measures them in turns. */
export async function flatTurns(
  title: string,
  contenders: readonly Contender[],
  plan: { readonly rounds: number; readonly seconds: number; readonly warmUpSeconds: number },
): Promise<FlatTurns> {
  const { rounds, seconds, warmUpSeconds } = plan;
  for (const contender of contenders) {
    process.stderr.write(`${title}, warming up: ${contender.name}\n`);
    await turn(contender, warmUpSeconds, CONNECTIONS);
  }
  const turns = await inTurns(
    title,
    rounds,
    contenders,
    ({ name }) => name,
    (contender) => turn(contender, seconds, CONNECTIONS),
  );
  const byName = new Map([...turns].map(([{ name }, results]) => [name, results]));
  const of = (name: string): readonly FlatTurn[] => byName.get(name) ?? [];
  return {
    of,
    cpuUs: (name) => of(name).map(({ cpuUs }) => cpuUs),
    figures: {
      caption: `medians of ${rounds} rounds of ${seconds} s, ${CONNECTIONS} connections`,
      head: ['', 'CPU µs an answer', 'least–most', 'answers/s', 'p50 ms', 'p99 ms', 'refused', 'failed'],
      rows: [...byName].map(([name, results]) => cells(name, results)),
    },
    data: Object.fromEntries(byName),
  };
}

function cells(name: string, turns: readonly FlatTurn[]): string[] {
  const of = (pick: (each: FlatTurn) => number): number => median(turns.map((each) => pick(each)));
  return [
    name,
    of(({ cpuUs }) => cpuUs).toFixed(1),
    spread(
      turns.map(({ cpuUs }) => cpuUs),
      1,
    ),
    of(({ answers, seconds }) => answers / seconds).toFixed(0),
    of(({ p50Ms }) => p50Ms).toFixed(2),
    of(({ p99Ms }) => p99Ms).toFixed(2),
    of(({ refused, answers }) => refused / answers).toFixed(4),
    turns.reduce((sum, { failed }) => sum + failed, 0).toFixed(0),
  ];
}
