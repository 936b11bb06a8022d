/**
 * A reload's parts around real processes' doubles: pool, rollout, conditions and reloader are the real ones, time is
 * vitest's, a worker is a child that keeps what it was sent and says what the test makes it say.
 */
import { EventEmitter } from 'node:events';
import { vi } from 'vitest';
import { configurationSchema } from '../../../config/schema.ts';
import { Conditions } from '../../../src/io/conditions.ts';
import type { FleetControl } from '../../../src/io/fleet-control.ts';
import type { ServiceOverride, ToSupervisor, ToWorker } from '../../../src/io/ipc.ts';
import type { BoundListener, ListenerChange, Listeners } from '../../../src/io/listeners.ts';
import { Reloader, type ReloaderParts } from '../../../src/io/reloader.ts';
import { Rollout, type LoadedConfiguration } from '../../../src/io/rollout.ts';
import type { TlsMaterial } from '../../../src/io/tls-contexts.ts';
import { WorkerPool } from '../../../src/io/worker-pool.ts';

class ChildDouble extends EventEmitter {
  readonly pid: number;
  connected = true;
  readonly sent: ToWorker[] = [];
  /** Says at once that it has done what it is told. */
  obeys = true;

  constructor(pid: number) {
    super();
    this.pid = pid;
  }

  send(message: ToWorker): void {
    this.sent.push(message);
    if (!this.obeys) return;
    if (message.type === 'configure') this.say({ type: 'configured', generation: message.generation });
    if (message.type === 'listen') this.say({ type: 'listening', key: message.key });
  }

  kill(): void {
    this.emit('exit', null, 'SIGKILL');
  }

  say(message: ToSupervisor): void {
    this.emit('message', message);
  }

  told(type: ToWorker['type']): number {
    return this.sent.filter((message) => message.type === type).length;
  }
}

export function childDouble(pid: number): ChildDouble {
  return new ChildDouble(pid);
}

export function configured(port: number, hash = `hash-${port}`): LoadedConfiguration {
  const configuration = configurationSchema.parse({
    listeners: [{ port }],
    services: { shop: { instances: ['http://127.0.0.1:1'] } },
    routes: [{ path: '/', service: 'shop' }],
  });
  return { configuration, hash, ownKeys: 0 };
}

export function listener(port: number): BoundListener {
  return { key: `:${port}`, index: 0, socket: { handle: undefined } as unknown as BoundListener['socket'] };
}

/** @param fork the mock of `node:child_process` */
export function controlBench(fork: ReturnType<typeof vi.fn>, workers: number) {
  const children = Array.from({ length: workers }, (_, index) => new ChildDouble(1000 + index));
  for (const child of children) fork.mockReturnValueOnce(child);
  const conditions = new Conditions();
  const log = { info: vi.fn(), warn: vi.fn() };
  /** What every listener shows. */
  const tls = { material: undefined as TlsMaterial | undefined };
  const state = {
    phase: 'serving' as ReturnType<ReloaderParts['phase']>,
    read: undefined as ReturnType<ReloaderParts['load']> | undefined,
    adminRefusal: '',
    listeners: [listener(1)] as readonly BoundListener[],
  };
  const pool = new WorkerPool({
    entry: 'x',
    now: () => performance.now(),
    retireMs: () => 30_000,
    environment: {},
    events: {
      onHello: () => undefined,
      onExit: () => undefined,
      onNoProcess: () => undefined,
      onMessage: (worker, message) => {
        if (message.type === 'configured') rollout.taken(worker, message.generation);
        else if (message.type === 'listening') rollout.listening(worker, message.key);
        else if (message.type === 'refused') rollout.refused(message.generation, message.reason);
        else if (message.type === 'listen-failed') rollout.listenFailed(worker, message.key, message.reason);
        conditions.wake();
      },
    },
  });
  const orders: ServiceOverride[] = [];
  const rollout = new Rollout(configured(1), {
    pool,
    secrets: () => ({ affinity: 'a', clientHash: 'c' }),
    viaName: 'gw',
    states: () => [],
    loads: () => [],
    overrides: () => orders,
    limitOverrides: () => [],
    gateway: 'a-gateway',
    workerCount: () => workers,
    tlsOf: () => tls.material,
  });
  const listeners = {
    get current() {
      return state.listeners;
    },
    prepare: ([first]: readonly { port: number }[]): ListenerChange => ({
      current: [listener(first?.port ?? 0)],
      opened: [],
    }),
    commit: (change: ListenerChange) => {
      state.listeners = change.current;
    },
    release: vi.fn(),
  };
  const fleets = { scout: async () => undefined, configure: vi.fn(), forget: vi.fn() };
  const results: string[] = [];
  const reloader = new Reloader({
    log: log as unknown as ReloaderParts['log'],
    load: () => state.read ?? { ok: true, loaded: configured(2), warnings: [] },
    pool,
    fleets: fleets as unknown as FleetControl,
    listeners: listeners as unknown as Listeners,
    rollout,
    conditions,
    phase: () => state.phase,
    adminRefusal: () => state.adminRefusal,
    onCommit: () => undefined,
    onResult: (result) => results.push(result),
  });
  pool.scale(workers);
  rollout.begin(state.listeners);
  for (const worker of pool.current()) rollout.configure(worker);
  rollout.listen();
  for (const child of children) child.sent.length = 0;
  return { children, conditions, log, state, pool, rollout, orders, reloader, results, tls };
}
