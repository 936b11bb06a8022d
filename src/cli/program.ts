/**
 * The command line: one list of commands, and the translation of everything that can go wrong into an exit code.
 *
 * Data goes to stdout, messages to stderr. Commands load what they need when they are asked for, so that `--help` and
 * `status` do not pay for schema and YAML.
 */
import process from 'node:process';
import { Command, CommanderError } from 'commander';
import { UsageError } from './admin-address.ts';
import { addConfigurationCommands } from './configuration-commands.ts';
import type { CliContext, CliDeps } from './context.ts';
import { addDrainCommand } from './drain.ts';
import { EXIT } from './exit-codes.ts';
import { addExplainCommand } from './explain.ts';
import { addHealthcheckCommand } from './healthcheck.ts';
import { addLoadtestCommand } from './loadtest.ts';
import { openOutput } from './output.ts';
import { packageVersion } from './package-root.ts';
import { addReloadCommand } from './reload.ts';
import { addRollCommand } from './roll.ts';
import { addRunCommand } from './run.ts';
import { addSimulateCommand } from './simulate.ts';
import { addStatusCommand } from './status.ts';
import { addTopCommand } from './top.ts';
import { addUndrainCommand } from './undrain.ts';

const SHORT_HELP = `Spillway: the edge gateway that stays on time when traffic is ten times too high.

  spillway run                        start a demo, or the gateway of ./spillway.yaml
  spillway check -c spillway.yaml     judge a configuration without starting anything
  spillway status                     say how the running gateway is

spillway --help lists all commands.
`;

const CODES_HELP = `
Exit codes: 0 ok, 1 failed, 2 usage, 3 configuration invalid, 4 warnings under --strict,
5 no running gateway reached, 6 a threshold was missed.`;

/** All commands, each writing its exit code to the context. */
function buildProgram(context: CliContext): Command {
  const program = new Command('spillway')
    .description('The edge gateway that stays on time when traffic is ten times too high.')
    .version(packageVersion(), '-V, --version')
    .showSuggestionAfterError(true)
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void context.stdout.write(text),
      writeErr: (text) => {
        context.output.message(text.trimEnd());
      },
    })
    .addHelpText('after', CODES_HELP);
  addRunCommand(program, context);
  addConfigurationCommands(program, context);
  addReloadCommand(program, context);
  addRollCommand(program, context);
  addStatusCommand(program, context);
  addDrainCommand(program, context);
  addUndrainCommand(program, context);
  addExplainCommand(program, context);
  addTopCommand(program, context);
  addHealthcheckCommand(program, context);
  addLoadtestCommand(program, context);
  addSimulateCommand(program, context);
  return program;
}

/**
 * Runs one command line.
 * @param argv without interpreter and script.
 * @returns the exit code, when the command has ended; never throws.
 */
export async function runCli(argv: readonly string[], deps: CliDeps): Promise<number> {
  const stdout = deps.stdout ?? process.stdout;
  const stderr = deps.stderr ?? process.stderr;
  const environment = deps.environment ?? process.env;
  // `spillway status | head -1` closes our output early; that is no failure.
  if (deps.stdout === undefined) process.stdout.on('error', ignoreBrokenPipe);
  const context: CliContext = {
    deps,
    stdout,
    output: openOutput(stdout, stderr, environment),
    environment,
    exitCode: EXIT.ok,
  };
  if (argv.length === 0) {
    stdout.write(SHORT_HELP);
    return EXIT.ok;
  }
  try {
    await buildProgram(context).parseAsync([...argv], { from: 'user' });
    return context.exitCode;
  } catch (error) {
    // Help and version end this way with 0; every other word of commander is about the command line.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    context.output.message(`spillway: ${error instanceof Error ? error.message : String(error)}`);
    return error instanceof UsageError ? EXIT.usage : EXIT.failed;
  }
}

function ignoreBrokenPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
}
