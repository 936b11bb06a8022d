import type { Configuration } from '../../config/schema.ts';

/**
 * The secret under which callers' names become bucket names.
 *
 * With Redis every gateway must use the same one: `redis.keySecret`, or else the one that they share through that Redis
 * (`redis-membership.ts`). Without Redis a random one for this run does.
 */
export function clientHashSecret({ redis }: Configuration, random: string, shared: string): string {
  if (redis === null) return random;
  return redis.keySecret ?? shared;
}
