/** What stands between the sender and the origin: the gateway, or a bare proxy for comparison. */
import { fileURLToPath } from 'node:url';

import { startGateway } from '../test/harness/gateway.ts';
import { cpuMs, descendants, residentBytes, startProcess } from '../test/harness/process.ts';

export type TargetName = 'gateway' | 'bare proxy';

export interface Target extends AsyncDisposable {
  readonly name: TargetName;
  readonly port: number;
  /** CPU (user + system) of all its processes since they started. */
  readonly cpuMs: () => number;
  readonly residentBytes: () => number;
}

function sumOver(pid: number, of: (pid: number) => number): number {
  return [pid, ...descendants(pid)].reduce((sum, each) => sum + of(each), 0);
}

/** Starts `name` in front of what `yaml` (the gateway) or `originUrl` (the bare proxy) says. */
export async function startTarget(name: TargetName, yaml: string, originUrl: string): Promise<Target> {
  if (name === 'gateway') {
    // Its access log is written, as in production, and thrown away by the kernel instead of being read here.
    const gateway = await startGateway(yaml, { discardStdout: true });
    return {
      name,
      port: gateway.port,
      cpuMs: () => sumOver(gateway.pid, cpuMs),
      residentBytes: () => sumOver(gateway.pid, residentBytes),
      [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose](),
    };
  }
  const script = fileURLToPath(new URL('bare-proxy.ts', import.meta.url));
  const running = await startProcess(process.execPath, [script, originUrl], { ipc: true });
  const listening = Promise.withResolvers<number>();
  running.child.once('message', (message: { port: number }) => listening.resolve(message.port));
  void running.exited.then(() => listening.reject(new Error(`the bare proxy ended:\n${running.output()}`)));
  return {
    name,
    port: await listening.promise,
    cpuMs: () => cpuMs(running.pid),
    residentBytes: () => residentBytes(running.pid),
    [Symbol.asyncDispose]: async () => {
      // Under overload it holds thousands of requests and would wait for each: it carries nothing worth it.
      await running.kill();
    },
  };
}
