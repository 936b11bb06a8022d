/**
 * F5: 100 MiB up and down, with a length and in chunks, through the gateway and through nginx in turns. A gateway that
 * streams holds no more of a body than of a small one: the worker's resident memory is looked at while they pass.
 */
import { setTimeout as pause } from 'node:timers/promises';

import { residentBytes } from '../../test/harness/process.ts';
import { flatOut } from '../flat-out.ts';
import type { Measured, MeasureContext } from '../measure.ts';
import type { Row } from '../overload/rows.ts';
import { startScript, startTarget, whyNot } from '../targets.ts';
import { inTurns, median, ratios, spread } from '../turns.ts';
import { CONNECTIONS } from './flat-turns.ts';
import { FIRST_VISIT, KEY, protectedYaml, startLogged } from './protected.ts';
import { transfer } from './transfer.ts';
import type { Direction, Framing } from './transfer.ts';

const ROUNDS = 5;
const MIB = 2 ** 20;
const BYTES = 100 * MIB;
/** Four times as often as the bound asks for: a body passes in some hundred milliseconds. */
const SAMPLE_MS = 25;
const WARM_UP_SECONDS = 3;

interface Way {
  readonly name: 'direct' | 'gateway' | 'nginx';
  readonly port: number;
}

interface Kind {
  readonly direction: Direction;
  readonly framing: Framing;
}

const KINDS: readonly Kind[] = [
  { direction: 'down', framing: 'length' },
  { direction: 'down', framing: 'chunked' },
  { direction: 'up', framing: 'length' },
  { direction: 'up', framing: 'chunked' },
];

const nameOf = ({ direction, framing }: Kind): string =>
  `${direction}, ${framing === 'length' ? 'with a length' : 'in chunks'}`;

interface Turn {
  /** MiB a second of each kind. */
  readonly rates: readonly number[];
  /** Of each kind, the most of the worker's memory over what it was before the first body, MiB. */
  readonly growthMiB: readonly number[];
}

/** The most that `pid` holds while `act` runs. */
async function mostResident(pid: number, act: () => Promise<void>): Promise<number> {
  let most = residentBytes(pid);
  const timer = setInterval(() => (most = Math.max(most, residentBytes(pid))), SAMPLE_MS);
  try {
    await act();
  } finally {
    clearInterval(timer);
  }
  return Math.max(most, residentBytes(pid));
}

function bodiesYaml(originUrl: string): string {
  return protectedYaml(originUrl).replace(
    'host: 127.0.0.1 }]',
    'host: 127.0.0.1, limits: { bodyBytes: 1GiB } }]',
  );
}

export async function bigBodies(context: MeasureContext): Promise<Measured> {
  const rounds = context.rounds ?? (context.quick ? 2 : ROUNDS);
  await using stack = new AsyncDisposableStack();
  const origin = stack.use(
    await startScript('node:http alone', new URL('bodies-origin.ts', import.meta.url), []),
  );
  const originUrl = `http://127.0.0.1:${origin.port}`;
  const ours = stack.use(await startLogged(bodiesYaml(originUrl)));
  const ways: Way[] = [
    { name: 'direct', port: origin.port },
    { name: 'gateway', port: ours.gateway.port },
  ];
  const missing: string[] = [];
  const why = whyNot('nginx');
  if (why === undefined) {
    const { port } = stack.use(await startTarget('nginx', '', originUrl));
    ways.push({ name: 'nginx', port });
  } else missing.push(why);
  const [worker = 0] = ours.gateway.workerPids();
  // A worker that has served small requests for a while: what bodies add is told, not what compiling adds.
  await flatOut({
    port: ours.gateway.port,
    seconds: WARM_UP_SECONDS,
    connections: CONNECTIONS,
    requests: [FIRST_VISIT],
  });
  await pause(1000);
  const beforeBytes = residentBytes(worker);
  const turns = await inTurns(
    'big-bodies',
    rounds,
    ways,
    ({ name }) => name,
    async ({ port }): Promise<Turn> => {
      const rates: number[] = [];
      const growthMiB: number[] = [];
      for (const { direction, framing } of KINDS) {
        const most = await mostResident(worker, async () => {
          const seconds = await transfer(port, direction, framing, BYTES, `x-api-key: ${KEY}\r\n`);
          rates.push(BYTES / MIB / seconds);
        });
        growthMiB.push((most - beforeBytes) / MIB);
      }
      return { rates, growthMiB };
    },
  );
  const of = (name: Way['name']): Turn[] => [...turns].find(([way]) => way.name === name)?.[1] ?? [];
  const ratesOf = (name: Way['name'], kind: number): number[] =>
    of(name).map(({ rates }) => rates[kind] ?? Number.NaN);
  const growth = of('gateway').flatMap(({ growthMiB }) => growthMiB);
  return {
    rows: [
      {
        what: "most of the worker's memory over what it was before",
        unit: 'MiB',
        value: Math.max(...growth),
        bound: { most: 16 },
      },
      ...KINDS.map((kind, index): Row =>
        throughputRow(kind, ratesOf('gateway', index), ratesOf('nginx', index)),
      ),
    ],
    figures: [
      {
        caption: `MiB/s, medians of ${rounds} rounds of 100 MiB each`,
        head: ['', ...ways.flatMap(({ name }) => [name, 'least–most'])],
        rows: KINDS.map((kind, index) =>
          [nameOf(kind)].concat(ways.flatMap(({ name }) => rateCells(ratesOf(name, index)))),
        ),
      },
    ],
    notes: [
      `the worker held ${(beforeBytes / MIB).toFixed(0)} MiB before; over that at most, in each of the rounds (looked at each ${SAMPLE_MS} ms): ${KINDS.map((kind, index) => `${nameOf(kind)} ${growthOf(of('gateway'), index)}`).join(' · ')} MiB`,
    ],
    data: Object.fromEntries(ways.map(({ name }) => [name, of(name)])),
    missing,
  };
}

function growthOf(turns: readonly Turn[], kind: number): string {
  return turns.map(({ growthMiB }) => (growthMiB[kind] ?? Number.NaN).toFixed(0)).join(', ');
}

function rateCells(rates: readonly number[]): string[] {
  return [median(rates).toFixed(0), spread(rates, 0)];
}

function throughputRow(kind: Kind, ours: readonly number[], nginx: readonly number[]): Row {
  return {
    what: `throughput ÷ nginx's, ${nameOf(kind)}`,
    unit: 'ratio',
    bound: { least: 0.3 },
    goal: { least: 0.5 },
    ...(nginx.length === 0
      ? { value: undefined, excuse: 'nginx is not installed' }
      : { value: median(ratios(ours, nginx)) }),
  };
}
