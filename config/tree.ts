/** What is written in a configuration, walked without trust: whatever is of another kind is empty. */

export type Tree = Readonly<Record<string, unknown>>;

export function treeOf(value: unknown): Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Tree) : {};
}

export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
