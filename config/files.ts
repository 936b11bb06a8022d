/**
 * The files a configuration names. Secrets are read here, because what follows wants their text; other paths are only
 * made absolute: `certificates.ts` looks whether certificates can be used, and their users read them again.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { clientKey } from './client-schema.ts';
import type { Finding, Path } from './findings.ts';
import { findingsOf, OWN_WORDS } from './issues.ts';
import { alternatives, below, CONFIGURATION_NODE, KEYS_FILE_NODE } from './json-schema.ts';
import type { SchemaNode } from './json-schema.ts';
import { readable } from './readable.ts';
import { readSource } from './source.ts';
import type { Environment, Source } from './source.ts';
import { listOf } from './tree.ts';

type ClientKey = z.output<typeof clientKey>;

export interface FileText {
  readonly text: string | null;
  /** Why there is none, for a message: no path in it. */
  readonly reason: string;
}

/** Never throws. */
export function readText(path: string): FileText {
  try {
    return { text: readFileSync(path, 'utf8'), reason: '' };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    switch (code) {
      case 'ENOENT':
        return { text: null, reason: 'there is no such file' };
      case 'EACCES':
        return { text: null, reason: 'it may not be read by this user' };
      case 'EISDIR':
        return { text: null, reason: 'it is a directory' };
      default:
        return { text: null, reason: `it cannot be read (${code})` };
    }
  }
}

/** `source.value` with secrets in the place of their files and with absolute paths. */
export function resolveFiles(
  source: Source,
  schema: SchemaNode = CONFIGURATION_NODE,
): { value: unknown; faults: Finding[] } {
  const base = dirname(resolve(source.file));
  const faults: Finding[] = [];
  const walk = (value: unknown, nodes: readonly SchemaNode[], path: Path): unknown => {
    if (typeof value === 'string') {
      const isPath = nodes.some((node) => node['x-source'] === 'path') && value !== '' && !isPem(value);
      return isPath ? resolve(base, value) : value;
    }
    if (Array.isArray(value))
      return value.map((entry, index) => walk(entry, below(nodes, index), [...path, index]));
    if (typeof value !== 'object' || value === null) return value;
    const branch = value as Readonly<Record<string, unknown>>;
    const file = branch.file;
    if (typeof file === 'string' && file !== '' && Object.keys(branch).length === 1) {
      if (nodes.some((node) => node['x-source'] === 'secret')) return secretOf(file, path);
      if (nodes.some((node) => node['x-source'] === 'path')) return resolve(base, file);
    }
    return Object.fromEntries(
      Object.entries(branch).map(([key, entry]) => [key, walk(entry, below(nodes, key), [...path, key])]),
    );
  };
  const secretOf = (file: string, path: Path): string => {
    const { text, reason } = readText(resolve(base, file));
    if (text === null)
      faults.push(source.find('error', [...path, 'file'], `the secret is not in \`${file}\`: ${reason}`));
    return (text ?? '').replace(/\r?\n$/, '');
  };
  return { value: walk(source.value, alternatives(schema), []), faults };
}

function isPem(text: string): boolean {
  return text.startsWith('-----BEGIN');
}

export interface KeysFile {
  /** As many as are written, each with what of it can be read. */
  readonly keys: readonly Partial<ClientKey>[];
  /** Null when the file cannot be read as YAML. */
  readonly source: Source | null;
  readonly faults: readonly Finding[];
  readonly warnings: readonly Finding[];
}

/**
 * The rows of a keys file, a list like `clients.keys`.
 * @param path absolute
 * @param missing makes the fault where the configuration names the file
 */
export function readKeysFile(
  path: string,
  environment: Environment,
  missing: (message: string) => Finding,
): KeysFile {
  const { text, reason } = readText(path);
  if (text === null)
    return { keys: [], source: null, faults: [missing(`the keys are not there: ${reason}`)], warnings: [] };
  const source = readSource(text, path, environment, KEYS_FILE_NODE);
  const faults = source.findings.filter((finding) => finding.severity === 'error');
  const warnings = source.findings.filter((finding) => finding.severity === 'warning');
  if (!source.usable) return { keys: [], source: null, faults, warnings };
  const resolved = resolveFiles(source, KEYS_FILE_NODE);
  faults.push(...resolved.faults);
  const result = z.array(clientKey).safeParse(resolved.value, OWN_WORDS);
  if (!result.success) faults.push(...findingsOf(result.error.issues, source, KEYS_FILE_NODE));
  const keys = listOf(resolved.value).map((row) => readable(clientKey, row));
  return { keys, source, faults, warnings };
}
