import { fork, type ChildProcess } from 'node:child_process';
import { errorMessage } from './error-message.ts';
import type { BoundHandle } from './listen-sockets.ts';
import type { ToSupervisor, ToWorker } from './ipc.ts';

/**
 * Workers as processes: started, watched, started again with growing pauses, replaced.
 *
 * One is replaced by starting another *beside* it (`startBeside`), which takes its place only when it serves (`succeed`;
 * worker-roll.ts asks for both), so that there is always somebody who accepts. Who leaves is told what the others are until it has
 * gone: it still serves its callers, and must know of instances that come and go meanwhile.
 *
 * *Let it crash*: a worker that dies is replaced at once the first time; if it keeps dying the pause doubles up to 10 s,
 * so that a fault at start-up does not become a fork storm, and falls back after a minute of calm. Half the first pause
 * would hammer a broken configuration four times a second; double would leave a one-worker gateway dark for half a second
 * after its second crash.
 */

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 10_000;
/** A worker that lived this long has earned an immediate restart. */
const CALM_MS = 60_000;
/** Over what a leaving worker takes itself. Half: a busy machine has its last log lines cut; double: a hung one stays on. */
const OVERDUE_MS = 2000;

export type WorkerState = 'starting' | 'ready' | 'draining' | 'dead';

export class WorkerProcess {
  readonly key: string;
  readonly index: number;
  readonly child: ChildProcess;
  readonly startedMs: number;
  restarts: number;
  state: WorkerState = 'starting';
  /** How it ended; empty while it has not. */
  endedBy = '';
  /** The newest configuration the worker said that it runs. */
  generation = -1;
  /** Keys of the listeners it was told to accept on. */
  readonly told = new Set<string>();
  /** Keys of those it said that it accepts on. */
  readonly listening = new Set<string>();

  constructor(key: string, index: number, child: ChildProcess, startedMs: number, restarts: number) {
    this.key = key;
    this.index = index;
    this.child = child;
    this.startedMs = startedMs;
    this.restarts = restarts;
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** False when the worker cannot be reached any more; its exit tells the rest. */
  send(message: ToWorker, handle?: BoundHandle): boolean {
    if (!this.child.connected) return false;
    this.child.send(message, handle, {}, ignoreSendError);
    return true;
  }
}

function ignoreSendError(): void {
  // The channel broke while the worker died: its exit event is on the way.
}

export interface WorkerPoolEvents {
  /** The process runs and wants its configuration. */
  onHello(worker: WorkerProcess): void;
  onMessage(worker: WorkerProcess, message: ToSupervisor): void;
  /** The process is gone; `expected` when the pool itself had ended it. */
  onExit(worker: WorkerProcess, reason: string, expected: boolean): void;
  /** The system gave no process; it is tried again after a pause. */
  onNoProcess(reason: string): void;
}

export interface WorkerPoolOptions {
  /** The module to run; it sees `worker` as its first argument. */
  readonly entry: string;
  readonly events: WorkerPoolEvents;
  readonly now: () => number;
  /** How long one that leaves may take for what it still has. */
  readonly retireMs: () => number;
  /** Passed to every worker beside the supervisor's own environment. */
  readonly environment: Readonly<Record<string, string>>;
}

export class WorkerPool {
  readonly #options: WorkerPoolOptions;
  readonly #workers = new Map<number, WorkerProcess>();
  /** Beside those whose places they are to take. */
  readonly #joining = new Map<number, WorkerProcess>();
  readonly #leaving = new Set<WorkerProcess>();
  readonly #pauses = new Map<number, number>();
  readonly #timers = new Map<number, NodeJS.Timeout>();
  #wanted = 0;
  #serial = 0;
  #stopped = false;

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
  }

  /** How many workers there should be. */
  get wanted(): number {
    return this.#wanted;
  }

  /** Places at which somebody serves: one beside whom another starts is there once. */
  get listening(): number {
    return new Set(this.current().flatMap(({ state, index }) => (state === 'ready' ? [index] : []))).size;
  }

