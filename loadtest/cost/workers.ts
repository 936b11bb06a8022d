/**
 * F4: what a request costs with two workers beside one, flat out and at a fixed rate, and what callers of one worker
 * notice when the other stands still for two seconds.
 *
 * Standing still is SIGSTOP: nothing of that process runs, as in a long collection of garbage or a loop without end. Each
 * worker is given its connections in the same way before, by being the only one that runs while they are opened. Both
 * have traffic all the time; judged are the callers of the one that goes on.
 */
import { setTimeout as pause } from 'node:timers/promises';

import { LoadConnection } from '../../test/harness/load-connection.ts';
import { senderName } from '../flat-out.ts';
import type { Measured, MeasureContext } from '../measure.ts';
import { senderTooLate } from '../overload/rows.ts';
import type { Row } from '../overload/rows.ts';
import { startAnswering } from '../targets.ts';
import type { Target } from '../targets.ts';
import { inTurns, median, quantile, ratios, spread } from '../turns.ts';
import { flatTurns, partsNote } from './flat-turns.ts';
import { Connections, paced, requestBytes } from './paced.ts';
import { protectedYaml, returningCallers, startLogged } from './protected.ts';

const ROUNDS = 5;
const SECONDS = 4;
/** Two workers take twice as long to compile as much. */
const WARM_UP_SECONDS = 8;
const FIXED_PER_SECOND = 4000;
const CONNECTIONS = 64;
const ONE = 'one worker';
const TWO = 'two workers';

interface Fleet {
  readonly name: typeof ONE | typeof TWO;
  readonly target: Target;
  readonly request: Buffer;
}

/** CPU a request of all processes at a fixed rate, µs. */
async function atFixedRate(
  { target, request }: Fleet,
  ratePerSecond: number,
  seconds: number,
  seed: number,
): Promise<number> {
  using connections = new Connections(target.port, CONNECTIONS);
  const before = target.cpuUs();
  const result = await paced({ ratePerSecond, seconds, seed, request, connections });
  return (target.cpuUs() - before) / result.latenciesMs.length;
}

const PAUSE_MS = 2000;
const PAUSES = 6;
const STEADY_PER_SECOND = 1000;
const BESIDE_PER_SECOND = 250;
/** After it goes on, a worker answers what has waited: that is no calm second. */
const AFTER_MS = 500;
const NEW_CONNECTIONS = 20;
const CONNECTIONS_EACH = 32;

/** Connections of the workers that run while `stopped` does not: each is open and was answered. */
async function openedWithout(stopped: number, port: number, request: Buffer): Promise<Connections> {
  process.kill(stopped, 'SIGSTOP');
  try {
    const connections = new Connections(port, CONNECTIONS_EACH);
    await connections.once(request);
    return connections;
  } finally {
    process.kill(stopped, 'SIGCONT');
  }
}

/** How long a caller who comes now waits for his answer, ms; Infinity for ever. */
async function newCaller(port: number, request: Buffer): Promise<number> {
  const startedMs = performance.now();
  const { promise, resolve } = Promise.withResolvers<number>();
  const connection = new LoadConnection(port, '127.0.0.1', {
    answered: (_, status) => resolve(status < 400 ? performance.now() - startedMs : Infinity),
    failed: () => resolve(Infinity),
    gone: () => undefined,
  });
  connection.send(request);
  const limit = setTimeout(() => resolve(Infinity), PAUSE_MS);
  const tookMs = await promise;
  clearTimeout(limit);
  connection.destroy();
  return tookMs;
}

async function newCallers(port: number, request: Buffer): Promise<number[]> {
  const waits: Promise<number>[] = [];
  for (let caller = 0; caller < NEW_CONNECTIONS; caller += 1) {
    await pause(PAUSE_MS / 2 / NEW_CONNECTIONS);
    waits.push(newCaller(port, request));
  }
  return Promise.all(waits);
}

