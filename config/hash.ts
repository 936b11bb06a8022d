/**
 * A name for what a configuration says: equal for equal effective configurations, whatever their layout and comments.
 */
import { createHash } from 'node:crypto';
import type { Configuration } from './schema.ts';

/** 12 hex digits. */
export function configurationHash(configuration: Configuration): string {
  const sorted = JSON.stringify(configuration, (_key, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
  return createHash('sha256').update(sorted).digest('hex').slice(0, 12);
}
