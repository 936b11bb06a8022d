/**
 * The open-loop sender: Poisson arrivals that do not wait for answers, each timed from the moment it was *meant* to
 * leave. A closed loop slows down with the server and so hides overload (coordinated omission); users do not.
 *
 * Arrivals are drawn beforehand one by one; a 1 ms timer sends what is due, so the sender adds about a millisecond,
 * reports how much (`senderLag…`), and needs no busy loop. Keep-alive connections are reused, last used first; a new one
 * is opened when none is idle, up to `maxConnections`, past which requests wait in the sender, their clocks running.
 * A request on a reused connection that ends before any byte came is sent once more, as every HTTP client does; those
 * are counted apart.
 */
import { seededRandom } from '../../src/kernel/random.ts';
import type { Random } from '../../src/kernel/random.ts';
import { LoadConnection } from './load-connection.ts';
import type { Failure } from './load-connection.ts';
import { LoadStatistics } from './load-statistics.ts';
import type { LoadResult } from './load-statistics.ts';

export interface LoadClass {
  readonly name: string;
  /** Share of all arrivals; shares are relative to their sum. */
  readonly share: number;
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface Phase {
  readonly seconds: number;
  readonly ratePerSecond: number;
}

export interface OpenLoopOptions {
  readonly port: number;
  readonly host?: string;
  readonly classes: readonly LoadClass[];
  /** Run one after the other without a gap. */
  readonly phases: readonly Phase[];
  readonly slaMs: number;
  /** When a caller gives up, from the intended moment. */
  readonly timeoutMs?: number;
  /** Requests intended before this moment are sent, and shown in the bins, but not counted. */
  readonly measureFromMs?: number;
  /** Likewise for requests intended from this moment on. */
  readonly measureUntilMs?: number;
  readonly maxConnections?: number;
  readonly binMs?: number;
  readonly seed?: number;
  readonly retryStale?: boolean;
  /** Ends the arrivals early; what is in flight is still waited for. */
  readonly signal?: AbortSignal;
  /** Called at the start with a look at the run: how many requests are unanswered, and ms since the start. */
  readonly onStart?: (look: () => { readonly pending: number; readonly atMs: number }) => void;
}

interface Sent {
  readonly classIndex: number;
  /** Since the start of the run. */
  readonly atMs: number;
  retried: boolean;
}

/** The bytes of one request of a class. */
function requestBytes(load: LoadClass, host: string, port: number): Buffer {
  const body = load.body ?? '';
  const lines = [`${load.method ?? 'GET'} ${load.path ?? '/'} HTTP/1.1`, `host: ${host}:${port}`];
  for (const [name, value] of Object.entries(load.headers ?? {})) lines.push(`${name}: ${value}`);
  if (body !== '') lines.push(`content-length: ${Buffer.byteLength(body)}`);
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`);
}

class Sender {
  readonly #host: string;
  readonly #port: number;
  readonly #timeoutMs: number;
  readonly #maxConnections: number;
  readonly #retryStale: boolean;
  readonly #requests: readonly Buffer[];
  readonly #statistics: LoadStatistics;
  readonly #startedAt: number;
  readonly #idle: LoadConnection[] = [];
  /** In order of sending, so the oldest is the first. */
  readonly #inFlight = new Map<LoadConnection, Sent>();
  readonly #unsent: Sent[] = [];
  #unsentHead = 0;
  #connections = 0;

  constructor(options: OpenLoopOptions, statistics: LoadStatistics, startedAt: number) {
    this.#host = options.host ?? '127.0.0.1';
    this.#port = options.port;
    this.#timeoutMs = options.timeoutMs ?? 5000;
    this.#maxConnections = options.maxConnections ?? 4096;
    this.#retryStale = options.retryStale ?? true;
    this.#requests = options.classes.map((load) => requestBytes(load, this.#host, this.#port));
    this.#statistics = statistics;
    this.#startedAt = startedAt;
  }

  get pending(): number {
    return this.#inFlight.size + this.#unsent.length - this.#unsentHead;
  }

  send(sent: Sent): void {
    let connection = this.#idle.pop();
    if (connection === undefined) {
      if (this.#connections >= this.#maxConnections) {
        this.#unsent.push(sent);
        return;
      }
      connection = this.#open();
    }
    this.#write(connection, sent);
  }

  #open(): LoadConnection {
    this.#connections += 1;
    return new LoadConnection(this.#port, this.#host, {
      answered: (connection, status, code, reusable) => this.#answered(connection, status, code, reusable),
      failed: (connection, failure, untouched) => this.#failed(connection, failure, untouched),
      gone: (connection) => {
        this.#connections -= 1;
        const at = this.#idle.indexOf(connection);
        if (at >= 0) this.#idle.splice(at, 1);
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
      const tookMs = performance.now() - this.#startedAt - sent.atMs;
      this.#statistics.answered(sent.classIndex, sent.atMs, tookMs, status, code);
    }
    if (reusable) this.#idle.push(connection);
    else this.#connections -= 1;
    this.#sendWaiting();
  }

  #failed(connection: LoadConnection, failure: Failure, untouched: boolean): void {
    const sent = this.#inFlight.get(connection);
    this.#inFlight.delete(connection);
    this.#connections -= 1;
    if (sent === undefined) return;
    if (untouched && this.#retryStale && !sent.retried) {
      sent.retried = true;
      this.#statistics.retried();
      this.#write(this.#open(), sent);
      return;
    }
    this.#statistics.failed(sent.classIndex, sent.atMs, failure);
    this.#sendWaiting();
  }

  #sendWaiting(): void {
    const next = this.#unsent[this.#unsentHead];
    if (next === undefined) return;
    this.#unsentHead += 1;
    if (this.#unsentHead > 4096) {
      this.#unsent.splice(0, this.#unsentHead);
      this.#unsentHead = 0;
    }
    this.send(next);
  }

  /** Gives up what is older than the time-out. `nowMs` since the start. */
  expire(nowMs: number): void {
    for (const [connection, sent] of this.#inFlight) {
      // A retried request is younger in this map than its time of sending says: it may hide nobody for long.
      if (nowMs - sent.atMs < this.#timeoutMs) break;
      this.#inFlight.delete(connection);
      this.#connections -= 1;
      connection.destroy();
      this.#statistics.failed(sent.classIndex, sent.atMs, 'timeout');
    }
    for (;;) {
      const oldest = this.#unsent[this.#unsentHead];
      if (oldest === undefined || nowMs - oldest.atMs < this.#timeoutMs) break;
      this.#unsentHead += 1;
      this.#statistics.failed(oldest.classIndex, oldest.atMs, 'unsent');
    }
    // Those given up left room for others.
    while (this.#connections < this.#maxConnections && this.#unsentHead < this.#unsent.length)
      this.#sendWaiting();
  }

  close(): void {
    for (const connection of [...this.#idle, ...this.#inFlight.keys()]) connection.destroy();
  }
}

/** The moments of a Poisson process, phase by phase, in ms since the start; Infinity after the last phase. */
export function arrivals(phases: readonly Phase[], random: Random): () => number {
  let phaseIndex = 0;
  let phaseStartMs = 0;
  let atMs = 0;
  return () => {
    for (;;) {
      const phase = phases[phaseIndex];
      if (phase === undefined) return Infinity;
      const phaseEndMs = phaseStartMs + phase.seconds * 1000;
      // Memoryless: what is left of a gap at the end of a phase is drawn anew at the next phase's rate.
      const next =
        atMs + (phase.ratePerSecond > 0 ? (-Math.log(1 - random()) * 1000) / phase.ratePerSecond : Infinity);
      if (next < phaseEndMs) {
        atMs = next;
        return next;
      }
      atMs = phaseEndMs;
      phaseStartMs = phaseEndMs;
      phaseIndex += 1;
    }
  };
}

/** Which class the next arrival has, by shares. */
function classPicker(classes: readonly LoadClass[], random: Random): () => number {
  let sum = 0;
  const bounds = classes.map((load) => {
    sum += load.share;
    return sum;
  });
  return () => {
    const point = random() * sum;
    const index = bounds.findIndex((bound) => point < bound);
    return index < 0 ? bounds.length - 1 : index;
  };
}

/** Runs all phases, waits for what is in flight, and returns what came of it. */
export async function runOpenLoop(options: OpenLoopOptions): Promise<LoadResult> {
  const totalMs = options.phases.reduce((sum, phase) => sum + phase.seconds * 1000, 0);
  const measureFromMs = options.measureFromMs ?? 0;
  const measureUntilMs = Math.min(options.measureUntilMs ?? totalMs, totalMs);
  const names = options.classes.map((load) => load.name);
  const statistics = new LoadStatistics(names, options.slaMs, options.binMs ?? 1000, {
    measureFromMs,
    measureUntilMs,
  });
  const nextArrival = arrivals(options.phases, seededRandom(options.seed ?? 1));
  const pickClass = classPicker(options.classes, seededRandom((options.seed ?? 1) + 1));
  const startedAt = performance.now();
  const sender = new Sender(options, statistics, startedAt);
  options.onStart?.(() => ({ pending: sender.pending, atMs: performance.now() - startedAt }));
  const done = Promise.withResolvers<void>();
  let nextMs = nextArrival();
  let endedMs = totalMs;
  let expireAtMs = 0;

  const tick = (): void => {
    const nowMs = performance.now() - startedAt;
    if (options.signal?.aborted === true && nextMs !== Infinity) {
      nextMs = Infinity;
      endedMs = nowMs;
    }
    while (nextMs <= nowMs) {
      const classIndex = pickClass();
      statistics.offered(classIndex, nextMs, nowMs - nextMs);
      sender.send({ classIndex, atMs: nextMs, retried: false });
      nextMs = nextArrival();
    }
    if (nowMs >= expireAtMs) {
      sender.expire(nowMs);
      expireAtMs = nowMs + 20;
    }
    if (nextMs === Infinity && sender.pending === 0) done.resolve();
    else setTimeout(tick, 1);
  };
  tick();
  await done.promise;
  sender.close();
  return statistics.result(Math.max(0.001, (Math.min(endedMs, measureUntilMs) - measureFromMs) / 1000));
}
