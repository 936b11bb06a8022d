import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { Lifecycle } from '../lifecycle/lifecycle.ts';
import { retirement, type ShutdownPolicy } from '../lifecycle/shutdown.ts';
import { endStream } from './leaving-streams.ts';
import type { WorkerServer } from './servers.ts';
import type { WorkerContext } from './worker-context.ts';

/**
 * How a worker leaves: in order, so that nobody notices.
 *
 * Readiness has failed: answers say `connection: close` and accepting goes on. After the delay the listeners close, and
 * streams, which would run on for ever, end (leaving-streams.ts); a kept-alive connection is still served once, idle ones
 * end a little later. A worker that is replaced while the gateway goes on (`retire`) accepts no more at once, since others
 * do on the same socket. When the last connection is gone the worker ends. In the last second before the timeout nothing
 * new is begun, at the timeout what is left is cut, and said to be our doing: the worker stays for its log lines and figures.
 */

const CHECK_MS = 50;
/** A worker that met an unexplained fault finishes what runs, but not longer than this: its state can't be trusted. */
const CRASH_GRACE_MS = 1000;

export class WorkerExit {
  readonly #context: WorkerContext;
  readonly #servers: () => Iterable<WorkerServer>;
  readonly #onEmpty: () => void;
  readonly #lifecycle = new Lifecycle();
  readonly #stopped = new WeakSet<WorkerServer>();
  #stepping = false;
  #timer: NodeJS.Timeout | undefined = undefined;

  /** @param servers all that have connections: also those of listeners which left the configuration */
  constructor(context: WorkerContext, servers: () => Iterable<WorkerServer>, onEmpty: () => void) {
    this.#context = context;
    this.#servers = servers;
    this.#onEmpty = onEmpty;
    this.#lifecycle.started(context.now());
  }

  /** Begins to leave; a second call changes nothing. */
  drain(delayMs: number, timeoutMs: number): void {
    this.#begin({ delayMs, timeoutMs: Math.max(timeoutMs, delayMs) });
  }

  /** Leaves alone: the gateway goes on, and so does what it says of itself on a health path. */
  retire(timeoutMs: number): void {
    this.#context.replaced = true;
    this.#begin(retirement(timeoutMs));
  }

  crash(): void {
    this.drain(0, CRASH_GRACE_MS);
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), CRASH_GRACE_MS).unref();
  }

  #begin(policy: ShutdownPolicy): void {
    if (this.#timer !== undefined) return;
    this.#lifecycle.signal(policy, this.#context.now());
    this.#context.draining = true;
    this.#timer = setInterval(() => {
      void this.#step();
    }, CHECK_MS);
    void this.#step();
  }

  /** One at a time: a count of connections that takes longer than the beat must not end the worker twice. */
  async #step(): Promise<void> {
    if (this.#stepping || this.#lifecycle.state.kind === 'stopped') return;
    this.#stepping = true;
    try {
      await this.#advance();
    } finally {
      this.#stepping = false;
    }
  }

  async #advance(): Promise<void> {
    const now = this.#context.now();
    const { state } = this.#lifecycle;
    const phase = this.#lifecycle.phase(now);
    if (state.kind !== 'draining' || phase === 'failing-readiness') return;
    const servers = [...this.#servers()];
    for (const server of servers) {
      if (this.#stopped.has(server)) continue;
      this.#stopped.add(server);
      server.stopAccepting();
    }
    // Again at each step: a handshake may have been under way.
    for (const exchange of this.#context.streams) endStream(exchange, now);
    this.#context.lastSecond = phase === 'last-second';
    if (now - state.sinceMs >= state.plan.idleCloseMs) for (const server of servers) server.closeIdle();
    const open = await Promise.all(servers.map(async (server) => await server.connections()));
    const left = open.reduce((sum, count) => sum + count, 0);
    if (!this.#lifecycle.settle(left, this.#context.now())) return;
    clearInterval(this.#timer);
    this.#context.cutting = true;
    for (const server of servers) server.closeAll();
    for (const exchange of this.#context.streams) exchange.cut('gateway');
    // Exchanges hear of it from the close of their sockets.
    if (left > 0) await pause(CHECK_MS);
    this.#onEmpty();
  }
}
