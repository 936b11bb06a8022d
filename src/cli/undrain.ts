/** `spillway undrain SERVICE/INSTANCE`: takes a drained or disabled instance into service again. */
import type { Command } from 'commander';
import type { AdminOptions } from './admin-address.ts';
import { addAdminOptions, withAdmin } from './admin-client.ts';
import type { CliContext } from './context.ts';
import { EXIT } from './exit-codes.ts';
import { operatePath, parseTarget, type Target } from './target.ts';

interface UndrainOptions extends AdminOptions {
  readonly json?: boolean;
}

export function addUndrainCommand(program: Command, context: CliContext): void {
  addAdminOptions(program.command('undrain').description('take an instance into service again'))
    .argument('<service/instance>', 'such as shop/127.0.0.1:9001', parseTarget)
    .option('--json', 'the answer as JSON')
    .action(async (target: Target, options: UndrainOptions) => {
      await withAdmin(context, options, async (client) => {
        const answer = await client.post<object>(operatePath(target, 'enable'));
        if (options.json === true) context.output.json(answer);
        else context.output.data(`${target.text}: enabled`);
        return EXIT.ok;
      });
    });
}
