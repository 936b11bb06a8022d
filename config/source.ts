/**
 * A configuration file as text with positions: YAML 1.2 (so JSON too) to a plain value, with the environment put in,
 * and with a way back from a place in the tree to a line and column.
 *
 * `${NAME}` and `${NAME:-default}` are replaced in string values, never in keys; `$${` stands for `${`. As in a shell,
 * the default also stands for an empty variable. Where the schema wants a number or a boolean, the text that came from
 * the environment is converted, since no variable can hold anything but text.
 *
 * Refused here, because no schema sees them: keys that name JavaScript's prototypes, and aliases that multiply
 * (billion laughs).
 */
import { isAlias, isMap, isPair, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import type { Document, Pair, Scalar, YAMLError } from 'yaml';
import { formatPath } from './findings.ts';
import type { Finding, Path } from './findings.ts';
import { expectsBoolean, expectsNumber, nodesAt } from './json-schema.ts';
import type { SchemaNode } from './json-schema.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Source {
  readonly file: string;
  /** Null when the text cannot be read as one tree. */
  readonly value: unknown;
  /** False when the tree cannot be trusted: judging it further would only add noise. */
  readonly usable: boolean;
  readonly findings: readonly Finding[];
  /** Makes a finding at the value of a place, or at its key. A missing place is its nearest ancestor. */
  readonly find: (severity: Finding['severity'], path: Path, message: string, more?: FindingMore) => Finding;
}

interface FindingMore {
  readonly suggestion?: string;
  /** Point at the key instead of the value. */
  readonly atKey?: boolean;
}

const FORBIDDEN_KEYS: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

type Tree = Document.Parsed;

/** Never throws: whatever is wrong with the text becomes a finding. */
export function readSource(text: string, file: string, environment: Environment, schema: SchemaNode): Source {
  const lines = new LineCounter();
  const findings: Finding[] = [];
  const at = (offset: number): { line: number; column: number } => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const push = (severity: Finding['severity'], offset: number, path: Path, message: string): void => {
    findings.push({ file, ...at(offset), severity, path: formatPath(path), message, suggestion: '' });
  };
  let tree: Tree;
  try {
    tree = parseDocument(text, {
      lineCounter: lines,
      version: '1.2',
      schema: 'core',
      stringKeys: true,
      resolveKnownTags: false,
      prettyErrors: false,
      logLevel: 'error',
    });
  } catch {
    push('error', 0, [], 'cannot be read as YAML: nested too deeply');
    return { file, value: null, usable: false, findings, find: finder(file, null, at) };
  }
  const broken = new Set<number>();
  const keys = tree.errors.length === 0 ? new Map<number, string>() : keysByOffset(tree);
  for (const error of tree.errors) {
    const { line } = at(error.pos[0]);
    // One slip makes the parser stumble over each token that follows on its line.
    if (!broken.has(line)) push('error', error.pos[0], [], wordsFor(error, keys, text));
    broken.add(line);
  }
  for (const warning of tree.warnings) push('warning', warning.pos[0], [], oneLine(warning.message));
  const usable = tree.errors.every((error) => error.code === 'DUPLICATE_KEY');
  const find = finder(file, tree, at);
  if (!usable) return { file, value: null, usable, findings, find };
  try {
    prepare(tree, environment, schema, push);
    const value: unknown = tree.toJS({ maxAliasCount: 100 });
    return { file, value, usable, findings, find };
  } catch {
    push('error', 0, [], 'cannot be read: nested too deeply, or aliases that multiply');
    return { file, value: null, usable: false, findings, find };
  }
}

/** The parser's own words, but where they speak to programmers. */
function wordsFor(error: YAMLError, keys: ReadonlyMap<number, string>, text: string): string {
  const [offset] = error.pos;
  if (error.code === 'DUPLICATE_KEY') {
    return `the key \`${oneLine(keys.get(offset) ?? '')}\` stands twice in this mapping`;
  }
  if (error.code === 'MULTIPLE_DOCS') return 'a second document begins here; a configuration is one document';
  return oneLine(error.message) + quotingHint(text, offset);
}

/** Each key at the place where it begins; without recursion, since a broken file may be nested to any depth. */
function keysByOffset(tree: Tree): Map<number, string> {
  const keys = new Map<number, string>();
  const waiting: unknown[] = [tree.contents];
  while (waiting.length > 0) {
    const node = waiting.pop();
    if (isPair(node)) {
      keys.set(offsetOf(node.key), keyText(node));
      waiting.push(node.value);
    } else if (isMap(node) || isSeq(node)) {
      for (const item of node.items) waiting.push(item);
    }
  }
  return keys;
}