export interface Paused {
  /** Requests on connections of the worker that goes on, ms: while the other runs, and while it stands; pause by pause. */
  readonly calmMs: readonly (readonly number[])[];
  readonly pausedMs: readonly (readonly number[])[];
  readonly newMs: readonly number[];
  readonly lost: number;
  /** Of the sender, in the middle one of all these. */
  readonly lateP99Ms: number;
}

function p99Of(turns: readonly (readonly number[])[]): number[] {
  return turns.map((latencies) => quantile(latencies, 0.99));
}

async function pausedWorker({ target, request }: Fleet, pauses: number, seed: number): Promise<Paused> {
  const [stopped = 0, running = 0] = target.gateway?.workerPids() ?? [];
  using mine = await openedWithout(stopped, target.port, request);
  using others = await openedWithout(running, target.port, request);
  await pause(AFTER_MS);
  const calmMs: (readonly number[])[] = [];
  const pausedMs: (readonly number[])[] = [];
  const lateMs: number[] = [];
  const newMs: number[] = [];
  let lost = 0;
  const load = { request, seconds: PAUSE_MS / 1000 };
  const steady = async (into: (readonly number[])[], roundSeed: number): Promise<void> => {
    const [result, beside] = await Promise.all([
      paced({ ...load, ratePerSecond: STEADY_PER_SECOND, seed: roundSeed, connections: mine }),
      paced({ ...load, ratePerSecond: BESIDE_PER_SECOND, seed: roundSeed + 1, connections: others }),
    ]);
    into.push(result.latenciesMs);
    lateMs.push(result.lateP99Ms);
    lost += result.refused + result.failed + beside.refused + beside.failed;
  };
  for (let round = 0; round < pauses; round += 1) {
    process.stderr.write(`processes, pause ${round + 1} of ${pauses}\n`);
    await Promise.all([steady(calmMs, seed + 4 * round), newCallers(target.port, request)]);
    process.kill(stopped, 'SIGSTOP');
    // Long enough for the whole load: the sender's clock starts a moment later.
    const goOn = setTimeout(() => process.kill(stopped, 'SIGCONT'), PAUSE_MS + 300);
    try {
      const [, waits] = await Promise.all([
        steady(pausedMs, seed + 4 * round + 2),
        newCallers(target.port, request),
      ]);
      newMs.push(...waits);
    } finally {
      clearTimeout(goOn);
      process.kill(stopped, 'SIGCONT');
    }
    await pause(AFTER_MS);
  }
  return { calmMs, pausedMs, newMs, lost, lateP99Ms: median(lateMs) };
}

export function pausedRows({ calmMs, pausedMs, newMs, lost, lateP99Ms }: Paused): Row[] {
  const excuse = senderTooLate(lateP99Ms);
  return [
    {
      what: "p99 of one worker's callers while the other stands ÷ while it runs",
      unit: 'ratio',
      bound: { most: 1.1 },
      ...(excuse === undefined
        ? { value: median(ratios(p99Of(pausedMs), p99Of(calmMs))) }
        : { value: undefined, excuse }),
    },
    {
      what: 'new connections served while one worker stands',
      unit: 'share',
      value: newMs.filter((tookMs) => tookMs < PAUSE_MS / 2).length / newMs.length,
      bound: { least: 1 },
    },
    { what: 'slowest of these', unit: 'ms', value: Math.max(...newMs) },
    { what: 'requests lost', unit: 'count', value: lost, bound: { most: 0 } },
  ];
}

