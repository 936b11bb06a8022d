/** `spillway run [-c FILE]`: the gateway in the foreground; the demo where no configuration is named or found. */
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import type { CliContext } from './context.ts';

const DEFAULT_FILE = 'spillway.yaml';

export function addRunCommand(program: Command, context: CliContext): void {
  program
    .command('run')
    .description('start the gateway in the foreground; without a configuration, a demo')
    .option('-c, --config <file>', 'configuration file (spillway.yaml where there is one)')
    .action(async (options: { config?: string }) => {
      const config = options.config ?? (existsSync(DEFAULT_FILE) ? DEFAULT_FILE : undefined);
      const { output, environment } = context;
      context.exitCode = await context.deps.run({ config, output, environment });
    });
}
