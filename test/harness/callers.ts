/**
 * An open loop of single callers, each on a connection of its own with a path of its own, who may leave before they are
 * answered. For what the sender of open-loop.ts, which keeps its connections, does not do: callers who are hostile one by
 * one. Dearer by far; some hundred a second.
 */
import { connect } from 'node:net';

import { seededRandom } from '../../src/kernel/random.ts';
import { arrivals } from './open-loop.ts';

export interface Caller {
  readonly path: string;
  /** Leaves so long after it has asked; undefined: it stays. 0: as soon as its bytes are out. */
  readonly leavesAfterMs?: number;
  /** In place of `GET path`. */
  readonly bytes?: string;
}

export interface CallersOptions {
  readonly port: number;
  readonly ratePerSecond: number;
  readonly seconds: number;
  readonly seed?: number;
  /** Who the n-th caller is. */
  readonly caller: (index: number) => Caller;
  /** A caller has left, of its own will. */
  readonly onLeave?: (path: string) => void;
  /** How often a caller who stays asks until it is served, at once each time; once when left out. */
  readonly tries?: number;
  /** When those who stay give up. */
  readonly timeoutMs?: number;
}

export interface CallersResult {
  /** Of those who stayed: how many, and their (last) answer by status; 0: no answer at all. */
  readonly stayed: number;
  readonly left: number;
  readonly statuses: Readonly<Record<number, number>>;
  /** From the moment of sending to the head of a 200, ms. */
  readonly servedMs: readonly number[];
}

/** One caller; resolves with the status, 0 without an answer, -1 when it left. */
async function call(port: number, caller: Caller, timeoutMs: number, onLeave: () => void): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  let text = '';
  let status = 0;
  const timer = setTimeout(() => socket.destroy(), timeoutMs);
  socket.on('error', () => undefined);
  socket.on('close', () => {
    clearTimeout(timer);
    resolve(status);
  });
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    if (status !== 0 || !text.includes('\r\n\r\n')) return;
    status = Number(text.slice(9, 12));
    socket.destroy();
  });
  socket.write(caller.bytes ?? `GET ${caller.path} HTTP/1.1\r\nhost: a.test\r\n\r\n`, () => {
    if (caller.leavesAfterMs === undefined) return;
    const leave = (): void => {
      if (status !== 0 || socket.destroyed) return;
      status = -1;
      onLeave();
      socket.destroy();
    };
    if (caller.leavesAfterMs === 0) leave();
    else setTimeout(leave, caller.leavesAfterMs);
  });
  return promise;
}

export async function runCallers(options: CallersOptions): Promise<CallersResult> {
  const { port, ratePerSecond, seconds, caller, onLeave, tries = 1, timeoutMs = 10_000 } = options;
  const next = arrivals([{ seconds, ratePerSecond }], seededRandom(options.seed ?? 3));
  const startedMs = performance.now();
  const statuses: Record<number, number> = {};
  const servedMs: number[] = [];
  const calls: Promise<void>[] = [];
  let stayed = 0;
  let left = 0;
  const one = async (who: Caller): Promise<void> => {
    const fromMs = performance.now();
    const ask = async (): Promise<number> => await call(port, who, timeoutMs, () => onLeave?.(who.path));
    let status = await ask();
    for (let turn = 1; turn < tries && (status === 0 || status >= 500); turn += 1) status = await ask();
    if (status < 0 || who.leavesAfterMs !== undefined) {
      left += 1;
      return;
    }
    stayed += 1;
    statuses[status] = (statuses[status] ?? 0) + 1;
    if (status === 200) servedMs.push(performance.now() - fromMs);
  };
  const done = Promise.withResolvers<void>();
  let dueMs = next();
  const tick = (): void => {
    const nowMs = performance.now() - startedMs;
    for (; dueMs <= nowMs; dueMs = next()) calls.push(one(caller(calls.length)));
    if (dueMs === Infinity) done.resolve();
    else setTimeout(tick, 1);
  };
  tick();
  await done.promise;
  await Promise.all(calls);
  return { stayed, left, statuses, servedMs };
}
