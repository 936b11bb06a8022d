import process from 'node:process';
import { pino, type Logger } from 'pino';
import { demoConfiguration } from '../../config/demo.ts';
import { formatFinding, type Finding } from '../../config/findings.ts';
import { readInstanceFile } from '../../config/instance-file.ts';
import { readKeysAgain } from '../../config/keys-again.ts';
import { loadConfiguration, loadConfigurationText, type Loaded } from '../../config/load.ts';
import { startDemoInstances, type DemoInstances } from '../io/demo-instance.ts';
import { errorMessage } from '../io/error-message.ts';
import { portIsFree } from '../io/listen-sockets.ts';
import { ProcessLog } from '../io/process-log.ts';
import { Lifecycle } from '../lifecycle/lifecycle.ts';
import { Supervisor, type SupervisorOptions } from '../supervisor.ts';
import { packageCommit, packageVersion } from './package-root.ts';
import { demoText, startedText } from './banner.ts';

/**
 * The command `run`: a supervisor in the foreground until a signal ends it.
 *
 * Signals: SIGTERM and SIGINT drain, a second one at least 500 ms later ends at once (sooner it is the same keystroke,
 * which reaches the whole process group), SIGHUP reloads.
 */

const DEMO_PORT = 8080;
const DEMO_ADMIN_PORT = 9090;

/**
 * @param path configuration file; undefined = the demo.
 * @returns the exit code: 0 after an orderly end, 1 when it could not start or was cut short, 3 for a broken file.
 */
export async function runGateway(path: string | undefined): Promise<number> {
  const version = packageVersion();
  const commit = packageCommit(process.env);
  if (path !== undefined)
    return await serve({ version, commit, load: () => loadConfiguration(path, process.env) });
  const instances = await startDemoInstances(3);
  try {
    const ports = instances.urls.map((url) => Number(new URL(url).port));
    const text = demoConfiguration(ports, { public: freePort(DEMO_PORT), admin: freePort(DEMO_ADMIN_PORT) });
    const load = (): Loaded => loadConfigurationText(text, 'demo', process.env);
    return await serve({ version, commit, load, instances });
  } finally {
    await instances.stop();
  }
}

interface ServeOptions {
  readonly version: string;
  readonly commit: string;
  readonly load: () => Loaded;
  readonly instances?: DemoInstances;
}

async function serve(options: ServeOptions): Promise<number> {
  const loaded = options.load();
  print(loaded.warnings);
  if (!loaded.ok) {
    print(loaded.faults);
    return 3;
  }
  const processLog = new ProcessLog(1);
  const log = pino({ level: loaded.configuration.log.level, name: 'supervisor' }, processLog);
  try {
    return await supervise(options, loaded, log);
  } finally {
    await processLog.end();
  }
}

async function supervise(
  { version, commit, load, instances }: ServeOptions,
  loaded: Extract<Loaded, { ok: true }>,
  log: Logger,
): Promise<number> {
  const renewKeys: SupervisorOptions['renewKeys'] = (current, ownKeys) =>
    readKeysAgain(current, ownKeys, process.env);
  const supervisor = new Supervisor(loaded, {
    version,
    commit,
    load,
    renewKeys,
    readInstances: readInstanceFile,
    log,
  });
  const lifecycle = new Lifecycle();
  const ended = untilSignalled(supervisor, lifecycle, log);
  try {
    // A signal may come before everything has started; then there is nothing to drain.
    if ((await Promise.race([supervisor.start().then(() => 'started'), ended])) !== 'started')
      return await ended;
    lifecycle.started(performance.now());
  } catch (error) {
    process.stderr.write(`spillway: ${errorMessage(error)}\n`);
    await supervisor.close();
    return 1;
  }
  const { addresses } = supervisor;
  if (instances === undefined) process.stderr.write(startedText(addresses));
  else process.stdout.write(demoText(addresses, instances.urls));
  return await ended;
}

/** Resolves with the exit code when the gateway has ended. */
async function untilSignalled(supervisor: Supervisor, lifecycle: Lifecycle, log: Logger): Promise<number> {
  return await new Promise((resolve) => {
    const stop = (): void => {
      const { delay, timeout } = supervisor.shutdown;
      switch (lifecycle.signal({ delayMs: delay, timeoutMs: timeout }, performance.now())) {
        case 'drain':
          void supervisor.drain().then(() => {
            resolve(0);
          });
          return;
        case 'exit':
          void supervisor.close().then(() => {
            resolve(1);
          });
          return;
        case 'ignore':
          return;
        default:
          return;
      }
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
    process.on('SIGHUP', () => {
      supervisor.reload('SIGHUP').catch((error: unknown) => {
        // A reload answers with its faults; this is one it did not foresee, and no reason to end.
        log.error({ error: errorMessage(error) }, 'reload failed');
      });
    });
  });
}

function print(findings: readonly Finding[]): void {
  for (const finding of findings) process.stderr.write(`${formatFinding(finding)}\n`);
}

/** The wanted port or the next free one; which it became is printed with the addresses. */
function freePort(wanted: number): number {
  for (let port = wanted; port < wanted + 100; port++) if (portIsFree('127.0.0.1', port)) return port;
  return 0;
}
