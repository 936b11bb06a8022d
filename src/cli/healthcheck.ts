/** `spillway healthcheck`: asks `/readyz`; for a container's HEALTHCHECK, so that its image needs no curl. */
import type { Command } from 'commander';
import type { AdminOptions } from './admin-address.ts';
import { addAdminOptions, withAdmin } from './admin-client.ts';
import type { CliContext } from './context.ts';
import { EXIT } from './exit-codes.ts';

export function addHealthcheckCommand(program: Command, context: CliContext): void {
  addAdminOptions(
    program
      .command('healthcheck')
      .description('exit 0 when the gateway is ready, 1 when it is not or cannot be reached'),
  ).action(async (options: AdminOptions) => {
    await withAdmin(context, options, async (client) => {
      const { status, text } = await client.ask('GET', '/readyz');
      if (status === 200) {
        context.output.data('ready');
        return EXIT.ok;
      }
      context.output.message(`spillway: not ready (${status}): ${text.trim().slice(0, 500)}`);
      return EXIT.failed;
    });
    // A container's health check knows 0 and 1 only.
    if (context.exitCode === EXIT.noGateway) context.exitCode = EXIT.failed;
  });
}
