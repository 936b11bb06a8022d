/**
 * Whether the host names of a configuration resolve, asked of the system as the gateway will ask it.
 *
 * The questions are asked in a process of their own: the system's resolver cannot be interrupted, and a process cannot
 * even exit while it waits for one (measured: `process.exit` joins libuv's threads). A child can be killed. It has a
 * thread a name, so that names behind a silent name server hold up no others. A name that does not resolve is a warning,
 * not a fault: `check` often runs elsewhere than the gateway, and the gateway starts without it and asks again.
 */
import { execFile } from 'node:child_process';
import process from 'node:process';
import type { Finding } from '../../config/findings.ts';
import type { HostName } from '../../config/host-names.ts';

/** Half: a name server that asks another one is too late; double: without any, a pipeline waits that much for nothing. */
const LIMIT_MS = 3000;
/** More threads than names help nobody; more than this the system may not give. */
const MOST_THREADS = 64;

/** Code of the system's resolver by name, '' where it resolved; a name without an entry was not answered in time. */
export type LookUp = (names: readonly string[], limitMs: number) => Promise<ReadonlyMap<string, string>>;

/** A warning at every place of a name that does not resolve. */
export async function doubtNames(
  names: readonly HostName[],
  lookUp: LookUp = lookUpNames,
): Promise<Finding[]> {
  if (names.length === 0) return [];
  const codes = await lookUp([...new Set(names.map(({ host }) => host))], LIMIT_MS);
  return names.flatMap(({ host, shown, doubt }) => {
    const code = codes.get(host);
    return code === '' ? [] : [doubt(`${shown} does not resolve here: ${reasonOf(code)}`)];
  });
}

function reasonOf(code: string | undefined): string {
  switch (code) {
    case undefined:
      return `no answer within ${LIMIT_MS / 1000} s`;
    case 'ENOTFOUND':
      return 'there is no such name';
    case 'EAI_AGAIN':
      return 'no name server answers';
    default:
      return code;
  }
}

/** The names come by stdin: as arguments they would meet the system's limit for a command line (2 MiB on Linux). */
const SCRIPT = `const { lookup } = require('node:dns');
for (const name of JSON.parse(require('node:fs').readFileSync(0, 'utf8')))
  lookup(name, { all: true }, (error) => process.stdout.write(JSON.stringify([name, error?.code ?? '']) + '\\n'));`;

/** Asks the system's resolver; never throws: what cannot be asked has no answer. */
export async function lookUpNames(
  names: readonly string[],
  limitMs: number,
): Promise<ReadonlyMap<string, string>> {
  const env = {
    ...process.env,
    NODE_OPTIONS: '',
    UV_THREADPOOL_SIZE: String(Math.min(names.length, MOST_THREADS)),
  };
  const options = { env, timeout: limitMs, killSignal: 'SIGKILL', maxBuffer: Infinity } as const;
  return await new Promise((resolve) => {
    try {
      const child = execFile(process.execPath, ['-e', SCRIPT], options, (_error, stdout) =>
        resolve(readAnswers(stdout)),
      );
      // A child that is killed while it reads breaks the pipe; the callback above is told of its end.
      child.stdin?.on('error', () => undefined);
      child.stdin?.end(JSON.stringify(names));
    } catch {
      resolve(new Map());
    }
  });
}

/** One `["name","code"]` a line; a line that is none was cut, and is passed over. */
export function readAnswers(text: string): ReadonlyMap<string, string> {
  const codes = new Map<string, string>();
  for (const line of text.split('\n')) {
    const answer = parsed(line);
    if (!Array.isArray(answer)) continue;
    const [name, code]: readonly unknown[] = answer;
    if (typeof name === 'string' && typeof code === 'string') codes.set(name, code);
  }
  return codes;
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
