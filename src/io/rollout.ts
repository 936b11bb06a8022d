import type { Configuration, ListenerConfiguration } from '../../config/schema.ts';
import type { OverrideEntry } from '../limits/overrides.ts';
import type { ServiceOverride, ServiceStates, ToWorker } from './ipc.ts';
import type { BoundListener } from './listeners.ts';
import type { LoadNews } from './probe-loads.ts';
import type { TlsMaterial } from './tls-contexts.ts';
import type { WorkerPool, WorkerProcess } from './worker-pool.ts';

/**
 * What the workers are told: the configuration, numbered, and the listeners that belong to it.
 *
 * Both travel together, since `listen` names a listener by its position in the configuration: a worker that starts in the
 * middle of a reload is given the pair that is offered then. A worker carries out what it is told in order, so `configure`
 * may be followed by `unlisten` at once; `listen` waits for the word that the configuration was taken.
 */

/** Half: a file that is gone for good fills the log twice as fast; double: one that is back is noticed that much later. */
const RETRY_MS = 5000;

export interface LoadedConfiguration {
  readonly configuration: Configuration;
  readonly hash: string;
  /** How many of its keys, the first, stand in the configuration itself; the others in its keys file. */
  readonly ownKeys: number;
}

export interface RolloutParts {
  readonly pool: WorkerPool;
  readonly secrets: (configuration: Configuration) => { affinity: string; clientHash: string };
  readonly viaName: string;
  readonly gateway: string;
  readonly states: () => readonly ServiceStates[];
  readonly loads: () => readonly LoadNews[];
  readonly overrides: () => readonly ServiceOverride[];
  /** Those of single clients, by the hashes that this secret makes of their names. */
  readonly limitOverrides: (clientHash: string) => readonly OverrideEntry[];
  readonly workerCount: (configuration: Configuration) => number;
  /** Certificates of a listener, as they were good last; undefined without `tls`. */
  readonly tlsOf: (listener: ListenerConfiguration) => TlsMaterial | undefined;
}

export class Rollout {
  readonly #parts: RolloutParts;
  #loaded: LoadedConfiguration;
  #listeners: readonly BoundListener[] = [];
  #generation = 0;
  #mayListen = false;
  #fault = '';

  constructor(loaded: LoadedConfiguration, parts: RolloutParts) {
    this.#loaded = loaded;
    this.#parts = parts;
  }

  /** What workers are told now; during a reload that is the configuration on trial. */
  get loaded(): LoadedConfiguration {
    return this.#loaded;
  }

  get generation(): number {
    return this.#generation;
  }

  /** Why some worker could not take what was offered last; empty while none said so. */
  get fault(): string {
    return this.#fault;
  }

  /** Before the first worker starts. */
  begin(listeners: readonly BoundListener[]): void {
    this.#listeners = listeners;
  }