  /** Workers that serve or start. */
  current(): WorkerProcess[] {
    return [...this.#workers.values(), ...this.#joining.values()];
  }

  /** Every process still alive, those that are leaving included. */
  all(): WorkerProcess[] {
    return [...this.current(), ...this.#leaving];
  }

  /** Starts missing workers and ends superfluous ones. */
  scale(count: number): void {
    if (this.#stopped) return;
    this.#wanted = count;
    for (let index = 0; index < count; index++) {
      if (!this.#workers.has(index) && !this.#timers.has(index)) this.#start(index, 0);
    }
    for (const worker of this.current()) {
      if (worker.index >= count) this.retire(worker);
    }
    for (const [index, timer] of this.#timers) {
      if (index < count) continue;
      clearTimeout(timer);
      this.#timers.delete(index);
    }
  }

  /** Takes the worker out of the current set; it drains and exits by itself. */
  retire(worker: WorkerProcess): void {
    if (worker.state === 'dead') return;
    for (const places of [this.#workers, this.#joining])
      if (places.get(worker.index) === worker) places.delete(worker.index);
    this.#leaving.add(worker);
    worker.state = 'draining';
    const timeoutMs = this.#options.retireMs();
    worker.send({ type: 'retire', timeoutMs });
    const overdue = setTimeout(() => worker.child.kill('SIGKILL'), timeoutMs + OVERDUE_MS).unref();
    worker.child.once('exit', () => {
      clearTimeout(overdue);
    });
  }

  /**
   * Another process beside the worker, told what all are told.
   * @returns undefined when the place is no longer that worker's
   * @throws Error when the system gives no process
   */
  startBeside(worker: WorkerProcess): WorkerProcess | undefined {
    const { index } = worker;
    if (this.#stopped || this.#workers.get(index) !== worker || this.#joining.has(index)) return undefined;
    const newcomer = this.#fork(index, 0);
    this.#joining.set(index, newcomer);
    return newcomer;
  }

  /** The newcomer takes its place; who had it leaves. @returns false when it has come to nothing meanwhile */
  succeed(newcomer: WorkerProcess): boolean {
    const { index } = newcomer;
    const before = this.#workers.get(index);
    if (before === newcomer) return true;
    if (this.#joining.get(index) !== newcomer) return false;
    this.#joining.delete(index);
    if (before !== undefined) this.retire(before);
    this.#workers.set(index, newcomer);
    return true;
  }

  broadcast(message: ToWorker): void {
    for (const worker of this.all()) worker.send(message);
  }

  /** No worker is started again from here on. */
  stopRestarting(): void {
    this.#stopped = true;
    this.#wanted = 0;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  /** Tells every process to drain; none is started again. */
  drain(message: Extract<ToWorker, { type: 'drain' }>): void {
    for (const worker of this.all()) {
      worker.state = 'draining';
      worker.send(message);
    }
  }

  killAll(): void {
    for (const worker of this.all()) worker.child.kill('SIGKILL');
  }

  #start(index: number, restarts: number): void {
    this.#workers.set(index, this.#fork(index, restarts));
  }

  #fork(index: number, restarts: number): WorkerProcess {
    const options = this.#options;
    const child = fork(options.entry, ['worker'], {
      env: { ...process.env, ...options.environment },
      serialization: 'json',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const worker = new WorkerProcess(`${index}.${this.#serial++}`, index, child, options.now(), restarts);
    child.on('message', (message: ToSupervisor) => {
      if (message.type === 'hello') options.events.onHello(worker);
      else options.events.onMessage(worker, message);
    });
    child.on('error', (error) => {
      // Without an id there never was a process, and there will be no exit.
      if (child.pid === undefined) this.#gone(worker, error.message);
    });
    child.once('exit', (code, signal) => {
      this.#gone(worker, signal === null ? `exit code ${code ?? 0}` : `signal ${signal}`);
    });
    return worker;
  }

  #gone(worker: WorkerProcess, reason: string): void {
    if (worker.state === 'dead') return;
    const { index } = worker;
    const joiner = this.#joining.get(index);
    const joins = joiner === worker;
    // Of one that was to join, whoever asked for it tells.
    const expected = this.#leaving.delete(worker) || this.#wanted === 0 || joins;
    worker.state = 'dead';
    worker.endedBy = reason;
    const isCurrent = this.#workers.get(index) === worker;
    if (isCurrent) this.#workers.delete(index);
    if (joins || (isCurrent && joiner !== undefined)) this.#joining.delete(index);
    if (isCurrent && joiner !== undefined) this.#workers.set(index, joiner);
    this.#options.events.onExit(worker, reason, expected);
    if (isCurrent && joiner === undefined)
      this.#again(index, worker.restarts + 1, this.#options.now() - worker.startedMs);
  }

  /** Another process at this place, after a pause that grows while they live shortly. */
  #again(index: number, restarts: number, livedMs: number): void {
    if (index >= this.#wanted) return;
    const pauseMs = livedMs >= CALM_MS ? 0 : (this.#pauses.get(index) ?? 0);
    this.#pauses.set(index, Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, pauseMs * 2)));
    const timer = setTimeout(() => {
      this.#timers.delete(index);
      if (index >= this.#wanted) return;
      try {
        this.#start(index, restarts);
      } catch (error) {
        this.#options.events.onNoProcess(errorMessage(error));
        this.#again(index, restarts, 0);
      }
    }, pauseMs);
    this.#timers.set(index, timer);
  }
}
