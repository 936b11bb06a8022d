/**
 * F6: what an idle keep-alive connection costs in memory, at 5 000 of them that had one answer each, beside bare
 * `node:http` with as many. Fresh processes each round, each warmed up by some requests over other connections; told is the
 * resident memory of the process that holds the connections, after minus before, ÷ 5 000.
 */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

import { residentBytes } from '../../test/harness/process.ts';
import { flatOut } from '../flat-out.ts';
import type { Measured, MeasureContext } from '../measure.ts';
import { startAnswering } from '../targets.ts';
import { inTurns, median, ratios, spread } from '../turns.ts';
import { requestBytes } from './paced.ts';
import { FIRST_VISIT, protectedYaml, startLogged } from './protected.ts';

const ROUNDS = 3;
const CONNECTIONS = 5000;
/** Half takes twice as long; double overflows the accept queue of a server that is starting. */
const AT_A_TIME = 100;
const SETTLE_MS = 2500;

class IdleConnections implements Disposable {
  readonly #sockets: Socket[] = [];

  /** Opens `count`, sends one request over each and waits for its answer. */
  async open(port: number, count: number, request: Buffer): Promise<void> {
    for (let opened = 0; opened < count; opened += AT_A_TIME)
      await Promise.all(Array.from({ length: AT_A_TIME }, () => this.#one(port, request)));
  }

  async #one(port: number, request: Buffer): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const socket = connect({ port, host: '127.0.0.1' });
    this.#sockets.push(socket);
    socket.write(request);
    socket.once('data', (piece: Buffer) => {
      const status = piece.toString('latin1', 9, 12);
      if (status === '200') resolve();
      else reject(new Error(`connection ${this.#sockets.length} was answered ${status}`));
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error(`connection ${this.#sockets.length} was closed`)));
    await promise;
  }

  get closed(): number {
    return this.#sockets.filter(({ readyState }) => readyState !== 'open').length;
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) {
      socket.removeAllListeners();
      socket.on('error', () => undefined);
      socket.destroy();
    }
  }
}

/** KiB a connection. */
async function growthOf(port: number, pid: number): Promise<number> {
  await flatOut({ port, seconds: 2, connections: 16, requests: [FIRST_VISIT] });
  await pause(SETTLE_MS);
  const before = residentBytes(pid);
  using idle = new IdleConnections();
  await idle.open(port, CONNECTIONS, requestBytes(FIRST_VISIT.headers));
  await pause(SETTLE_MS);
  const after = residentBytes(pid);
  if (idle.closed > 0) throw new Error(`${idle.closed} of ${CONNECTIONS} idle connections were closed`);
  return (after - before) / CONNECTIONS / 1024;
}

const GATEWAY = 'gateway';
const ALONE = 'node:http alone';

export async function idleMemory(context: MeasureContext): Promise<Measured> {
  const rounds = context.rounds ?? ROUNDS;
  await using origin = await startAnswering();
  const turns = await inTurns('idle-memory', rounds, [GATEWAY, ALONE] as const, String, async (name) => {
    if (name === ALONE) {
      await using alone = await startAnswering();
      return await growthOf(alone.port, alone.pid);
    }
    await using ours = await startLogged(protectedYaml(`http://127.0.0.1:${origin.port}`));
    return await growthOf(ours.gateway.port, ours.gateway.workerPids()[0] ?? 0);
  });
  const [ours, alone] = [turns.get(GATEWAY) ?? [], turns.get(ALONE) ?? []];
  const byRound = ratios(ours, alone);
  return {
    rows: [
      {
        what: `memory of an idle connection at ${CONNECTIONS} ÷ that of node:http`,
        unit: 'ratio',
        value: median(byRound),
        bound: { most: 1.5 },
      },
    ],
    figures: [
      {
        caption: `KiB of resident memory a connection, medians of ${rounds} rounds`,
        head: ['', 'KiB', 'least–most'],
        rows: [
          [GATEWAY, median(ours).toFixed(1), spread(ours, 1)],
          [ALONE, median(alone).toFixed(1), spread(alone, 1)],
        ],
      },
    ],
    notes: [`ratios by round ${spread(byRound, 2)}`],
    data: { gateway: ours, alone },
  };
}
