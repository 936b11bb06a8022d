/**
 * `spillway reload`: the gateway reads its configuration again. One that is refused changes nothing: a file with faults
 * exits with 3, everything else with 1.
 */
import type { Command } from 'commander';
import type { ReloadView } from '../io/admin-port.ts';
import {
  addAdminOptions,
  RefusedError,
  RELOAD_PATIENCE_MS,
  withAdmin,
  type AdminClient,
} from './admin-client.ts';
import type { AdminOptions } from './admin-address.ts';
import type { CliContext } from './context.ts';
import { EXIT } from './exit-codes.ts';
import type { Output } from './output.ts';
import { plain } from './table.ts';

interface ReloadOptions extends AdminOptions {
  readonly json?: boolean;
}

export function addReloadCommand(program: Command, context: CliContext): void {
  addAdminOptions(
    program.command('reload').description('make a running gateway read its configuration again'),
  )
    .option('--json', 'the answer as JSON')
    .action(async (options: ReloadOptions) => {
      await withAdmin(context, options, async (client) => await reload(client, options, context.output));
    });
}

async function reload(client: AdminClient, options: ReloadOptions, output: Output): Promise<number> {
  let view: Pick<ReloadView, 'changes' | 'warnings'>;
  try {
    view = await client.post('/v1/reload', {}, RELOAD_PATIENCE_MS);
  } catch (error) {
    if (!(error instanceof RefusedError) || error.status !== 409) throw error;
    if (options.json === true) output.json(error.problem);
    for (const line of [...lines(error.problem['faults']), ...lines(error.problem['warnings'])])
      output.message(line);
    output.message(`spillway: ${error.message}`);
    // A valid file that could not be put in force is a failure of this moment, not of the file.
    return error.problem['refused'] === 'faults' ? EXIT.configurationInvalid : EXIT.failed;
  }
  if (options.json === true) {
    output.json(view);
    return EXIT.ok;
  }
  for (const warning of lines(view.warnings)) output.message(warning);
  output.data(view.changes.length === 0 ? 'reloaded: nothing has changed' : 'reloaded:');
  for (const change of lines(view.changes)) output.data(`  ${change}`);
  return EXIT.ok;
}

function lines(value: unknown): string[] {
  return Array.isArray(value) ? value.map((line) => plain(String(line))) : [];
}
