/**
 * Real child processes that no test leaves behind.
 *
 * A child is stopped by its own process id, never by a name. `stop` asks (SIGTERM) and waits; `kill` is the power cut
 * (SIGKILL) for exactly one process. Disposal (`await using`) ends the child *and* everything it started: the
 * descendants are listed before, and whoever of them still lives a moment after is killed and reported as a leak. A test
 * process that dies itself kills its children on the way out.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';

import { eventually } from './ports.ts';

export interface StartOptions {
  readonly cwd?: string;
  /** Added to the environment of this process; undefined removes a name. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** An IPC channel, so that the child can be spoken to and sees its parent's death. */
  readonly ipc?: boolean;
  /** Throws standard output away: for load, where a reader of the access log would take CPU from what is measured. */
  readonly discardStdout?: boolean;
  /** A descriptor of ours that becomes its standard output. */
  readonly stdoutFd?: number;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface RunningProcess extends AsyncDisposable {
  readonly pid: number;
  readonly child: ChildProcess;
  /** Settles when the process has ended. */
  readonly exited: Promise<Exit>;
  readonly hasExited: () => boolean;
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Both streams in the order in which their bytes came. */
  readonly output: () => string;
  /** The first line of either stream that matches, past or to come; an error with the whole output when none comes. */
  readonly waitForLine: (pattern: RegExp, timeoutMs?: number) => Promise<RegExpExecArray>;
  readonly signal: (signal: NodeJS.Signals) => void;
  /** SIGTERM, then waits for the end; SIGKILL and an error when it takes longer than `timeoutMs`. */
  readonly stop: (timeoutMs?: number) => Promise<Exit>;
  /** SIGKILL to this one process, then waits for its end. Its children are left to themselves. */
  readonly kill: () => Promise<Exit>;
}

/** The process ids of everything that descends from `pid`, nearest first. Reads /proc; empty where there is none. */
export function descendants(pid: number): readonly number[] {
  const children = new Map<number, number[]>();
  let names: string[];
  try {
    names = readdirSync('/proc');
  } catch {
    return [];
  }
  for (const name of names) {
    const own = Number(name);
    if (!Number.isInteger(own)) continue;
    const parent = parentOf(own);
    if (parent === undefined) continue;
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [own]);
    else siblings.push(own);
  }
  const found: number[] = [];
  const open = [pid];
  for (let next = open.shift(); next !== undefined; next = open.shift()) {
    for (const child of children.get(next) ?? []) {
      found.push(child);
      open.push(child);
    }
  }
  return found;
}

/** `[state, ppid, …]`: the fields of /proc/PID/stat behind the command, which may hold blanks and brackets. */
function statFields(pid: number): readonly string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

function parentOf(pid: number): number | undefined {
  const parent = Number(statFields(pid)?.[1]);
  return Number.isInteger(parent) ? parent : undefined;
}

/** CPU (user + system) that the process has used up to now, in ms; 0 when it is gone. Clock ticks are 10 ms. */
export function cpuMs(pid: number): number {
  const fields = statFields(pid);
  return fields === undefined ? 0 : (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Resident memory of the process in bytes; 0 when it is gone. */
export function residentBytes(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]) * 4096;
  } catch {
    return 0;
  }
}

/** Whether a process with this id runs (a zombie does not). */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  return statFields(pid)?.[0] !== 'Z';
}

function killQuietly(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already: what was wanted.
  }
}

/** SIGKILL to all of `pids` that still run `graceMs` from now; returns those. */
async function reap(pids: readonly number[], graceMs: number): Promise<readonly number[]> {
  const until = performance.now() + graceMs;
  await eventually(
    'end of processes',
    () => performance.now() >= until || !pids.some(isAlive),
    graceMs + 1000,
  );
  const left = pids.filter(isAlive);
  for (const pid of left) killQuietly(pid, 'SIGKILL');
  await eventually('end of killed processes', () => !left.some(isAlive));
  return left;
}

interface Watcher {
  readonly pattern: RegExp;
  readonly found: (match: RegExpExecArray) => void;
}

