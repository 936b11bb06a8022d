import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Batch } from '../../../src/io/limit-store/turn-batches.ts';
import { TurnBatches } from '../../../src/io/limit-store/turn-batches.ts';
import { seededRandom } from '../../../src/kernel/random.ts';
import { StoreFitness } from '../../../src/limits/fitness.ts';
import { compileRate } from '../../../src/limits/gcra.ts';
import { Ask, terms } from './fixtures.ts';

const FAKED = ['setTimeout', 'clearTimeout', 'setImmediate', 'performance'] as const;
const REPLY = [1, 1, 1, 0, 1];

/** Batches to a store that answers when the test says so, on a loop that stands still when the test says so. */
class Bench {
  readonly sent: Batch[] = [];
  readonly trips: number[] = [];
  readonly fitness = new StoreFitness(seededRandom(1), () => {});
  readonly batches: TurnBatches;
  standstillMs = 0;

  constructor(mostCalls = 64) {
    this.batches = new TurnBatches({
      timeoutMs: 25,
      mostCalls,
      fitness: this.fitness,
      clock: () => this.now(),
      transmit: (batch) => this.sent.push(batch),
      onTrip: (tripMs) => this.trips.push(tripMs),
    });
    this.fitness.connected(0);
    this.fitness.beatSent(0);
    this.fitness.beatAnswered(0, true);
  }

  now(): number {
    return performance.now() + this.standstillMs;
  }

  add(): Ask {
    const call = new Ask(['k'], terms(compileRate(1, 2)));
    expect(this.batches.add(call, this.now())).toBe(true);
    return call;
  }

  answer(batch: Batch | undefined): void {
    if (batch === undefined) throw new Error('nothing was sent');
    for (let i = 0; i < batch.calls.length; i++) this.batches.replied(batch, i, REPLY);
  }
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: [...FAKED] });
});
afterEach(() => {
  vi.useRealTimers();
});

describe('calls of one turn', () => {
  test('leave together at its end, and a full batch at once', async () => {
    const bench = new Bench(3);
    for (let i = 0; i < 4; i++) bench.add();
    expect(bench.sent.map((batch) => batch.calls.length)).toEqual([3]);
    await vi.advanceTimersByTimeAsync(1);
    expect(bench.sent.map((batch) => batch.calls.length)).toEqual([3, 1]);
  });

  test('have one deadline timer, which goes with the answer', async () => {
    const bench = new Bench();
    const calls = [bench.add(), bench.add(), bench.add()];
    await vi.advanceTimersByTimeAsync(1);
    expect(vi.getTimerCount()).toBe(1);
    bench.answer(bench.sent[0]);
    expect(vi.getTimerCount()).toBe(0);
    expect(calls.map((call) => call.reply)).toEqual([REPLY, REPLY, REPLY]);
    expect(bench.trips).toHaveLength(1);
  });

  test('that became unfit before the turn ended are told at once', async () => {
    const bench = new Bench();
    const call = bench.add();
    bench.fitness.disconnected(bench.now(), 'closed');
    await vi.advanceTimersByTimeAsync(1);
    expect(bench.sent).toHaveLength(0);
    expect([call.told, call.reply]).toEqual([1, undefined]);
  });
});

describe('the deadline', () => {
  test('what was answered counts, what was not is told, and late answers change nothing', async () => {
    const bench = new Bench();
    const calls = [bench.add(), bench.add()];
    await vi.advanceTimersByTimeAsync(1);
    const batch = bench.sent[0] as Batch;
    bench.batches.replied(batch, 1, REPLY);
    await vi.advanceTimersByTimeAsync(30);
    expect(calls.map((call) => call.reply)).toEqual([undefined, REPLY]);
    expect(bench.fitness.state(bench.now())).toBe('suspect');
    bench.batches.replied(batch, 0, REPLY);
    expect(calls.map((call) => call.told)).toEqual([1, 1]);
    expect(bench.fitness.state(bench.now())).toBe('fit');
  });

  test('only who was told of no answer hears a late one: what was answered in time is not granted again', async () => {
    const bench = new Bench();
    const calls = [bench.add(), bench.add()];
    const heard = calls.map((call) => Object.assign(call, { late: vi.fn<() => void>() }).late);
    await vi.advanceTimersByTimeAsync(1);
    const batch = bench.sent[0] as Batch;
    bench.batches.replied(batch, 1, REPLY);
    await vi.advanceTimersByTimeAsync(30);
    bench.batches.replied(batch, 0, REPLY);
    expect(calls.map((call) => call.told)).toEqual([1, 1]);
    expect(heard.map((late) => late.mock.calls.length)).toEqual([1, 0]);
  });

  test('is void when our own loop was late: the calls are decided elsewhere, the store is not suspected', async () => {
    const bench = new Bench();
    const call = bench.add();
    await vi.advanceTimersByTimeAsync(1);
    bench.standstillMs = 80;
    await vi.advanceTimersByTimeAsync(30);
    expect([call.told, call.reply]).toEqual([1, undefined]);
    expect(bench.batches.missed).toBe(0);
    expect(bench.fitness.state(bench.now())).toBe('fit');
  });

  test('a loop that is late each time excuses a silent store three times and no more', async () => {
    const bench = new Bench();
    for (let i = 0; i < 4; i++) {
      bench.add();
      await vi.advanceTimersByTimeAsync(1);
      bench.standstillMs += 80;
      await vi.advanceTimersByTimeAsync(30);
    }
    expect(bench.batches.missed).toBe(1);
    expect(bench.fitness.state(bench.now())).toBe('suspect');
  });

  test('a timer that fires early is set again for the rest', async () => {
    const bench = new Bench();
    const call = bench.add();
    await vi.advanceTimersByTimeAsync(1);
    bench.standstillMs = -10;
    await vi.advanceTimersByTimeAsync(27);
    expect(call.told).toBe(0);
    await vi.advanceTimersByTimeAsync(10);
    expect(call.told).toBe(1);
  });
});

describe('a heartbeat', () => {
  test('goes one at a time, and a missed one lets the next go', async () => {
    const bench = new Bench();
    expect(bench.batches.sendBeat(bench.now())).toBe(true);
    expect(bench.batches.sendBeat(bench.now())).toBe(false);
    await vi.advanceTimersByTimeAsync(40);
    expect(bench.fitness.state(bench.now())).toBe('suspect');
    expect(bench.batches.sendBeat(bench.now())).toBe(true);
  });
});
