/**
 * `config/README.md`, generated: one row for each key, from the JSON Schema alone, so that it cannot disagree with
 * what the loader accepts.
 */
import { CONFIGURATION_NODE } from './json-schema.ts';
import type { SchemaNode } from './json-schema.ts';
import { NOT_YET } from './not-yet.ts';

const HEAD = `# The configuration

<!-- Generated from config/*-schema.ts by \`npm run generate\`. Edit the descriptions there. -->

YAML 1.2; JSON is accepted. Only \`listeners\`, \`services\` and \`routes\` are required, everything else has the default
shown. Unknown keys are errors. Start from [\`examples/\`](examples): \`minimal.yaml\`, \`tiers.yaml\`, \`full.yaml\`,
\`kubernetes-like.yaml\`. \`check\` misses eight PEM files in \`full.yaml\` until they are yours.

\`\`\`
spillway check -c spillway.yaml      # every fault in one run, as FILE:LINE:COLUMN: error: what, where, did you mean …
spillway schema                      # the JSON Schema (2020-12) for editors: config/schema.json
\`\`\`

- **Durations** \`250ms\` \`2s\` \`5m\` \`8h\` \`1d\` · **sizes** \`512B\` \`16KiB\` \`10MiB\` \`1GiB\` · **rates** \`10/s\` \`600/m\` \`5000/h\`
  · **ratios** \`20%\`. A bare number where a unit belongs is an error.
- **Environment**: \`\${NAME}\` and \`\${NAME:-default}\` are replaced in values; a variable that is not set and has no default
  is an error. \`$\${\` stands for \`\${\`.
- **Secrets**: \`{ file: path }\` stands for the text of a file, relative to the configuration.
- **PEM files**: a path, or the PEM text itself.
- \`–\` means that there is none by default. Keys and values with ◦ are accepted but not acted on yet;
  \`check\` warns of them.
`;

/** The whole file. */
export function renderReference(): string {
  const parts = [HEAD];
  for (const [key, node] of Object.entries(CONFIGURATION_NODE.properties ?? {})) {
    const required = CONFIGURATION_NODE.required?.includes(key) ?? false;
    const rows: string[] = [];
    describe({ path: key, pattern: key, node, required }, rows);
    parts.push(
      `\n## ${key}\n\n| key | type | default | meaning |\n| --- | --- | --- | --- |\n${rows.join('\n')}\n`,
    );
  }
  return parts.join('');
}

interface Place {
  /** As shown: `services.<name>.instances[]`. */
  readonly path: string;
  /** As in the table of `not-yet.ts`: `services.*.instances.*`. */
  readonly pattern: string;
  readonly node: SchemaNode;
  readonly required: boolean;
}

function describe(place: Place, rows: string[]): void {
  const { path, pattern, node, required } = place;
  const later = NOT_YET.some((each) => each.path === pattern) ? ' ◦' : '';
  const meaning = escape(node.description ?? '');
  rows.push(
    `| \`${path}\`${later} | ${escape(typeOf(node))} | ${required ? '**required**' : defaultOf(node)} | ${meaning} |`,
  );
  children(place, rows);
}

/** Rows of what may stand below, in each of the alternatives. */
function children({ path, pattern, node }: Place, rows: string[]): void {
  for (const choice of node.anyOf ?? []) children({ path, pattern, node: choice, required: false }, rows);
  for (const [key, child] of Object.entries(node.properties ?? {})) {
    if (node['x-source'] !== undefined || isFileChoice(node)) continue;
    const required = node.required?.includes(key) ?? false;
    describe({ path: `${path}.${key}`, pattern: `${pattern}.${key}`, node: child, required }, rows);
  }
  if (node.items !== undefined) {
    children({ path: `${path}[]`, pattern: `${pattern}.*`, node: node.items, required: false }, rows);
  }
  if (typeof node.additionalProperties === 'object') {
    const below = {
      path: `${path}.<name>`,
      pattern: `${pattern}.*`,
      node: node.additionalProperties,
      required: false,
    };
    children(below, rows);
  }
}

/** `{ file: path }` for a secret is explained once, above the tables. */
function isFileChoice(node: SchemaNode): boolean {
  const keys = Object.keys(node.properties ?? {});
  return keys.length === 1 && keys[0] === 'file';
}

function typeOf(node: SchemaNode): string {
  if (node['x-type'] !== undefined) return node['x-type'];
  if (node.anyOf !== undefined) {
    return node.anyOf
      .filter((choice) => choice.type !== 'null')
      .map(typeOf)
      .join(' or ');
  }
  if (node.type === 'array') return `list of ${node.items === undefined ? 'anything' : typeOf(node.items)}`;
  if (node.type === 'object') {
    return typeof node.additionalProperties === 'object'
      ? `names to ${typeOf(node.additionalProperties)}`
      : 'mapping';
  }
  return node.type ?? '';
}

function defaultOf(node: SchemaNode): string {
  const value = node.default;
  if (value === undefined) return '';
  if (value === null || value === '') return '–';
  if (typeof value === 'string') return `\`${value}\``;
  const text = JSON.stringify(value);
  return text === '{}' ? '' : `\`${escape(text)}\``;
}

function escape(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;');
}
