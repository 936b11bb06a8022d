/**
 * What stands between the sender and the origin: the gateway, or for comparison a bare proxy, nginx, HAProxy or Caddy. Every
 * peer runs as one process with one event loop or one thread, as one worker of ours; nginx and HAProxy as they come, without a limit, and
 * tuned by hand for the origin of the overload cases (peers.ts). `node:http` has no origin: it answers by itself.
 */
import { fileURLToPath } from 'node:url';

import { startGateway } from '../test/harness/gateway.ts';
import type { Gateway } from '../test/harness/gateway.ts';
import { descendants, residentBytes, startProcess } from '../test/harness/process.ts';
import type { RunningProcess } from '../test/harness/process.ts';
import { familyCpuUs } from './cpu.ts';
import { installed, startCaddy, startHaproxy, startNginx } from './peers.ts';
import type { Peer } from './peers.ts';

export type TargetName =
  | 'gateway'
  | 'bare proxy'
  | 'nginx'
  | 'nginx, tuned'
  | 'HAProxy'
  | 'HAProxy, tuned'
  | 'Caddy'
  | 'node:http alone';

export interface Target extends AsyncDisposable {
  readonly name: TargetName;
  readonly port: number;
  readonly pid: number;
  /** The gateway's process and admin address; undefined for all others. */
  readonly gateway: Gateway | undefined;
  /** CPU (user + system) of all its processes since they started. */
  readonly cpuUs: () => number;
  readonly residentBytes: () => number;
}

function programOf(name: TargetName): string | undefined {
  if (name.startsWith('nginx')) return 'nginx';
  if (name.startsWith('HAProxy')) return 'haproxy';
  return name === 'Caddy' ? 'caddy' : undefined;
}

/** Why `name` cannot run on this machine, or undefined. */
export function whyNot(name: TargetName): string | undefined {
  const program = programOf(name);
  if (program === undefined || installed(program) !== undefined) return undefined;
  return `${program} is not installed`;
}

/** Starts `name` in front of what `yaml` (the gateway) or `originUrl` (all others) says. */
export async function startTarget(name: TargetName, yaml: string, originUrl: string): Promise<Target> {
  switch (name) {
    case 'gateway': {
      // Its access log is written, as in production, and thrown away by the kernel instead of being read here.
      return gatewayTarget(await startGateway(yaml, { discardStdout: true }));
    }
    case 'bare proxy':
      return startScript(name, new URL('bare-proxy.ts', import.meta.url), [originUrl]);
    case 'node:http alone':
      return startAnswering();
    case 'nginx':
    case 'nginx, tuned':
      return peerTarget(name, await startNginx(originUrl, name === 'nginx, tuned'));
    case 'HAProxy':
    case 'HAProxy, tuned':
      return peerTarget(name, await startHaproxy(originUrl, name === 'HAProxy, tuned'));
    case 'Caddy':
      return peerTarget(name, await startCaddy(originUrl));
    default:
      return name satisfies never;
  }
}

export function gatewayTarget(gateway: Gateway): Target {
  return { ...figuresOf('gateway', gateway.port, gateway.process), gateway };
}

function peerTarget(name: TargetName, { port, running, dispose }: Peer): Target {
  return { ...figuresOf(name, port, running), [Symbol.asyncDispose]: dispose };
}

function figuresOf(name: TargetName, port: number, running: RunningProcess): Target {
  const { pid } = running;
  return {
    name,
    port,
    pid,
    gateway: undefined,
    cpuUs: () => familyCpuUs(pid),
    residentBytes: () => [pid, ...descendants(pid)].reduce((sum, each) => sum + residentBytes(each), 0),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}

/** Bare `node:http` answering alone: to be measured, or as the origin of others. */
export function startAnswering(): Promise<Target> {
  return startScript('node:http alone', new URL('cost/answering.ts', import.meta.url), []);
}

/** A script that tells its port over IPC. */
export async function startScript(name: TargetName, script: URL, args: readonly string[]): Promise<Target> {
  const file = fileURLToPath(script);
  const running = await startProcess(process.execPath, [file, ...args], { ipc: true });
  const listening = Promise.withResolvers<number>();
  running.child.once('message', (message: { port: number }) => listening.resolve(message.port));
  void running.exited.then(() => listening.reject(new Error(`${file} ended:\n${running.output()}`)));
  return {
    ...figuresOf(name, await listening.promise, running),
    [Symbol.asyncDispose]: async () => {
      // Under overload it holds thousands of requests and would wait for each: it carries nothing worth it.
      await running.kill();
    },
  };
}
