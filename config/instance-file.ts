/**
 * A file of instances (`discovery.file`): a list like `services.<name>.instances`, YAML or JSON.
 *
 * It is written by other programs and read again and again, so nothing of the environment is put into it, and a list with
 * any fault is no list: a row that is left out would be an instance that is taken away.
 */
import { z } from 'zod';
import { formatFinding } from './findings.ts';
import { instance } from './instance-schema.ts';
import { findingsOf, OWN_WORDS } from './issues.ts';
import type { SchemaNode } from './json-schema.ts';
import { readSource } from './source.ts';

const rows = z.array(instance).max(10_000);
const NODE = z.toJSONSchema(rows, { io: 'input' }) as SchemaNode;

/** Never throws. @param file its name, for the reason */
export function readInstanceFile(
  text: string,
  file: string,
):
  | { readonly ok: true; readonly instances: readonly z.output<typeof instance>[] }
  | { readonly ok: false; readonly reason: string } {
  const source = readSource(text, file, {}, NODE);
  const fault = source.findings.find(({ severity }) => severity === 'error');
  if (fault !== undefined) return { ok: false, reason: formatFinding(fault) };
  if (source.value === null) return { ok: false, reason: `${file} is empty: no instances are written as []` };
  const result = rows.safeParse(source.value, OWN_WORDS);
  if (result.success) return { ok: true, instances: result.data };
  const [first] = findingsOf(result.error.issues, source, NODE);
  return { ok: false, reason: first === undefined ? `${file} is not a list` : formatFinding(first) };
}
