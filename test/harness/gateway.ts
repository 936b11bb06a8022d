/**
 * The real gateway as a child process: `node src/main.ts run -c FILE`.
 *
 * The configuration is YAML text with `__PORT__` and `__ADMIN__` where free ports belong. What a test does not say is
 * made quick here and nowhere else: an `admin` and a `shutdown` section are added when the text has none (delay 0,
 * since a test has no load balancer to wait for). It counts as started when the admin address answers `/readyz` with
 * 200, the same sign by which an operator's orchestrator judges it; a test then waits for the other workers, and for the
 * verdict on every instance, which `/readyz` does not.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { eventually, freePorts } from './ports.ts';
import { descendants, startProcess } from './process.ts';
import type { Exit, RunningProcess } from './process.ts';
import { setTimeout as pause } from 'node:timers/promises';

export const PROJECT_ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface GatewayOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** Throws the access log away instead of collecting it. */
  readonly discardStdout?: boolean;
  /** A descriptor of ours that becomes its standard output; then `logs` holds only what it says on stderr. */
  readonly stdoutFd?: number;
  /** Another entry than this checkout's `src/main.ts`: a compiled one. */
  readonly entry?: string;
  /** Arguments between `run` and `-c`. */
  readonly args?: readonly string[];
  /** How long it may take until `/readyz` answers 200. */
  readonly readyWithinMs?: number;
  /** Ports to use instead of free ones: for a second start on the same address. */
  readonly ports?: { readonly port: number; readonly adminPort: number };
}

export interface Gateway extends AsyncDisposable {
  readonly publicUrl: string;
  readonly adminUrl: string;
  readonly port: number;
  readonly adminPort: number;
  readonly pid: number;
  readonly configFile: string;
  readonly process: RunningProcess;
  /** The supervisor's children that run now. */
  readonly workerPids: () => readonly number[];
  /** Everything written to stdout and stderr so far. */
  readonly logs: () => string;
  /** Writes another configuration to the same file (placeholders as before); does not reload. */
  readonly rewrite: (yamlText: string) => Promise<void>;
  /** The admin API: status and parsed body (text when it is not JSON). */
  readonly admin: (path: string, init?: RequestInit) => Promise<{ status: number; body: unknown }>;
  /** Waits until `/readyz` answers `status`. */
  readonly readyz: (status: number, timeoutMs?: number) => Promise<void>;
  readonly stop: () => Promise<Exit>;
  readonly kill: () => Promise<Exit>;
}

/** The YAML with its ports filled in and the sections added that tests want otherwise than production. */
export function completeConfig(yamlText: string, port: number, adminPort: number): string {
  const extra: string[] = [];
  if (!/^admin:/m.test(yamlText)) extra.push('admin: { host: 127.0.0.1, port: __ADMIN__ }');
  if (!/^shutdown:/m.test(yamlText)) extra.push('shutdown: { delay: 0s, timeout: 10s }');
  const text = extra.length === 0 ? yamlText : `${yamlText.trimEnd()}\n${extra.join('\n')}\n`;
  return text.replaceAll('__PORT__', String(port)).replaceAll('__ADMIN__', String(adminPort));
}

/**
 * Starts a gateway with this configuration and waits until it is ready. An error carries its whole output. A port that
 * somebody else took meanwhile costs one more try.
 */
export async function startGateway(yamlText: string, options: GatewayOptions = {}): Promise<Gateway> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await startOnce(yamlText, options);
    } catch (error) {
      if (tries >= 3 || options.ports !== undefined || !String(error).includes('EADDRINUSE')) throw error;
    }
  }
}

async function startOnce(yamlText: string, options: GatewayOptions): Promise<Gateway> {
  const [port, adminPort] =
    options.ports === undefined ? await freePorts(2) : [options.ports.port, options.ports.adminPort];
  if (port === undefined || adminPort === undefined) throw new Error('no free ports');
  const folder = await mkdtemp(join(tmpdir(), 'spillway-test-'));
  const configFile = join(folder, 'spillway.yaml');
  const rewrite = (text: string): Promise<void> =>
    writeFile(configFile, completeConfig(text, port, adminPort));
  await rewrite(yamlText);
  const entry = options.entry ?? join(PROJECT_ROOT, 'src', 'main.ts');
  const running = await startProcess(
    process.execPath,
    [entry, 'run', ...(options.args ?? []), '-c', configFile],
    {
      cwd: options.cwd ?? folder,
      ...(options.env === undefined ? {} : { env: options.env }),
      ...(options.discardStdout === undefined ? {} : { discardStdout: options.discardStdout }),
      ...(options.stdoutFd === undefined ? {} : { stdoutFd: options.stdoutFd }),
    },
  );
  const adminUrl = `http://127.0.0.1:${adminPort}`;
  const gateway: Gateway = {
    publicUrl: `http://127.0.0.1:${port}`,
    adminUrl,
    port,
    adminPort,
    pid: running.pid,
    configFile,
    process: running,
    workerPids: () => descendants(running.pid),
    logs: running.output,
    rewrite,
    admin: async (path, init) => {
      const response = await fetch(new URL(path, adminUrl), init);
      const text = await response.text();
      return { status: response.status, body: parsed(text) };
    },
    readyz: (status, timeoutMs = 30_000) => waitForReadyz(running, adminUrl, status, timeoutMs),
    stop: () => running.stop(),
    kill: () => running.kill(),
    [Symbol.asyncDispose]: async () => {
      await running[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
  try {
    await gateway.readyz(200, options.readyWithinMs ?? 60_000);
    await settled(gateway);
  } catch (error) {
    try {
      await gateway[Symbol.asyncDispose]();
    } catch {
      // The first error says more.
    }
    throw error;
  }
  return gateway;
}

/** Until every worker listens and no instance is without a verdict; the latter is not seen where a token is asked for. */
async function settled({ admin, process: running }: Gateway): Promise<void> {
  await eventually('all workers listen and all instances are judged', async () => {
    if (running.hasExited()) throw new Error(`the gateway ended while it started:\n${running.output()}`);
    const { body } = await admin('/readyz?verbose');
    const { checks = [] } = body as { checks?: readonly { name: string; detail: string }[] };
    const workers = checks.find(({ name }) => name === 'workers')?.detail ?? '';
    if (!/^(\d+) of \1 /.test(workers)) return false;
    return !JSON.stringify((await admin('/v1/services')).body).includes('"state":"joining"');
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

async function waitForReadyz(
  running: RunningProcess,
  adminUrl: string,
  status: number,
  timeoutMs: number,
): Promise<void> {
  const until = performance.now() + timeoutMs;
  let last = 'no answer';
  while (performance.now() < until) {
    if (running.hasExited()) throw new Error(`the gateway ended instead of answering:\n${running.output()}`);
    try {
      const response = await fetch(`${adminUrl}/readyz`);
      const body = await response.text();
      if (response.status === status) return;
      last = `${response.status} ${body.slice(0, 500)}`;
    } catch (error) {
      last = String(error);
    }
    await pause(25);
  }
  throw new Error(`/readyz was not ${status} within ${timeoutMs} ms (last: ${last}):\n${running.output()}`);
}
