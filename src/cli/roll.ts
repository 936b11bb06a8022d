/**
 * `spillway roll`: the gateway replaces its workers by new processes, one after the other, and loses no request by it. Exits
 * with 1 when one could not be replaced; it goes on serving then.
 */
import type { Command } from 'commander';
import type { RollView } from '../io/admin-port.ts';
import type { AdminOptions } from './admin-address.ts';
import { addAdminOptions, withAdmin } from './admin-client.ts';
import type { CliContext } from './context.ts';
import { EXIT } from './exit-codes.ts';

interface RollOptions extends AdminOptions {
  readonly json?: boolean;
}

/** A place takes two or three seconds; half is too short for a machine of many cores, double helps nobody. */
const PATIENCE_MS = 300_000;

export function addRollCommand(program: Command, context: CliContext): void {
  addAdminOptions(
    program.command('roll').description('replace the workers of a running gateway by new processes'),
  )
    .option('--json', 'the answer as JSON')
    .action(async (options: RollOptions) => {
      await withAdmin(context, options, async (client) => {
        const view = await client.post<RollView>('/v1/workers/roll', {}, PATIENCE_MS);
        if (options.json === true) context.output.json(view);
        else context.output.data(`rolled: ${view.rolled} ${view.rolled === 1 ? 'worker' : 'workers'}`);
        return EXIT.ok;
      });
    });
}
