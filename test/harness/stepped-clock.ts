/**
 * A wall clock of its own for a child process, stepped by the test while the process runs: a library that is preloaded into
 * it (`stepped-clock.c`) adds the seconds that a file holds. Debian's libfaketime does the same, but redis-server hangs with it
 * before its first line, in its allocator.
 *
 * Linux only. A program that was linked statically, or that asks the kernel past the C library, keeps the true clock.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { findExecutable } from './executable.ts';

const SOURCE = fileURLToPath(new URL('stepped-clock.c', import.meta.url));

export class SteppedClock {
  readonly #folder = mkdtempSync(join(tmpdir(), 'spillway-clock-'));
  readonly #file: number;
  /** What a process is started with to live by this clock. */
  readonly env: Readonly<Record<string, string>>;
  #seconds = 0n;

  constructor() {
    const [library, file] = [join(this.#folder, 'clock.so'), join(this.#folder, 'off-by')];
    execFileSync(findExecutable('cc'), ['-shared', '-fPIC', '-nostdlib', '-O1', '-o', library, SOURCE]);
    this.#file = openSync(file, 'w+');
    this.step(0);
    this.env = { LD_PRELOAD: library, SPILLWAY_TEST_CLOCK: file };
  }

  /** From now on it is this many seconds later, or earlier. */
  step(seconds: number): void {
    this.#seconds += BigInt(seconds);
    writeSync(this.#file, new BigInt64Array([this.#seconds]), 0, 8, 0);
  }

  /** Once no process uses it any more. */
  remove(): void {
    closeSync(this.#file);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