  /** From here on workers that have taken the configuration listen. */
  listen(): void {
    this.#mayListen = true;
    for (const worker of this.#parts.pool.current()) {
      if (worker.generation === this.#generation) this.#open(worker);
    }
  }

  /** Offers a configuration with its listeners to every worker; listeners that are not part of it stay until `trim`. */
  put(loaded: LoadedConfiguration, listeners: readonly BoundListener[]): void {
    this.#loaded = loaded;
    this.#listeners = listeners;
    this.#generation++;
    this.#fault = '';
    for (const worker of this.#parts.pool.current()) this.configure(worker);
  }

  /** Other keys of clients; everything else stays, and a worker that starts is told so. */
  renewKeys(keys: Configuration['clients']['keys'], hash: string): void {
    const { configuration, ownKeys } = this.#loaded;
    const clients = { ...configuration.clients, keys };
    this.#loaded = { configuration: { ...configuration, clients }, hash, ownKeys };
    this.#parts.pool.broadcast({ type: 'keys', generation: this.#generation, keys });
  }

  /** Tells every worker the same configuration again: a secret beside it has changed. */
  again(): void {
    this.put(this.#loaded, this.#listeners);
  }

  /** Takes an offer back without a word to the workers: they are leaving. */
  forget(loaded: LoadedConfiguration): void {
    this.#loaded = loaded;
  }

  /** Workers close what is not part of the offer. */
  trim(): void {
    const wanted = new Set(this.#listeners.map(({ key }) => key));
    for (const worker of this.#parts.pool.current()) {
      for (const key of worker.told) {
        if (wanted.has(key)) continue;
        worker.told.delete(key);
        worker.listening.delete(key);
        worker.send({ type: 'unlisten', key });
      }
      if (worker.state === 'ready' && !this.#listensOnAll(worker)) worker.state = 'starting';
      else if (worker.state === 'starting' && this.isComplete(worker)) worker.state = 'ready';
    }
  }

  configure(worker: WorkerProcess): void {
    const { configuration } = this.#loaded;
    const { viaName, gateway, states, overrides, limitOverrides, workerCount } = this.#parts;
    const secrets = this.#parts.secrets(configuration);
    const message: ToWorker = {
      type: 'configure',
      generation: this.#generation,
      configuration,
      workers: workerCount(configuration),
      index: worker.index,
      secrets,
      viaName,
      gateway,
      states: states(),
      overrides: overrides(),
      limitOverrides: limitOverrides(secrets.clientHash),
    };
    worker.send(message);
  }

  /** The worker runs the configuration of that number. */
  taken(worker: WorkerProcess, generation: number): void {
    worker.generation = generation;
    // News of services that it did not know while it built them went past it.
    const { states, loads, overrides } = this.#parts;
    worker.send({ type: 'states', states: states() });
    worker.send({ type: 'loads', loads: loads() });
    for (const override of overrides()) worker.send({ type: 'override', override });
    if (this.#mayListen && generation === this.#generation) this.#open(worker);
  }

  /** @returns false when the worker spoke of an older offer */
  refused(generation: number, reason: string): boolean {
    if (generation !== this.#generation) return false;
    this.#fault = reason;
    return true;
  }

  listening(worker: WorkerProcess, key: string): void {
    if (!worker.told.has(key)) return; // taken back meanwhile
    worker.listening.add(key);
    // Never back to `starting` here: amid a reload a worker lacks a new listener for a moment and serves on the others.
    if (worker.state === 'starting' && this.#listensOnAll(worker)) worker.state = 'ready';
  }

  /** @returns false when the listener was taken back meanwhile */
  listenFailed(worker: WorkerProcess, key: string, reason: string): boolean {
    if (!worker.told.delete(key)) return false;
    this.#fault = reason;
    return true;
  }

  /** Tells a worker later once more what it could not do: a certificate that was missing may be back. */
  retryLater(worker: WorkerProcess): void {
    setTimeout(() => {
      if (!this.#parts.pool.current().includes(worker)) return;
      if (worker.generation === this.#generation) this.#open(worker);
      else this.configure(worker);
    }, RETRY_MS).unref();
  }

  /** The worker runs the newest configuration and accepts on every listener of it. */
  isComplete(worker: WorkerProcess): boolean {
    return worker.generation === this.#generation && this.#listensOnAll(worker);
  }

  #open(worker: WorkerProcess): void {
    for (const { key, index, socket } of this.#listeners) {
      if (worker.told.has(key)) continue;
      worker.told.add(key);
      const tls = this.#tlsOf(index);
      const message: ToWorker = {
        type: 'listen',
        listener: index,
        key,
        ...(tls === undefined ? {} : { tls }),
      };
      worker.send(message, socket.handle);
    }
  }

  /** Shows every worker what the listeners have on disk, or were given as ticket keys. */
  renewCertificates(): void {
    for (const { key, index } of this.#listeners) {
      const tls = this.#tlsOf(index);
      if (tls === undefined || tls.fault !== '') continue;
      for (const worker of this.#parts.pool.current()) {
        if (worker.told.has(key)) worker.send({ type: 'certificates', key, tls });
      }
    }
  }

  #tlsOf(index: number): TlsMaterial | undefined {
    const listener = this.#loaded.configuration.listeners[index];
    return listener === undefined ? undefined : this.#parts.tlsOf(listener);
  }

  #listensOnAll(worker: WorkerProcess): boolean {
    return this.#listeners.every(({ key }) => worker.listening.has(key));
  }
}
