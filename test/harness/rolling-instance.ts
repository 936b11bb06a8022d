/**
 * Instances that are deployed: each a process of known capacity (`slots` ÷ `meanMs`) that leaves as its `drain` says when
 * it is told to (SIGTERM), and tells which POSTs it was sent, by their `x-id`.
 *
 * - `notice`: `x-drain: 1` on probes and answers, serves on for `drainMs`, then closes, finishes what it has and exits.
 * - `unready`: its probe answers 503 and it serves on for `drainMs`; then as above.
 * - `abrupt`: closes its socket and its idle connections at once, finishes what it has and exits.
 *
 * A POST is told of when it has been read, before it is answered, and at once: also what a killed instance had taken is known.
 */
import { fileURLToPath } from 'node:url';

import { startProcess } from './process.ts';
import type { Exit } from './process.ts';

export type DrainStyle = 'notice' | 'unready' | 'abrupt';

export interface RollingSettings {
  readonly host: string;
  readonly port: number;
  readonly version: string;
  readonly slots: number;
  readonly meanMs: number;
  /** Spread of the lognormal. */
  readonly sigma: number;
  readonly drain: DrainStyle;
  readonly drainMs: number;
  readonly seed: number;
  /** What its probe answers while it does not drain; 0: never anything. */
  readonly probeStatus: number;
  /** What everything else is answered. */
  readonly status: number;
  /** Serves a page at `/` and its parts, whose names exist in this version only. */
  readonly page: boolean;
  /** Whose instance it says it is, in `x-service`. */
  readonly service: string;
  /** The check that its probe reports as failed; empty when all is well. */
  readonly failingCheck: string;
  /** False: its port is closed, and what was begun is finished. */
  readonly listening: boolean;
  /** So long after an answer it ends its half of an idle connection, without a word before; 0 never. */
  readonly halfCloseMs: number;
}

type RollingChanges = Partial<Omit<RollingSettings, 'host' | 'port' | 'version' | 'sigma' | 'seed'>>;

export type RollingCommand = { readonly type: 'set'; readonly id: number } & RollingChanges;

export type RollingMessage =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'executed'; readonly id: string }
  /** Everything said before is in; the changes of that command hold. */
  | { readonly type: 'done'; readonly id: number };

export interface RollingInstance extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** As the gateway calls it. */
  readonly id: string;
  readonly url: string;
  readonly pid: number;
  /** How often each POST was taken. */
  readonly executed: () => Promise<ReadonlyMap<string, number>>;
  readonly set: (changes: RollingChanges) => Promise<void>;
  /** SIGTERM: it leaves in its style; resolves when it has. */
  readonly term: () => Promise<Exit>;
  readonly kill: () => Promise<Exit>;
  readonly signal: (signal: 'SIGSTOP' | 'SIGCONT') => void;
}

const DEFAULTS: RollingSettings = {
  host: '127.0.0.1',
  port: 0,
  version: '',
  slots: 4,
  meanMs: 20,
  sigma: 0.5,
  drain: 'notice',
  drainMs: 1000,
  seed: 7,
  probeStatus: 200,
  status: 200,
  page: false,
  service: 'shop',
  failingCheck: '',
  listening: true,
  halfCloseMs: 0,
};

/** Starts one and waits until it listens. */
export async function startRollingInstance(
  settings: Partial<RollingSettings> & { readonly drain: DrainStyle },
): Promise<RollingInstance> {
  const full: RollingSettings = { ...DEFAULTS, ...settings };
  const script = fileURLToPath(new URL('rolling-instance-server.ts', import.meta.url));
  const running = await startProcess(process.execPath, [script, JSON.stringify(full)], { ipc: true });
  const executed = new Map<string, number>();
  const listening = Promise.withResolvers<number>();
  const pending = new Map<number, () => void>();
  const gone = Promise.withResolvers<void>();
  let lastId = 0;
  running.child.on('message', (message: RollingMessage) => {
    if (message.type === 'listening') listening.resolve(message.port);
    else if (message.type === 'executed') executed.set(message.id, (executed.get(message.id) ?? 0) + 1);
    else {
      pending.get(message.id)?.();
      pending.delete(message.id);
    }
  });
  // After the last message has been read, whatever ended the process.
  running.child.once('disconnect', () => gone.resolve());
  void running.exited.then(() => listening.reject(new Error(`the instance ended:\n${running.output()}`)));
  const port = await listening.promise;
  const set = async (changes: RollingChanges): Promise<void> => {
    if (!running.child.connected) return gone.promise;
    lastId += 1;
    const { promise, resolve } = Promise.withResolvers<void>();
    pending.set(lastId, resolve);
    const command: RollingCommand = { type: 'set', id: lastId, ...changes };
    running.child.send(command, () => undefined);
    await Promise.race([promise, gone.promise]);
  };
  return {
    host: full.host,
    port,
    id: `${full.host}:${port}`,
    url: `http://${full.host}:${port}`,
    pid: running.pid,
    executed: async () => {
      await set({});
      return executed;
    },
    set,
    term: () => running.stop(),
    kill: () => running.kill(),
    signal: (signal) => running.signal(signal),
    [Symbol.asyncDispose]: async () => {
      running.signal('SIGKILL');
      await running[Symbol.asyncDispose]();
    },
  };
}
