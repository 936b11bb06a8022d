import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { BucketTable } from '../../../src/limits/bucket-table.ts';
import { clientKey, routeKey } from '../../../src/limits/keys.ts';

function tatOf(table: BucketTable, name: string): number | undefined {
  const place = table.find(name);
  return place < 0 ? undefined : table.tatAt(place);
}

/** Places that hold a bucket, seen from outside. */
function taken(table: BucketTable): number {
  let count = 0;
  for (let place = 0; place < table.places; place++) if (table.tatAt(place) !== 0) count++;
  return count;
}

describe('the table of buckets', () => {
  test.each([1, 2, 3, 4, 5])('is a map from names, whatever comes and goes (seed %i)', (seed) => {
    const random = seededRandom(seed);
    const table = new BucketTable();
    const map = new Map<string, number>();
    // Few names, so that they come again; as many as fill the first table to its last fifth, and beyond.
    const names = Array.from({ length: 600 * seed }, (_, i) => clientKey(i.toString(36)));
    for (let step = 1; step < 40_000; step++) {
      const name = names[Math.floor(random() * names.length)] as string;
      const place = table.find(name);
      expect(place < 0 ? undefined : table.tatAt(place)).toBe(map.get(name));
      if (place < 0) table.add(name, step);
      else if (random() < 0.45) table.remove(place);
      else table.setAt(place, step);
      if (place >= 0 && table.find(name) < 0) map.delete(name);
      else map.set(name, step);
      expect(table.size).toBe(map.size);
    }
    for (const [name, tat] of map) expect(tatOf(table, name)).toBe(tat);
    expect(taken(table)).toBe(map.size);
  });

  test('emptied one by one, it holds nothing and forgets no other on the way', () => {
    const table = new BucketTable();
    const names = Array.from({ length: 5000 }, (_, i) => `k${i}`);
    for (const [i, name] of names.entries()) table.add(name, i + 1);
    for (const [i, name] of names.entries()) {
      expect(tatOf(table, name)).toBe(i + 1);
      table.remove(table.find(name));
      expect(table.find(name)).toBe(-1);
    }
    expect([table.size, taken(table)]).toEqual([0, 0]);
  });

  test('an empty name and one beyond Latin-1 have their places', () => {
    const table = new BucketTable();
    for (const [i, name] of ['', 'a', '\u{1f600}', '\u0161'].entries()) table.add(name, i + 1);
    expect(['', 'a', '\u{1f600}', '\u0161', 'b'].map((name) => tatOf(table, name))).toEqual([
      1,
      2,
      3,
      4,
      undefined,
    ]);
  });

  test('names that differ in one character, or in their order, do not meet', () => {
    const random = seededRandom(9);
    const table = new BucketTable();
    const seen = new Set<string>();
    for (let client = 0; client < 20_000; client++) {
      const hash = Array.from({ length: 22 }, () => BASE64URL[Math.floor(random() * 64)]).join('');
      for (const name of [
        clientKey(hash),
        clientKey(Array.from(hash).toReversed().join('')),
        routeKey(hash, 'r'),
      ]) {
        expect(table.find(name) >= 0).toBe(seen.has(name));
        if (!seen.has(name)) table.add(name, 1);
        seen.add(name);
      }
    }
    expect(table.size).toBe(60_000);
  });
});

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