/** Starts `command`; resolves as soon as the operating system has a process for it. */
export async function startProcess(
  command: string,
  args: readonly string[],
  options: StartOptions = {},
): Promise<RunningProcess> {
  const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: '1', ...options.env };
  const stdout = options.stdoutFd ?? (options.discardStdout === true ? 'ignore' : 'pipe');
  const child = spawn(command, [...args], {
    env,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdio: options.ipc === true ? ['ignore', stdout, 'pipe', 'ipc'] : ['ignore', stdout, 'pipe'],
  });
  const spawned = Promise.withResolvers<void>();
  child.once('spawn', () => spawned.resolve());
  child.once('error', (error) => spawned.reject(error));
  await spawned.promise;
  const { pid } = child;
  if (pid === undefined) throw new Error(`${command} has no process id`);
  return watch(child, pid, [command, ...args].join(' '));
}

function watch(child: ChildProcess, pid: number, title: string): RunningProcess {
  let out = '';
  let err = '';
  let both = '';
  let exit: Exit | undefined;
  const watchers = new Set<Watcher>();
  const orphans = new Set<number>();
  const atOwnExit = (): void => killQuietly(pid, 'SIGKILL');
  process.once('exit', atOwnExit);

  const search = (watcher: Watcher): boolean => {
    for (const line of both.split('\n')) {
      const match = watcher.pattern.exec(line);
      if (match !== null) {
        watcher.found(match);
        return true;
      }
    }
    return false;
  };
  const take = (text: string): void => {
    both += text;
    for (const watcher of watchers) if (search(watcher)) watchers.delete(watcher);
  };
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    out += text;
    take(text);
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    err += text;
    take(text);
  });
  const ended = Promise.withResolvers<Exit>();
  child.once('exit', (code, signal) => {
    exit = { code, signal };
    process.off('exit', atOwnExit);
    ended.resolve(exit);
  });

  const within = async (timeoutMs: number, doing: string): Promise<Exit> => {
    const late = Promise.withResolvers<'late'>();
    const timer = setTimeout(() => late.resolve('late'), timeoutMs);
    const first = await Promise.race([ended.promise, late.promise]);
    clearTimeout(timer);
    if (first !== 'late') return first;
    killQuietly(pid, 'SIGKILL');
    throw new Error(`${title} (${pid}) did not end within ${timeoutMs} ms of ${doing}:\n${both}`);
  };

  const running: RunningProcess = {
    pid,
    child,
    exited: ended.promise,
    hasExited: () => exit !== undefined,
    stdout: () => out,
    stderr: () => err,
    output: () => both,
    waitForLine: async (pattern, timeoutMs = 30_000) => {
      const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>();
      const watcher: Watcher = { pattern, found: resolve };
      if (search(watcher)) return promise;
      watchers.add(watcher);
      const fail = (why: string): void =>
        reject(new Error(`${title} ${why} before ${String(pattern)}:\n${both}`));
      const timer = setTimeout(() => fail(`said nothing for ${timeoutMs} ms`), timeoutMs);
      // Output may still be in the pipe when the exit is known: look once more when the streams have closed.
      child.once('close', () => fail(`ended with ${exit?.code ?? exit?.signal}`));
      if (child.exitCode !== null && both === '') fail('had ended');
      try {
        return await promise;
      } finally {
        clearTimeout(timer);
        watchers.delete(watcher);
      }
    },
    signal: (signal) => killQuietly(pid, signal),
    stop: async (timeoutMs = 60_000) => {
      if (exit !== undefined) return exit;
      killQuietly(pid, 'SIGTERM');
      return within(timeoutMs, 'SIGTERM');
    },
    kill: async () => {
      if (exit !== undefined) return exit;
      for (const child of descendants(pid)) orphans.add(child);
      killQuietly(pid, 'SIGKILL');
      return within(30_000, 'SIGKILL');
    },
    [Symbol.asyncDispose]: async () => {
      const family = [...orphans, ...descendants(pid)];
      try {
        await running.stop();
      } finally {
        const left = await reap(family, 3000);
        if (left.length > 0)
          process.emitWarning(`${title} left processes behind: ${left.join(', ')}`, 'ProcessLeak');
      }
    },
  };
  return running;
}
