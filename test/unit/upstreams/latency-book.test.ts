import { describe, expect, it } from 'vitest';
import { LatencyBook } from '../../../src/upstreams/latency-book.ts';

const NO_HEADER = -1;

/** A book with slot 0 at `rttMs`, measured at 0. */
function bookAt(rttMs: number): LatencyBook {
  const book = new LatencyBook();
  book.grow(2);
  book.begin(0, 1, 0);
  book.answer(0, rttMs, 200, NO_HEADER, 0);
  return book;
}

/** What a request at a slot is expected to take, beside another one. */
function expectedMs(book: LatencyBook, slot: number, now: number, beside = slot): number {
  const into = new Float64Array(1);
  book.expect(into, 0, slot, now, beside);
  return into[0] ?? Number.NaN;
}

describe('what a request is expected to take', () => {
  it('begins with the guess, not with zero', () => {
    const book = new LatencyBook();
    book.grow(1);
    book.begin(0, 125, 0);
    expect(expectedMs(book, 0, 0)).toBe(125);
    expect(book.isSampled(0)).toBe(false);
  });

  it('believes a rise at once and a fall by its age', () => {
    const book = bookAt(20);
    book.answer(0, 300, 200, NO_HEADER, 100);
    expect(book.rttMs(0, 100)).toBe(300);
    book.answer(0, 20, 200, NO_HEADER, 200);
    const w = Math.exp(-100 / 10_000);
    expect(book.rttMs(0, 200)).toBeCloseTo(300 * w * w + 20 * (1 - w), 9);
  });

  it('fades when nothing is measured, so a recovered instance is tried again', () => {
    const book = bookAt(1000);
    expect(book.rttMs(0, 10_000)).toBeCloseTo(1000 / Math.E, 6);
    expect(expectedMs(book, 0, 1e9)).toBe(0.01);
    expect(book.rttMs(0, -5)).toBe(1000); // a clock that steps back fades nothing
  });

  it('a fast 404 does not attract, a slow one repels', () => {
    const book = bookAt(50);
    book.answer(0, 0.5, 404, NO_HEADER, 5000);
    expect(book.rttMs(0, 5000)).toBeCloseTo(50 * Math.exp(-0.5), 9);
    book.answer(0, 900, 404, NO_HEADER, 5000);
    expect(book.rttMs(0, 5000)).toBe(900);
  });

  it('an answer to what was asked after nobody listened ends that blame; one from before does not', () => {
    const book = bookAt(20);
    book.failed(0, 1000, true);
    book.answer(0, 20, 200, NO_HEADER, 1010); // asked at 990, before it was restarted
    expect(book.blame(0, 1010)).toBeGreaterThan(0.7);
    book.answer(0, 5, 200, NO_HEADER, 1020);
    expect(book.blame(0, 1020)).toBe(0);
  });

  it('no answer ends the blame of a reset at once, nor the pause that it asked for', () => {
    const book = bookAt(20);
    book.failed(0, 1000, true);
    book.failed(0, 1001);
    book.answer(0, 5, 200, NO_HEADER, 1020);
    expect(book.blame(0, 1020)).toBeGreaterThan(0.7);
    book.failed(0, 2000, true);
    book.answer(0, 1, 503, 5000, 2001);
    book.answer(0, 1, 200, NO_HEADER, 2010);
    expect(book.blame(0, 2010)).toBe(1);
  });

  it('fails now: it failed within half a second or asked for a pause, and blame stands', () => {
    const book = bookAt(20);
    expect(book.failsNow(0, 0)).toBe(false);
    book.answer(0, 1, 500, NO_HEADER, 0);
    expect(book.failsNow(0, 0)).toBe(false);
    book.failed(0, 100);
    expect([book.failsNow(0, 600), book.failsNow(0, 601)]).toEqual([true, false]);
    expect(book.blame(0, 601)).toBeGreaterThan(0.5);
    book.answer(0, 1, 503, 5000, 1000);
    expect([book.failsNow(0, 5999), book.failsNow(0, 6001)]).toEqual([true, false]);
  });

  it('one stray 500 costs nothing, two in a row do', () => {
    const book = bookAt(20);
    book.answer(0, 1, 500, NO_HEADER, 0);
    expect(expectedMs(book, 0, 0)).toBe(20);
    book.answer(0, 1, 500, NO_HEADER, 0);
    expect(book.blame(0, 0)).toBeCloseTo(0.4375, 9);
    expect(expectedMs(book, 0, 0)).toBeCloseTo(5000 * 0.75, 6);
  });

  it('a failed connection, 502, 503 and 504 are full blame; a failure never lowers the time', () => {
    for (const status of [502, 503, 504]) {
      const book = bookAt(20);
      book.answer(0, 0.1, status, NO_HEADER, 0);
      expect(expectedMs(book, 0, 0)).toBe(5000);
      expect(book.rttMs(0, 0)).toBe(20);
    }
    const book = bookAt(20);
    book.failed(0, 0);
    expect(book.blame(0, 0)).toBe(1);
    expect(book.blame(0, 2000)).toBeCloseTo(1 / Math.E, 9);
  });

  it('successes take a quarter of the blame each', () => {
    const book = bookAt(20);
    book.failed(0, 0);
    book.answer(0, 20, 200, NO_HEADER, 0);
    expect(book.blame(0, 0)).toBe(0.75);
    book.answer(0, 20, 404, NO_HEADER, 0);
    expect(book.blame(0, 0)).toBe(0.75); // neither good nor bad
  });

  it('Retry-After holds full blame for its span, ten seconds at most, and beyond 2^31 ms too', () => {
    for (const [value, heldMs] of [
      [3000, 3000],
      [2 ** 40, 10_000],
      [Infinity, 10_000],
    ] as const) {
      const book = bookAt(20);
      book.answer(0, 1, 503, value, 0);
      book.answer(0, 20, 200, NO_HEADER, 10); // one that was under way already
      book.failed(0, 20);
      expect(book.blame(0, heldMs)).toBe(1);
      expect(book.blame(0, heldMs + 2000)).toBeCloseTo(1 / Math.E, 9);
    }
  });

  it('a 429 is blamed a little and its Retry-After is the caller’s', () => {
    const book = bookAt(20);
    book.answer(0, 1, 429, 5000, 0);
    expect(book.blame(0, 0)).toBe(0.25);
    expect(book.blame(0, 2000)).toBeCloseTo(0.25 / Math.E, 9);
  });

  it('a guess gives way to the first good answer, and to no fast 404', () => {
    const book = new LatencyBook();
    book.grow(1);
    book.begin(0, 125, 0);
    book.answer(0, 0.5, 404, NO_HEADER, 10);
    expect(book.rttMs(0, 0)).toBe(125);
    book.answer(0, 20, 200, NO_HEADER, 10);
    expect(book.rttMs(0, 10)).toBe(20);
  });

  it('what was never measured is taken to be as fast as the one beside it', () => {
    const book = bookAt(20);
    book.begin(1, 125, 0);
    expect([expectedMs(book, 1, 0, 0), expectedMs(book, 0, 0, 1), expectedMs(book, 1, 0)]).toEqual([
      20, 20, 125,
    ]);
    book.failed(1, 0);
    expect(expectedMs(book, 1, 0, 0)).toBe(5000); // its failures are known
  });

  it('one that comes back is forgiven, but not before its own Retry-After is over', () => {
    const book = bookAt(20);
    book.failed(0, 1000);
    book.reopen(0, 35, 1001);
    expect(book.blame(0, 1001)).toBe(0);
    book.answer(0, 1, 503, 3000, 1001);
    book.reopen(0, 35, 2000);
    expect(book.blame(0, 4001)).toBe(1);
  });

  it('one that comes back is expected at the median, however far it has faded', () => {
    const book = bookAt(20);
    book.reopen(0, 35, 60_000);
    expect(book.rttMs(0, 60_000)).toBe(35);
    const slow = bookAt(500);
    slow.reopen(0, 35, 1000);
    expect(slow.rttMs(0, 1000)).toBeCloseTo(500 * Math.exp(-0.1), 6);
  });

  it('nonsense from the clock is not believed', () => {
    const book = bookAt(20);
    book.answer(0, Number.NaN, 200, NO_HEADER, 10);
    book.answer(0, -4, 200, Number.NaN, 10);
    expect(book.rttMs(0, 0)).toBe(20);
  });
});
