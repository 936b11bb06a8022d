import { expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { Balancer } from '../../../src/upstreams/balancer.ts';
import { Silence } from '../../../src/upstreams/silence.ts';
import { view } from '../../harness/instance-view.ts';

function silence(): Silence {
  const book = new Silence();
  book.grow(2);
  book.begin(0);
  return book;
}

/** How long it has been silent; 0 while it is not. */
function spanMs(book: Silence, slot: number, now: number): number | undefined {
  const expected = new Float64Array(1);
  book.atLeast(expected, 0, slot, now);
  return expected[0];
}

test('one request that takes long is no silence, a second one beside it is until it is answered', () => {
  const book = silence();
  book.asked(0, 0);
  expect(spanMs(book, 0, 9000)).toBe(0);
  book.asked(0, 9000);
  expect(spanMs(book, 0, 9000)).toBe(9000);
  book.heard(0, 9010);
  expect(spanMs(book, 0, 20_000)).toBe(0);
});

test('silence lasts since the last sign, and a failure is one', () => {
  const book = silence();
  for (let n = 0; n < 4; n++) book.asked(0, 100);
  book.heard(0, 150);
  expect(spanMs(book, 0, 400)).toBe(250);
  expect(spanMs(book, 1, 400)).toBe(0);
});

test('callers who leave take their question with them', () => {
  const book = silence();
  book.asked(0, 0);
  book.asked(0, 0);
  book.forget(0);
  expect(spanMs(book, 0, 500)).toBe(0);
  book.forget(0);
  book.forget(0); // once too often
  book.asked(0, 600);
  book.asked(0, 600);
  expect(spanMs(book, 0, 700)).toBe(100);
});

test('an instance that hangs keeps a handful of requests, whatever peaks the others had', () => {
  const balancer = new Balancer(
    { slaMs: 250, slowStartMs: 0, maxConcurrencyPerInstance: 1000, workers: 2 },
    seededRandom(3),
  );
  balancer.update([view(0), view(1), view(2)], 0);
  const HUNG = 1;
  const pending: { slot: number; at: number; endsAt: number }[] = [];
  let stuck = 0;
  for (let now = 0; now < 10_000; now += 5) {
    for (const each of pending.filter(({ endsAt }) => endsAt <= now)) {
      pending.splice(pending.indexOf(each), 1);
      balancer.head(each.slot, now - each.at, 200, -1, now);
      balancer.finished(each.slot, now);
    }
    const slot = balancer.pick({ pinned: -1, tried: [], makesPin: false }, now);
    balancer.started(slot, now);
    if (slot === HUNG && now >= 2000) stuck++;
    else {
      // A quarter of a second now and then, for all: the peak that makes whoever never answers look quick.
      const endsAt = now + (now % 1500 < 30 ? 250 : 10);
      pending.push({ slot, at: now, endsAt });
    }
  }
  expect(stuck).toBeLessThanOrEqual(4);
});

test('an answer that turns out to be no HTTP is counted once', () => {
  const balancer = new Balancer(
    { slaMs: 250, slowStartMs: 0, maxConcurrencyPerInstance: 1000, workers: 1 },
    seededRandom(3),
  );
  balancer.update([view(0), view(1)], 0);
  for (const slot of [0, 0, 0, 0]) balancer.started(slot, 0);
  for (let n = 0; n < 2; n++) {
    balancer.head(0, 10, 200, -1, 10);
    balancer.failed(0, 'protocol', 10, true);
  }
  // Two are outstanding still: after a minute, when all blame has faded, only their silence speaks against it.
  for (let n = 0; n < 20; n++)
    expect(balancer.pick({ pinned: -1, tried: [], makesPin: false }, 60_000)).toBe(1);
});
