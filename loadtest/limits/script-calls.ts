/** How often a Redis was asked, by its own count. */
import { setTimeout as pause } from 'node:timers/promises';

import type { Redis } from 'ioredis';

/** Scripts that the Redis was asked to run so far: decisions, refunds, slots and heartbeats. */
export async function scriptCalls(redis: Redis): Promise<number> {
  const info = await redis.info('commandstats');
  return [...info.matchAll(/^cmdstat_(?:evalsha|eval|fcall):calls=(\d+)/gm)].reduce(
    (sum, [, count]) => sum + Number(count),
    0,
  );
}

/** What the gateways ask without any traffic: heartbeats. */
export async function idleCallsPerSecond(redis: Redis, seconds: number): Promise<number> {
  const before = await scriptCalls(redis);
  await pause(seconds * 1000);
  return ((await scriptCalls(redis)) - before) / seconds;
}
