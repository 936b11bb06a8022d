/**
 * `loadtest` and `simulate` run as processes of their own: they load what no gateway needs, and their end is their
 * verdict (0, or 6 for a missed threshold). They exist in a checkout only, since packages carry no tests.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { EXIT } from './exit-codes.ts';
import { packageRoot } from './package-root.ts';

/** Adds a command that hands all its arguments, `--help` too, to the suite's `main.ts`. */
export function addSuiteCommand(
  program: Command,
  context: CliContext,
  suite: { readonly name: string; readonly about: string; readonly main: string },
): void {
  program
    .command(suite.name)
    .description(`${suite.about} (from a checkout)`)
    .argument('[arguments...]', 'handed to the suite')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (given: readonly string[]) => {
      const main = path.join(packageRoot(), suite.main);
      if (!existsSync(main)) {
        context.output.message(
          `spillway: ${suite.name} runs from a checkout of Spillway only (${suite.main} is not here)`,
        );
        context.exitCode = EXIT.failed;
        return;
      }
      context.exitCode = await runToEnd(main, given);
    });
}

/** The exit code of the child; 1 when a signal ended it. */
async function runToEnd(main: string, given: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [main, ...given], { stdio: 'inherit' });
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  // Ctrl-C reaches the child by itself; what is sent to this process alone is passed on. The child decides on the end.
  const passOn = (signal: NodeJS.Signals): void => {
    if (signal === 'SIGTERM') child.kill(signal);
  };
  process.on('SIGINT', passOn).on('SIGTERM', passOn);
  child.once('error', reject);
  child.once('exit', (code) => {
    resolve(code ?? EXIT.failed);
  });
  try {
    return await promise;
  } finally {
    process.off('SIGINT', passOn).off('SIGTERM', passOn);
  }
}
