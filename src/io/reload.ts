import { isDeepStrictEqual } from 'node:util';
import type { Configuration } from '../../config/schema.ts';

/**
 * What a reload changes, in words: one line a section that differs, so that an operator sees what he has done.
 */
export function describeChanges(before: Configuration, after: Configuration): string[] {
  const changes: string[] = [];
  const sections = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof Configuration>;
  for (const section of sections) {
    if (section === 'services' || section === 'tiers')
      changes.push(...named(section, before[section], after[section]));
    else if (!isDeepStrictEqual(before[section], after[section])) changes.push(`${section} changed`);
  }
  return changes;
}

function named(
  section: string,
  before: Readonly<Record<string, unknown>>,
  after: Readonly<Record<string, unknown>>,
): string[] {
  const changes: string[] = [];
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    if (!Object.hasOwn(before, name)) changes.push(`${section}.${name} added`);
    else if (!Object.hasOwn(after, name)) changes.push(`${section}.${name} removed`);
    else if (!isDeepStrictEqual(before[name], after[name])) changes.push(`${section}.${name} changed`);
  }
  return changes;
}

/** What needs a new process and cannot change while this one runs. */
export function restartOnly(before: Configuration, after: Configuration): string[] {
  const { host, port } = before.admin;
  const needs: string[] = [];
  if (after.admin.host !== host || after.admin.port !== port)
    needs.push('admin address: changes with a restart only');
  return needs;
}
