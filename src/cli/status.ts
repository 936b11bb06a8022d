/** `spillway status`: how a running gateway is, in words; `--json` is `/v1/status` as it is. */
import type { Command } from 'commander';
import type { ServiceView, StatusView } from '../io/admin-port.ts';
import type { AdminOptions } from './admin-address.ts';
import { addAdminOptions, withAdmin, type AdminClient } from './admin-client.ts';
import type { CliContext } from './context.ts';
import { EXIT } from './exit-codes.ts';
import { instanceRows } from './instance-rows.ts';
import type { Output } from './output.ts';
import { sheddingRows } from './shedding-rows.ts';
import { plain, table } from './table.ts';

interface StatusOptions extends AdminOptions {
  readonly json?: boolean;
}

export function addStatusCommand(program: Command, context: CliContext): void {
  addAdminOptions(program.command('status').description('say how a running gateway is'))
    .option('--json', 'the answer as JSON')
    .action(async (options: StatusOptions) => {
      await withAdmin(context, options, async (client) => await printStatus(client, options, context.output));
    });
}

async function printStatus(client: AdminClient, options: StatusOptions, output: Output): Promise<number> {
  const status = await client.get<StatusView>('/v1/status');
  if (options.json === true) {
    output.json(status);
    return EXIT.ok;
  }
  const { services } = await client.get<{ services: Record<string, ServiceView> }>('/v1/services');
  output.data(output.onData('bold', plain(status.summary)));
  output.data('');
  for (const line of table([['', ''], ...facts(status)]).slice(1)) output.data(line);
  output.data('');
  for (const line of table(serviceRows(services))) output.data(line);
  output.data('');
  for (const line of table(sheddingRows(services))) output.data(line);
  output.data('');
  for (const line of table(instanceRows(services))) output.data(line);
  return EXIT.ok;
}

function facts(status: StatusView): string[][] {
  const ready = status.workers.filter(({ state }) => state === 'ready').length;
  const restarts = status.workers.reduce((total, worker) => total + worker.restarts, 0);
  const { hash, lastReload } = status.config;
  return [
    ['version', `${status.version} (${status.commit})`],
    ['host', status.host],
    ['up since', `${status.startedAt} (${uptime(status.uptimeSeconds)})`],
    ['workers', `${ready} of ${status.workers.length} ready, ${restarts} restarts`],
    ['configuration', `${hash}, last reload ${lastReload.result} at ${lastReload.at}`],
    ['redis', status.redis.state],
  ];
}

/** 93784 → `1d 2h 3m`, 61 → `1m 1s`. */
function uptime(seconds: number): string {
  const parts: string[] = [];
  let left = Math.floor(seconds);
  for (const [unit, size] of [
    ['d', 86_400],
    ['h', 3600],
    ['m', 60],
    ['s', 1],
  ] as const) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count > 0) parts.push(`${count}${unit}`);
  }
  return parts.length === 0 ? '0s' : parts.slice(0, 3).join(' ');
}

function serviceRows(services: Readonly<Record<string, ServiceView>>): (string | number)[][] {
  const rows: (string | number)[][] = [
    ['SERVICE', 'STATE', 'READY', 'IN FLIGHT', 'LIMIT', 'QUEUE', 'BREAKER', 'BECAUSE'],
  ];
  for (const [name, { state, instances, shedding, breaker, because }] of Object.entries(services)) {
    const reasons = because.map(
      (cause) => `${cause.subject}: ${cause.state}${cause.reason === '' ? '' : ` (${cause.reason})`}`,
    );
    const { inFlight, limit, queueDepth } = shedding;
    rows.push([
      name,
      state,
      readyOf(instances),
      inFlight,
      limit,
      queueDepth,
      breaker.state,
      reasons.join(' ← '),
    ]);
  }
  return rows;
}

/** `2/3`, or `2/3 (1 warming)`: who takes new sessions, of all that are not gone. */
function readyOf(instances: ServiceView['instances']): string {
  const count = (wanted: string): number => instances.filter(({ state }) => state === wanted).length;
  const notes = ['warming', 'degraded'].map((state) => ({ state, count: count(state) }));
  const serving = notes.reduce((total, note) => total + note.count, count('ready'));
  const words = notes.filter((note) => note.count > 0).map((note) => `${note.count} ${note.state}`);
  const suffix = words.length === 0 ? '' : ` (${words.join(', ')})`;
  return `${serving}/${instances.length - count('gone')}${suffix}`;
}
