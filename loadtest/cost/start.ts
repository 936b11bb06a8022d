/**
 * F6: how long a worker takes from its start as a process to its first answer. The supervisor holds the listening socket,
 * so a caller who connects while no worker runs waits in the kernel's queue and is answered as soon as there is one.
 *
 * The worker is killed; its successor is told by its process id, looked for each millisecond from the kill on, and a
 * request that waits since the kill says when it answers. Also told: the time since the kill, which is what callers notice, and the same of a
 * gateway that starts.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

import { LoadConnection } from '../../test/harness/load-connection.ts';
import { startGateway } from '../../test/harness/gateway.ts';
import { freePorts } from '../../test/harness/ports.ts';
import { descendants } from '../../test/harness/process.ts';
import type { Measured, MeasureContext } from '../measure.ts';
import { startAnswering } from '../targets.ts';
import { median, spread } from '../turns.ts';
import { requestBytes } from './paced.ts';
import { FIRST_VISIT, protectedYaml } from './protected.ts';

const ROUNDS = 7;
const QUICK_ROUNDS = 3;
const PATIENCE_MS = 20_000;
const REQUEST = requestBytes(FIRST_VISIT.headers);

/** The status of one request over a connection of its own; 0 when nobody answers. */
function ask(port: number): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const connection = new LoadConnection(port, '127.0.0.1', {
    answered: (_, status) => resolve(status),
    failed: () => resolve(0),
    gone: () => undefined,
  });
  connection.send(REQUEST);
  const limit = setTimeout(() => resolve(0), PATIENCE_MS);
  return promise.finally(() => {
    clearTimeout(limit);
    connection.destroy();
  });
}

/** The moment of the first 200, by `performance.now()`. */
async function firstAnswer(port: number): Promise<number> {
  const untilMs = performance.now() + PATIENCE_MS;
  while (performance.now() < untilMs) {
    if ((await ask(port)) === 200) return performance.now();
    await pause(2);
  }
  throw new Error(`no answer within ${PATIENCE_MS} ms`);
}

function childrenOf(pid: number): readonly number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1');
    return text.split(' ').filter(Boolean).map(Number);
  } catch {
    return descendants(pid);
  }
}

/** The moment at which `pid` has a child that is none of `known`. */
async function newChild(pid: number, known: readonly number[]): Promise<number> {
  const untilMs = performance.now() + PATIENCE_MS;
  while (performance.now() < untilMs) {
    if (childrenOf(pid).some((child) => !known.includes(child))) return performance.now();
    await pause(1);
  }
  throw new Error('the worker that was killed got no successor');
}

interface Start {
  /** From the start of the worker's process to its first answer, ms. */
  readonly workerMs: number;
  /** From the death of the one before, ms. */
  readonly goneMs: number;
  /** From the command that starts a gateway to its first answer, ms. */
  readonly gatewayMs: number;
}

async function startOnce(originUrl: string): Promise<Start> {
  const [port = 0, adminPort = 0] = await freePorts(2);
  const commandAt = performance.now();
  const answered = firstAnswer(port);
  await using gateway = await startGateway(protectedYaml(originUrl), {
    discardStdout: true,
    ports: { port, adminPort },
  });
  const gatewayMs = (await answered) - commandAt;
  const known = gateway.workerPids();
  const [worker = 0] = known;
  const killedAt = performance.now();
  process.kill(worker, 'SIGKILL');
  const [bornAt, answeredAt] = await Promise.all([newChild(gateway.pid, known), firstAnswer(port)]);
  return { workerMs: answeredAt - bornAt, goneMs: answeredAt - killedAt, gatewayMs };
}

export async function startOfWorkers(context: MeasureContext): Promise<Measured> {
  const rounds = context.rounds ?? (context.quick ? QUICK_ROUNDS : ROUNDS);
  await using origin = await startAnswering();
  const starts: Start[] = [];
  // Once for nothing: whether Node has compiled these files before is not the question.
  await startOnce(`http://127.0.0.1:${origin.port}`);
  for (let round = 1; round <= rounds; round += 1) {
    process.stderr.write(`start, round ${round} of ${rounds}\n`);
    starts.push(await startOnce(`http://127.0.0.1:${origin.port}`));
  }
  const cells = (what: string, of: (start: Start) => number): string[] => {
    const values = starts.map((start) => of(start));
    return [what, median(values).toFixed(0), spread(values, 0)];
  };
  return {
    rows: [
      {
        what: 'start of a worker to its first answer',
        unit: 'ms',
        value: median(starts.map(({ workerMs }) => workerMs)),
        bound: { most: 400 },
        goal: { most: 250 },
      },
    ],
    figures: [
      {
        caption: `ms, medians of ${rounds} rounds`,
        head: ['', 'ms', 'least–most'],
        rows: [
          cells('start of a worker to its first answer', ({ workerMs }) => workerMs),
          cells('death of a worker to the first answer of the next', ({ goneMs }) => goneMs),
          cells('start of a gateway to its first answer', ({ gatewayMs }) => gatewayMs),
        ],
      },
    ],
    notes: [],
    data: starts,
  };
}
