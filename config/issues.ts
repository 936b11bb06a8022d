/**
 * What zod found, in words for the person who wrote the file. Texts never repeat a value, since any value may be a
 * secret that stands in the wrong place; they name keys, kinds and the words that would be right.
 */
import type { z } from 'zod';
import type { Finding, Path } from './findings.ts';
import { keysOf, kindOf, nodesAt, wordsOf } from './json-schema.ts';
import type { SchemaNode } from './json-schema.ts';
import type { Source } from './source.ts';
import { nearest } from './suggest.ts';

type Issue = z.core.$ZodIssue;

/** Parse option: our own texts of the schema stay, zod's are left empty and written here. */
export const OWN_WORDS = { error: () => '', reportInput: true } as const;

/** Every issue as findings, at the place where it stands. */
export function findingsOf(issues: readonly Issue[], source: Source, schema: SchemaNode): Finding[] {
  return issues.flatMap((issue) => describe(issue, [], source, schema));
}

function describe(issue: Issue, base: Path, source: Source, schema: SchemaNode): Finding[] {
  const path: Path = [...base, ...issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step))];
  const nodes = nodesAt(schema, path);
  const fault = (message: string, suggestion = ''): Finding[] => [
    source.find('error', path, message, { suggestion }),
  ];
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownKey(key, path, issue.input, nodes, source));
    case 'invalid_key': {
      const message = issue.issues[0]?.message ?? '';
      return [source.find('error', path, message === '' ? 'not a valid name' : message, { atKey: true })];
    }
    case 'invalid_union':
      return describeUnion(issue, path, source, schema);
    case 'invalid_value':
      return fault(
        `must be ${oneOf(issue.values.map((value) => `\`${String(value)}\``))}`,
        meant(issue.input, nodes),
      );
    case 'invalid_type':
      if (issue.input === undefined) {
        const key = path.at(-1);
        return [
          source.find('error', path, `\`${String(key)}\` is missing and has no default`, { atKey: true }),
        ];
      }
      return fault(
        issue.message === ''
          ? `must be ${wanted(issue.expected, nodes)}, not ${kind(issue.input)}`
          : issue.message,
      );
    case 'too_small':
      if (issue.message !== '') return fault(issue.message);
      if (issue.origin === 'array' || issue.origin === 'string') return fault('must not be empty');
      return fault(`must be ${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}`);
    case 'too_big':
      return fault(issue.message === '' ? `must be at most ${issue.maximum}` : issue.message);
    case 'invalid_format':
    case 'custom':
    case 'invalid_element':
    case 'not_multiple_of':
      return fault(issue.message === '' ? mustBe(nodes) : issue.message, meant(issue.input, nodes));
    default:
      issue satisfies never;
      return fault(mustBe(nodes));
  }
}

function unknownKey(
  key: string,
  path: Path,
  input: unknown,
  nodes: readonly SchemaNode[],
  source: Source,
): Finding {
  const known = keysOf(nodes);
  const place = [...path, key];
  if (known.includes(key)) {
    const others = Object.keys(input ?? {}).filter((other) => other !== key && known.includes(other));
    return source.find('error', place, `\`${key}\` cannot stand beside \`${others.join('`, `')}\``, {
      atKey: true,
    });
  }
  const free = known.filter((other) => !Object.hasOwn(input ?? {}, other));
  return source.find('error', place, `unknown key \`${key}\``, {
    atKey: true,
    suggestion: nearest(key, free),
  });
}

/** The faults of the alternative that was probably meant: the one whose keys fit best. */
function describeUnion(
  issue: Extract<Issue, { code: 'invalid_union' }>,
  path: Path,
  source: Source,
  schema: SchemaNode,
): Finding[] {
  const nodes = nodesAt(schema, path);
  const candidates = issue.errors.filter((issues) => !issues.some(missesKind));
  const [best] = candidates.map((issues) => ({ issues, cost: cost(issues) })).sort((a, b) => a.cost - b.cost);
  if (best === undefined) {
    return [source.find('error', path, mustBe(nodes), { suggestion: meant(issue.input, nodes) })];
  }
  const mistyped = best.issues.some((each) => each.code === 'unrecognized_keys' && each.path.length === 0);
  const told = mistyped ? best.issues.filter((each) => !isMissing(each)) : best.issues;
  return told.flatMap((each) => describe(each, path, source, schema));
}

/** The alternative wants another kind of value altogether. */
function missesKind(issue: Issue): boolean {
  return issue.path.length === 0 && (issue.code === 'invalid_type' || issue.code === 'invalid_value');
}

/** A key that is not there because it is there under a mistyped name. */
function isMissing(issue: Issue): boolean {
  return issue.code === 'invalid_type' && issue.input === undefined;
}

/** Unknown keys weigh most: they tell that another alternative was meant. */
function cost(issues: readonly Issue[]): number {
  let sum = 0;
  for (const issue of issues) sum += issue.code === 'unrecognized_keys' ? 4 * issue.keys.length : 1;
  return sum;
}

function mustBe(nodes: readonly SchemaNode[]): string {
  const word = kindOf(nodes);
  return word === '' ? 'is not what belongs here' : `must be ${withArticle(word)}`;
}

function withArticle(word: string): string {
  if (word.includes('` `')) return `one of ${word}`;
  return word.startsWith('`') || word === 'text' || word.startsWith('true') ? word : `a ${word}`;
}

function meant(input: unknown, nodes: readonly SchemaNode[]): string {
  return typeof input === 'string' ? nearest(input, wordsOf(nodes)) : '';
}

function oneOf(words: readonly string[]): string {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} or ${words.at(-1) ?? ''}`;
}

function wanted(expected: string, nodes: readonly SchemaNode[]): string {
  switch (expected) {
    case 'object':
    case 'record':
      return 'a mapping';
    case 'array':
      return 'a list';
    case 'boolean':
      return 'true or false';
    case 'int':
      return 'a whole number';
    default:
      return withArticle(kindOf(nodes) || expected);
  }
}

function kind(input: unknown): string {
  if (input === null) return 'empty';
  if (Array.isArray(input)) return 'a list';
  if (typeof input === 'object') return 'a mapping';
  if (typeof input === 'string') return 'text';
  return typeof input === 'boolean' ? 'true or false' : 'a number';
}
