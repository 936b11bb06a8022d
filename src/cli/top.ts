/**
 * `spillway top`: services and instances, drawn again each second on a terminal until Ctrl-C; one table elsewhere.
 *
 * Rates are differences of `/metrics` between two looks. A gateway that stops answering meanwhile is said so and asked
 * again: an operator watches exactly when things restart.
 */
import { setTimeout as pause } from 'node:timers/promises';
import process from 'node:process';
import type { Command } from 'commander';
import type { ServiceView, StatusView } from '../io/admin-port.ts';
import type { AdminOptions } from './admin-address.ts';
import { addAdminOptions, NoGatewayError, withAdmin, type AdminClient } from './admin-client.ts';
import type { CliContext } from './context.ts';
import { EXIT } from './exit-codes.ts';
import { ratesBetween, readTotals, type Totals } from './top-rates.ts';
import { drawTop, type TopPicture } from './top-view.ts';

const EVERY_MS = 1000;
const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const END_OF_LINE = '\u001b[K\r\n';
const CLEAR_BELOW = '\u001b[J';

export function addTopCommand(program: Command, context: CliContext): void {
  addAdminOptions(program.command('top').description('watch a running gateway')).action(
    async (options: AdminOptions) => {
      await withAdmin(context, options, async (client) => {
        if (context.stdout.isTTY === true) return await watch(client, context);
        const { picture } = await look(client, undefined);
        for (const line of drawTop(picture)) context.output.data(line);
        return EXIT.ok;
      });
    },
  );
}

interface Look {
  readonly picture: TopPicture;
  readonly totals: Totals;
}

async function look(client: AdminClient, before: Totals | undefined): Promise<Look> {
  const [status, { services }, page] = await Promise.all([
    client.get<StatusView>('/v1/status'),
    client.get<{ services: Record<string, ServiceView> }>('/v1/services'),
    client.text('/metrics'),
  ]);
  const totals = readTotals(page, performance.now());
  return {
    picture: { status, services, rates: before === undefined ? undefined : ratesBetween(before, totals) },
    totals,
  };
}

async function watch(client: AdminClient, context: CliContext): Promise<number> {
  let { picture, totals } = await look(client, undefined);
  const stop = new AbortController();
  const onSignal = (): void => {
    stop.abort();
  };
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  context.stdout.write(ENTER);
  try {
    for (let note = ''; ;) {
      draw(context, [...(note === '' ? [] : [note, '']), ...drawTop(picture)]);
      await pause(EVERY_MS, undefined, { signal: stop.signal });
      try {
        ({ picture, totals } = await look(client, totals));
        note = '';
      } catch (error) {
        if (!(error instanceof NoGatewayError)) throw error;
        note = error.message;
      }
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    return EXIT.ok;
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
    context.stdout.write(LEAVE);
  }
}

/** No more than fits, so that the terminal never scrolls. */
function draw({ stdout }: CliContext, lines: readonly string[]): void {
  const { rows = 24, columns = 80 } = stdout;
  const shown = lines.slice(0, Math.max(1, rows - 1)).map((line) => line.slice(0, columns) + END_OF_LINE);
  stdout.write(HOME + shown.join('') + CLEAR_BELOW);
}
