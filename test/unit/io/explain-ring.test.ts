import { expect, test } from 'vitest';
import { ExplainRing, EXPLAIN_RECORDS } from '../../../src/io/explain-ring.ts';

interface Note {
  requestId: string;
  text: string;
}

function ringOf(size?: number): { ring: ExplainRing<Note>; add: (requestId: string, text: string) => Note } {
  const ring = new ExplainRing<Note>(() => ({ requestId: '', text: '' }), size);
  return {
    ring,
    add(requestId, text) {
      return Object.assign(ring.take(), { requestId, text });
    },
  };
}

test('a request is found until as many others have come after it', () => {
  const { ring, add } = ringOf(3);
  for (const id of ['a', 'b', 'c']) add(id, `of ${id}`);
  expect(['a', 'b', 'c'].map((id) => ring.find(id)?.text)).toStrictEqual(['of a', 'of b', 'of c']);
  add('d', 'of d');
  expect(['a', 'b', 'd'].map((id) => ring.find(id)?.text)).toStrictEqual([undefined, 'of b', 'of d']);
});

test('of two requests with one id the newest is told', () => {
  const { ring, add } = ringOf(4);
  add('same', 'old');
  add('other', 'between');
  add('same', 'new');
  expect(ring.find('same')?.text).toBe('new');
});

test('an empty ring knows nothing, not even the empty id', () => {
  const { ring, add } = ringOf();
  expect(ring.find('')).toBeUndefined();
  expect(ring.find('a')).toBeUndefined();
  add('', 'unnamed');
  expect(ring.find('')).toBeUndefined();
});

test('records are written over in place, so that a full ring allocates nothing', () => {
  const { add } = ringOf(2);
  const first = add('a', '');
  add('b', '');
  expect(add('c', '')).toBe(first);
});

test('the ring of a worker keeps the last 4096', () => {
  const { ring, add } = ringOf();
  for (let n = 0; n < 3 * EXPLAIN_RECORDS; n += 1) add(`r${n}`, String(n));
  expect(EXPLAIN_RECORDS).toBe(4096);
  expect(ring.find(`r${2 * EXPLAIN_RECORDS}`)?.text).toBe(String(2 * EXPLAIN_RECORDS));
  expect(ring.find(`r${2 * EXPLAIN_RECORDS - 1}`)).toBeUndefined();
});
