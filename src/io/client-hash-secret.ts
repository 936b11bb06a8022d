import { createHash } from 'node:crypto';
import type { Configuration } from '../../config/schema.ts';

/**
 * The secret under which callers' names become bucket names.
 *
 * With Redis every gateway must use the same one: `redis.keySecret`, or else one derived from the store's address, which
 * all gateways of that store share (`check` advises to set it). Without Redis a random one for this run does.
 */
export function clientHashSecret({ redis }: Configuration, random: string): string {
  if (redis === null) return random;
  if (redis.keySecret !== null && redis.keySecret !== '') return redis.keySecret;
  return createHash('sha256')
    .update(`spillway client names ${redis.url ?? ''}`)
    .digest('base64url');
}
