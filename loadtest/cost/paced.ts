/**
 * An open loop for latencies of tenths of a millisecond: Poisson arrivals at a rate, each timed from the moment it was
 * meant to leave, sent by the clock of pacer.ts over keep-alive connections. Slower per request than the open loop of the
 * overload cases, ten times as punctual.
 */
import { Worker } from 'node:worker_threads';

import { seededRandom } from '../../src/kernel/random.ts';
import { LoadConnection } from '../../test/harness/load-connection.ts';
import { arrivals } from '../../test/harness/open-loop.ts';
import { quantile } from '../turns.ts';
import type { PacerData } from './pacer.ts';

export function requestBytes(headers: Readonly<Record<string, string>>): Buffer {
  const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`GET /item?id=1 HTTP/1.1\r\nhost: shop\r\n${fields.join('')}\r\n`);
}

export interface PacedOptions {
  readonly ratePerSecond: number;
  readonly seconds: number;
  readonly seed: number;
  readonly request: Buffer;
  readonly connections: Connections;
}

export interface PacedResult {
  /** Of answered requests below 400, in the order of their answers. */
  readonly latenciesMs: readonly number[];
  readonly refused: number;
  readonly failed: number;
  /** Requests for which no connection was free: not sent. */
  readonly unsent: number;
  /** How late the sender itself was, 99 of 100. */
  readonly lateP99Ms: number;
}

/** Whoever has no answer by then is not waited for. */
const PATIENCE_MS = 10_000;

interface Listener {
  readonly answered: (connection: LoadConnection, status: number) => void;
  readonly failed: () => void;
}

/** Keep-alive connections to one port. One that ended is replaced; the load through them is one run's at a time. */
export class Connections implements Disposable {
  readonly #port: number;
  readonly #open = new Set<LoadConnection>();
  readonly #idle: LoadConnection[] = [];
  #listener: Listener | undefined;
  #over = false;

  constructor(port: number, count: number) {
    this.#port = port;
    for (let index = 0; index < count; index += 1) this.#add();
  }

  #add(): void {
    if (this.#over) return;
    const connection = new LoadConnection(this.#port, '127.0.0.1', {
      answered: (each, status, _code, reusable) => {
        this.#listener?.answered(each, status);
        if (reusable && this.#open.has(each)) this.#idle.push(each);
        else this.#lose(each);
      },
      failed: (each) => {
        this.#listener?.failed();
        this.#lose(each);
      },
      gone: (each) => this.#lose(each),
    });
    this.#open.add(connection);
    this.#idle.push(connection);
  }

  #lose(connection: LoadConnection): void {
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    if (this.#open.delete(connection)) this.#add();
  }

  /** Every connection in turn, so that all stay warm. */
  take(): LoadConnection | undefined {
    return this.#idle.shift();
  }

  listen(listener: Listener | undefined): void {
    this.#listener = listener;
  }

  /** Sends one request over each and waits for all answers. @throws when one is refused or fails */
  async once(request: Buffer): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let left = this.#idle.length;
    this.listen({
      answered: (_, status) => {
        left -= 1;
        if (status >= 400) reject(new Error(`a first request was answered ${status}`));
        else if (left === 0) resolve();
      },
      failed: () => reject(new Error('a first request failed')),
    });
    for (let each = this.take(); each !== undefined; each = this.take()) each.send(request);
    const limit = setTimeout(() => reject(new Error('first requests were not answered')), PATIENCE_MS);
    try {
      await promise;
    } finally {
      clearTimeout(limit);
      this.listen(undefined);
    }
  }

  [Symbol.dispose](): void {
    this.#over = true;
    for (const connection of this.#open) connection.destroy();
  }
}

function momentsOf({ ratePerSecond, seconds, seed }: PacedOptions): Float64Array {
  const next = arrivals([{ seconds, ratePerSecond }], seededRandom(seed));
  const moments: number[] = [];
  for (let atMs = next(); atMs !== Infinity; atMs = next()) moments.push(atMs);
  return Float64Array.from(moments);
}

export async function paced(options: PacedOptions): Promise<PacedResult> {
  const { connections, request } = options;
  const momentsMs = momentsOf(options);
  // The thread takes a while to start.
  const startMs = Number(process.hrtime.bigint()) / 1e6 + 200;
  const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6 - startMs;
  const inFlight = new Map<LoadConnection, number>();
  const latenciesMs: number[] = [];
  const lateMs: number[] = [];
  let [refused, failed, unsent, settled] = [0, 0, 0, 0];
  const done = Promise.withResolvers<void>();
  const settle = (): void => {
    settled += 1;
    if (settled === momentsMs.length) done.resolve();
  };
  connections.listen({
    answered: (connection, status) => {
      const intendedMs = inFlight.get(connection);
      if (intendedMs === undefined) return;
      inFlight.delete(connection);
      if (status < 400) latenciesMs.push(nowMs() - intendedMs);
      else refused += 1;
      settle();
    },
    failed: () => {
      failed += 1;
      settle();
    },
  });
  const workerData: PacerData = { startMs, momentsMs };
  const pacer = new Worker(new URL('pacer.ts', import.meta.url), { workerData });
  pacer.on('message', ([from, until]: readonly [number, number]) => {
    for (let index = from; index < until; index += 1) {
      const intendedMs = momentsMs[index] ?? 0;
      lateMs.push(nowMs() - intendedMs);
      const connection = connections.take();
      if (connection === undefined) {
        unsent += 1;
        settle();
        continue;
      }
      inFlight.set(connection, intendedMs);
      connection.send(request);
    }
  });
  pacer.once('error', done.reject);
  const limit = setTimeout(done.resolve, options.seconds * 1000 + PATIENCE_MS);
  try {
    await done.promise;
  } finally {
    clearTimeout(limit);
    connections.listen(undefined);
    await pacer.terminate();
  }
  return {
    latenciesMs,
    refused,
    failed: failed + momentsMs.length - settled,
    unsent,
    lateP99Ms: quantile(lateMs, 0.99),
  };
}
