import type { ToSupervisor } from '../ipc.ts';
import { guardKey, type GuardName, type GuardStore } from './guard-store.ts';

/**
 * Strikes without Redis: counted by the supervisor for all its workers (`guard-memory.ts`), which are all told of a block
 * and of its lifting.
 * A supervisor that is silent counts nothing; what each worker noted itself still blocks there.
 */
export class IpcGuardStore implements GuardStore {
  readonly #send: (message: ToSupervisor) => boolean;

  constructor(send: (message: ToSupervisor) => boolean) {
    this.#send = send;
  }

  count(guard: GuardName, client: string): void {
    const { name, rule } = guard;
    this.#send({ type: 'strike', guard: name, client, key: guardKey(guard, client), rule });
  }

  forgive(guards: readonly GuardName[], client: string): Promise<void> {
    this.#send({ type: 'forgive', client, keys: guards.map((guard) => guardKey(guard, client)) });
    return Promise.resolve();
  }

  close(): void {
    // The channel outlives it.
  }
}
