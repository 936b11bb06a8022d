/**
 * Header fields that a route names twice. Names of fields have no case, keys of YAML do: of two spellings under `set` or
 * `match` only one would count, and nobody could say which. A field that is set and removed is a doubt only, since it has
 * one meaning here and in the usual proxies, which hide the instance's own before they add theirs: it is replaced.
 */
import type { Finding, Path } from './findings.ts';
import type { Source } from './source.ts';
import { listOf, placed, treeOf } from './tree.ts';

/** Works on what is written, so that a fault elsewhere hides none of these. */
export function checkHeaderChanges(source: Source): Finding[] {
  const findings: Finding[] = [];
  for (const { path, value } of placed(treeOf(source.value), 'routes')) {
    const { match, headers } = treeOf(value);
    spelledTwice(source, [...path, 'match', 'headers'], treeOf(match)['headers'], findings);
    for (const way of ['request', 'response']) {
      const { set, remove } = treeOf(treeOf(headers)[way]);
      const names = spelledTwice(source, [...path, 'headers', way, 'set'], set, findings);
      for (const [index, name] of listOf(remove).entries()) {
        if (typeof name !== 'string' || !names.has(name.toLowerCase())) continue;
        const message = `\`${name}\` is set as well, which replaces it: removing it changes nothing`;
        findings.push(source.find('warning', [...path, 'headers', way, 'remove', index], message));
      }
    }
  }
  return findings;
}

/** The names of a mapping, in small letters. */
function spelledTwice(
  source: Source,
  path: Path,
  fields: unknown,
  findings: Finding[],
): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (const name of Object.keys(treeOf(fields))) {
    const before = names.get(name.toLowerCase());
    names.set(name.toLowerCase(), before ?? name);
    if (before === undefined) continue;
    const message = `the same field as \`${before}\`: names of fields have no case`;
    findings.push(source.find('error', [...path, name], message, { atKey: true }));
  }
  return names;
}
