/** Our decision in rate-limiter-flexible's shape, on a real Redis and in memory. */
import { RateLimiterCompatibleAbstract, RateLimiterRes } from 'rate-limiter-flexible';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GcraLimiter, LimitStoreUnavailable } from '../../src/io/limit-store/gcra-limiter.ts';
import type { BucketStore } from '../../src/io/limit-store/gcra-limiter.ts';
import { seededRandom } from '../../src/kernel/random.ts';
import { EmbeddedStore } from '../../src/limits/embedded-store.ts';
import { compileRate } from '../../src/limits/gcra.ts';
import { RedisServer } from '../harness/redis.ts';
import { OpenStore, take } from './limits-stores.ts';

let server: RedisServer;
let open: OpenStore;
beforeAll(async () => {
  server = await RedisServer.start();
  open = await new OpenStore(server.url, { timeoutMs: 1000 }).fit();
});
afterAll(async () => {
  open.store.close();
  await server.stop();
});

const rate = compileRate(0.1, 5);
const memory = new EmbeddedStore(100, seededRandom(1));

describe.each([
  ['redis', (): BucketStore => open.store],
  ['memory', (): BucketStore => memory],
] as const)('a GcraLimiter on %s', (_kind, store) => {
  function limiter(): GcraLimiter {
    return new GcraLimiter({ store: store(), rate, keyPrefix: 'rlf:' });
  }

  test("is one of the library's limiters, under its own prefix", () => {
    expect(limiter()).toBeInstanceOf(RateLimiterCompatibleAbstract);
    expect(limiter().keyPrefix).toBe('rlf:');
    expect(limiter().points).toBe(5);
  });

  test('consume resolves while there is room and rejects with the wait when there is none', async () => {
    const first = await limiter().consume('a', 2);
    expect(first).toBeInstanceOf(RateLimiterRes);
    expect(first).toMatchObject({ remainingPoints: 3, consumedPoints: 2, isFirstInDuration: true });
    expect(await limiter().consume('a', 3)).toMatchObject({ remainingPoints: 0, isFirstInDuration: false });
    const refused: unknown = await limiter()
      .consume('a')
      .catch((reason: unknown) => reason);
    if (!(refused instanceof RateLimiterRes)) throw new Error('not refused');
    expect(refused.remainingPoints).toBe(0);
    expect(refused.msBeforeNext).toBeGreaterThan(5000);
    expect(refused.msBeforeNext).toBeLessThanOrEqual(10_000);
  });

  test('it and the gateway share one bucket', async () => {
    await take(store(), 'rlf:shared', rate, 4);
    expect(await limiter().get('shared')).toMatchObject({ remainingPoints: 1, consumedPoints: 4 });
    await limiter().consume('shared');
    expect(await take(store(), 'rlf:shared', rate)).toBe(false);
  });

  test('get charges nothing, and a bucket that is full is none', async () => {
    expect(await limiter().get('b')).toBeNull();
    await limiter().consume('b');
    for (let i = 0; i < 3; i++) expect(await limiter().get('b')).toMatchObject({ remainingPoints: 4 });
  });

  test('penalty takes what there is and never rejects', async () => {
    expect(await limiter().penalty('c', 3)).toMatchObject({ remainingPoints: 2 });
    expect(await limiter().penalty('c', 3)).toMatchObject({ remainingPoints: 0 });
    await expect(limiter().consume('c')).rejects.toBeInstanceOf(RateLimiterRes);
  });

  test('delete fills the bucket', async () => {
    await limiter().consume('d', 5);
    expect(await limiter().delete('d')).toBe(true);
    expect(await limiter().delete('d')).toBe(false);
    expect(await limiter().consume('d', 5)).toMatchObject({ remainingPoints: 0 });
  });

  test('what a GCRA bucket cannot do is refused in words', async () => {
    await expect(limiter().block()).rejects.toThrow('cannot block');
    await expect(limiter().set()).rejects.toThrow('no counter');
    await expect(limiter().reward()).rejects.toThrow('come back with time');
  });
});

test('an unfit store is an error of its own, never a refusal', async () => {
  const lost = new OpenStore('redis://127.0.0.1:1');
  const limiter = new GcraLimiter({ store: lost.store, rate });
  await expect(limiter.consume('a')).rejects.toBeInstanceOf(LimitStoreUnavailable);
  lost.store.close();
});
