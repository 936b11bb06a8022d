/** The supervisor's book of overrides against a store that is scripted here; the real one: `integration/limits-overrides*`. */
import { describe, expect, test } from 'vitest';
import {
  MOST_OVERRIDES,
  OverrideBook,
  type BookOrder,
  type StoredOverride,
  type StoredOverrides,
} from '../../../src/limits/override-book.ts';

const WALL = 1_700_000_000_000;

function stored(bucket: string, serial: number, more: Partial<StoredOverride> = {}): StoredOverride {
  return { bucket, serial, ratePerSecond: 5, burst: 8, by: 'other', untilMs: WALL + 60_000, ...more };
}

function state(version: number, entries: readonly StoredOverride[], life = 'one'): StoredOverrides {
  return { life, version, nowMs: WALL, entries, fills: [] };
}

function set(book: OverrideBook, bucket: string, burst = 8): void {
  book.set({
    bucket,
    hashed: null,
    client: `name of ${bucket}`,
    ratePerSecond: 5,
    burst,
    by: 'here',
    endsMs: 60_000,
    untilMs: WALL + 60_000,
  });
}

function order(book: OverrideBook, version: number, life = 'one'): readonly BookOrder[] {
  const orders = book.orders(100);
  book.ordered(orders, { life, version, nowMs: WALL, taken: orders.map(() => true) }, 0);
  return orders;
}

function names(book: OverrideBook): string[] {
  return book
    .entries()
    .map(({ bucket }) => bucket)
    .toSorted();
}

test('under another secret what has a name is told anew, and what has none stays', () => {
  const book = new OverrideBook();
  const figures = { ratePerSecond: 5, burst: 8, by: 'here', endsMs: 60_000, untilMs: WALL + 60_000 };
  book.set({ ...figures, bucket: 'a', hashed: { kind: 'client', name: 'acme' }, client: 'acme' });
  book.set({ ...figures, bucket: 'b', hashed: { kind: 'ip', name: '192.0.2.7' }, client: 'ip:b' });
  book.set({ ...figures, bucket: 'c', hashed: null, client: 'ip:c' });
  order(book, 1);
  const moved = book.rename(({ kind, name }) => `${kind} ${name}`);
  expect(moved.map(({ bucket, client }) => [bucket, client])).toEqual([
    ['client acme', 'acme'],
    ['ip 192.0.2.7', 'ip:ip 192.0.2.7'],
  ]);
  expect(book.entries().map(({ bucket }) => bucket)).toEqual(['c', 'client acme', 'ip 192.0.2.7']);
  expect(
    order(book, 2).map((each) => [each.kind, each.kind === 'set' ? each.entry.bucket : each.bucket]),
  ).toEqual([
    ['remove', 'a'],
    ['remove', 'b'],
    ['set', 'client acme'],
    ['set', 'ip 192.0.2.7'],
  ]);
  expect(book.rename(({ kind, name }) => `${kind} ${name}`)).toEqual([]);
});

describe('what is set here', () => {
  test('is in force at once, and an order until the store has taken it', () => {
    const book = new OverrideBook();
    set(book, 'a');
    expect(book.find('a')).toMatchObject({ burst: 8, serial: 0 });
    expect(order(book, 1).map(({ kind }) => kind)).toEqual(['set']);
    expect(book.find('a')).toMatchObject({ serial: 1 });
    expect(book.orders(100)).toEqual([]);
    expect(book.judge('one', 1)).toBe('same');
  });

  test('set anew while the store was being told, stays an order', () => {
    const book = new OverrideBook();
    set(book, 'a');
    const orders = book.orders(100);
    set(book, 'a', 20);
    book.ordered(orders, { life: 'one', version: 1, nowMs: WALL, taken: [true] }, 0);
    expect(book.orders(100)).toMatchObject([{ kind: 'set', entry: { burst: 20 } }]);
  });

  test('removed while the store was being told, is removed there too', () => {
    const book = new OverrideBook();
    set(book, 'a');
    const orders = book.orders(100);
    book.remove('a');
    book.ordered(orders, { life: 'one', version: 1, nowMs: WALL, taken: [true] }, 0);
    expect(book.find('a')).toBeUndefined();
    expect(book.orders(100)).toEqual([{ kind: 'remove', bucket: 'a' }]);
  });

  test('filled anew while the store was being told, is told again', () => {
    const book = new OverrideBook();
    book.filled('a');
    const orders = book.orders(100);
    book.filled('a');
    book.ordered(orders, { life: 'one', version: 1, nowMs: WALL, taken: [true] }, 0);
    expect(order(book, 2)).toEqual([{ kind: 'fill', bucket: 'a' }]);
    expect(book.orders(100)).toEqual([]);
  });

  test('for which the store has no place is not in force', () => {
    const book = new OverrideBook();
    set(book, 'a');
    const orders = book.orders(100);
    const taken = { life: 'one', version: 1, nowMs: WALL, taken: [false] };
    expect(book.ordered(orders, taken, 0)).toMatchObject([{ bucket: 'a' }]);
    expect(names(book)).toEqual([]);
  });

  test('has a place up to ten thousand, and one that is there can be set anew', () => {
    const book = new OverrideBook();
    for (let i = 0; i < MOST_OVERRIDES; i++) set(book, String(i));
    expect([book.hasRoom('x'), book.hasRoom('0')]).toEqual([false, true]);
  });

  test('ends by the clock here, and is shown by that of the store', () => {
    const book = new OverrideBook();
    set(book, 'a');
    const orders = book.orders(100);
    book.ordered(orders, { life: 'one', version: 1, nowMs: WALL + 7000, taken: [true] }, 1000);
    expect(book.find('a')).toMatchObject({ untilMs: WALL + 66_000, endsMs: 60_000 });
    expect(book.expire(59_999)).toEqual([]);
    expect(book.nextEndMs()).toBe(60_000);
    expect(book.expire(60_000)).toMatchObject([{ bucket: 'a' }]);
    expect(book.nextEndMs()).toBe(Infinity);
  });
});

