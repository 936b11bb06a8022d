/**
 * Loaded into a gateway's processes before anything else (`NODE_OPTIONS=--import …`): on SIGUSR2 it does to the process
 * what its file says, which no request could. `{"blockMs": 200}` holds the event loop with a busy loop, as a synchronous
 * computation would; `{"stepMs": 3600000}` moves the wall clock from then on, as NTP or an operator would.
 *
 * The monotonic clock is left alone: it has no steps. Limits: `Date` as a constructor and `Date.now` are moved, files' times
 * are not.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

interface Disturbance {
  readonly blockMs?: number;
  readonly stepMs?: number;
}

const FILE = 'SPILLWAY_TEST_DISTURBANCE';

/** What a gateway is started with so that `disturb` reaches its processes; `folder` is the test's own. */
export function disturbable(folder: string): Readonly<Record<string, string>> {
  return {
    NODE_OPTIONS: `--import ${fileURLToPath(import.meta.url)}`,
    [FILE]: join(folder, 'disturbance.json'),
  };
}

/** Does this to those processes, from the next turn of their loops on. */
export function disturb(folder: string, pids: readonly number[], disturbance: Disturbance): void {
  writeFileSync(join(folder, 'disturbance.json'), JSON.stringify(disturbance));
  for (const pid of pids) process.kill(pid, 'SIGUSR2');
}

function suffer({ blockMs = 0, stepMs = 0 }: Disturbance): void {
  if (stepMs !== 0) stepWall(stepMs);
  const until = performance.now() + blockMs;
  while (performance.now() < until);
}

function stepWall(byMs: number): void {
  const True = globalThis.Date;
  globalThis.Date = new Proxy(True, {
    construct: (target, args: unknown[], newTarget) =>
      Reflect.construct(target, args.length === 0 ? [True.now() + byMs] : args, newTarget) as object,
    apply: () => String(new True(True.now() + byMs)),
    get: (target, key, receiver) =>
      key === 'now' ? () => True.now() + byMs : (Reflect.get(target, key, receiver) as unknown),
  });
}

const file = process.env[FILE];
if (file !== undefined)
  process.on('SIGUSR2', () => suffer(JSON.parse(readFileSync(file, 'utf8')) as Disturbance));
