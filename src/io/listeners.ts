import type { ListenerConfiguration } from '../../config/schema.ts';
import { bindSocket, type BoundSocket } from './listen-sockets.ts';

/**
 * The supervisor's side of the listeners: which addresses are bound, and what a reload changes.
 *
 * An address that stays is never closed. If only its options changed, the workers open a second server on the same
 * socket and close the first, so no connection is refused.
 */

export interface BoundListener {
  /** Address and options: another key means another server in the worker. */
  readonly key: string;
  /** Position in the configuration's `listeners`. */
  readonly index: number;
  readonly socket: BoundSocket;
}

export interface ListenerChange {
  readonly current: readonly BoundListener[];
  /** Bound for this change alone: closed again when it does not come into force. */
  readonly opened: readonly BoundSocket[];
}

export class Listeners {
  #current: readonly BoundListener[] = [];

  get current(): readonly BoundListener[] {
    return this.#current;
  }

  /**
   * Binds what is missing. Nothing has changed when it throws.
   * @throws Error with `code` when an address cannot be bound.
   */
  prepare(configurations: readonly ListenerConfiguration[]): ListenerChange {
    const opened: BoundSocket[] = [];
    try {
      const current = configurations.map((configuration, index): BoundListener => {
        const address = addressOf(configuration, index);
        const known = this.#current.find((listener) => listener.key.startsWith(`${address} `));
        const socket = known?.socket ?? bindSocket(configuration.host, configuration.port);
        if (known === undefined) opened.push(socket);
        return { key: `${address} ${JSON.stringify(configuration)}`, index, socket };
      });
      return { current, opened };
    } catch (error) {
      for (const socket of opened) socket.close();
      throw error;
    }
  }

  /** Puts a prepared change into force; sockets nobody needs any more are closed here. */
  commit(change: ListenerChange): void {
    const kept = new Set(change.current.map(({ socket }) => socket));
    for (const { socket } of this.#current) if (!kept.has(socket)) socket.close();
    this.#current = change.current;
  }

  /** Drops a prepared change. */
  release(change: ListenerChange): void {
    for (const socket of change.opened) socket.close();
  }

  /** The supervisor's own references; the kernel closes a socket when the last worker did too. */
  close(): void {
    for (const { socket } of this.#current) socket.close();
    this.#current = [];
  }
}

function addressOf({ host, port }: ListenerConfiguration, index: number): string {
  return port === 0 ? `${host}:0:${index}` : `${host}:${port}`;
}
