/**
 * The part of the open-loop sender that owns connections: who is due is written at once, on an idle connection or a new
 * one; what comes back is counted. Callers that retry come back as attempts of their own, each timed from the moment it
 * was meant to leave.
 *
 * Idle connections are kept by the worker that answers on them. By default the last one used is used again; `spread`
 * sends each request to the worker that was sent the fewest, however unevenly the kernel gave out the connections.
 */
import type { Random } from '../../src/kernel/random.ts';
import { LoadConnection } from './load-connection.ts';
import type { Failure } from './load-connection.ts';
import type { LoadJournal } from './load-journal.ts';
import type { LoadStatistics } from './load-statistics.ts';

/** How callers come back when they are refused. */
export interface RetryPolicy {
  /** After the first attempt. */
  readonly retries: number;
  /** Ms until the next attempt. `attempt`: of the refused one, 0 for the first. `retryAfterSeconds`: NaN without. */
  readonly pauseMs: (attempt: number, retryAfterSeconds: number, random: Random) => number;
}

export interface RequestClass {
  readonly name: string;
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface SenderOptions {
  readonly port: number;
  readonly host?: string;
  readonly classes: readonly RequestClass[];
  /** When a caller gives up, from the intended moment. */
  readonly timeoutMs?: number;
  readonly maxConnections?: number;
  readonly retryStale?: boolean;
  /** What callers of all classes do when they are refused; by default they go away. */
  readonly retry?: RetryPolicy;
  /** As many requests to each worker, whatever number of connections it has. */
  readonly spread?: boolean;
}

export interface Sent {
  readonly classIndex: number;
  /** Since the start of the run. */
  readonly atMs: number;
  /** The intended moment of the first attempt. */
  readonly firstAtMs: number;
  readonly attempt: number;
  /** Repeated on another connection, since a reused one had ended. */
  resent: boolean;
}

/** What the sender tells about the run. */
export interface SenderEnds {
  readonly statistics: LoadStatistics;
  readonly journal: LoadJournal | undefined;
  readonly random: Random;
  readonly startedAt: number;
  /** Nobody comes back after this moment, ms since the start. */
  readonly retryUntilMs: number;
}

/** The bytes of one request of a class. */
function requestBytes(load: RequestClass, host: string, port: number): Buffer {
  const body = load.body ?? '';
  const lines = [`${load.method ?? 'GET'} ${load.path ?? '/'} HTTP/1.1`, `host: ${host}:${port}`];
  for (const [name, value] of Object.entries(load.headers ?? {})) lines.push(`${name}: ${value}`);
  if (body !== '') lines.push(`content-length: ${Buffer.byteLength(body)}`);
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`);
}

/** With `spread`: as many connections are opened in the hope that the kernel gives them to the worker that has none idle. */
const SPREAD_CONNECTIONS = 600;

/** Idle connections of one worker; all of them, until one is told from another. */
interface Pool {
  readonly idle: LoadConnection[];
  sent: number;
}

export class Sender {
  readonly #host: string;
  readonly #port: number;
  readonly #timeoutMs: number;
  readonly #maxConnections: number;
  readonly #retryStale: boolean;
  readonly #spread: boolean;
  readonly #retry: RetryPolicy | undefined;
  readonly #requests: readonly Buffer[];
  readonly #ends: SenderEnds;
  readonly #pools = new Map<string, Pool>();
  /** In order of sending, so the oldest is the first. */
  readonly #inFlight = new Map<LoadConnection, Sent>();
  readonly #unsent: Sent[] = [];
  #unsentHead = 0;
  #connections = 0;
  #returning = 0;

  constructor(options: SenderOptions, ends: SenderEnds) {
    this.#host = options.host ?? '127.0.0.1';
    this.#port = options.port;
    this.#timeoutMs = options.timeoutMs ?? 5000;
    this.#maxConnections = options.maxConnections ?? 4096;
    this.#retryStale = options.retryStale ?? true;
    this.#spread = options.spread ?? false;
    this.#retry = options.retry;
    this.#requests = options.classes.map((load) => requestBytes(load, this.#host, this.#port));
    this.#ends = ends;
  }

  /** Without an answer, and callers who will come back. */
  get pending(): number {
    return this.#inFlight.size + this.#unsent.length - this.#unsentHead + this.#returning;
  }

  /** Connections by worker, of those that are idle now. */
  get idleByWorker(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#pools].map(([worker, { idle }]) => [worker, idle.length]));
  }

  /** `lateMs`: how long after its intended moment this is called. */
  send(sent: Sent, lateMs: number): void {
    this.#ends.statistics.offered(sent.classIndex, sent.atMs, lateMs);
    this.#dispatch(sent);
  }

  #dispatch(sent: Sent): void {
    let connection = this.#takeIdle();
    if (connection === undefined) {
      if (this.#connections >= this.#maxConnections) {
        this.#unsent.push(sent);
        return;
      }
      connection = this.#open();
    }
    this.#write(connection, sent);
  }

  #takeIdle(): LoadConnection | undefined {
    if (!this.#spread) return this.#poolOf('').idle.pop();
    const pools = [...this.#pools.values()].toSorted((a, b) => a.sent - b.sent);
    // A worker without an idle connection may get one more; when it never does, the others take its share.
    const candidates = this.#connections < SPREAD_CONNECTIONS ? pools.slice(0, 1) : pools;
    const pool = candidates.find(({ idle }) => idle.length > 0);
    if (pool === undefined) return undefined;
    pool.sent += 1;
    return pool.idle.pop();
  }

  #poolOf(worker: string): Pool {
    const key = this.#spread ? worker : '';
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      pool = { idle: [], sent: 0 };
      this.#pools.set(key, pool);
    }
    return pool;
  }

  #open(): LoadConnection {
    this.#connections += 1;
    return new LoadConnection(this.#port, this.#host, {
      answered: (connection, status, code, reusable) => this.#answered(connection, status, code, reusable),
      failed: (connection, failure, untouched) => this.#failed(connection, failure, untouched),
      gone: (connection) => {
        this.#connections -= 1;
        const { idle } = this.#poolOf(connection.worker);
        const at = idle.indexOf(connection);
        if (at >= 0) idle.splice(at, 1);
      },
    });
  }

  #write(connection: LoadConnection, sent: Sent): void {
    const bytes = this.#requests[sent.classIndex];
    if (bytes === undefined) return;
    this.#inFlight.set(connection, sent);
    connection.send(bytes);
  }

  #answered(connection: LoadConnection, status: number, code: string, reusable: boolean): void {
    const sent = this.#inFlight.get(connection);
    this.#inFlight.delete(connection);
    if (sent !== undefined) {
      const { statistics, journal, startedAt } = this.#ends;
      const nowMs = performance.now() - startedAt;
      const tookMs = nowMs - sent.atMs;
      const refused = status === 429 || status === 503;
      statistics.answered(sent.classIndex, sent.atMs, tookMs, status, code);
      const queuedMs = status < 400 ? Number.NaN : connection.queuedMs;
      const fate = status < 400 ? 'served' : refused ? 'refused' : 'failed';
      journal?.add({ ...sent, tookMs, fate, code, queuedMs, worker: connection.worker });
      if (refused) this.#comeBack(sent, connection.retryAfterSeconds, nowMs);
    }
    if (reusable) this.#poolOf(connection.worker).idle.push(connection);
    else this.#connections -= 1;
    this.#sendWaiting();
  }

  /** A refused caller that retries: an attempt of its own, later. */
  #comeBack(refused: Sent, retryAfterSeconds: number, nowMs: number): void {
    const { startedAt, retryUntilMs, random } = this.#ends;
    const policy = this.#retry;
    if (policy === undefined || refused.attempt >= policy.retries) return;
    const pauseMs = policy.pauseMs(refused.attempt, retryAfterSeconds, random);
    const atMs = nowMs + pauseMs;
    if (atMs >= retryUntilMs) return;
    this.#returning += 1;
    setTimeout(() => {
      this.#returning -= 1;
      const { classIndex, firstAtMs, attempt } = refused;
      const next = { classIndex, firstAtMs, atMs, attempt: attempt + 1, resent: false };
      this.send(next, Math.max(0, performance.now() - startedAt - atMs));
    }, pauseMs);
  }

  #failed(connection: LoadConnection, failure: Failure, untouched: boolean): void {
    const sent = this.#inFlight.get(connection);
    this.#inFlight.delete(connection);
    this.#connections -= 1;
    if (sent === undefined) return;
    if (untouched && this.#retryStale && !sent.resent) {
      sent.resent = true;
      this.#ends.statistics.retried();
      this.#write(this.#open(), sent);
      return;
    }
    this.#lose(sent, failure, connection.worker);
    this.#sendWaiting();
  }

  #lose(sent: Sent, failure: Failure | 'unsent', worker: string): void {
    const { statistics, journal, startedAt } = this.#ends;
    statistics.failed(sent.classIndex, sent.atMs, failure);
    const tookMs = performance.now() - startedAt - sent.atMs;
    journal?.add({ ...sent, tookMs, fate: 'failed', code: failure, queuedMs: Number.NaN, worker });
  }

  #sendWaiting(): void {
    const next = this.#unsent[this.#unsentHead];
    if (next === undefined) return;
    this.#unsentHead += 1;
    if (this.#unsentHead > 4096) {
      this.#unsent.splice(0, this.#unsentHead);
      this.#unsentHead = 0;
    }
    this.#dispatch(next);
  }

  /** Gives up what is older than the time-out. `nowMs` since the start. */
  expire(nowMs: number): void {
    for (const [connection, sent] of this.#inFlight) {
      // A resent request is younger in this map than its time of sending says: it may hide nobody for long.
      if (nowMs - sent.atMs < this.#timeoutMs) break;
      this.#inFlight.delete(connection);
      this.#connections -= 1;
      connection.destroy();
      this.#lose(sent, 'timeout', connection.worker);
    }
    for (;;) {
      const oldest = this.#unsent[this.#unsentHead];
      if (oldest === undefined || nowMs - oldest.atMs < this.#timeoutMs) break;
      this.#unsentHead += 1;
      this.#lose(oldest, 'unsent', '');
    }
    // Those given up left room for others.
    while (this.#connections < this.#maxConnections && this.#unsentHead < this.#unsent.length)
      this.#sendWaiting();
  }

  close(): void {
    for (const { idle } of this.#pools.values()) for (const connection of idle) connection.destroy();
    for (const connection of this.#inFlight.keys()) connection.destroy();
  }
}
