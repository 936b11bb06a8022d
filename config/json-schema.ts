/**
 * The JSON Schema (2020-12) of the configuration, made from the zod schema, and the questions that the loader asks of
 * it: which keys may stand at a place, what kind of value, and whether a secret or a path belongs there.
 */
import { z } from 'zod';
import type { Path } from './findings.ts';
import { configurationSchema } from './schema.ts';
import { clientKey } from './client-schema.ts';

/** The parts of a JSON Schema node that are read here. */
export interface SchemaNode {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | SchemaNode;
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
  /** The word for the kind of value, in the generated table and in messages. */
  readonly 'x-type'?: string;
  /** `secret`: `{ file }` may stand for it. `path`: relative to the configuration. */
  readonly 'x-source'?: 'secret' | 'path';
}

function configurationJsonSchema(): Record<string, unknown> {
  const { $schema, ...rest } = z.toJSONSchema(configurationSchema, { io: 'input', target: 'draft-2020-12' });
  return { $schema, title: 'Spillway configuration', ...rest };
}

/** The text that `spillway schema` prints and `config/schema.json` holds. */
export function renderJsonSchema(): string {
  return `${JSON.stringify(configurationJsonSchema(), null, 2)}\n`;
}

export const CONFIGURATION_NODE: SchemaNode = configurationJsonSchema();

/** The file that `clients.keysFile` names: a list of keys. */
export const KEYS_FILE_NODE: SchemaNode = z.toJSONSchema(z.array(clientKey), { io: 'input' }) as SchemaNode;

/** A node and all its alternatives, alternatives of alternatives included. */
export function alternatives(node: SchemaNode): SchemaNode[] {
  return [node, ...(node.anyOf ?? []).flatMap(alternatives)];
}

/** The nodes that may stand under one key of the given ones. */
export function below(nodes: readonly SchemaNode[], step: string | number): SchemaNode[] {
  const found: SchemaNode[] = [];
  for (const node of nodes) {
    if (typeof step === 'number') {
      if (node.items !== undefined) found.push(...alternatives(node.items));
    } else if (node.properties !== undefined && Object.hasOwn(node.properties, step)) {
      const child = node.properties[step];
      if (child !== undefined) found.push(...alternatives(child));
    } else if (typeof node.additionalProperties === 'object') {
      found.push(...alternatives(node.additionalProperties));
    }
  }
  return found;
}

/** All that may stand at a place; empty for a place the schema does not know. */
export function nodesAt(root: SchemaNode, path: Path): SchemaNode[] {
  let nodes = alternatives(root);
  for (const step of path) nodes = below(nodes, step);
  return nodes;
}

/** The keys that some alternative allows. */
export function keysOf(nodes: readonly SchemaNode[]): string[] {
  return [...new Set(nodes.flatMap((node) => Object.keys(node.properties ?? {})))];
}

/** The words that some alternative allows. */
export function wordsOf(nodes: readonly SchemaNode[]): string[] {
  const words = nodes.flatMap((node) => [...(node.enum ?? []), ...('const' in node ? [node.const] : [])]);
  return words.filter((word) => typeof word === 'string');
}

/** How the kind of value at a place is called, or ''. */
export function kindOf(nodes: readonly SchemaNode[]): string {
  return nodes.find((node) => node['x-type'] !== undefined)?.['x-type'] ?? '';
}

/** True where a number (or a boolean) belongs and free text does not: text from the environment is then converted. */
export function expectsNumber(nodes: readonly SchemaNode[]): boolean {
  return nodes.some((node) => node.type === 'integer' || node.type === 'number') && !nodes.some(isFreeText);
}

export function expectsBoolean(nodes: readonly SchemaNode[]): boolean {
  return nodes.some((node) => node.type === 'boolean') && !nodes.some(isFreeText);
}

function isFreeText(node: SchemaNode): boolean {
  return (
    node.type === 'string' &&
    node.const === undefined &&
    node.enum === undefined &&
    node.pattern === undefined
  );
}