/** `{ port: ${PORT} }` is no YAML: inside brackets the brace of a variable is one of YAML's own. */
function quotingHint(text: string, offset: number): string {
  const begin = text[offset] === '{' && text[offset - 1] === '$';
  return begin ? ' (inside `{ }` and `[ ]`, a value with `${…}` needs quotes)' : '';
}

function oneLine(message: string): string {
  const line = message.split('\n', 1)[0] ?? '';
  return line.length > 200 ? `${line.slice(0, 200)}…` : line;
}

type Push = (severity: Finding['severity'], offset: number, path: Path, message: string) => void;

/** Takes forbidden keys out and puts the environment in, in place. */
function prepare(tree: Tree, environment: Environment, schema: SchemaNode, push: Push): void {
  const walk = (node: unknown, path: Path): void => {
    if (isMap(node)) {
      node.items = node.items.filter((pair) => {
        const key = keyText(pair);
        if (!FORBIDDEN_KEYS.has(key)) return true;
        push('error', offsetOf(pair.key), [...path, key], `the key \`${key}\` is not accepted anywhere`);
        return false;
      });
      for (const pair of node.items) walk(pair.value, [...path, keyText(pair)]);
    } else if (isSeq(node)) {
      node.items.forEach((item, index) => walk(isPair(item) ? item.value : item, [...path, index]));
    } else if (isScalar(node) && typeof node.value === 'string' && node.value.includes('${')) {
      const scalar: Scalar = node;
      const text = expand(node.value, environment, (message) =>
        push('error', offsetOf(scalar), path, message),
      );
      scalar.value = convert(text, nodesAt(schema, path));
    }
  };
  walk(tree.contents, []);
}

const REFERENCE = /\$(\$?)\{([^}]*)(\}?)/g;
const VARIABLE = /^([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s;

function expand(text: string, environment: Environment, fault: (message: string) => void): string {
  return text.replace(REFERENCE, (whole: string, escaped: string, body: string, close: string) => {
    if (escaped !== '') return whole.slice(1);
    const match = close === '' ? null : VARIABLE.exec(body);
    const variable = match?.[1];
    if (match === null || variable === undefined) {
      fault('`${` begins a variable, written ${NAME} or ${NAME:-default}; `$${` stands for itself');
      return '';
    }
    const value = Object.hasOwn(environment, variable) ? environment[variable] : undefined;
    const fallback = match[2];
    if (fallback !== undefined) return value === undefined || value === '' ? fallback : value;
    if (value === undefined)
      fault(`the environment has no \`${variable}\`, and there is no default (\${${variable}:-…})`);
    return value ?? '';
  });
}

/** Text of the environment as the number or boolean that belongs there; anything else stays text. */
function convert(text: string, nodes: readonly SchemaNode[]): unknown {
  if (/^-?\d{1,15}(\.\d{1,15})?$/.test(text) && expectsNumber(nodes)) return Number(text);
  if ((text === 'true' || text === 'false') && expectsBoolean(nodes)) return text === 'true';
  return text;
}

function keyText(pair: Pair): string {
  return isScalar(pair.key) ? String(pair.key.value) : '';
}

function offsetOf(node: unknown): number {
  return isScalar(node) || isMap(node) || isSeq(node) || isAlias(node) ? (node.range?.[0] ?? 0) : 0;
}

function finder(
  file: string,
  tree: Tree | null,
  at: (offset: number) => { line: number; column: number },
): Source['find'] {
  return (severity, path, message, more = {}) => {
    const offset = tree === null ? 0 : locate(tree, path, more.atKey ?? false);
    return {
      file,
      ...at(offset),
      severity,
      path: formatPath(path),
      message,
      suggestion: more.suggestion ?? '',
    };
  };
}

/** The offset of a place in the text; of its nearest ancestor's key where the place itself is not written. */
function locate(tree: Tree, path: Path, atKey: boolean): number {
  let node: unknown = tree.contents;
  let offset = 0;
  for (const [depth, step] of path.entries()) {
    const parent: unknown = isAlias(node) ? node.resolve(tree) : node;
    const last = depth === path.length - 1;
    if (isMap(parent)) {
      const pair = parent.items.findLast((each) => keyText(each) === String(step));
      if (pair === undefined) return offset;
      offset = offsetOf(pair.key);
      node = pair.value;
      if (last && !atKey && node !== null) return offsetOf(node) || offset;
    } else if (isSeq(parent) && typeof step === 'number') {
      const item = parent.items[step];
      if (item === undefined) return offset;
      node = isPair(item) ? item.value : item;
      offset = offsetOf(node) || offset;
    } else {
      return offset;
    }
  }
  return offset;
}
