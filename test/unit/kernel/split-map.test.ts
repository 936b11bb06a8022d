import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { SplitMap } from '../../../src/kernel/split-map.ts';
import { clientKey, globalKey } from '../../../src/limits/keys.ts';

describe('a map in parts', () => {
  test('is a map, whatever the keys', () => {
    const random = seededRandom(3);
    const split = new SplitMap<number>();
    const plain = new Map<string, number>();
    for (let step = 0; step < 20_000; step++) {
      const key = random()
        .toString(36)
        .slice(2, 2 + Math.floor(random() * 4));
      if (random() < 0.3) expect(split.delete(key)).toBe(plain.delete(key));
      else {
        split.set(key, step);
        plain.set(key, step);
      }
      expect(split.get(key)).toBe(plain.get(key));
    }
    for (const [key, value] of plain) expect(split.get(key)).toBe(value);
  });

  test('an empty key and a key of one character have their place', () => {
    const split = new SplitMap<number>();
    split.set('', 1);
    split.set('a', 2);
    expect([split.get(''), split.get('a'), split.get('b')]).toEqual([1, 2, undefined]);
    expect([split.delete(''), split.delete('')]).toEqual([true, false]);
  });

  test('names of buckets lie in all parts alike', () => {
    const random = seededRandom(5);
    const sizes = new Map<number, number>();
    for (let client = 0; client < 16_000; client++) {
      const hash = Array.from({ length: 22 }, () => BASE64URL[Math.floor(random() * 64)]).join('');
      const part = SplitMap.partOf(clientKey(hash));
      sizes.set(part, (sizes.get(part) ?? 0) + 1);
    }
    expect(sizes.size).toBe(16);
    for (const size of sizes.values()) expect(Math.abs(size - 1000)).toBeLessThan(200);
    expect(SplitMap.partOf(globalKey())).toBeGreaterThanOrEqual(0);
  });
});

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