export async function severalWorkers(context: MeasureContext): Promise<Measured> {
  const rounds = context.rounds ?? ROUNDS;
  const seconds = context.seconds ?? (context.quick ? 2 : SECONDS);
  await using stack = new AsyncDisposableStack();
  const origin = stack.use(await startAnswering());
  const originUrl = `http://127.0.0.1:${origin.port}`;
  const fleets: Fleet[] = [];
  const contenders = [];
  for (const [name, workers] of [
    [ONE, 1],
    [TWO, 2],
  ] as const) {
    const { target } = stack.use(await startLogged(protectedYaml(originUrl, workers)));
    const requests = await returningCallers(target.port);
    fleets.push({ name, target, request: requestBytes(requests[0]?.headers ?? {}) });
    contenders.push({ name, target, requests });
  }
  const full = await flatTurns('processes, flat out', contenders, {
    rounds,
    seconds,
    warmUpSeconds: context.quick ? WARM_UP_SECONDS / 2 : WARM_UP_SECONDS,
  });
  const twoWorkers = fleets[1];
  const oneWorker = fleets[0];
  if (oneWorker === undefined || twoWorkers === undefined) throw new Error('no gateways');
  const fixed = await inTurns(
    'processes, at a fixed rate',
    rounds,
    [
      { fleet: oneWorker, rate: FIXED_PER_SECOND },
      { fleet: twoWorkers, rate: FIXED_PER_SECOND },
      { fleet: oneWorker, rate: FIXED_PER_SECOND / 2 },
    ],
    ({ fleet, rate }) => `${fleet.name} at ${rate}/s`,
    ({ fleet, rate }, round) => atFixedRate(fleet, rate, seconds, context.seed + round),
  );
  const [one = [], two = [], half = []] = fixed.values();
  const paused = await pausedWorker(twoWorkers, context.quick ? 2 : PAUSES, context.seed);
  const flat = ratios(full.cpuUs(TWO), full.cpuUs(ONE));
  return {
    rows: [
      {
        what: 'CPU a request, two workers ÷ one, flat out',
        value: median(flat),
        unit: 'ratio',
        bound: { most: 1.1 },
      },
      {
        what: `CPU a request, two workers ÷ one, at ${FIXED_PER_SECOND}/s`,
        unit: 'ratio',
        // Not judged: a worker that has less to do at a time costs more each time, one as well as two.
        value: median(ratios(two, one)),
      },
      {
        what: 'the same, two workers ÷ one with half of that rate: as much for each',
        unit: 'ratio',
        value: median(ratios(two, half)),
      },
      ...pausedRows(paused),
    ],
    figures: [
      full.figures,
      {
        caption: `CPU µs a request at ${FIXED_PER_SECOND}/s, medians of ${rounds} rounds of ${seconds} s`,
        head: ['', 'CPU µs', 'least–most'],
        rows: [
          [ONE, median(one).toFixed(1), spread(one, 1)],
          [TWO, median(two).toFixed(1), spread(two, 1)],
          [`${ONE} at ${FIXED_PER_SECOND / 2}/s`, median(half).toFixed(1), spread(half, 1)],
        ],
      },
      {
        caption: `callers of one worker (${CONNECTIONS_EACH} connections, ${STEADY_PER_SECOND}/s), ms, medians of the pauses`,
        head: ['while the other', 'p50', 'p99', 'least–most', 'answers'],
        rows: [
          ['runs', ...quantileCells(paused.calmMs)],
          ['stands', ...quantileCells(paused.pausedMs)],
        ],
      },
    ],
    notes: [
      partsNote(ONE, full.of(ONE)),
      partsNote(TWO, full.of(TWO)),
      `flat out: sent by ${senderName()}; ratios by round ${spread(flat, 3)}, at the fixed rate ${spread(ratios(two, one), 3)}`,
    ],
    data: { full: full.data, fixed: { one, two, half }, newMs: paused.newMs, lost: paused.lost },
  };
}

function quantileCells(turns: readonly (readonly number[])[]): string[] {
  const p99 = p99Of(turns);
  return [
    median(turns.map((latencies) => quantile(latencies, 0.5))).toFixed(3),
    median(p99).toFixed(3),
    spread(p99, 3),
    String(turns.flat().length),
  ];
}
