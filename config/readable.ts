/**
 * What of a section can be read, whatever is wrong with the rest of it.
 *
 * A rule over several fields must not be a check of the object's schema: zod skips those as soon as one field of the
 * object fails, so the rule's fault would come to light with the next run only (its `when` does not help: a whole number
 * that is none ends all checks of the objects around it). Such rules are in `combinations.ts` and `figures.ts` and read
 * their fields one by one here. A field that is faulty is not there, and neither is one whose key was mistyped: its
 * default was not meant, and a rule that judged by it would only repeat the fault in other words.
 */
import type { z } from 'zod';
import { nearest } from './suggest.ts';
import { isTree, treeOf } from './tree.ts';

type Section<Shape extends z.core.$ZodShape> = z.ZodObject<Shape, z.core.$ZodObjectConfig>;

/**
 * The fields that parse, defaults and base units included.
 * @param written left out is as good as empty; anything but a mapping has no fields
 */
export function readable<Shape extends z.core.$ZodShape>(
  section: Section<Shape>,
  written: unknown,
): Partial<z.output<Section<Shape>>> {
  if (written !== undefined && !isTree(written)) return {};
  const tree = treeOf(written);
  const mistyped = mistypedFor(section, tree);
  const fields: Record<string, unknown> = {};
  for (const [key, schema] of Object.entries<z.core.$ZodType>(section.shape)) {
    if (mistyped.has(key)) continue;
    const result = (schema as z.ZodType).safeParse(tree[key]);
    if (result.success) fields[key] = result.data;
  }
  return fields as Partial<z.output<Section<Shape>>>;
}

/** The keys that somebody wanted to write: with any value but null, right or wrong, or under a mistyped name. */
export function meantKeys(section: Section<z.core.$ZodShape>, written: unknown): ReadonlySet<string> {
  const tree = treeOf(written);
  const keys = Object.keys(section.shape).filter((key) => isGiven(tree, key));
  return new Set([...keys, ...mistypedFor(section, tree)]);
}

/** Written, and not to say "nothing". */
export function isGiven(tree: Readonly<Record<string, unknown>>, key: string): boolean {
  return Object.hasOwn(tree, key) && tree[key] !== null;
}

/** Keys of the section that are not written, and that an unknown key beside them was probably meant for. */
function mistypedFor(
  section: Section<z.core.$ZodShape>,
  tree: Readonly<Record<string, unknown>>,
): ReadonlySet<string> {
  const known = Object.keys(section.shape);
  const unknown = Object.keys(tree).filter((key) => !known.includes(key));
  if (unknown.length === 0) return new Set();
  const free = known.filter((key) => !Object.hasOwn(tree, key));
  return new Set(unknown.map((key) => nearest(key, free)));
}
