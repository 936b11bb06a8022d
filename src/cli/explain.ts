/** `spillway explain REQUEST_ID`: why a request went as it did, while a worker remembers it. */
import type { Command } from 'commander';
import type { AdminOptions } from './admin-address.ts';
import { addAdminOptions, withAdmin } from './admin-client.ts';
import type { CliContext } from './context.ts';
import { EXIT } from './exit-codes.ts';
import { plain, table } from './table.ts';

/** No `Date` lies further from 1970 (ECMA-262 §21.4.1.1). */
const LAST_DATE_MS = 8.64e15;

interface ExplainOptions extends AdminOptions {
  readonly json?: boolean;
}

export function addExplainCommand(program: Command, context: CliContext): void {
  addAdminOptions(program.command('explain').description('say why a request went as it did'))
    .argument('<request-id>', 'the x-request-id of its answer')
    .option('--json', 'the answer as JSON')
    .action(async (requestId: string, options: ExplainOptions) => {
      await withAdmin(context, options, async (client) => {
        const record = await client.get<unknown>(`/v1/explain/${encodeURIComponent(requestId)}`);
        if (options.json === true) context.output.json(record);
        else for (const line of shown(record)) context.output.data(line);
        return EXIT.ok;
      });
    });
}

/** A record for people: one line a member. */
function shown(record: unknown): string[] {
  return table([['', ''], ...rows('', record)]).slice(1);
}

/** Nested members as `outer.inner`; what is empty says nothing and is left out. */
function rows(prefix: string, value: unknown): string[][] {
  if (value === '' || value === null || value === undefined) return [];
  if (typeof value === 'number') return [figure(prefix, value)];
  if (typeof value !== 'object')
    return [[prefix, plain(typeof value === 'string' ? value : (JSON.stringify(value) ?? ''))]];
  if (Array.isArray(value) && value.every((item) => typeof item !== 'object'))
    return value.length === 0 ? [] : [[prefix, value.join(', ')]];
  return Object.entries(value).flatMap(([key, inner]) =>
    rows(prefix === '' ? key : `${prefix}.${key}`, inner),
  );
}

/** The moment of the request as a time, other figures to the microsecond: what follows is noise of the clock's floats. */
function figure(name: string, value: number): string[] {
  if (name === 'wallMs' && Math.abs(value) <= LAST_DATE_MS) return ['time', new Date(value).toISOString()];
  return [name, String(Number(value.toFixed(3)))];
}
