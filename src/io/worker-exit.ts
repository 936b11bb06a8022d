import process from 'node:process';
import type { WorkerServer } from './servers.ts';
import type { WorkerContext } from './worker-context.ts';

/**
 * How a worker leaves: in order, so that nobody notices.
 *
 * Readiness has failed: answers say `connection: close` and accepting goes on. After the delay the listeners close; a
 * kept-alive connection is still served once. When the last connection is gone the worker ends. In the last second before
 * the timeout nothing new is begun, at the timeout what is left is cut.
 */

const CHECK_MS = 50;
/** A worker that met an unexplained fault finishes what runs, but not longer than this: its state can't be trusted. */
const CRASH_GRACE_MS = 1000;

export class WorkerExit {
  readonly #context: WorkerContext;
  readonly #servers: ReadonlyMap<string, WorkerServer>;
  readonly #onEmpty: () => void;
  #since = -1;
  #delayMs = 0;
  #timeoutMs = 0;
  #closed = false;
  #timer: NodeJS.Timeout | undefined = undefined;

  constructor(context: WorkerContext, servers: ReadonlyMap<string, WorkerServer>, onEmpty: () => void) {
    this.#context = context;
    this.#servers = servers;
    this.#onEmpty = onEmpty;
  }

  drain(delayMs: number, timeoutMs: number): void {
    if (this.#since >= 0) return;
    this.#since = this.#context.now();
    this.#delayMs = delayMs;
    this.#timeoutMs = Math.max(timeoutMs, delayMs);
    this.#context.draining = true;
    this.#timer = setInterval(() => {
      void this.#step();
    }, CHECK_MS);
    void this.#step();
  }

  crash(): void {
    if (this.#since < 0) this.drain(0, CRASH_GRACE_MS);
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), CRASH_GRACE_MS).unref();
  }

  async #step(): Promise<void> {
    const elapsedMs = this.#context.now() - this.#since;
    if (elapsedMs < this.#delayMs) return;
    if (!this.#closed) {
      this.#closed = true;
      for (const server of this.#servers.values()) server.stopAccepting();
    }
    this.#context.lastSecond = this.#timeoutMs - elapsedMs <= 1000 && this.#timeoutMs > 2000;
    const open = await Promise.all(
      [...this.#servers.values()].map(async (server) => await server.connections()),
    );
    const left = open.reduce((sum, count) => sum + count, 0);
    if (left > 0 && elapsedMs < this.#timeoutMs) return;
    clearInterval(this.#timer);
    for (const server of this.#servers.values()) server.closeAll();
    for (const exchange of this.#context.tunnels) exchange.cut('gateway');
    this.#onEmpty();
  }
}
