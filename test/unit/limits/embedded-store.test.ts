import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { EmbeddedStore } from '../../../src/limits/embedded-store.ts';
import { compileRate } from '../../../src/limits/gcra.ts';
import { Ask, terms } from './fixtures.ts';

const perSecond = compileRate(1, 3);

function ask(store: EmbeddedStore, key: string, now: number, rate = perSecond): boolean {
  const call = new Ask([key], terms(rate));
  store.decide(call, now);
  return call.reply?.[0] === 1;
}

describe('the embedded store', () => {
  test('a bucket gives its burst at once and then its rate', () => {
    const store = new EmbeddedStore(100, seededRandom(1));
    expect([0, 0, 0, 0].map((now) => ask(store, 'a', now))).toEqual([true, true, true, false]);
    expect(ask(store, 'a', 999.9)).toBe(false);
    expect(ask(store, 'a', 1000)).toBe(true);
    expect(ask(store, 'a', 1000)).toBe(false);
  });

  test('a bucket beyond its depth is brought back to it by a request: who waits as told is admitted', () => {
    // A limit of 3 an hour was used up; then it is 1 a second.
    const store = new EmbeddedStore(100, seededRandom(1));
    const hourly = compileRate(3 / 3600, 3);
    expect([0, 0, 0, 0].map((now) => ask(store, 'a', now, hourly))).toEqual([true, true, true, false]);
    expect(ask(store, 'a', 100)).toBe(false);
    expect(ask(store, 'a', 1099)).toBe(false);
    expect(ask(store, 'a', 1100)).toBe(true);
    // A burst and its rate, as for anybody.
    expect(ask(store, 'a', 1100)).toBe(false);
    expect([4100, 4100, 4100, 4100].map((now) => ask(store, 'a', now))).toEqual([true, true, true, false]);
  });

  test('a look brings nothing back', () => {
    const store = new EmbeddedStore(100, seededRandom(1));
    const hourly = compileRate(3 / 3600, 3);
    for (let i = 0; i < 3; i++) ask(store, 'a', 0, hourly);
    const look = new Ask(['a'], [perSecond.unitTicks, perSecond.burst, 0, 0, 1]);
    store.decide(look, 100);
    expect(look.reply).toEqual([1, 0, 0, 0, 30_000_000]);
    expect(ask(store, 'a', 3000, hourly)).toBe(false);
    expect(ask(store, 'a', 1_199_999, hourly)).toBe(false);
  });

  test('a refused request makes no bucket', () => {
    const store = new EmbeddedStore(100, seededRandom(1));
    const call = new Ask(['a', 'b'], [...terms(perSecond), perSecond.unitTicks, 3, 4, 4, 1]);
    store.decide(call, 0);
    expect(call.reply?.[0]).toBe(0);
    expect(store.size()).toBe(0);
  });

  test('buckets that are full again leave while new ones come', () => {
    const store = new EmbeddedStore(1_000_000, seededRandom(1));
    for (let i = 0; i < 40_000; i++) ask(store, `k${i}`, i);
    // A bucket lives for 1 s and one comes each ms: 1000 live ones, and as many again on their way out.
    expect(store.size()).toBeLessThan(2500);
  });

  test('a sweep empties a store that nobody asks any more', () => {
    const store = new EmbeddedStore(10_000, seededRandom(1));
    for (let i = 0; i < 5000; i++) ask(store, `k${i}`, 0);
    for (let turn = 0; turn < 5; turn++) store.sweep(10_000);
    expect(store.size()).toBe(0);
    expect(ask(store, 'k17', 10_000)).toBe(true);
  });

  test('a spray of new keys stays within the capacity and evicts itself, not who is at his limit', () => {
    const store = new EmbeddedStore(2000, seededRandom(1));
    const slow = compileRate(1, 1000);
    for (let i = 0; i < 1000; i++) expect(ask(store, 'busy', 0, slow)).toBe(true);
    for (let i = 0; i < 50_000; i++) ask(store, `spray${i}`, 1);
    expect(store.size()).toBe(2000);
    expect(ask(store, 'busy', 1, slow)).toBe(false);
  });

  test('eviction in the middle of a decision charges every level all the same', () => {
    const store = new EmbeddedStore(3, seededRandom(3));
    for (const key of ['x', 'y', 'z']) ask(store, key, 0);
    const call = new Ask(['a', 'b', 'c'], [...terms(perSecond), ...terms(perSecond), ...terms(perSecond)]);
    store.decide(call, 0);
    expect(store.size()).toBe(3);
    expect(call.reply).toEqual([1, 1, 2, 0, 10_000_000, 1, 2, 0, 10_000_000, 1, 2, 0, 10_000_000]);
  });

  test('a forgotten bucket is full, and the others keep their figures', () => {
    const store = new EmbeddedStore(100, seededRandom(1));
    for (const key of ['a', 'b', 'c']) for (let i = 0; i < 3; i++) ask(store, key, 0);
    expect(store.forget('a')).toBe(true);
    expect(store.forget('a')).toBe(false);
    expect([ask(store, 'a', 0), ask(store, 'b', 0), ask(store, 'c', 0)]).toEqual([true, false, false]);
  });
});
