/** The limiter and its store as one worker of one gateway has them, for measures inside a process. */
import { Redis } from 'ioredis';

import { redisOptions } from '../../src/io/limit-store/redis-options.ts';
import { RedisLimitStore } from '../../src/io/limit-store/redis.ts';
import { Limiter, type ShareStore } from '../../src/limits/limiter.ts';
import type { LimitStore } from '../../src/limits/store.ts';

/** Resolves when the Redis on this port may be asked. */
export async function fitStore(port: number, timeoutMs: number): Promise<RedisLimitStore> {
  const fit = Promise.withResolvers<void>();
  const store = new RedisLimitStore({
    client: new Redis(port, '127.0.0.1', redisOptions(Math.random)),
    timeoutMs,
    gateway: 'measured',
    workers: 1,
    gateways: 1,
    random: Math.random,
    onState: (state) => {
      if (state === 'fit') fit.resolve();
    },
  });
  await fit.promise;
  return store;
}

/** One worker in all, with `maxOverAdmission` as it comes. */
export function limiterOn(
  store: LimitStore,
  enforcement: 'exact' | 'auto' | 'leased',
  share?: ShareStore,
): Limiter {
  const limiter = new Limiter({ store, onUnavailable: 'local', workers: 1, random: Math.random });
  limiter.configure({
    onUnavailable: 'local',
    store,
    share,
    leases: { enforcement, maxOverRatio: 0.05 },
  });
  return limiter;
}
