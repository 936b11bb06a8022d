/** `check` and `schema`: their work is in `check.ts` and `schema.ts`, which load only when they are asked for. */
import type { Command } from 'commander';
import type { CliContext } from './context.ts';

export function addConfigurationCommands(program: Command, context: CliContext): void {
  program
    .command('check')
    .description('judge a configuration without starting anything')
    .option('-c, --config <file>', 'configuration file (spillway.yaml)')
    .option('--strict', 'warnings fail, too (exit code 4)')
    .option('--no-resolve', 'ask nobody whether host names resolve, for checks far from the gateway')
    .option('--json', 'findings as JSON')
    .action(async (options: { config?: string; strict?: boolean; json?: boolean; resolve: boolean }) => {
      const { check } = await import('./check.ts');
      context.exitCode = await check(options, context.output, context.environment);
    });
  program
    .command('schema')
    .description('print the JSON Schema of the configuration')
    .action(async () => {
      const { schema } = await import('./schema.ts');
      context.exitCode = schema(context.output);
    });
}
