/**
 * What stands between the sender and the origin: the gateway, or for comparison a bare proxy, nginx or HAProxy. Every
 * peer runs as one process with one event loop, as one worker of ours; nginx and HAProxy as they come, without a limit, and
 * tuned by hand for the origin of the overload cases (peers.ts).
 */
import { fileURLToPath } from 'node:url';

import { startGateway } from '../test/harness/gateway.ts';
import type { Gateway } from '../test/harness/gateway.ts';
import { cpuMs, descendants, residentBytes, startProcess } from '../test/harness/process.ts';
import type { RunningProcess } from '../test/harness/process.ts';
import { installed, startHaproxy, startNginx } from './peers.ts';

export type TargetName = 'gateway' | 'bare proxy' | 'nginx' | 'nginx, tuned' | 'HAProxy' | 'HAProxy, tuned';

export interface Target extends AsyncDisposable {
  readonly name: TargetName;
  readonly port: number;
  /** The gateway's process and admin address; undefined for all others. */
  readonly gateway: Gateway | undefined;
  /** CPU (user + system) of all its processes since they started. */
  readonly cpuMs: () => number;
  readonly residentBytes: () => number;
}

function sumOver(pid: number, of: (pid: number) => number): number {
  return [pid, ...descendants(pid)].reduce((sum, each) => sum + of(each), 0);
}

/** Why `name` cannot run on this machine, or undefined. */
export function whyNot(name: TargetName): string | undefined {
  const program = name.startsWith('nginx') ? 'nginx' : name.startsWith('HAProxy') ? 'haproxy' : undefined;
  if (program === undefined || installed(program) !== undefined) return undefined;
  return `${program} is not installed`;
}

/** Starts `name` in front of what `yaml` (the gateway) or `originUrl` (all others) says. */
export async function startTarget(name: TargetName, yaml: string, originUrl: string): Promise<Target> {
  switch (name) {
    case 'gateway': {
      // Its access log is written, as in production, and thrown away by the kernel instead of being read here.
      const gateway = await startGateway(yaml, { discardStdout: true });
      return { ...figuresOf(name, gateway.port, gateway.process), gateway };
    }
    case 'bare proxy':
      return startBareProxy(originUrl);
    case 'nginx':
    case 'nginx, tuned': {
      const { port, running, dispose } = await startNginx(originUrl, name === 'nginx, tuned');
      return { ...figuresOf(name, port, running), [Symbol.asyncDispose]: dispose };
    }
    case 'HAProxy':
    case 'HAProxy, tuned': {
      const { port, running, dispose } = await startHaproxy(originUrl, name === 'HAProxy, tuned');
      return { ...figuresOf(name, port, running), [Symbol.asyncDispose]: dispose };
    }
    default:
      return name satisfies never;
  }
}

function figuresOf(name: TargetName, port: number, running: RunningProcess): Target {
  return {
    name,
    port,
    gateway: undefined,
    cpuMs: () => sumOver(running.pid, cpuMs),
    residentBytes: () => sumOver(running.pid, residentBytes),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}

async function startBareProxy(originUrl: string): Promise<Target> {
  const script = fileURLToPath(new URL('bare-proxy.ts', import.meta.url));
  const running = await startProcess(process.execPath, [script, originUrl], { ipc: true });
  const listening = Promise.withResolvers<number>();
  running.child.once('message', (message: { port: number }) => listening.resolve(message.port));
  void running.exited.then(() => listening.reject(new Error(`the bare proxy ended:\n${running.output()}`)));
  return {
    ...figuresOf('bare proxy', await listening.promise, running),
    [Symbol.asyncDispose]: async () => {
      // Under overload it holds thousands of requests and would wait for each: it carries nothing worth it.
      await running.kill();
    },
  };
}
