/** `spillway simulate`: the suites of `test/simulation/`. */
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { addSuiteCommand } from './suite.ts';

export function addSimulateCommand(program: Command, context: CliContext): void {
  addSuiteCommand(program, context, {
    name: 'simulate',
    about: 'run the simulations',
    main: 'test/simulation/main.ts',
  });
}
