import type { Logger } from 'pino';
import { errorMessage } from './error-message.ts';
import { FrontGate } from './front-gate.ts';
import { startHttp2Session } from './http2-session.ts';
import type { ToSupervisor, ToWorker } from './ipc.ts';
import { listenFault, type BoundHandle } from './listen-sockets.ts';
import type { Meter } from './meter.ts';
import { WorkerServer, type DropReason } from './servers.ts';
import type { WorkerContext } from './worker-context.ts';

/**
 * The listeners of one worker: a server and a front gate on each socket that the supervisor has bound (`listeners.ts`).
 *
 * One that a reload takes out accepts nothing more; its connections end with their next answer, and it is ended when the
 * last has gone. Until then it counts at a shutdown like the others.
 */

type ListenMessage = Extract<ToWorker, { type: 'listen' }>;
type CertificatesMessage = Extract<ToWorker, { type: 'certificates' }>;

interface OpenServer {
  readonly server: WorkerServer;
  readonly gate: FrontGate;
}

export interface WorkerListenersParts {
  readonly meter: Meter;
  readonly log: Logger;
  readonly send: (message: ToSupervisor) => boolean;
}

export class WorkerListeners {
  readonly #context: WorkerContext;
  readonly #parts: WorkerListenersParts;
  readonly #open = new Map<string, OpenServer>();
  /** Of listeners that a reload took out, while connections are left on them. */
  readonly #leaving = new Set<WorkerServer>();

  constructor(context: WorkerContext, parts: WorkerListenersParts) {
    this.#context = context;
    this.#parts = parts;
  }

  /** All that have connections, or may get some. */
  servers(): WorkerServer[] {
    return [...[...this.#open.values()].map(({ server }) => server), ...this.#leaving];
  }

  async listen({ listener: index, key, tls }: ListenMessage, handle: BoundHandle): Promise<void> {
    const listener = this.#context.snapshot?.configuration.listeners[index];
    if (listener === undefined || this.#context.draining) return;
    const { meter, send } = this.#parts;
    try {
      const gate = new FrontGate(this.#context, listener);
      const onDrop = (reason: DropReason): void => {
        meter.add('connections_closed_total', [reason]);
      };
      const server = new WorkerServer(key, listener, gate, onDrop, { tls, startHttp2Session });
      await server.listen(handle, listener.backlog);
      this.#open.set(key, { server, gate });
      send({ type: 'listening', key });
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const reason =
        code === undefined ? errorMessage(error) : listenFault(code, listener.host, listener.port);
      send({ type: 'listen-failed', key, reason });
    }
  }

  /** The supervisor has tried them; should this worker not take them all the same, its old ones stay. */
  renew({ key, tls }: CertificatesMessage): void {
    try {
      this.#open.get(key)?.server.renewCertificates(tls);
    } catch (error) {
      this.#parts.log.error({ error: errorMessage(error) }, 'certificates not renewed in this worker');
    }
  }

  /** Accepts no more there. */
  unlisten(key: string): void {
    const open = this.#open.get(key);
    if (open === undefined) return;
    this.#open.delete(key);
    this.#leaving.add(open.server);
    open.gate.leaving = true;
    open.server.stopAccepting();
  }

  /** Ends those whose last connection has gone. */
  async dropEmpty(): Promise<void> {
    for (const server of this.#leaving) {
      if ((await server.connections()) > 0) continue;
      this.#leaving.delete(server);
      server.end();
    }
  }
}
