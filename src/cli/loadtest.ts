/** `spillway loadtest`: the suites of `loadtest/`. */
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { addSuiteCommand } from './suite.ts';

export function addLoadtestCommand(program: Command, context: CliContext): void {
  addSuiteCommand(program, context, {
    name: 'loadtest',
    about: 'run the load tests',
    main: 'loadtest/main.ts',
  });
}