describe("what is read of the store's", () => {
  test('is new, another, or gone; what is the same is not told again', () => {
    const book = new OverrideBook();
    expect(book.read(state(2, [stored('a', 1), stored('b', 2)]), 0)).toMatchObject({
      changed: [{ bucket: 'a' }, { bucket: 'b' }],
      gone: [],
    });
    const second = book.read(state(4, [stored('b', 2), stored('c', 4)]), 0);
    expect(second).toMatchObject({ changed: [{ bucket: 'c' }], gone: ['a'] });
    expect(book.read(state(5, [stored('b', 5, { burst: 1 }), stored('c', 4)]), 0).changed).toMatchObject([
      { bucket: 'b', burst: 1 },
    ]);
  });

  test("ends after what is left by the store's clock, whatever the clocks of gateways say", () => {
    const book = new OverrideBook();
    const ended = stored('b', 1, { untilMs: WALL });
    book.read(state(1, [stored('a', 1, { untilMs: WALL + 1500 }), ended]), 10_000);
    expect(names(book)).toEqual(['a']);
    expect(book.nextEndMs()).toBe(11_500);
  });

  test('has the name by which it was set here for as long as there is one, and then only its hash', () => {
    const book = new OverrideBook();
    set(book, 'a');
    order(book, 1);
    book.read(state(2, [stored('a', 2, { burst: 1 })]), 0);
    expect(book.find('a')).toMatchObject({ burst: 1, client: 'name of a' });
    book.read(state(3, []), 0);
    book.read(state(4, [stored('a', 4)]), 0);
    expect(book.find('a')).toMatchObject({ client: 'a' });
  });

  test('gives way to what was set or removed here and not told yet', () => {
    const book = new OverrideBook();
    book.read(state(2, [stored('a', 1), stored('b', 2)]), 0);
    set(book, 'a', 20);
    book.remove('b');
    const change = book.read(state(3, [stored('a', 3), stored('b', 2), stored('c', 3)]), 0);
    expect(change).toMatchObject({ changed: [{ bucket: 'c' }], gone: [] });
    expect(book.find('a')).toMatchObject({ burst: 20 });
    expect(book.orders(100).map(({ kind }) => kind)).toEqual(['remove', 'set']);
  });

  test('tells of a filling once', () => {
    const book = new OverrideBook();
    const filled = { ...state(3, []), fills: [{ bucket: 'a', serial: 3 }] };
    expect(book.read(filled, 0).filled).toEqual(['a']);
    const again = { ...filled, version: 4, fills: [...filled.fills, { bucket: 'b', serial: 4 }] };
    expect(book.read(again, 0).filled).toEqual(['b']);
  });
});

describe("the store's version", () => {
  test('that is known asks for nothing, a newer one for reading', () => {
    const book = new OverrideBook();
    expect(book.judge('', 0)).toBe('same');
    expect(book.judge('one', 3)).toBe('read');
    book.read(state(3, [stored('a', 3)]), 0);
    expect([book.judge('one', 3), book.judge('one', 4)]).toEqual(['same', 'read']);
  });

  test('that went back, or of a store that is another, asks for a write-back of what it once had', () => {
    const book = new OverrideBook();
    book.read(state(3, [stored('a', 3)]), 0);
    set(book, 'b');
    expect([book.judge('one', 2), book.judge('two', 9), book.judge('', 0)]).toEqual([
      'restore',
      'restore',
      'restore',
    ]);
    // What it never had is an order, not a memory.
    expect(book.stored().map(({ bucket }) => bucket)).toEqual(['a']);
  });

  test('of another store is only read by who has nothing to give back', () => {
    const book = new OverrideBook();
    book.read(state(3, []), 0);
    expect(book.judge('two', 1)).toBe('read');
  });

  test('passed over by another gateway is read with the next look', () => {
    const book = new OverrideBook();
    book.read(state(3, []), 0);
    set(book, 'a');
    order(book, 5);
    expect(book.judge('one', 5)).toBe('read');
    expect(book.read(state(5, [stored('a', 5, { by: 'here' }), stored('x', 4)]), 0).changed).toMatchObject([
      { bucket: 'x' },
    ]);
  });
});
