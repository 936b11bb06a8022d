/** What is written in a configuration, walked without trust: whatever is of another kind is empty. */
import type { Path } from './findings.ts';

export type Tree = Readonly<Record<string, unknown>>;

export function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function treeOf(value: unknown): Tree {
  return isTree(value) ? value : {};
}

export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** What stands in a list or a mapping of the root, each with its place. */
export function placed(root: Tree, key: string): { readonly path: Path; readonly value: unknown }[] {
  const section = root[key];
  if (Array.isArray(section)) return section.map((value: unknown, index) => ({ path: [key, index], value }));
  return Object.entries(treeOf(section)).map(([name, value]) => ({ path: [key, name], value }));
}
